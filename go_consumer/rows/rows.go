// Package rows holds rows of numbers: read from text, written as text, streamed from an input to an output.
//
// The grammar and the digits are the same in every language, so that the output of one consumer can be compared with
// another's byte for byte.
package rows

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strconv"
	"strings"

	typespb "github.com/wamuir/graft/tensorflow/core/framework/types_go_proto"
)

const (
	chunk       = 1 << 18 // bytes read at once
	longestLine = 1 << 24 // bytes
)

// Array is what a tensor holds: its elements as they stand in memory, in row-major order.
type Array struct {
	Type     typespb.DataType // a number, or bool
	Shape    []int64
	Contents []byte
}

// Zeros returns an array of that shape, all zeros.
func Zeros(dtype typespb.DataType, shape []int64) Array {
	elements := 1
	for _, size := range shape {
		elements *= int(size)
	}
	return Array{dtype, shape, make([]byte, elements*elementSize(dtype))}
}

// AppendNumbers reads comma-separated numbers such as `0,-1.5,1e-3,nan` and appends them to contents as float64 or
// float32, rounded to it once, from their decimal digits. where names the place in an error: ` in --x`, ` on line 7`.
//
// It returns how many there are, at least 1, or an error: a part is no number, or is out of the type's range.
func AppendNumbers(contents []byte, text string, dtype typespb.DataType, where string) ([]byte, int, error) {
	count := 0
	for more := true; more; count++ {
		var part string
		part, text, more = strings.Cut(text, ",")
		if !isNumber(part) {
			return contents, 0, fmt.Errorf("not a number: %s%s", part, where)
		}
		value, err := parseFloat(part, dtype)
		if err != nil {
			if !strings.Contains(where, " line ") {
				where = ""
			}
			return contents, 0, fmt.Errorf("out of range for %s: %s%s", typeName(dtype), part, where)
		}
		if dtype == typespb.DataType_DT_FLOAT {
			contents = binary.NativeEndian.AppendUint32(contents, math.Float32bits(float32(value)))
		} else {
			contents = binary.NativeEndian.AppendUint64(contents, math.Float64bits(value))
		}
	}
	return contents, count, nil
}

func typeName(dtype typespb.DataType) string {
	if dtype == typespb.DataType_DT_FLOAT {
		return "float32"
	}
	return "float64"
}

// isNumber tells whether a text is a sign, digits with a point and an exponent, or nan or inf in any case: less than
// strconv.ParseFloat takes (`1_0`, `0x1p0`, `infinity`).
func isNumber(text string) bool {
	text = text[signs(text):]
	whole := digits(text)
	text = text[whole:]
	fraction := 0
	if strings.HasPrefix(text, ".") {
		fraction = digits(text[1:])
		text = text[1+fraction:]
	} else if whole == 0 {
		return isWord(text)
	}
	if whole+fraction == 0 {
		return false
	}
	if text != "" && text[0]|0x20 == 'e' {
		text = text[1:]
		text = text[signs(text):]
		exponent := digits(text)
		return exponent > 0 && exponent == len(text)
	}
	return text == ""
}

func isWord(text string) bool {
	return len(text) == 3 && (strings.EqualFold(text, "nan") || strings.EqualFold(text, "inf"))
}

func signs(text string) int {
	if text != "" && (text[0] == '+' || text[0] == '-') {
		return 1
	}
	return 0
}

func digits(text string) int {
	i := 0
	for i < len(text) && '0' <= text[i] && text[i] <= '9' {
		i++
	}
	return i
}

func parseFloat(text string, dtype typespb.DataType) (float64, error) {
	if len(text) < 5 && strings.EqualFold(text[signs(text):], "nan") { // ParseFloat takes it without a sign alone
		return math.NaN(), nil
	}
	if dtype == typespb.DataType_DT_FLOAT {
		return strconv.ParseFloat(text, 32)
	}
	return strconv.ParseFloat(text, 64)
}

// FeedShape returns the shape in which count numbers fit a placeholder; the last open dimension takes what is left.
//
// `[?, ?]` takes `[1, n]`, `[?, 10]` takes `[n / 10, 10]`, `[?]` takes `[n]`, `[]` takes one; an unknown rank (nil) takes
// one number as `[]` and more as `[n]`. An open dimension is -1. The error names the placeholder.
func FeedShape(dims []int64, count int, name string) ([]int64, error) {
	if dims == nil {
		if count > 1 {
			return []int64{int64(count)}, nil
		}
		return []int64{}, nil
	}
	row, last := int64(1), -1
	for i, dim := range dims {
		if dim < 0 {
			last = i
		} else if dim > 0 && row > math.MaxInt64/dim {
			row = math.MaxInt64 // more than anybody gives
		} else {
			row *= dim
		}
	}
	if row == 0 || int64(count)%row != 0 || last < 0 && int64(count) != row {
		takes := fmt.Sprint(row)
		if last >= 0 {
			takes = "a multiple of " + takes
		}
		return nil, fmt.Errorf("wrong number of values: %d given, the placeholder %s takes %s", count, name, takes)
	}
	shape := make([]int64, len(dims))
	for i, dim := range dims {
		shape[i] = max(1, dim)
	}
	if last >= 0 {
		shape[last] = int64(count) / row
	}
	return shape, nil
}

