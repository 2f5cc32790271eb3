package rows

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"

	tf "github.com/wamuir/graft/tensorflow"
)

const maxBatch = 4096 // numbers in one run

// A Placeholder is a tensor that is fed, whether it is a placeholder or not.
type Placeholder struct {
	Name  string
	Type  tf.DataType
	Shape []int64 // -1 for an open dimension; nil for an unknown rank
}

// MakeFeed returns the array for a placeholder: from comma-separated values, or from the file that text names
// (`NAME.npy`); for --stdin an empty one. The error names the flag.
func MakeFeed(p Placeholder, text, flag string) (Array, error) {
	array := Array{Type: p.Type}
	if flag == "--stdin" {
		return array, nil
	} else if strings.HasSuffix(text, ".npy") {
		return loadArray(p, text)
	}
	count, err := array.appendValues(text, flag, 0)
	if err == nil {
		array.Shape, err = feedShape(p, count)
	}
	return array, err
}

// feedShape returns the shape in which count values fit a placeholder; the open dimension takes what is left.
//
// `[?, ?]` takes `[1, n]`, `[?, 10]` takes `[n / 10, 10]`, `[?]` takes `[n]`, `[]` takes one; an unknown rank takes one
// value as `[]` and more as `[n]`.
func feedShape(p Placeholder, count int) ([]int64, error) {
	switch {
	case p.Shape == nil && count == 1:
		return []int64{}, nil
	case p.Shape == nil:
		return []int64{int64(count)}, nil
	case slices.Equal(p.Shape, []int64{-1, -1}):
		return []int64{1, int64(count)}, nil
	}
	size, takes, err := rowSize(p)
	if err != nil {
		return nil, err
	}
	shape, rows := slices.Clone(p.Shape), 1
	if open := slices.Index(shape, -1); open >= 0 {
		rows = count / max(1, size)
		shape[open], takes = int64(rows), "a multiple of "+takes
	}
	if rows*size != count {
		return nil, fmt.Errorf("wrong number of values: %d given, the placeholder %s takes %s", count, p.Name, takes)
	}
	return shape, nil
}

// rowSize returns how many values fill a placeholder whose open dimension is 1: as a number that any memory holds, and as text.
func rowSize(p Placeholder) (size int, text string, err error) {
	row, open := big.NewInt(1), 0
	for _, dim := range p.Shape {
		if dim < 0 {
			open++
			dim = 1
		}
		row.Mul(row, big.NewInt(dim))
	}
	if open > 1 && len(p.Shape) > 2 {
		err = fmt.Errorf("ambiguous shape: the placeholder %s is %s (give --x FILE.npy, which says its shape)", p.Name, shapeText(p.Shape))
	}
	if size = math.MaxInt; row.IsInt64() {
		size = int(row.Int64())
	}
	return size, row.String(), err
}

// shapeText returns a shape as it is printed: `[?, 10]`.
func shapeText(shape []int64) string {
	text := strings.ReplaceAll(fmt.Sprint(shape), " ", ", ")
	return strings.ReplaceAll(text, "-1", "?")
}

// BatchRows returns how many rows of --stdin go into one run: as many as are asked for; otherwise (0) one on a terminal, and
// 4,096 numbers' worth elsewhere. result is the output's static shape. The error says why the model cannot take so many rows
// at once, or return a result for each.
func BatchRows(p Placeholder, result []int64, asked int, terminal bool) (int, error) {
	size, _, err := rowSize(p)
	isClosed := func(shape []int64) bool { return shape != nil && (len(shape) == 0 || shape[0] != -1) }
	switch {
	case err != nil:
		return 0, err
	case size == 0:
		return 0, fmt.Errorf("wrong number of values: a row of the placeholder %s has none", p.Name)
	case isClosed(p.Shape) && asked > 1:
		return 0, fmt.Errorf("too many rows in a run: the placeholder %s is %s (--batch 1 fits)", p.Name, shapeText(p.Shape))
	case isClosed(p.Shape), asked == 0 && terminal:
		return 1, nil
	case asked == 0:
		asked = max(1, maxBatch/size)
	}
	if asked > 1 && isClosed(result) {
		return 0, notPerRow(result)
	}
	return asked, nil
}

func notPerRow(shape []int64) error {
	return fmt.Errorf("not one result per row: the output is %s (--batch 1 runs each row by itself)", shapeText(shape))
}
