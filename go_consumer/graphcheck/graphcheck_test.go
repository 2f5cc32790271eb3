package graphcheck_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go_consumer/commandline"
	"go_consumer/graphcheck"
	"go_consumer/modelfile"
	"go_consumer/rows"

	tf "github.com/wamuir/graft/tensorflow"
	attrpb "github.com/wamuir/graft/tensorflow/core/framework/attr_value_go_proto"
	functionpb "github.com/wamuir/graft/tensorflow/core/framework/function_go_proto"
	graphpb "github.com/wamuir/graft/tensorflow/core/framework/graph_go_proto"
	nodepb "github.com/wamuir/graft/tensorflow/core/framework/node_def_go_proto"
	opdefpb "github.com/wamuir/graft/tensorflow/core/framework/op_def_go_proto"
	tensorpb "github.com/wamuir/graft/tensorflow/core/framework/tensor_go_proto"
	shapepb "github.com/wamuir/graft/tensorflow/core/framework/tensor_shape_go_proto"
	typespb "github.com/wamuir/graft/tensorflow/core/framework/types_go_proto"
	versionspb "github.com/wamuir/graft/tensorflow/core/framework/versions_go_proto"
	"google.golang.org/protobuf/proto"
)

const (
	input, output = "inputs/x_sample", "linear_regression/add"
	float64Type   = typespb.DataType_DT_DOUBLE
	float32Type   = typespb.DataType_DT_FLOAT
)

// TestMain is the tests, or with CHECK_EACH="INPUT OUTPUT" a program: for each path that it reads, a line, it prints that
// path, a tab, and `ok` or why the model is refused. So many thousand graphs are checked in one process.
func TestMain(m *testing.M) {
	names := strings.Fields(os.Getenv("CHECK_EACH"))
	if len(names) != 2 {
		os.Exit(m.Run())
	}
	for paths := bufio.NewScanner(os.Stdin); paths.Scan(); {
		said := "ok"
		if err := checkAll(paths.Text(), names[0], names[1]); err != nil {
			said = commandline.OneLine(err)
		}
		fmt.Printf("%s\t%s\n", paths.Text(), said)
	}
}

// checkAll passes a frozen graph through all checks of the default form.
func checkAll(path, input, output string) error {
	model, err := modelfile.ReadFrozenGraph(path, input, output, nil, false)
	if err != nil {
		return err
	}
	return checkFeed(model.GraphDef, input, output)
}

func checkFeed(graphDef *graphpb.GraphDef, input, output string) error {
	placeholder, err := graphcheck.FindPlaceholder(graphDef, input)
	if err != nil {
		return err
	}
	shape, err := rows.FeedShape(graphcheck.PlaceholderDims(placeholder), 4, placeholder.GetName())
	if err != nil {
		return err
	}
	if err := graphcheck.CheckOutput(graphDef, output, []string{placeholder.GetName()}); err != nil {
		return err
	}
	_, err = graphcheck.CheckShapes(graphDef, map[string][]int64{placeholder.GetName(): shape}, output, false)
	return err
}

func typeAttr(dtype typespb.DataType) *attrpb.AttrValue {
	return &attrpb.AttrValue{Value: &attrpb.AttrValue_Type{Type: dtype}}
}

func shapeOf(dims ...int64) *shapepb.TensorShapeProto {
	shape := &shapepb.TensorShapeProto{}
	for _, dim := range dims {
		shape.Dim = append(shape.Dim, &shapepb.TensorShapeProto_Dim{Size: dim})
	}
	return shape
}

func placeholder(name string, dims ...int64) *nodepb.NodeDef {
	return &nodepb.NodeDef{Name: name, Op: "Placeholder", Attr: map[string]*attrpb.AttrValue{
		"dtype": typeAttr(float64Type), "shape": {Value: &attrpb.AttrValue_Shape{Shape: shapeOf(dims...)}},
	}}
}

func constant(name string, tensor *tensorpb.TensorProto) *nodepb.NodeDef {
	return &nodepb.NodeDef{Name: name, Op: "Const", Attr: map[string]*attrpb.AttrValue{
		"dtype": typeAttr(tensor.GetDtype()), "value": {Value: &attrpb.AttrValue_Tensor{Tensor: tensor}},
	}}
}

