package rows

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	tf "github.com/wamuir/graft/tensorflow"
)

// A testCase is one of those that every language is held to; tests/cases/README.md says what they hold.
type testCase struct {
	Dtype, Text, Where, Input, Output, Error string
	Shape, Result, Feed                      []int64
	Count, Batch, Rows                       int
	Bits                                     json.RawMessage
	Runs                                     [][]int64
}

// eachCase calls test for the cases in a file, and checks that it returns the error that a case names, and no other.
func eachCase(t *testing.T, name string, test func(t *testing.T, c testCase) error) {
	data, err := os.ReadFile(filepath.Join("../../tests/cases", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []testCase
	if err := json.Unmarshal(data, &cases); err != nil || len(cases) == 0 {
		t.Fatalf("%d cases in %s: %v", len(cases), name, err)
	}
	for i, c := range cases {
		t.Run(fmt.Sprint(i+1), func(t *testing.T) {
			if err := test(t, c); err == nil && c.Error != "" || err != nil && err.Error() != c.Error {
				t.Errorf("%.200q, want %.200q", fmt.Sprint(err), c.Error)
			}
		})
	}
}

func typeNamed(name string) tf.DataType {
	for dtype, t := range types {
		if t.name == name {
			return tf.DataType(dtype)
		}
	}
	panic(name)
}

// element returns an element's bits, the most significant first, and its text.
func element(a Array, i int) (bits, text string) {
	one := a.part(i, i+1)
	contents := slices.Clone(one.Contents)
	slices.Reverse(contents)
	return hex.EncodeToString(append(contents, strings.Join(one.Strings, "")...)), string(one.appendText(nil, 0))
}

func TestValuesIn(t *testing.T) {
	eachCase(t, "values_in", func(t *testing.T, c testCase) error {
		array, line, flag := Array{Type: typeNamed(c.Dtype)}, 0, strings.TrimPrefix(cmp.Or(c.Where, " in --x"), " in ")
		fmt.Sscanf(c.Where, " on line %d", &line)
		if _, err := array.appendValues(c.Text, flag, line); err != nil {
			return err
		}
		var want, got []string
		if err := json.Unmarshal(c.Bits, &want); err != nil {
			return err
		}
		for i := range array.Len() {
			bits, text := element(array, i)
			if text == "NaN" {
				bits = "nan"
			}
			got = append(got, bits)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%.80s: %v, want %v", c.Text, got, want)
		}
		return nil
	})
}

func TestValuesOut(t *testing.T) {
	eachCase(t, "values_out", func(t *testing.T, c testCase) error {
		bits, err := hex.DecodeString(strings.Trim(string(c.Bits), `"`))
		array := Array{Type: typeNamed(c.Dtype), Contents: bits, Strings: []string{string(bits)}}
		if array.Type != tf.String {
			slices.Reverse(bits)
		}
		if _, text := element(array, 0); text != c.Text {
			t.Errorf("%s, want %s", text, c.Text)
		}
		return err
	})
}

func TestShapes(t *testing.T) {
	eachCase(t, "shapes", func(t *testing.T, c testCase) error {
		shape, err := feedShape(Placeholder{Name: "x", Shape: c.Shape}, c.Count)
		if !reflect.DeepEqual(shape, c.Feed) {
			t.Errorf("%v, want %v", shape, c.Feed)
		}
		return err
	})
}

func TestBatches(t *testing.T) {
	eachCase(t, "batches", func(t *testing.T, c testCase) error {
		rows, err := BatchRows(Placeholder{Name: "x", Shape: c.Shape}, c.Result, c.Batch, false)
		if rows != c.Rows {
			t.Errorf("%d rows, want %d", rows, c.Rows)
		}
		return err
	})
	if rows, err := BatchRows(Placeholder{Shape: []int64{-1}}, []int64{-1}, 0, true); rows != 1 || err != nil {
		t.Errorf("%d rows on a terminal, %v", rows, err)
	}
}

// double is a model that doubles.
func double(values Array) ([]Array, error) {
	contents := make([]byte, 0, len(values.Contents))
	for i := 0; i < len(values.Contents); i += 8 {
		value := math.Float64frombits(binary.LittleEndian.Uint64(values.Contents[i:]))
		contents = binary.LittleEndian.AppendUint64(contents, math.Float64bits(2*value))
	}
	return []Array{{tf.Double, values.Shape, contents, nil}}, nil
}

func TestStreams(t *testing.T) {
	eachCase(t, "streams", func(t *testing.T, c testCase) (err error) {
		row := Placeholder{"x", tf.Double, c.Shape}
		for _, input := range []io.Reader{strings.NewReader(c.Input), iotest.OneByteReader(strings.NewReader(c.Input))} {
			var output bytes.Buffer
			runs := [][]int64{}
			err = Stream(input, &output, func(values Array) ([]Array, error) {
				runs = append(runs, values.Shape)
				return double(values)
			}, row, c.Batch)
			if output.String() != c.Output || !reflect.DeepEqual(runs, c.Runs) {
				t.Errorf("%q of %v, want %q of %v", output.String(), runs, c.Output, c.Runs)
			}
		}
		return err
	})
}

var oneNumber = Placeholder{"x", tf.Double, []int64{-1, -1}}

func TestStreamKeepsTheOrder(t *testing.T) {
	var input, want strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&input, "%d\n", i)
		fmt.Fprintf(&want, "%d\n", 2*i)
	}
	input.WriteString("y\n")
	var output bytes.Buffer
	err := Stream(strings.NewReader(input.String()), &output, double, oneNumber, 4096)
	if output.String() != want.String() || err == nil || err.Error() != "not a number: y on line 200001" {
		t.Errorf("%d bytes, want %d; %v", output.Len(), want.Len(), err)
	}
}

