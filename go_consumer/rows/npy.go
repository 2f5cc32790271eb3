package rows

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
	tf "github.com/wamuir/graft/tensorflow"
)

// The library for .npy files, npyio, would not do: it depends on a matrix library and a pickle reader, reads column-major arrays
// as if they were row-major, and has no bfloat16.

// After its magic bytes, a .npy file has the format's version, a length in 2 or 4 bytes, and a Python dictionary.
var (
	dictionary = regexp.MustCompile(`(?s)^[\x01-\x03]\x00.{1,4}?(\{[^}]*\})\s*?\n`)
	descr      = regexp.MustCompile(`['"]descr['"]: ?['"]([<>|=]?)(\w)(\d+)(\[\w+\])?['"]`)
	columns    = regexp.MustCompile(`['"]fortran_order['"]: ?(True|False)`)
	tuple      = regexp.MustCompile(`['"]shape['"]: ?\(([0-9, ]*)\)`)
)

// What numpy calls the kinds of types; the size follows.
var kinds = map[string]string{"b": "bool", "f": "float", "i": "int", "u": "uint", "c": "complex", "S": "bytes", "U": "str",
	"V": "void", "M": "datetime", "m": "timedelta"}

// loadArray reads an array from a `.npy` file. The error says if its type or shape is not the placeholder's.
func loadArray(p Placeholder, path string) (Array, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Array{}, err
	}
	data, found := bytes.CutPrefix(data, []byte("\x93NUMPY"))
	head := dictionary.FindSubmatch(data)
	if !found || head == nil {
		return Array{}, notAnArray(path)
	}
	text := string(head[1])
	element, order, dims := descr.FindStringSubmatch(text), columns.FindStringSubmatch(text), tuple.FindStringSubmatch(text)
	if element == nil || order == nil || dims == nil {
		return Array{}, notAnArray(path)
	}
	kind := element[2]
	size, _ := strconv.Atoi(element[3])
	if kind == "U" {
		size *= 4
	}
	length, shape := float64(size), []int64{} // a product of integers might overflow
	for _, digits := range regexp.MustCompile(`\d+`).FindAllString(dims[1], -1) {
		dim, err := strconv.ParseInt(digits, 10, 64)
		if err != nil {
			return Array{}, notAnArray(path)
		}
		length, shape = length*float64(dim), append(shape, dim)
	}
	if data = data[len(head[0]):]; size == 0 || !(length <= float64(len(data))) {
		return Array{}, notAnArray(path)
	}
	if known := types[p.Type]; p.Type == tf.String || kind+element[3] != known.numpy[1:] {
		name := strings.Replace(fmt.Sprint(kinds[kind], 8*size, element[4]), "bool8", "bool", 1)
		return Array{}, fmt.Errorf("not the type of %s: %s is %s, the input takes %s", p.Name, path, name, known.name)
	}
	fits := func(given, taken int64) bool { return taken < 0 || given == taken }
	if p.Shape != nil && !slices.EqualFunc(shape, p.Shape, fits) {
		return Array{}, fmt.Errorf("not the shape of %s: %s is %s, the input takes %s", p.Name, path, shapeText(shape), shapeText(p.Shape))
	}
	contents := data[:int(length)]
	if order[1] == "True" {
		contents = byRows(contents, shape, size)
	}
	for i := 0; element[1] == ">" && i < len(contents); i += size {
		slices.Reverse(contents[i : i+size])
	}
	return Array{Type: p.Type, Shape: shape, Contents: contents}, nil
}

func notAnArray(path string) error {
	return fmt.Errorf("not an array: %s (numpy.save writes such files)", path)
}

// byRows returns elements in column-major order as they are in row-major order.
func byRows(columns []byte, shape []int64, size int) []byte {
	contents := make([]byte, 0, len(columns))
	for len(contents) < len(columns) {
		from, stride, rest := 0, len(columns), len(contents)/size
		for i := len(shape) - 1; i >= 0; i-- {
			dim := int(shape[i])
			stride /= dim
			from += rest % dim * stride
			rest /= dim
		}
		contents = append(contents, columns[from:from+size]...)
	}
	return contents
}

// SaveArray writes an array as a `.npy` file, whole or not at all, with the same bytes as numpy.save.
func SaveArray(path string, array Array) error {
	if array.Type == tf.String {
		return fmt.Errorf("not numbers: a .npy file cannot hold strings (%s)", path)
	}
	shape, spare := strings.Trim(shapeText(array.Shape), "[]"), 0
	if len(array.Shape) > 0 {
		spare = 21 - len(fmt.Sprint(array.Shape[0])) // numpy leaves room to append rows in place
	}
	if len(array.Shape) == 1 {
		shape += ","
	}
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }%*s", types[array.Type].numpy, shape, spare, "")
	header += strings.Repeat(" ", 64-(len(header)+11)%64) + "\n"
	start := binary.LittleEndian.AppendUint16([]byte("\x93NUMPY\x01\x00"), uint16(len(header)))
	return writeWhole(path, slices.Concat(start, []byte(header), array.Contents))
}

// writeWhole writes a file under a temporary name in its folder, which it makes if necessary, and renames it. After an error the
// old file is unchanged.
func writeWhole(path string, data []byte) error {
	if status, err := os.Stat(path); err == nil && !status.Mode().IsRegular() {
		return fmt.Errorf("not a regular file: %s (it would be replaced; name another)", path)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // a link stays one
	}
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	err := renameio.WriteFile(path, data, 0o666, renameio.WithTempDir(folder))
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return &fs.PathError{Op: "write", Path: path, Err: errno}
	}
	return err
}
