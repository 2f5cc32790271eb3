package rows

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"math/rand"
	"slices"
	"strconv"
	"strings"
	"testing"

	typespb "github.com/wamuir/graft/tensorflow/core/framework/types_go_proto"
)

const (
	float32Type = typespb.DataType_DT_FLOAT
	float64Type = typespb.DataType_DT_DOUBLE
)

func float64s(contents []byte) []float64 {
	numbers := make([]float64, len(contents)/8)
	for i := range numbers {
		numbers[i] = math.Float64frombits(binary.NativeEndian.Uint64(contents[8*i:]))
	}
	return numbers
}

func TestNumbersIn(t *testing.T) {
	contents, count, err := AppendNumbers(nil, "0,-1.5,+.5,2.,1e-3,1E+2,5e-324,1e-400", float64Type, " in --x")
	if want := []float64{0, -1.5, 0.5, 2, 0.001, 100, 5e-324, 0}; err != nil || count != 8 || !slices.Equal(float64s(contents), want) {
		t.Errorf("%v %v", float64s(contents), err)
	}
	contents, _, err = AppendNumbers(nil, "nan,-NaN,Inf,-INF,+inf", float64Type, "")
	words := float64s(contents)
	if err != nil || !math.IsNaN(words[0]) || !math.IsNaN(words[1]) || !math.IsInf(words[2], 1) || !math.IsInf(words[3], -1) || !math.IsInf(words[4], 1) {
		t.Errorf("%v %v", words, err)
	}
}