// RowShape returns the shape of one row: `[1, 1]` for a placeholder of `[?, ?]`, `[1, 10]` for `[?, 10]`.
func RowShape(dims []int64) []int64 {
	if dims == nil {
		return []int64{1}
	}
	shape := make([]int64, len(dims))
	for i, dim := range dims {
		shape[i] = max(dim, -dim)
	}
	return shape
}

// ShapeText returns a shape as it is written: `[2, 3]`, `[?, 3]` where a dimension is open (-1).
func ShapeText(dims []int64) string {
	texts := make([]string, len(dims))
	for i, dim := range dims {
		texts[i] = strings.Replace(fmt.Sprint(dim), "-1", "?", 1)
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// AppendTexts appends the elements of an array, flat, in the shortest digits that read back to the same value of the
// array's own type. An exponent stands only where it is below -4 or at least 21 (`-4.5`, `1499994026270459.2`, `1e-05`,
// `1e+21`). The others are `-0`, `NaN`, `+Inf`, `-Inf`, `true` and `false`. Behind each element but a row's last stands
// between, behind that end; a row has width elements.
func AppendTexts(text []byte, array Array, between, end byte, width int) []byte {
	size := elementSize(array.Type)
	for i, column := 0, 1; i < len(array.Contents); i, column = i+size, column+1 {
		text = appendText(text, array.Contents[i:i+size], array.Type)
		if column == width {
			text = append(text, end)
			column = 0
		} else {
			text = append(text, between)
		}
	}
	return text
}

func elementSize(dtype typespb.DataType) int {
	switch dtype {
	case typespb.DataType_DT_BOOL, typespb.DataType_DT_INT8, typespb.DataType_DT_UINT8:
		return 1
	case typespb.DataType_DT_INT16, typespb.DataType_DT_UINT16:
		return 2
	case typespb.DataType_DT_FLOAT, typespb.DataType_DT_INT32, typespb.DataType_DT_UINT32:
		return 4
	default:
		return 8
	}
}

func appendText(text []byte, element []byte, dtype typespb.DataType) []byte {
	order := binary.NativeEndian
	switch dtype {
	case typespb.DataType_DT_DOUBLE:
		return appendFloat(text, math.Float64frombits(order.Uint64(element)), 1e-4, 1e21, 64)
	case typespb.DataType_DT_FLOAT:
		return appendFloat(text, float64(math.Float32frombits(order.Uint32(element))), float64(float32(1e-4)), float64(float32(1e21)), 32)
	case typespb.DataType_DT_BOOL:
		return strconv.AppendBool(text, element[0] != 0)
	case typespb.DataType_DT_INT8:
		return strconv.AppendInt(text, int64(int8(element[0])), 10)
	case typespb.DataType_DT_INT16:
		return strconv.AppendInt(text, int64(int16(order.Uint16(element))), 10)
	case typespb.DataType_DT_INT32:
		return strconv.AppendInt(text, int64(int32(order.Uint32(element))), 10)
	case typespb.DataType_DT_INT64:
		return strconv.AppendInt(text, int64(order.Uint64(element)), 10)
	case typespb.DataType_DT_UINT8:
		return strconv.AppendUint(text, uint64(element[0]), 10)
	case typespb.DataType_DT_UINT16:
		return strconv.AppendUint(text, uint64(order.Uint16(element)), 10)
	case typespb.DataType_DT_UINT32:
		return strconv.AppendUint(text, uint64(order.Uint32(element)), 10)
	default: // typespb.DataType_DT_UINT64, the last of the types that an output may have
		return strconv.AppendUint(text, order.Uint64(element), 10)
	}
}

func appendFloat(text []byte, value, least, most float64, bits int) []byte {
	if size := math.Abs(value); size != 0 && (size < least || size >= most) && !math.IsInf(value, 0) {
		return strconv.AppendFloat(text, value, 'e', -1, bits)
	}
	return strconv.AppendFloat(text, value, 'f', -1, bits)
}

// WriteResults writes the results of --x, flat, on one line; a part at a time, for the text takes more than they do.
func WriteResults(output io.Writer, results Array) error {
	text := []byte("The calculation results : [")
	part := chunk * elementSize(results.Type)
	for contents := results.Contents; len(contents) > 0; contents = contents[min(part, len(contents)):] {
		array := Array{Type: results.Type, Contents: contents[:min(part, len(contents))]}
		text = AppendTexts(text, array, ' ', ' ', 0)
		if part >= len(contents) {
			text = text[:len(text)-1]
		}
		if _, err := output.Write(text); err != nil {
			return err
		}
		text = text[:0]
	}
	_, err := output.Write(append(text, "]\n"...))
	return err
}

// Stream reads rows, a line each, until the input ends, and writes the results of each, a line each, as they come: what
// a Read brings is calculated before the next is waited for. Reading, parsing, calculating and writing overlap; the
// order stays.
//
// run goes from the contents of n rows, n at most batch, to their results, of the shape `[n, ...]`. row is one of them, name
// that of the placeholder.
//
// The error says which line is not a row of numbers; the results of those before it have been written.
func Stream(input io.Reader, output io.Writer, run func(contents []byte, n int) (Array, error), row Array, name string, batch int) error {
	numbers, size := len(row.Contents)/elementSize(row.Type), len(row.Contents)
	done := make(chan struct{})
	defer close(done)

	parsed := inParallel(readBlocks(input, done), done, func(b block) parsedBlock { return parse(b, row.Type, name, numbers) })
	results := make(chan resultBlock)
	go func() {
		defer close(results)
		for p := range parsed {
			select {
			case results <- calculate(p, run, size, batch):
			case <-done:
				return
			}
		}
	}()
	for text := range inParallel(results, done, format) {
		if len(text.text) > 0 {
			if _, err := output.Write(text.text); err != nil {
				return err
			}
		}
		if text.err != nil {
			return text.err
		}
	}
	return nil
}

// inParallel calls work for several of the items at once and gives the results in the items' order.
func inParallel[A, B any](items <-chan A, done <-chan struct{}, work func(A) B) <-chan B {
	slots, results := make(chan chan B, runtime.NumCPU()), make(chan B)
	go func() {
		defer close(slots)
		for item := range items {
			slot := make(chan B, 1)
			select {
			case slots <- slot:
				go func() { slot <- work(item) }()
			case <-done:
				return
			}
		}
	}()
	go func() {
		defer close(results)
		for slot := range slots {
			select {
			case results <- <-slot:
			case <-done:
				return
			}
		}
	}()
	return results
}

// A block is whole lines, the input's last of which may lack its end.
type block struct {
	text string
	line int   // the number of its first
	err  error // of reading, behind those lines
}

// A parsedBlock is the numbers of a block's rows, up to the first that is wrong.
type parsedBlock struct {
	contents []byte
	err      error
}

// A resultBlock is the results of a block's rows: of each run, and how many rows it had.
type resultBlock struct {
	arrays []Array
	counts []int
	err    error
}

// A textBlock is what is to be written of a block.
type textBlock struct {
	text []byte
	err  error
}

func readBlocks(input io.Reader, done <-chan struct{}) <-chan block {
	blocks := make(chan block)
	go func() {
		defer close(blocks)
		line := 1
		send := func(text []byte, err error) bool {
			b := block{string(text), line, err}
			line += bytes.Count(text, []byte{'\n'})
			select {
			case blocks <- b:
				return true
			case <-done:
				return false
			}
		}
		var rest []byte
		buffer := make([]byte, chunk)
		for {
			n, err := input.Read(buffer)
			end := bytes.LastIndexByte(buffer[:n], '\n') + 1
			if end > 0 {
				if !send(append(rest, buffer[:end]...), nil) {
					return
				}
				rest = rest[:0]
			}
			rest = append(rest, buffer[end:n]...)
			switch {
			case len(rest) > longestLine:
				send(nil, fmt.Errorf("too long: line %d has more than %d bytes", line, longestLine))
				return
			case errors.Is(err, io.EOF):
				if len(rest) > 0 {
					send(rest, nil)
				}
				return
			case err != nil:
				send(nil, err)
				return
			}
		}
	}()
	return blocks
}

func parse(b block, dtype typespb.DataType, name string, row int) parsedBlock {
	contents := make([]byte, 0, len(b.text)/2)
	text := b.text
	for line := b.line; text != ""; line++ {
		var this string
		this, text, _ = strings.Cut(text, "\n")
		this = strings.TrimSuffix(this, "\r")
		before := len(contents)
		var count int
		var err error
		if contents, count, err = AppendNumbers(contents, this, dtype, ""); err != nil {
			// Only now is the place worth its text.
			_, _, err = AppendNumbers(nil, this, dtype, fmt.Sprintf(" on line %d", line))
			return parsedBlock{contents[:before], err}
		}
		if count != row {
			err = fmt.Errorf("wrong number of values: %d given on line %d, the placeholder %s takes %d", count, line, name, row)
			return parsedBlock{contents[:before], err}
		}
	}
	return parsedBlock{contents, b.err}
}

func calculate(p parsedBlock, run func([]byte, int) (Array, error), size, batch int) resultBlock {
	block := resultBlock{err: p.err}
	for contents := p.contents; len(contents) > 0; {
		part := min(batch*size, len(contents))
		array, err := run(contents[:part], part/size)
		if err != nil {
			block.err = err
			break
		}
		block.arrays, block.counts = append(block.arrays, array), append(block.counts, part/size)
		contents = contents[part:]
	}
	return block
}

func format(b resultBlock) textBlock {
	var text []byte
	for i, array := range b.arrays {
		elements := len(array.Contents) / elementSize(array.Type)
		if text == nil {
			text = make([]byte, 0, len(b.arrays)*elements*20)
		}
		text = AppendTexts(text, array, ',', '\n', elements/b.counts[i])
		if elements == 0 {
			text = append(text, bytes.Repeat([]byte{'\n'}, b.counts[i])...)
		}
	}
	return textBlock{text, b.err}
}
