// Package rows holds values as text: read from the command line, written as results, streamed from standard input to
// standard output.
//
// The grammar and the digits are the same in every language, so that the output of one consumer can be compared with
// another's byte for byte. `tests/cases/` has both as data.
package rows

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	tf "github.com/wamuir/graft/tensorflow"
)

// AllTypes lists the types that can be fed and printed.
const AllTypes = "float64, float32, float16, bfloat16, int8, int16, int32, int64, uint8, uint16, uint32, uint64, bool, string"

var types = [...]struct {
	name, numpy string // numpy has no bfloat16, and saves it as two bytes
	size        int
}{
	tf.Double: {"float64", "<f8", 8}, tf.Float: {"float32", "<f4", 4},
	tf.Half: {"float16", "<f2", 2}, tf.Bfloat16: {"bfloat16", "|V2", 2},
	tf.Int8: {"int8", "|i1", 1}, tf.Int16: {"int16", "<i2", 2}, tf.Int32: {"int32", "<i4", 4}, tf.Int64: {"int64", "<i8", 8},
	tf.Uint8: {"uint8", "|u1", 1}, tf.Uint16: {"uint16", "<u2", 2}, tf.Uint32: {"uint32", "<u4", 4}, tf.Uint64: {"uint64", "<u8", 8},
	tf.Bool: {"bool", "|b1", 1}, tf.String: {"string", "|O", 0},
}

// Knows tells whether values of a type can be fed and printed.
func Knows(dtype tf.DataType) bool { return int(dtype) < len(types) && types[dtype].name != "" }

// An Array is what a tensor holds, in row-major order.
type Array struct {
	Type     tf.DataType
	Shape    []int64
	Contents []byte   // the elements as in memory, little-endian as on every machine that TensorFlow is built for
	Strings  []string // the elements if they are strings
}

// Len returns the number of elements.
func (a Array) Len() int {
	if a.Type == tf.String {
		return len(a.Strings)
	}
	return len(a.Contents) / types[a.Type].size
}

// part returns a range of the elements, flat.
func (a Array) part(from, to int) Array {
	if a.Type == tf.String {
		return Array{Type: a.Type, Strings: a.Strings[from:to]}
	}
	size := types[a.Type].size
	return Array{Type: a.Type, Contents: a.Contents[from*size : to*size]}
}

// What can be wrong with a value: its text is the first operand, then come the place, the type, and the place if it is a line.
const (
	noNumber    = "not a number: %[1]s%[2]s"
	noInteger   = "not a whole number: %[1]s%[2]s (the input takes %[3]s)"
	noBool      = "not a bool: %[1]s%[2]s (true or false)"
	noBase64    = "not base64: %[1]s%[2]s"
	beyondRange = "out of range for %[3]s: %[1]s%[4]s"
)

// appendValues reads comma-separated values such as `0,-1.5,1e-3,nan`, `true,false`, or strings (bytes that are not text as
// `b64:` and their base64), and returns how many they are. The error is about the first wrong one, of those that are not
// numbers if there are any; it names the flag, or the line if that is not 0.
func (a *Array) appendValues(text, flag string, line int) (count int, err error) {
	var fault, culprit string
	for more := true; more && fault != noNumber; count++ {
		var part, value, wrong string
		var bits uint64
		if part, text, more = strings.Cut(text, ","); a.Type == tf.String {
			value, wrong = decode(part)
			a.Strings = append(a.Strings, value)
		} else {
			bits, wrong = parse(part, a.Type)
			a.Contents = binary.LittleEndian.AppendUint64(a.Contents, bits)[:len(a.Contents)+types[a.Type].size]
		}
		if wrong != "" && (fault == "" || wrong == noNumber) {
			fault, culprit = wrong, part
		}
	}
	if fault == "" {
		return count, nil
	}
	where, onLine := " in "+flag, ""
	if line > 0 {
		onLine = fmt.Sprintf(" on line %d", line)
		where = onLine
	}
	return count, fmt.Errorf(fault, culprit, where, types[a.Type].name, onLine)
}