func float64s(shape *shapepb.TensorShapeProto, values ...float64) *tensorpb.TensorProto {
	return &tensorpb.TensorProto{Dtype: float64Type, TensorShape: shape, DoubleVal: values}
}

func node(op, name string, inputs ...string) *nodepb.NodeDef {
	return &nodepb.NodeDef{Name: name, Op: op, Input: inputs, Attr: map[string]*attrpb.AttrValue{"T": typeAttr(float64Type)}}
}

// line is a frozen graph: y = 1.5x - 3, named as the contract names it.
func line() *graphpb.GraphDef {
	// In graphs of producers before 24, a placeholder's shape [] is an unknown one.
	return &graphpb.GraphDef{Versions: &versionspb.VersionDef{Producer: 24}, Node: []*nodepb.NodeDef{
		placeholder(input, -1, -1),
		constant("slope", float64s(shapeOf(), 1.5)),
		node("Mul", "linear_regression/mul", input, "slope"),
		constant("intercept", float64s(shapeOf(), -3)),
		node("AddV2", output, "linear_regression/mul", "intercept"),
	}}
}

func with(nodes ...*nodepb.NodeDef) *graphpb.GraphDef {
	graphDef := line()
	graphDef.Node = append(graphDef.Node, nodes...)
	return graphDef
}

// repeat is slices.Repeat, which Go 1.22 lacks.
func repeat[E any](elements []E, count int) []E {
	var repeated []E
	for range count {
		repeated = append(repeated, elements...)
	}
	return repeated
}

