package rows

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	tf "github.com/wamuir/graft/tensorflow"
)

// The library for .npy files, npyio, would not do: it depends on a matrix library and a pickle reader, reads column-major arrays
// as if they were row-major, and has no bfloat16.

// The header of a .npy file is a Python dictionary.
var (
	descr = regexp.MustCompile(`['"]descr['"]: ?['"]([<>|=]?)(\w)(\d+)(\[\w+\])?['"]`)
	order = regexp.MustCompile(`['"]fortran_order['"]: ?(True|False)`)
	tuple = regexp.MustCompile(`['"]shape['"]: ?\(([0-9, ]*)\)`)
)

// loadArray reads an array from a `.npy` file. The error says if its type or shape is not the placeholder's.
func loadArray(p Placeholder, path string) (Array, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Array{}, err
	}
	broken := fmt.Errorf("not an array: %s (numpy.save writes such files)", path)
	if len(data) < 12 || string(data[:6]) != "\x93NUMPY" || data[6] < 1 || data[6] > 3 {
		return Array{}, broken
	}
	start, end := 10, 10+int(binary.LittleEndian.Uint16(data[8:]))
	if data[6] > 1 {
		start, end = 12, 12+int(binary.LittleEndian.Uint32(data[8:]))
	}
	header := string(data[start:min(max(start, end), len(data))])
	kind, columns, dims := descr.FindStringSubmatch(header), order.FindStringSubmatch(header), tuple.FindStringSubmatch(header)
	if end > len(data) || kind == nil || columns == nil || dims == nil || kind[2] == "O" {
		return Array{}, broken
	}
	size, _ := strconv.Atoi(kind[3])
	if kind[2] == "U" {
		size *= 4
	}
	count, shape := 1, []int64{}
	for _, text := range strings.FieldsFunc(dims[1], func(c rune) bool { return c == ',' || c == ' ' }) {
		dim, err := strconv.Atoi(text)
		if err != nil || dim > 0 && count > math.MaxInt/dim {
			return Array{}, broken
		}
		count, shape = count*dim, append(shape, int64(dim))
	}
	if size == 0 || count > (len(data)-end)/size {
		return Array{}, broken
	}
	if known := types[p.Type]; p.Type == tf.String || kind[2]+kind[3] != known.numpy[1:] {
		return Array{}, fmt.Errorf("not the type of %s: %s is %s, the input takes %s", p.Name, path, numpyName(kind, size), known.name)
	}
	fits := func(given, taken int64) bool { return taken < 0 || given == taken }
	if p.Shape != nil && !slices.EqualFunc(shape, p.Shape, fits) {
		return Array{}, fmt.Errorf("not the shape of %s: %s is %s, the input takes %s", p.Name, path, shapeText(shape), shapeText(p.Shape))
	}
	contents := data[end : end+count*size]
	if columns[1] == "True" {
		contents = byRows(contents, shape, size)
	}
	for i := 0; kind[1] == ">" && i < len(contents); i += size {
		slices.Reverse(contents[i : i+size])
	}
	return Array{Type: p.Type, Shape: shape, Contents: contents}, nil
}

// numpyName returns what numpy calls a type: float64, str96.
func numpyName(kind []string, size int) string {
	for _, t := range types {
		if t.numpy != "" && t.numpy[1:] == kind[2]+kind[3] && kind[2] != "V" {
			return t.name
		}
	}
	names := map[string]string{"c": "complex", "f": "float", "S": "bytes", "U": "str", "V": "void", "M": "datetime", "m": "timedelta"}
	return fmt.Sprint(names[kind[2]], 8*size, kind[4])
}

// byRows returns elements in column-major order as they are in row-major order.
func byRows(columns []byte, shape []int64, size int) []byte {
	contents, index := make([]byte, 0, len(columns)), make([]int64, len(shape))
	for len(contents) < len(columns) {
		at, stride := 0, size
		for i, dim := range shape {
			at, stride = at+int(index[i])*stride, stride*int(dim)
		}
		contents = append(contents, columns[at:at+size]...)
		for i := len(shape) - 1; i >= 0; i-- {
			if index[i]++; index[i] < shape[i] {
				break
			}
			index[i] = 0
		}
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
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // a link stays one
	}
	folder, name := filepath.Dir(path), filepath.Base(path)
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	temporary := fmt.Sprintf("%s/.%.40s.%d.partial", folder, name, os.Getpid())
	defer os.Remove(temporary)
	file, err := os.Create(temporary)
	if err == nil {
		_, err = file.Write(data)
		err = errors.Join(err, file.Sync(), file.Close())
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return &fs.PathError{Op: "write", Path: path, Err: errno}
	}
	return err
}
