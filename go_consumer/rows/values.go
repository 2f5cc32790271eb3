// Package rows holds values as text: read from the command line, written as results, streamed from standard input to
// standard output.
//
// The grammar and the digits are the same in every language, so that the output of one consumer can be compared with
// another's byte for byte. `tests/cases/` has both as data.
package rows

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
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

// appendValues reads comma-separated values such as `0,-1.5,1e-3,nan`, `true,false`, or strings (bytes that are not text as
// `b64:` and their base64), up to the first wrong one, and returns how many it read.
func (a *Array) appendValues(text string) (count int, err error) {
	size := types[a.Type].size
	for more := true; more && err == nil; count++ {
		var part, value string
		var bits uint64
		if part, text, more = strings.Cut(text, ","); a.Type == tf.String {
			value, err = decode(part)
			a.Strings = append(a.Strings, value)
		} else {
			bits, err = parse(part, a.Type)
			a.Contents = binary.LittleEndian.AppendUint64(a.Contents, bits)[:len(a.Contents)+size]
		}
	}
	return count, err
}

var (
	errNumber, errFraction, errRange = errors.New("not a number"), errors.New("not a whole number"), errors.New("out of range")
	errBool, errBase64               = errors.New("not a bool"), errors.New("not base64")
)

// explain says what is wrong with a text that appendValues refuses, a part that is not a number first. where names the place:
// ` in --x`, ` on line 7`.
func explain(text string, dtype tf.DataType, where string) error {
	var wrong error
	var at string
	for _, part := range strings.Split(text, ",") {
		if _, err := (&Array{Type: dtype}).appendValues(part); err != nil && (wrong == nil || err == errNumber && wrong != errNumber) {
			wrong, at = err, part
		}
	}
	switch name := types[dtype].name; wrong {
	case errBool:
		return fmt.Errorf("%w: %s%s (true or false)", wrong, at, where)
	case errFraction:
		return fmt.Errorf("%w: %s%s (the input takes %s)", wrong, at, where, name)
	case errRange:
		if !strings.Contains(where, " line ") {
			where = ""
		}
		return fmt.Errorf("%w for %s: %s%s", wrong, name, at, where)
	}
	return fmt.Errorf("%w: %s%s", wrong, at, where)
}

// decode returns a string: the text itself, or the bytes whose base64 follows `b64:`.
func decode(part string) (string, error) {
	encoded, found := strings.CutPrefix(part, "b64:")
	if !found {
		return part, nil
	}
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") { // which the decoder skips
		return "", errBase64
	}
	return string(decoded), nil
}

// parse returns the bits of a value.
func parse(part string, dtype tf.DataType) (bits uint64, err error) {
	precision, size := 64, 8*types[dtype].size
	if dtype == tf.Float {
		precision = 32
	}
	value, err := parseFloat(part, precision)
	switch {
	case dtype == tf.Bool:
		if part = strings.ToLower(part); part != "true" && part != "false" {
			return 0, errBool
		}
		return uint64(strings.Count(part, "true")), nil
	case errors.Is(err, strconv.ErrSyntax):
		return 0, errNumber
	case dtype == tf.Double:
		bits = math.Float64bits(value)
	case dtype == tf.Float:
		bits = uint64(math.Float32bits(float32(value)))
	case dtype == tf.Half || dtype == tf.Bfloat16:
		if err == nil {
			bits, err = formats[dtype].round(part, value)
		}
	case strings.ContainsAny(part, ".eEnN"):
		return 0, errFraction
	case types[dtype].name[0] == 'u':
		if strings.Trim(part, "-0") == "" { // ParseUint takes no sign
			return 0, nil
		}
		bits, err = strconv.ParseUint(strings.TrimPrefix(part, "+"), 10, size)
	default:
		var number int64
		number, err = strconv.ParseInt(part, 10, size)
		bits = uint64(number)
	}
	if err != nil {
		return 0, errRange
	}
	return bits, nil
}

// parseFloat is strconv.ParseFloat without what other languages refuse: `1_0`, `0x1`, `infinity`.
func parseFloat(text string, bits int) (float64, error) {
	for i := 0; i < len(text); i++ {
		if c := text[i]; (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			switch strings.ToLower(strings.TrimLeft(text[:1], "+-") + text[1:]) {
			case "nan": // ParseFloat refuses it with a sign
				return math.NaN(), nil
			case "inf":
				return strconv.ParseFloat(text, bits)
			}
			return 0, strconv.ErrSyntax
		}
	}
	return strconv.ParseFloat(text, bits)
}

// appendText appends an element in the shortest digits that read back to the same value of the array's own type. An
// exponent appears only where it is below -4 or at least 21 (`-4.5`, `1499994026270459.2`, `1e-05`, `1e+21`). The others
// are `-0`, `NaN`, `+Inf`, `-Inf`, `true` and `false`. Strings are printed as JSON.
func (a *Array) appendText(text []byte, i int) []byte {
	var element [8]byte
	size := types[a.Type].size
	copy(element[:], a.Contents[i*size:(i+1)*size])
	switch bits := binary.LittleEndian.Uint64(element[:]); a.Type {
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
		unused := 64 - 8*size
		return strconv.AppendInt(text, int64(bits<<unused)>>unused, 10)
	default:
		return strconv.AppendUint(text, bits, 10)
	}
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

// WriteResults writes the results of --x, flat, one line per output. It writes in parts, because the text takes more memory than
// the numbers. names are the outputs' names, which are printed if there are several.
func WriteResults(output io.Writer, results []Array, names []string) error {
	var text []byte
	for k, array := range results {
		text = append(text, "The calculation results "...)
		if len(results) > 1 {
			text = append(text, "of "+names[k]+" "...)
		}
		text = append(text, ": ["...)
		for i := range array.Len() {
			if i > 0 {
				text = append(text, ' ')
			}
			if text = array.appendText(text, i); len(text) > chunk {
				if _, err := output.Write(text); err != nil {
					return err
				}
				text = text[:0]
			}
		}
		text = append(text, "]\n"...)
	}
	_, err := output.Write(text)
	return err
}