// decode returns a string: the text itself, or the bytes whose base64 follows `b64:`; or what is wrong.
func decode(part string) (value, wrong string) {
	encoded, found := strings.CutPrefix(part, "b64:")
	if !found {
		return part, ""
	}
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") { // which the decoder skips
		return "", noBase64
	}
	return string(decoded), ""
}

// parse returns the bits of a value, or what is wrong.
func parse(part string, dtype tf.DataType) (bits uint64, wrong string) {
	precision, size := 64, 8*types[dtype].size
	if dtype == tf.Float {
		precision = 32
	}
	value, err := parseFloat(part, precision)
	switch kind := types[dtype].numpy[1]; {
	case dtype == tf.Bool:
		if part = strings.ToLower(part); part != "true" && part != "false" {
			return 0, noBool
		}
		return uint64(strings.Count(part, "true")), ""
	case errors.Is(err, strconv.ErrSyntax):
		return 0, noNumber
	case dtype == tf.Double:
		bits = math.Float64bits(value)
	case dtype == tf.Float:
		bits = uint64(math.Float32bits(float32(value)))
	case dtype == tf.Half || dtype == tf.Bfloat16:
		if err == nil {
			bits, err = formats[dtype].round(part, value)
		}
	case strings.ContainsAny(part, ".eEnN"):
		return 0, noInteger
	case kind == 'u':
		bits, err = strconv.ParseUint(strings.TrimLeft(part, "+-"), 10, size)
		if part[0] == '-' && bits > 0 {
			err = strconv.ErrRange
		}
	default:
		var number int64
		number, err = strconv.ParseInt(part, 10, size)
		bits = uint64(number)
	}
	if err != nil {
		return 0, beyondRange
	}
	return bits, ""
}

// parseFloat is strconv.ParseFloat without what other languages refuse: `1_0`, `0x1`, `infinity`.
func parseFloat(text string, bits int) (float64, error) {
	for _, c := range []byte(text) {
		if c > '9' && c != 'e' && c != 'E' {
			switch strings.ToLower(text) {
			case "nan", "+nan", "-nan": // ParseFloat refuses a sign
				return math.NaN(), nil
			case "inf", "+inf", "-inf":
				return strconv.ParseFloat(text, bits)
			}
			return 0, strconv.ErrSyntax
		}
	}
	return strconv.ParseFloat(text, bits)
}

// A format describes a 16-bit float: its bits, shifted, are those of a float32, which times the scale is the value.
type format struct {
	shift    int
	scale    float64
	least    int    // the exponent of the smallest number
	infinity uint64 // its bits
}

var formats = map[tf.DataType]format{tf.Half: {13, 0x1p112, -24, 0x7c00}, tf.Bfloat16: {16, 1, -133, 0x7f80}}

// round returns the bits of the number nearest to decimal digits, whose nearest float64 is wide. If wide is midway between two
// numbers, the digits decide, for they may not be.
func (f format) round(digits string, wide float64) (uint64, error) {
	size, sign := math.Abs(wide), math.Float64bits(wide)>>63<<15
	switch {
	case math.IsNaN(wide):
		return f.infinity | 1<<(22-f.shift), nil
	case math.IsInf(wide, 0):
		return f.infinity | sign, nil
	}
	_, exponent := math.Frexp(size)
	unit := math.Ldexp(1, max(exponent-(24-f.shift), f.least))
	if _, rest := math.Modf(size / unit); rest == 0.5 {
		if exact, ok := new(big.Rat).SetString(digits); ok {
			side := exact.Abs(exact).Cmp(new(big.Rat).SetFloat64(size))
			size = math.Nextafter(size, size*float64(1+side))
		}
	}
	bits := uint64(math.Float32bits(float32(math.RoundToEven(size/unit)*unit/f.scale)) >> f.shift)
	if bits >= f.infinity {
		return 0, strconv.ErrRange
	}
	return bits | sign, nil
}