func TestWhatIsNoNumber(t *testing.T) {
	for _, text := range []string{
		"", " ", " 1", "1 ", "1_0", "0x1", "0x1p3", "1d", "1f", "infinity", "-", "+", ".", "e5", "1e", "1e+", "--1", "1.2.3", "1e5.", "nanx", "٣", "1\r",
	} {
		_, _, err := AppendNumbers(nil, "1,"+text, float64Type, " in --x")
		if want := "not a number: " + text + " in --x"; err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestNumbersOutOfRange(t *testing.T) {
	for _, c := range []struct {
		text  string
		dtype typespb.DataType
		where string
		want  string
	}{
		{"1e999", float64Type, " in --x", "out of range for float64: 1e999"},
		{"-1e39", float32Type, " in --x", "out of range for float32: -1e39"},
		{"1,1e39", float32Type, " on line 3", "out of range for float32: 1e39 on line 3"},
	} {
		if _, _, err := AppendNumbers(nil, c.text, c.dtype, c.where); err == nil || err.Error() != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

// A float32 is rounded once: 1 + 2^-24 lies midway between two, and by way of float64 the digits behind would be lost.
func TestFloat32IsRoundedOnce(t *testing.T) {
	for text, want := range map[string]float32{
		"1.000000059604644775390625":           1,
		"1.0000000596046447753906250000000001": 1.00000011920929,
		"0.1":                                  0.1,
		"3.4028235677973366e38":                math.MaxFloat32,
		"3.4028235677973367e38":                0, // out of range
	} {
		contents, _, err := AppendNumbers(nil, text, float32Type, "")
		if want == 0 {
			if err == nil {
				t.Errorf("%s is in range", text)
			}
			continue
		}
		if got := math.Float32frombits(binary.NativeEndian.Uint32(contents)); err != nil || got != want {
			t.Errorf("%s: %v %v, want %v", text, got, err, want)
		}
	}
}

func TestFeedShape(t *testing.T) {
	for _, c := range []struct {
		dims  []int64
		count int
		want  string
	}{
		{nil, 1, "[]"}, {nil, 3, "[3]"},
		{[]int64{}, 1, "[]"}, {[]int64{}, 2, "wrong number of values: 2 given, the placeholder x takes 1"},
		{[]int64{-1}, 3, "[3]"}, {[]int64{-1, -1}, 4, "[1, 4]"}, {[]int64{-1, 10}, 20, "[2, 10]"},
		{[]int64{-1, 10}, 15, "wrong number of values: 15 given, the placeholder x takes a multiple of 10"},
		{[]int64{2, -1, 3}, 12, "[2, 2, 3]"}, {[]int64{2, 2}, 4, "[2, 2]"},
		{[]int64{2, 2}, 8, "wrong number of values: 8 given, the placeholder x takes 4"},
		{[]int64{0, 2}, 4, "wrong number of values: 4 given, the placeholder x takes 0"},
	} {
		shape, err := FeedShape(c.dims, c.count, "x")
		got := ShapeText(shape)
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%v of %d: %s, want %s", c.dims, c.count, got, c.want)
		}
	}
}

func texts(dtype typespb.DataType, values any) string {
	var contents bytes.Buffer
	if err := binary.Write(&contents, binary.NativeEndian, values); err != nil {
		panic(err)
	}
	return strings.TrimSpace(string(AppendTexts(nil, Array{Type: dtype, Contents: contents.Bytes()}, ' ', ' ', 0)))
}

func TestNumbersOut(t *testing.T) {
	negative := math.Copysign(0, -1)
	for _, c := range []struct {
		got, want string
	}{
		{texts(float64Type, []float64{-4.5, 1499991.0256537136, 1499994026270459.2, 1.4999940262704624e22, 1e-5}),
			"-4.5 1499991.0256537136 1499994026270459.2 1.4999940262704624e+22 1e-05"},
		{texts(float64Type, []float64{0, negative, math.NaN(), math.Inf(1), math.Inf(-1), 3}), "0 -0 NaN +Inf -Inf 3"},
		{texts(float64Type, []float64{1e20, 1e21, 123456789012345678901, 0.0001, 0.00009999999999999999, 5e-324}),
			"100000000000000000000 1e+21 123456789012345680000 0.0001 9.999999999999999e-05 5e-324"},
		{texts(float32Type, []float32{0.1, 16777216, 1e20, 1e21, 1e-4, 1e-5, 1e-45}), "0.1 16777216 100000000000000000000 1e+21 0.0001 1e-05 1e-45"},
		{texts(typespb.DataType_DT_BOOL, []bool{true, false}), "true false"},
		{texts(typespb.DataType_DT_INT8, []int8{-128, 127}), "-128 127"},
		{texts(typespb.DataType_DT_INT16, []int16{-32768}), "-32768"},
		{texts(typespb.DataType_DT_INT32, []int32{math.MinInt32}), "-2147483648"},
		{texts(typespb.DataType_DT_INT64, []int64{math.MinInt64}), "-9223372036854775808"},
		{texts(typespb.DataType_DT_UINT8, []uint8{255}), "255"},
		{texts(typespb.DataType_DT_UINT16, []uint16{65535}), "65535"},
		{texts(typespb.DataType_DT_UINT32, []uint32{math.MaxUint32}), "4294967295"},
		{texts(typespb.DataType_DT_UINT64, []uint64{math.MaxUint64}), "18446744073709551615"},
	} {
		if c.got != c.want {
			t.Errorf("%s, want %s", c.got, c.want)
		}
	}
}

// Any bits: the digits read back to the same value, and one digit fewer does not.
func TestDigitsAreTheShortest(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for range 20_000 {
		value := math.Float64frombits(random.Uint64())
		if math.IsNaN(value) || math.IsInf(value, 0) {
			continue
		}
		text := texts(float64Type, []float64{value})
		if read, err := strconv.ParseFloat(text, 64); err != nil || read != value {
			t.Fatalf("%s reads back as %v, not %v", text, read, value)
		}
		digits := len(strings.Trim(strings.NewReplacer("-", "", ".", "").Replace(strings.Split(text, "e")[0]), "0"))
		shorter, _, _ := big.ParseFloat(text, 10, 200, big.ToNearestEven)
		if fewer, _ := strconv.ParseFloat(shorter.Text('e', digits-2), 64); digits > 1 && fewer == value {
			t.Fatalf("%s has a digit too many", text)
		}
	}
}

func TestResultsLine(t *testing.T) {
	for _, count := range []int{0, 1, 3, chunk, chunk + 1} {
		var line bytes.Buffer
		if err := WriteResults(&line, Zeros(float64Type, []int64{int64(count)})); err != nil {
			t.Fatal(err)
		}
		want := "The calculation results : [" + strings.TrimSuffix(strings.Repeat("0 ", count), " ") + "]\n"
		if line.String() != want {
			t.Errorf("%d zeros: %d bytes, want %d", count, line.Len(), len(want))
		}
	}
}

// double is a model that doubles; it sees at most 4,096 rows.
func double(t *testing.T) func([]byte, int) (Array, error) {
	return func(contents []byte, n int) (Array, error) {
		if n > 4096 || n*8 != len(contents) {
			t.Errorf("%d rows in %d bytes", n, len(contents))
		}
		results := Zeros(float64Type, []int64{int64(n), 1})
		for i, value := range float64s(contents) {
			binary.NativeEndian.PutUint64(results.Contents[8*i:], math.Float64bits(2*value))
		}
		return results, nil
	}
}

func stream(t *testing.T, input io.Reader) (string, error) {
	var output bytes.Buffer
	err := Stream(input, &output, double(t), Zeros(float64Type, []int64{1, 1}), "x", 4096)
	return output.String(), err
}

func TestStream(t *testing.T) {
	var input, want strings.Builder
	for i := range 200_000 {
		fmt.Fprintf(&input, "%d\n", i)
		fmt.Fprintf(&want, "%d\n", 2*i)
	}
	got, err := stream(t, strings.NewReader(input.String()))
	if err != nil || got != want.String() {
		t.Errorf("%d bytes, want %d; %v", len(got), want.Len(), err)
	}
	for _, c := range []struct{ input, output, err string }{
		{"", "", ""},
		{"1", "2\n", ""},
		{"1\r\n2\r\n", "2\n4\n", ""},
		{"1\n\n2\n", "2\n", "not a number:  on line 2"},
		{"1\nx\n", "2\n", "not a number: x on line 2"},
		{"1\n2,3\n", "2\n", "wrong number of values: 2 given on line 2, the placeholder x takes 1"},
		{"1\n1e999\n", "2\n", "out of range for float64: 1e999 on line 2"},
		{input.String() + "y\n", want.String(), "not a number: y on line 200001"},
		{"1\n" + strings.Repeat("1", longestLine+chunk), "2\n", "too long: line 2 has more than 16777216 bytes"},
	} {
		got, err := stream(t, strings.NewReader(c.input))
		if got != c.output || err == nil && c.err != "" || err != nil && err.Error() != c.err {
			t.Errorf("%.20q: %.20q and %v, want %.20q and %s", c.input, got, err, c.output, c.err)
		}
	}
}

// What has come is answered before more is waited for.
func TestStreamAnswersAtOnce(t *testing.T) {
	reader, writer := io.Pipe()
	answers, output := io.Pipe()
	go func() {
		err := Stream(reader, output, double(t), Zeros(float64Type, []int64{1, 1}), "x", 4096)
		output.CloseWithError(err)
	}()
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
	run := func([]byte, int) (Array, error) { return Array{}, broken }
	input := strings.NewReader(strings.Repeat("1\n", 1_000_000))
	if err := Stream(input, io.Discard, run, Zeros(float64Type, []int64{1, 1}), "x", 4096); !errors.Is(err, broken) {
		t.Error(err)
	}
}