func say(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func check(graphDef *graphpb.GraphDef) string {
	return say(graphcheck.CheckGraph(graphDef, graphcheck.Operations))
}

func TestCheckGraph(t *testing.T) {
	chain := func(length int) *graphpb.GraphDef {
		graphDef := &graphpb.GraphDef{Node: []*nodepb.NodeDef{placeholder("n1")}}
		for i := 2; i <= length; i++ {
			graphDef.Node = append(graphDef.Node, node("Identity", fmt.Sprint("n", i), fmt.Sprint("n", i-1)))
		}
		return graphDef
	}
	library := line()
	library.Library = &functionpb.FunctionDefLibrary{Function: []*functionpb.FunctionDef{{Signature: &opdefpb.OpDef{Name: "f"}}}}
	itself := line()
	itself.Node[2].Input[1] = output
	wide := node("AddN", "sum", repeat([]string{"slope"}, 1001)...)
	window := func(size int64) *nodepb.NodeDef {
		conv := node("Conv2D", "w")
		conv.Attr["dilations"] = &attrpb.AttrValue{Value: &attrpb.AttrValue_List{List: &attrpb.AttrValue_ListValue{I: []int64{1, size}}}}
		return conv
	}
	mistyped := constant("c", float64s(shapeOf(), 1))
	mistyped.Attr["dtype"] = typeAttr(float32Type)
	content := func(bytes int) *tensorpb.TensorProto {
		return &tensorpb.TensorProto{Dtype: float64Type, TensorShape: shapeOf(2), TensorContent: make([]byte, bytes)}
	}
	halves := &tensorpb.TensorProto{Dtype: typespb.DataType_DT_HALF, TensorShape: shapeOf(1), HalfVal: []int32{0x7c00}}
	brain := &tensorpb.TensorProto{Dtype: typespb.DataType_DT_BFLOAT16, TensorShape: shapeOf(1), TensorContent: []byte{0xc0, 0x7f}}
	texts := &tensorpb.TensorProto{Dtype: typespb.DataType_DT_STRING, TensorShape: shapeOf(2), StringVal: [][]byte{nil}}
	resource := &tensorpb.TensorProto{Dtype: typespb.DataType_DT_RESOURCE}
	nan := float64s(shapeOf(1), math.NaN())
	open := float64s(&shapepb.TensorShapeProto{UnknownRank: true}, 1)
	two62 := int64(1) << 62
	for _, c := range []struct {
		graphDef *graphpb.GraphDef
		want     string
	}{
		{line(), ""},
		{with(node("WriteFile", "bad")), "operation not allowed: WriteFile in node bad (--allow-op WriteFile accepts it, --trust accepts all)"},
		{&graphpb.GraphDef{}, "refused graph: it has 0 nodes (1 to 20000 are accepted)"},
		{&graphpb.GraphDef{Node: repeat([]*nodepb.NodeDef{{}}, 20001)}, "refused graph: it has 20001 nodes (1 to 20000 are accepted)"},
		{library, "refused graph: it has a function library, as all that tf.saved_model.save writes have (--trust accepts it, for a model you made yourself)"},
		{chain(1000), ""},
		{chain(1001), "refused graph: a chain of more than 1000 nodes leads to node n1001"},
		{itself, "refused graph: node linear_regression/mul depends on a cycle"},
		{with(wide), "refused graph: node sum has more than 1000 inputs"},
		{with(node("NoOp", "init", repeat([]string{"^slope"}, 100_001)...)), "refused graph: its nodes have more than 100000 inputs together"},
		{with(window(1024)), ""},
		{with(window(1025)), "refused graph: dilations of node w are not all from 0 to 1024"},
		{with(window(-1)), "refused graph: dilations of node w are not all from 0 to 1024"},
		{with(node("NoOp", "slope")), "refused graph: two nodes are named slope"},
		{with(node("Neg", "n", "elsewhere:1")), "refused graph: the input elsewhere:1 of node n is not in it"},
		{with(node("Reshape", "r", "slope", input)), "refused graph: node r takes a shape or an axis from node inputs/x_sample, no Const"},
		{with(node("ConcatV2", "r", input, "slope", "slope")), ""},
		{with(node("ConcatV2", "r", "slope", "slope", input, "^slope")), "refused graph: node r takes a shape or an axis from node inputs/x_sample, no Const"},
		{with(mistyped), "refused graph: Const c holds float64, its dtype is float32"},
		{with(node("Const", "c")), "refused graph: Const c is of type the unknown type 0"},
		{with(constant("c", resource)), "refused graph: Const c is of type resource"},
		{with(constant("c", &tensorpb.TensorProto{Dtype: 101})), "refused graph: Const c is of type float32_ref"},
		{with(constant("c", &tensorpb.TensorProto{Dtype: 999})), "refused graph: Const c is of type the unknown type 999"},
		{with(constant("c", open)), "refused graph: Const c has no definite shape"},
		{with(constant("c", float64s(shapeOf(-1), 1))), "refused graph: Const c has no definite shape"},
		{with(constant("100%d", float64s(shapeOf(-1), 1))), "refused graph: Const 100%d has no definite shape"},
		{with(constant("c", float64s(shapeOf(repeat([]int64{1}, 255)...), 1))), "refused graph: Const c has 255 dimensions (at most 254)"},
		{with(constant("c", float64s(shapeOf(1024, 1024), 1))), ""},
		{with(constant("c", float64s(shapeOf(1024, 1025), 1))), "refused graph: Const c holds 1 of 1049600 elements"},
		{with(constant("c", float64s(shapeOf(two62, two62)))), "refused graph: Const c holds 0 of 21267647932558653966460912964485513216 elements"},
		{with(constant("c", float64s(shapeOf(1), 1, 2))), "refused graph: Const c holds 2 of 1 elements"},
		{with(constant("c", content(16))), ""},
		{with(constant("c", content(12))), "refused graph: Const c holds 12 bytes for 2 elements"},
		{with(constant("c", texts)), "refused graph: Const c holds 1 of 2 elements"},
		{with(constant("c", nan)), "refused graph: Const c holds a value that is not finite"},
		{with(constant("c", halves)), "refused graph: Const c holds a value that is not finite"},
		{with(constant("c", brain)), "refused graph: Const c holds a value that is not finite"},
	} {
		if got := check(c.graphDef); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	other := with(placeholder("keep_prob"))
	other.Node[4].Input[1] = "keep_prob"
	integer := line()
	integer.Node[0].Attr["dtype"] = typeAttr(typespb.DataType_DT_INT32)
	for _, c := range []struct {
		graphDef            *graphpb.GraphDef
		input, output, want string
	}{
		{line(), input, output, ""},
		{line(), input + ":0", output + ":0", ""},
		{line(), "x", output, "no such input: x (the model has: inputs/x_sample)"},
		{line(), input + ":1", output, "no such input: inputs/x_sample:1 (the model has: inputs/x_sample)"},
		{&graphpb.GraphDef{Node: line().Node[1:2]}, "x", output, "no such input: x (the model has: none)"},
		{integer, input, output, "refused graph: the placeholder inputs/x_sample is of type int32, not float64 or float32"},
		{line(), input, "linear_regresion/add", "no such output: linear_regresion/add (the nearest: linear_regression/add, linear_regression/mul, inputs/x_sample)"},
		{line(), input, "slope:1", "no such output: slope:1 (slope has 1)"},
		{line(), input, "slope:x", "no such output: slope:x (slope has 1)"},
		{other, input, output, "no value for the placeholder: keep_prob (give --feed keep_prob=...)"},
		{with(node("SaveV2", "save")), input, "save", "refused graph: node save would write a file when the model is used"},
	} {
		if got := say(checkFeed(c.graphDef, c.input, c.output)); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

func TestCheckShapes(t *testing.T) {
	splats := with(
		constant("column", float64s(shapeOf(16384, 1), 1)), constant("row", float64s(shapeOf(1, 16385), 1)),
		node("Mul", "broadcast", "column", "row"))
	square := with(node("MatMul", "square", input, input))
	square.Node[5].Attr["transpose_a"] = &attrpb.AttrValue{Value: &attrpb.AttrValue_B{B: true}}
	many := line()
	var sum []string
	for i := range 65 {
		name := fmt.Sprint("c", i)
		sum = append(sum, name)
		many.Node = append(many.Node, constant(name, float64s(shapeOf(1024, 1024), float64(i))))
	}
	many.Node = append(many.Node, node("AddN", "sum", sum...))
	many.Node[len(many.Node)-1].Attr["N"] = &attrpb.AttrValue{Value: &attrpb.AttrValue_I{I: 65}}
	dynamic := with(node("Sum", "dynamic", input, "axis"))
	text := with(constant("text", &tensorpb.TensorProto{Dtype: typespb.DataType_DT_STRING, StringVal: [][]byte{nil}}))
	for _, c := range []struct {
		graphDef *graphpb.GraphDef
		feed     []int64
		output   string
		want     string
	}{
		{line(), []int64{1, 4096}, output, ""},
		{splats, []int64{1, 1}, output, "refused graph: the output of node broadcast has 268451840 elements (at most 16777216)"},
		{square, []int64{1, 4096}, "square", ""},
		{square, []int64{1, 4097}, "square", "refused graph: the output of node square has 16785409 elements (at most 16777216)"},
		{many, []int64{1, 1}, "sum", "refused graph: its outputs have 69206016 elements together (at most 67108864)"},
		{many, []int64{1, 1}, output, ""}, // not used
		{text, []int64{1, 1}, "text", "refused graph: the output text is of type string, not of numbers or bool"},
	} {
		if _, err := graphcheck.CheckShapes(c.graphDef, map[string][]int64{input: c.feed}, c.output, false); say(err) != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
	if _, err := graphcheck.CheckShapes(dynamic, map[string][]int64{input: {1, 1}}, "dynamic", false); !strings.HasPrefix(say(err), "refused graph: ") {
		t.Errorf("%v of a graph that TensorFlow does not take", err)
	}
	if _, err := graphcheck.CheckShapes(splats, map[string][]int64{input: {1, 1}}, output, true); err != nil {
		t.Errorf("%v of a graph that is trusted", err)
	}
}

func TestRowsARun(t *testing.T) {
	total := with(node("Sum", "total", input, "axes"), constant("axes", &tensorpb.TensorProto{
		Dtype: typespb.DataType_DT_INT32, TensorShape: shapeOf(2), IntVal: []int32{0, 1}}))
	for _, c := range []struct {
		graphDef *graphpb.GraphDef
		dims     []int64
		row      []int64
		output   string
		want     int
	}{
		{line(), []int64{-1, -1}, []int64{1, 1}, output, 4096},
		{line(), []int64{-1, 10}, []int64{1, 10}, output, 409},
		{line(), []int64{-1, 5000}, []int64{1, 5000}, output, 1},
		{line(), []int64{}, []int64{}, output, 1},
		{line(), []int64{1, -1}, []int64{1, 1}, output, 1},
		{total, []int64{-1, -1}, []int64{1, 1}, "total", 1}, // a result for the batch is none a row
	} {
		c.graphDef.Node[0] = placeholder(input, c.dims...)
		shapes := map[string][]int64{input: c.row}
		if got, err := graphcheck.RowsARun(c.graphDef, input, shapes, c.output, false); err != nil || got != c.want {
			t.Errorf("%v: %d %v, want %d", c.dims, got, err, c.want)
		}
	}
}

func TestFiles(t *testing.T) {
	folder := t.TempDir()
	path, sums := filepath.Join(folder, "model.pb"), filepath.Join(folder, "SHA256SUMS")
	data, err := proto.Marshal(line())
	if err != nil {
		t.Fatal(err)
	}
	write := func(path string, data []byte) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want string) {
		t.Helper()
		if got := strings.ReplaceAll(say(checkAll(path, input, output)), folder, "DIR"); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%s, want %s", got, want)
		}
	}
	write(path, data)
	expect("")
	write(sums, fmt.Appendf(nil, "%064d  other.pb\n%X *model.pb\n", 0, sha256.Sum256(data)))
	expect("")
	for i := 0; i < len(data); i += 7 {
		changed := bytes.Clone(data)
		changed[i] ^= 4
		write(path, changed)
		expect("digest mismatch: DIR/model.pb is not the file that SHA256SUMS lists (freeze it again)")
	}
	if err := os.Remove(sums); err != nil {
		t.Fatal(err)
	}
	write(path, data[:len(data)/2])
	expect("not a GraphDef: DIR/model.pb: ")
	write(path, nil)
	expect("not a usable model file: DIR/model.pb is empty")
	if err := os.Truncate(path, 3<<30); err != nil { // sparse
		t.Fatal(err)
	}
	expect("not a usable model file: DIR/model.pb is larger than 256 MiB (--trust lifts the limit)")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("stat DIR/model.pb: no such file or directory")
}

// What the page README.md quotes of TensorFlow's and the binding's own errors.
func TestMessagesThatTheReadmeQuotes(t *testing.T) {
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	graph, err := graphcheck.ImportGraph(line())
	if err != nil {
		t.Fatal(err)
	}
	session, err := tf.NewSession(graph, nil)
	if err != nil {
		t.Fatal(err)
	}
	single, err := tf.NewTensor([][]float32{{1}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = session.Run(map[tf.Output]*tf.Tensor{graph.Operation(input).Output(0): single},
		[]tf.Output{graph.Operation(output).Output(0)}, nil)
	nothing := func() (message any) {
		defer func() { message = recover() }()
		return graph.Operation("nothing").Output(0).DataType()
	}
	for quote, said := range map[string]string{
		"Expects arg[0] to be double but float is provided":                                          say(err),
		"nil-Operation. If the Output was created with a Scope object, see Scope.Err() for details.": fmt.Sprint(nothing()),
	} {
		if !strings.Contains(string(page), quote) || !strings.Contains(said, quote) {
			t.Errorf("%s, want %s, quoted", said, quote)
		}
	}
}

// A cut or changed file is refused or parsed; nothing else comes out of the checks than an error with words.
func TestEveryLengthAndEveryByte(t *testing.T) {
	data, err := proto.Marshal(line())
	if err != nil {
		t.Fatal(err)
	}
	var changed [][]byte
	for i := range data {
		changed = append(changed, data[:i])
		for _, mask := range []byte{1, 2, 16, 128, 255} {
			flipped := bytes.Clone(data)
			flipped[i] ^= mask
			changed = append(changed, flipped)
		}
	}
	accepted := 0
	for _, candidate := range changed {
		graphDef := &graphpb.GraphDef{}
		err := graphcheck.Parse(graphDef, candidate, "model.pb")
		if err == nil {
			err = graphcheck.CheckGraph(graphDef, graphcheck.Operations)
		}
		if err == nil {
			err = checkFeed(graphDef, input, output)
		}
		if err == nil {
			accepted++
		} else if err.Error() == "" {
			t.Error("an error without words")
		}
	}
	if accepted == 0 || accepted > len(changed)/2 {
		t.Errorf("%d of %d accepted: most changes are seen; a digest sees them all", accepted, len(changed))
	}
}