// shortest returns the float64 with the shortest digits that read back to the number: those of the nearest decimal of that
// length, or of the next one away from zero if only that reads back.
func (f format) shortest(bits uint64) float64 {
	size, sign := float64(math.Float32frombits(uint32(bits&0x7fff<<f.shift)))*f.scale, 1-2*int(bits>>15)
	switch bits &= 0x7fff; {
	case bits > f.infinity:
		return math.NaN()
	case bits == f.infinity:
		return math.Inf(sign)
	}
	unit := math.Pow(10, math.Floor(math.Log10(size)))
	for digits := 0; ; digits++ {
		for _, near := range []float64{size, size + unit/2} {
			text := strconv.FormatFloat(near, 'e', digits, 64)
			decimal, _ := strconv.ParseFloat(text, 64)
			if back, err := f.round(text, decimal); err == nil && back == bits {
				return math.Copysign(decimal, float64(sign))
			}
		}
		unit /= 10
	}
}

// appendText appends an element in the shortest digits that read back to the same value of the array's own type. An
// exponent appears only where it is below -4 or at least 21 (`-4.5`, `1499994026270459.2`, `1e-05`, `1e+21`). The others
// are `-0`, `NaN`, `+Inf`, `-Inf`, `true` and `false`. Strings are printed as JSON.
func (a *Array) appendText(text []byte, i int) []byte {
	var element [8]byte
	size := types[a.Type].size
	copy(element[:], a.Contents[i*size:(i+1)*size])
	bits, unused := binary.LittleEndian.Uint64(element[:]), 64-8*size
	switch a.Type {
	case tf.Double:
		return appendFloat(text, math.Float64frombits(bits), 1e-4, 1e21, 64)
	case tf.Float:
		return appendFloat(text, float64(math.Float32frombits(uint32(bits))), float64(float32(1e-4)), float64(float32(1e21)), 32)
	case tf.Half, tf.Bfloat16:
		return appendFloat(text, formats[a.Type].shortest(bits), 1e-4, 1e21, 64)
	case tf.String:
		return appendString(text, a.Strings[i])
	case tf.Bool:
		return strconv.AppendBool(text, bits != 0)
	case tf.Int8, tf.Int16, tf.Int32, tf.Int64:
		return strconv.AppendInt(text, int64(bits<<unused)>>unused, 10)
	}
	return strconv.AppendUint(text, bits, 10)
}

func appendFloat(text []byte, value, least, most float64, bits int) []byte {
	format := byte('f')
	if size := math.Abs(value); size != 0 && (size < least || size >= most) {
		format = 'e'
	}
	return strconv.AppendFloat(text, value, format, -1, bits)
}

// appendString appends a JSON string; for bytes that are not UTF-8, `b64:` and their base64. encoding/json would also escape
// U+2028, which the other languages do not.
func appendString(text []byte, value string) []byte {
	if !utf8.ValidString(value) {
		value = "b64:" + base64.StdEncoding.EncodeToString([]byte(value))
	}
	text = append(text, '"')
	for _, c := range []byte(value) {
		if i := strings.IndexByte("\"\\\b\t\n\f\r", c); i >= 0 {
			text = append(text, '\\', `"\btnfr`[i])
		} else if c < ' ' {
			text = fmt.Appendf(text, `\u%04x`, c)
		} else {
			text = append(text, c)
		}
	}
	return append(text, '"')
}

// WriteResults writes the results of --x, flat, one line per output. names are the outputs' names, which are printed if there
// are several.
func WriteResults(output io.Writer, results []Array, names []string) error {
	buffer := bufio.NewWriter(output)
	for k, array := range results {
		if len(results) > 1 {
			fmt.Fprintf(buffer, "The calculation results of %s : [", names[k])
		} else {
			buffer.WriteString("The calculation results : [")
		}
		for i := range array.Len() {
			if i > 0 {
				buffer.WriteByte(' ')
			}
			buffer.Write(array.appendText(buffer.AvailableBuffer(), i))
		}
		buffer.WriteString("]\n")
	}
	return buffer.Flush()
}