func TestStreamAnswersAFullBatchAtOnce(t *testing.T) {
	reader, writer := io.Pipe()
	answers, output := io.Pipe()
	go func() { output.CloseWithError(Stream(reader, output, double, oneNumber, 1)) }()
	for i := range 3 {
		fmt.Fprintf(writer, "%d\n", i)
		answer := make([]byte, 2)
		if _, err := io.ReadFull(answers, answer); err != nil || string(answer) != fmt.Sprintf("%d\n", 2*i) {
			t.Fatalf("%q %v", answer, err)
		}
	}
}

func TestStreamEndsWithTheModelsError(t *testing.T) {
	broken := errors.New("broken")
	input := strings.NewReader(strings.Repeat("1\n", 1_000_000))
	if err := Stream(input, io.Discard, func(Array) ([]Array, error) { return nil, broken }, oneNumber, 4096); err != broken {
		t.Error(err)
	}
}

func TestStreamOfALongLine(t *testing.T) {
	for _, length := range []int{longestLine, longestLine + 1, 2 * longestLine} {
		for _, end := range []string{"\n", ""} {
			var output bytes.Buffer
			input := "1\n" + strings.Repeat("0", length) + end
			err := Stream(strings.NewReader(input), &output, double, oneNumber, 4096)
			if fits := length == longestLine; fits != (output.String() == "2\n0\n") || fits != (err == nil) {
				t.Errorf("%d bytes: %q %v", length, output.String(), err)
			}
		}
	}
}

// Any bits: the digits read back to the same value, and one digit fewer does not.
func TestDigitsAreTheShortest(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for _, dtype := range []tf.DataType{tf.Double, tf.Float, tf.Half, tf.Bfloat16} {
		for range 20_000 {
			want := Array{Type: dtype, Contents: binary.LittleEndian.AppendUint64(nil, random.Uint64())[:types[dtype].size]}
			bits, text := element(want, 0)
			got := Array{Type: dtype}
			if _, err := got.appendValues(text, "", 0); text != "NaN" && (err != nil || !bytes.Equal(got.Contents, want.Contents)) {
				t.Fatalf("%s of %s reads back as %v", text, bits, got.Contents)
			}
			value, _ := strconv.ParseFloat(text, 64)
			if digits := strings.TrimLeft(strings.Split(strconv.FormatFloat(value, 'e', -1, 64), "e")[0], "-"); len(digits) > 2 {
				fewer := Array{Type: dtype}
				fewer.appendValues(strconv.FormatFloat(value, 'e', len(digits)-3, 64), "", 0)
				if bytes.Equal(fewer.Contents, want.Contents) {
					t.Fatalf("%s of %s has a digit too many", text, bits)
				}
			}
		}
	}
}

func TestArraysInFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.npy")
	array := Array{tf.Int16, []int64{2, 3}, []byte{1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0}, nil}
	if err := SaveArray(path, array); err != nil {
		t.Fatal(err)
	}
	placeholder := Placeholder{"x", tf.Int16, []int64{-1, 3}}
	if got, err := MakeFeed(placeholder, path, "--x"); err != nil || !reflect.DeepEqual(got, array) {
		t.Errorf("%v %v", got, err)
	}
	saved, _ := os.ReadFile(path)
	columns := strings.NewReplacer("'<i2'", "'>i2'", "False", "True ", "\n\x01\x00\x02\x00\x03\x00\x04\x00\x05\x00\x06\x00",
		"\n\x00\x01\x00\x04\x00\x02\x00\x05\x00\x03\x00\x06").Replace(string(saved))
	os.WriteFile(path, []byte(columns), 0o666)
	if got, err := MakeFeed(placeholder, path, "--x"); err != nil || !reflect.DeepEqual(got, array) {
		t.Errorf("%v %v", got, err)
	}
	for i := range saved { // whatever is missing
		os.WriteFile(path, saved[:i], 0o666)
		if _, err := MakeFeed(placeholder, path, "--x"); err == nil || !strings.HasPrefix(err.Error(), "not an array: ") {
			t.Fatalf("%d bytes: %v", i, err)
		}
	}
}
