// Package graphcheck holds the checks that a graph passes before TensorFlow runs it.
//
// A graph is a program: one that holds `WriteFile` writes files, one of 660 bytes can ask for terabytes or loop for
// ever, and some abort the process, which no recover catches. So a model's file is looked at before TensorFlow imports
// it. trust skips what a model of one's own making does not need: the size limit, check 3 and check 6.
//
// The order and the words are the same in every language.
package graphcheck

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	tf "github.com/wamuir/graft/tensorflow"
	attrpb "github.com/wamuir/graft/tensorflow/core/framework/attr_value_go_proto"
	graphpb "github.com/wamuir/graft/tensorflow/core/framework/graph_go_proto"
	nodepb "github.com/wamuir/graft/tensorflow/core/framework/node_def_go_proto"
	tensorpb "github.com/wamuir/graft/tensorflow/core/framework/tensor_go_proto"
	shapepb "github.com/wamuir/graft/tensorflow/core/framework/tensor_shape_go_proto"
	typespb "github.com/wamuir/graft/tensorflow/core/framework/types_go_proto"
	corepb "github.com/wamuir/graft/tensorflow/core/protobuf/for_core_protos_go_proto"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
)

const (
	maxBytes    = 256 << 20
	maxSums     = 1 << 20 // bytes of SHA256SUMS
	maxNodes    = 20_000
	maxInputs   = 1_000 // of one node
	maxEdges    = 100_000
	maxChain    = 1_000
	maxWindow   = 1_024    // a stride, dilation, padding or side of a window
	maxSplat    = 1 << 20  // elements of a constant that the file does not hold one by one
	maxElements = 16 << 20 // elements of one operation's output
	maxTotal    = 64 << 20 // elements of all of them
	maxRank     = 254      // with more dimensions TensorFlow ends the process
	maxBatch    = 4_096    // numbers of --stdin in one run
)

// Operations is pure calculation: nothing here reads, writes, loops, calls, or allocates what a number in the graph says.
var Operations = set(`
	Placeholder Const Identity NoOp
	Abs Acos Acosh Add AddN AddV2 Asin Asinh Atan Atan2 Atanh Ceil Cos Cosh Div DivNoNan Erf Erfc Exp Expm1 Floor
	FloorDiv FloorMod Inv IsFinite IsInf IsNan Log Log1p Maximum Minimum Mod Mul MulNoNan Neg OnesLike Pow RealDiv
	Reciprocal Rint Round Rsqrt Select SelectV2 Sign Sin Sinh Sqrt Square SquaredDifference Sub Tan TruncateDiv
	TruncateMod Xdivy Xlogy ZerosLike
	Equal Greater GreaterEqual Less LessEqual LogicalAnd LogicalNot LogicalOr NotEqual
	MatMul BiasAdd
	Elu LeakyRelu LogSoftmax Relu Relu6 Selu Sigmoid Softmax Softplus Softsign Tanh
	All Any ArgMax ArgMin Max Mean Min Prod Sum
	Cast ConcatV2 ExpandDims Pad Reshape Squeeze
	Conv2D Conv3D DepthwiseConv2dNative AvgPool AvgPool3D MaxPool MaxPool3D
	FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3
`)

// SavedModelOperations is what a SavedModel needs besides: variables, saving and restoring them, parsing tf.Example,
// lookup tables.
var SavedModelOperations = Operations.With(strings.Fields(`
	Assign AssignVariableOp ReadVariableOp VarHandleOp VarIsInitializedOp Variable VariableV2
	MergeV2Checkpoints Pack PlaceholderWithDefault RestoreV2 SaveV2 ShardedFilename StaticRegexFullMatch StringJoin
	ParseExample ParseExampleV2
	HashTable HashTableV2 InitializeTable InitializeTableFromTextFile InitializeTableFromTextFileV2 InitializeTableV2
	LookupTableFind LookupTableFindV2 LookupTableSize LookupTableSizeV2
`))

// The inputs that say a shape or an axis, -1 for the last. They must be constants, so that sizes are known before
// anything runs.
var shapeInput = map[string]int{
	"All": 1, "Any": 1, "ArgMax": 1, "ArgMin": 1, "ExpandDims": 1, "Max": 1, "Mean": 1, "Min": 1, "Pad": 1, "Prod": 1,
	"Reshape": 1, "Sum": 1, "ConcatV2": -1,
}

// A Set is a set of operation types.
type Set map[string]bool

func set(names string) Set {
	return Set{}.With(strings.Fields(names))
}

// With returns a set that has these, too.
func (s Set) With(names []string) Set {
	more := make(Set, len(s)+len(names))
	for name := range s {
		more[name] = true
	}
	for _, name := range names {
		more[name] = true
	}
	return more
}

// ReadFile reads a model's file: checks 1 (regular, not empty, not too large) and 2 (its digest, where one is kept).
func ReadFile(path string, trust bool) ([]byte, error) {
	limit := int64(maxBytes)
	if trust {
		limit = math.MaxInt64
	}
	data, err := readRegular(path, limit, " (--trust lifts the limit)")
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, fmt.Errorf("not a usable model file: %s is empty", path)
	}
	listed, err := listedDigest(path)
	if err != nil {
		return nil, err
	}
	if digest := sha256.Sum256(data); listed != "" && listed != hex.EncodeToString(digest[:]) {
		return nil, fmt.Errorf("digest mismatch: %s is not the file that SHA256SUMS lists (freeze it again)", path)
	}
	return data, nil
}

// readRegular reads a regular file of at most limit bytes: a FIFO would wait for ever.
func readRegular(path string, limit int64, hint string) ([]byte, error) {
	status, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !status.Mode().IsRegular() {
		return nil, fmt.Errorf("not a usable model file: %s is not a regular file", path)
	}
	if status.Size() > limit {
		return nil, fmt.Errorf("not a usable model file: %s is larger than %d MiB%s", path, limit>>20, hint)
	}
	return os.ReadFile(path)
}

var digestLine = regexp.MustCompile(`^([0-9a-fA-F]{64}) [ *](.+)$`)

// listedDigest returns the SHA-256 digest that the SHA256SUMS beside a file lists for it; "" where it lists none.
func listedDigest(path string) (string, error) {
	folder, name := filepath.Split(path)
	sums := folder + "SHA256SUMS"
	if _, err := os.Stat(sums); err != nil {
		return "", nil
	}
	data, err := readRegular(sums, maxSums, "")
	if err != nil {
		return "", err
	}
	for _, line := range strings.Split(string(data), "\n") {
		if match := digestLine.FindStringSubmatch(line); match != nil && match[2] == name {
			return strings.ToLower(match[1]), nil
		}
	}
	return "", nil
}

// Parse parses data into a GraphDef, MetaGraphDef or SavedModel, binary or `.pbtxt`.
func Parse(message proto.Message, data []byte, path string) error {
	unmarshal := proto.Unmarshal
	if strings.HasSuffix(path, ".pbtxt") {
		unmarshal = prototext.Unmarshal
	}
	if err := unmarshal(data, message); err != nil {
		return fmt.Errorf("not a %s: %s: %w", message.ProtoReflect().Descriptor().Name(), path, err)
	}
	return nil
}

// CheckGraph is check 3: a GraphDef of a sane size that holds nothing but operations, without loops, with sound
// constants. The error names the operation or the node at fault.
func CheckGraph(graphDef *graphpb.GraphDef, operations Set) error {
	nodes := graphDef.GetNode()
	if len(nodes) < 1 || len(nodes) > maxNodes {
		return fmt.Errorf("refused graph: it has %d nodes (1 to %d are accepted)", len(nodes), maxNodes)
	}
	if proto.Size(graphDef.GetLibrary()) > 0 {
		return errors.New("refused graph: it has a function library, as all that tf.saved_model.save writes have " +
			"(--trust accepts it, for a model you made yourself)")
	}
	edges := 0
	for _, node := range nodes {
		if !operations[node.GetOp()] {
			return fmt.Errorf("operation not allowed: %[1]s in node %[2]s (--allow-op %[1]s accepts it, --trust accepts all)",
				node.GetOp(), node.GetName())
		}
		if Operations[node.GetOp()] && len(dataInputs(node)) > maxInputs {
			return fmt.Errorf("refused graph: node %s has more than %d inputs", node.GetName(), maxInputs)
		}
		for _, name := range []string{"strides", "dilations", "ksize", "explicit_paddings"} {
			for _, size := range node.GetAttr()[name].GetList().GetI() {
				if size < 0 || size > maxWindow {
					return fmt.Errorf("refused graph: %s of node %s are not all from 0 to %d", name, node.GetName(), maxWindow)
				}
			}
		}
		if node.GetOp() == "Const" {
			if err := checkConstant(node); err != nil {
				return err
			}
		}
		edges += len(node.GetInput())
	}
	if edges > maxEdges {
		return fmt.Errorf("refused graph: its nodes have more than %d inputs together", maxEdges)
	}
	return checkEdges(nodes)
}

func dataInputs(node *nodepb.NodeDef) []string {
	var data []string
	for _, name := range node.GetInput() {
		if !strings.HasPrefix(name, "^") {
			data = append(data, name)
		}
	}
	return data
}

// CheckLoading is check 3 for what loading runs: it writes nothing, restores from the model's own files, reads its own
// assets. folder is that of the SavedModel. The error names the node or the file at fault.
func CheckLoading(metaGraph *corepb.MetaGraphDef, folder string) error {
	saver := metaGraph.GetSaverDef()
	roots := []string{saver.GetRestoreOpName()}
	for _, name := range []string{"saved_model_main_op", "legacy_init_op"} {
		roots = append(roots, metaGraph.GetCollectionDef()[name].GetNodeList().GetValue()...)
	}
	for _, tensor := range metaGraph.GetSignatureDef()["__saved_model_init_op"].GetOutputs() {
		roots = append(roots, tensor.GetName())
	}
	for _, node := range upstream(metaGraph.GetGraphDef(), roots, nil) {
		if err := refuseWriting(node); err != nil {
			return err
		}
	}
	assets := map[string]string{}
	for _, asset := range assetFiles(metaGraph) {
		assets[OperationName(asset.GetTensorInfo().GetName())] = asset.GetFilename()
	}
	for _, node := range metaGraph.GetGraphDef().GetNode() {
		source := ""
		if inputs := node.GetInput(); len(inputs) > 1 {
			source = OperationName(inputs[1])
			if node.GetOp() == "RestoreV2" {
				source = OperationName(inputs[0])
			}
		}
		if node.GetOp() == "RestoreV2" && source != OperationName(saver.GetFilenameTensorName()) {
			return fmt.Errorf("refused graph: node %s restores from a file that is not the model's", node.GetName())
		}
		if strings.HasPrefix(node.GetOp(), "InitializeTableFromTextFile") {
			file, known := assets[source]
			if !known || strings.Contains(file, "/") {
				return fmt.Errorf("refused graph: node %s reads a file that is not an asset of the model", node.GetName())
			}
			if _, err := readRegular(filepath.Join(folder, "assets", file), maxBytes, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// assetFiles returns the AssetFileDefs, which TensorFlow 1.x's builder writes into a collection instead of the field made
// for them.
func assetFiles(metaGraph *corepb.MetaGraphDef) []*corepb.AssetFileDef {
	assets := slices.Clone(metaGraph.GetAssetFileDef())
	for _, packed := range metaGraph.GetCollectionDef()["saved_model_assets"].GetAnyList().GetValue() {
		asset := &corepb.AssetFileDef{}
		if packed.UnmarshalTo(asset) == nil {
			assets = append(assets, asset)
		}
	}
	return assets
}

func refuseWriting(node *nodepb.NodeDef) error {
	if op := node.GetOp(); op == "SaveV2" || op == "MergeV2Checkpoints" {
		return fmt.Errorf("refused graph: node %s would write a file when the model is used", node.GetName())
	}
	return nil
}

// upstream returns the nodes that these operations or tensors depend on, themselves included, up to those that are fed.
func upstream(graphDef *graphpb.GraphDef, names []string, fed []string) []*nodepb.NodeDef {
	nodes := make(map[string]*nodepb.NodeDef, len(graphDef.GetNode()))
	for _, node := range graphDef.GetNode() {
		nodes[node.GetName()] = node
	}
	seen := map[string]bool{}
	for _, name := range fed {
		seen[name] = true
	}
	var found []*nodepb.NodeDef
	for todo := slices.Clone(names); len(todo) > 0; {
		name := OperationName(todo[len(todo)-1])
		todo = todo[:len(todo)-1]
		if node := nodes[name]; node != nil && !seen[name] {
			seen[name] = true
			todo = append(todo, node.GetInput()...)
			found = append(found, node)
		}
	}
	return found
}

// elements returns how many elements a TensorProto holds one by one, and the floating-point ones among them; -1 where a
// constant may not have its type.
func elements(tensor *tensorpb.TensorProto) (int, []float64) {
	var floats []float64
	switch tensor.GetDtype() {
	case typespb.DataType_DT_FLOAT:
		for _, value := range tensor.GetFloatVal() {
			floats = append(floats, float64(value))
		}
		return len(floats), floats
	case typespb.DataType_DT_DOUBLE:
		return len(tensor.GetDoubleVal()), tensor.GetDoubleVal()
	case typespb.DataType_DT_HALF, typespb.DataType_DT_BFLOAT16:
		for _, bits := range tensor.GetHalfVal() {
			floats = append(floats, fromHalf(uint32(bits), tensor.GetDtype()))
		}
		return len(floats), floats
	case typespb.DataType_DT_INT8, typespb.DataType_DT_INT16, typespb.DataType_DT_INT32, typespb.DataType_DT_UINT8,
		typespb.DataType_DT_UINT16:
		return len(tensor.GetIntVal()), nil
	case typespb.DataType_DT_INT64:
		return len(tensor.GetInt64Val()), nil
	case typespb.DataType_DT_UINT32:
		return len(tensor.GetUint32Val()), nil
	case typespb.DataType_DT_UINT64:
		return len(tensor.GetUint64Val()), nil
	case typespb.DataType_DT_BOOL:
		return len(tensor.GetBoolVal()), nil
	case typespb.DataType_DT_STRING:
		return len(tensor.GetStringVal()), nil
	default:
		return -1, nil
	}
}

// content returns the floating-point elements that stand as bytes in a TensorProto.
func content(tensor *tensorpb.TensorProto) []float64 {
	var floats []float64
	bytes := tensor.GetTensorContent()
	order := binary.LittleEndian
	switch tensor.GetDtype() {
	case typespb.DataType_DT_FLOAT:
		for i := 0; i < len(bytes); i += 4 {
			floats = append(floats, float64(math.Float32frombits(order.Uint32(bytes[i:]))))
		}
	case typespb.DataType_DT_DOUBLE:
		for i := 0; i < len(bytes); i += 8 {
			floats = append(floats, math.Float64frombits(order.Uint64(bytes[i:])))
		}
	case typespb.DataType_DT_HALF, typespb.DataType_DT_BFLOAT16:
		for i := 0; i < len(bytes); i += 2 {
			floats = append(floats, fromHalf(uint32(order.Uint16(bytes[i:])), tensor.GetDtype()))
		}
	}
	return floats
}

// fromHalf returns infinity for the bits of a number that is not finite, and 0 for the others.
func fromHalf(bits uint32, dtype typespb.DataType) float64 {
	exponent := uint32(0x7f80)
	if dtype == typespb.DataType_DT_HALF {
		exponent = 0x7c00
	}
	if bits&exponent == exponent {
		return math.Inf(1)
	}
	return 0
}

func checkConstant(node *nodepb.NodeDef) error {
	refuse := func(format string, values ...any) error {
		return fmt.Errorf("refused graph: Const %s %s", node.GetName(), fmt.Sprintf(format, values...))
	}
	tensor, dtype := node.GetAttr()["value"].GetTensor(), node.GetAttr()["dtype"].GetType()
	dims := tensor.GetTensorShape().GetDim()
	if tensor.GetDtype() != dtype { // aborts the process
		return refuse("holds %s, its dtype is %s", TypeName(tensor.GetDtype()), TypeName(dtype))
	}
	held, floats := elements(tensor)
	if held < 0 {
		return refuse("is of type %s", TypeName(dtype))
	}
	declared := big.NewInt(1)
	for _, dim := range dims {
		if dim.GetSize() < 0 {
			return refuse("has no definite shape")
		}
		declared.Mul(declared, big.NewInt(dim.GetSize()))
	}
	if tensor.GetTensorShape().GetUnknownRank() {
		return refuse("has no definite shape")
	}
	if len(dims) > maxRank {
		return refuse("has %d dimensions (at most %d)", len(dims), maxRank)
	}
	bytes := len(tensor.GetTensorContent())
	asked := new(big.Int).Mul(declared, big.NewInt(typeSize(dtype)))
	if bytes > 0 && (dtype == typespb.DataType_DT_STRING || asked.Cmp(big.NewInt(int64(bytes))) != 0) {
		return refuse("holds %d bytes for %s elements", bytes, declared)
	}
	// Where a file holds fewer elements than the shape asks for, TensorFlow repeats the last.
	most := maxSplat
	if dtype == typespb.DataType_DT_STRING {
		most = held
	}
	missing := declared.Cmp(big.NewInt(int64(held)))
	if bytes == 0 && (missing < 0 || missing > 0 && declared.Cmp(big.NewInt(int64(most))) > 0) {
		return refuse("holds %d of %s elements", held, declared)
	}
	if bytes > 0 {
		floats = content(tensor)
	}
	for _, value := range floats {
		if math.IsNaN(value) || math.IsInf(value, 0) {
			return refuse("holds a value that is not finite")
		}
	}
	return nil
}

// The names of TensorFlow's types by their numbers, as Python spells them, from 1.
var typeNames = strings.Fields(`
	float32 float64 int32 uint8 int16 int8 string complex64 int64 bool qint8 quint8 qint32 bfloat16 qint16 quint16 uint16
	complex128 float16 resource variant uint32 uint64 float8_e5m2 float8_e4m3fn float8_e4m3fnuz float8_e4m3b11fnuz
	float8_e5m2fnuz int4 uint4 int2 uint2 float4_e2m1fn
`)

// TypeName returns the name of a type, as Python spells it.
func TypeName(dtype typespb.DataType) string {
	switch n := len(typeNames); {
	case dtype >= 1 && int(dtype) <= n:
		return typeNames[dtype-1]
	case dtype >= 101 && int(dtype) <= 100+n:
		return typeNames[dtype-101] + "_ref"
	default:
		return fmt.Sprintf("the unknown type %d", dtype)
	}
}

// typeSize returns the bytes of an element of a type that a constant may have; 0 for a string.
func typeSize(dtype typespb.DataType) int64 {
	switch name := TypeName(dtype); {
	case strings.HasSuffix(name, "64"):
		return 8
	case strings.HasSuffix(name, "32"):
		return 4
	case strings.HasSuffix(name, "16"):
		return 2
	case dtype == typespb.DataType_DT_STRING:
		return 0
	default:
		return 1
	}
}

// checkEdges: inputs that are there, shapes from constants, no cycle, no chain: TensorFlow walks some paths by recursion.
func checkEdges(nodes []*nodepb.NodeDef) error {
	position := make(map[string]int, len(nodes))
	for i, node := range nodes {
		if _, twice := position[node.GetName()]; twice {
			return fmt.Errorf("refused graph: two nodes are named %s", node.GetName())
		}
		position[node.GetName()] = i
	}
	users := make([][]int, len(nodes))
	for i, node := range nodes {
		for _, name := range node.GetInput() {
			source, known := position[OperationName(name)]
			if !known {
				return fmt.Errorf("refused graph: the input %s of node %s is not in it", name, node.GetName())
			}
			users[source] = append(users[source], i)
		}
		shape, hasShape := shapeInput[node.GetOp()]
		if data := dataInputs(node); hasShape && len(data) > 1 {
			if shape < 0 {
				shape += len(data)
			}
			source := nodes[position[OperationName(data[shape])]]
			if SavedModelOperations[source.GetOp()] && source.GetOp() != "Const" {
				return fmt.Errorf("refused graph: node %s takes a shape or an axis from node %s, no Const",
					node.GetName(), source.GetName())
			}
		}
	}
	waiting, length := make([]int, len(nodes)), make([]int, len(nodes))
	var ready []int
	for i, node := range nodes {
		waiting[i], length[i] = len(node.GetInput()), 1
		if waiting[i] == 0 {
			ready = append(ready, i)
		}
	}
	for ; len(ready) > 0; ready = ready[1:] { // grows as nodes come free: a topological order
		i := ready[0]
		if length[i] > maxChain {
			return fmt.Errorf("refused graph: a chain of more than %d nodes leads to node %s", maxChain, nodes[i].GetName())
		}
		for _, user := range users[i] {
			length[user] = max(length[user], length[i]+1)
			if waiting[user]--; waiting[user] == 0 {
				ready = append(ready, user)
			}
		}
	}
	for i, inputs := range waiting {
		if inputs > 0 {
			return fmt.Errorf("refused graph: node %s depends on a cycle", nodes[i].GetName())
		}
	}
	return nil
}

// OperationName returns the operation's name in that of a tensor (`x:0`), of an operation (`x`) or of a control input
// (`^x`).
func OperationName(tensor string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(tensor, "^"), ":")
	return name
}

// FindPlaceholder is check 4, the input: the placeholder of that operation or tensor name, float64 or float32. The error
// lists those there are.
func FindPlaceholder(graphDef *graphpb.GraphDef, name string) (*nodepb.NodeDef, error) {
	var found *nodepb.NodeDef
	names := []string{}
	for _, node := range graphDef.GetNode() {
		if node.GetOp() == "Placeholder" {
			names = append(names, node.GetName())
			if node.GetName() == strings.TrimSuffix(name, ":0") {
				found = node
			}
		}
	}
	if found == nil {
		return nil, fmt.Errorf("no such input: %s (the model has: %s)", name, OrNone(names))
	}
	if dtype := found.GetAttr()["dtype"].GetType(); dtype != typespb.DataType_DT_DOUBLE && dtype != typespb.DataType_DT_FLOAT {
		return nil, fmt.Errorf("refused graph: the placeholder %s is of type %s, not float64 or float32",
			found.GetName(), TypeName(dtype))
	}
	return found, nil
}

// OrNone lists names, or says that there are none.
func OrNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// CheckOutput is check 4, the output: an operation of that name is there, and all that it depends on is fed, and saves
// nothing. fed holds the names of the placeholders that are fed. The error names the nearest operations, or the
// placeholder that lacks a value.
func CheckOutput(graphDef *graphpb.GraphDef, name string, fed []string) error {
	var names []string
	for _, node := range graphDef.GetNode() {
		names = append(names, node.GetName())
	}
	wanted := OperationName(name)
	if !slices.Contains(names, wanted) {
		// The nearest have the longest beginning and end in common with what was asked for.
		slices.SortStableFunc(names, func(a, b string) int { return common(wanted, b) - common(wanted, a) })
		return fmt.Errorf("no such output: %s (the nearest: %s)", name, strings.Join(names[:min(3, len(names))], ", "))
	}
	for _, node := range upstream(graphDef, []string{name}, fed) {
		if err := refuseWriting(node); err != nil {
			return err
		}
		if node.GetOp() == "Placeholder" {
			return fmt.Errorf("no value for the placeholder: %[1]s (give --feed %[1]s=...)", node.GetName())
		}
	}
	return nil
}

func common(a, b string) int {
	one, other := []rune(a), []rune(b)
	count, most := 0, min(len(one), len(other))
	for i := 0; i < most && one[i] == other[i]; i++ {
		count++
	}
	for i := 1; i <= most && one[len(one)-i] == other[len(other)-i]; i++ {
		count++
	}
	return count
}

// TypeOf returns a placeholder's type.
func TypeOf(placeholder *nodepb.NodeDef) typespb.DataType {
	return placeholder.GetAttr()["dtype"].GetType()
}

// PlaceholderDims returns a placeholder's static shape, -1 where a dimension is open; nil where the rank is.
func PlaceholderDims(placeholder *nodepb.NodeDef) []int64 {
	attr, given := placeholder.GetAttr()["shape"]
	if !given || attr.GetShape().GetUnknownRank() {
		return nil
	}
	dims := []int64{}
	for _, dim := range attr.GetShape().GetDim() {
		dims = append(dims, max(-1, dim.GetSize()))
	}
	return dims
}

// CheckShapes is check 6: with these shapes in the placeholders, no output has more than 16 Mi elements, nor all 64 Mi
// together.
//
// TensorFlow's own shape inference says so, in a graph that nothing runs. With the feed's shape in the placeholder it
// sees also what depends on the feed, which an open dimension would hide.
//
// shapes goes from the names of the placeholders that are fed to the shapes of their feeds; output is the operation or
// tensor that will be fetched, and its shape is returned. The error names an output that is too large, or a fetched one
// that is no number, or says why TensorFlow does not take the graph.
func CheckShapes(graphDef *graphpb.GraphDef, shapes map[string][]int64, output string, trust bool) (tf.Shape, error) {
	probe := proto.Clone(graphDef).(*graphpb.GraphDef)
	for _, node := range probe.GetNode() {
		if shape, fed := shapes[node.GetName()]; fed {
			setShape(node, shape)
		}
	}
	graph, err := ImportGraph(probe)
	if err != nil {
		return tf.Shape{}, err
	}
	if !trust {
		used := Set{}
		for _, node := range upstream(probe, []string{output}, nil) {
			used[node.GetName()] = true
		}
		if err := checkSizes(graph, used); err != nil {
			return tf.Shape{}, err
		}
	}
	tensor, err := FindOutput(graph, output)
	if err != nil {
		return tf.Shape{}, err
	}
	switch name := TypeName(typespb.DataType(tensor.DataType())); {
	case name == "float64", name == "float32", name == "bool", strings.HasPrefix(name, "int"), strings.HasPrefix(name, "uint"):
		return tensor.Shape(), nil
	default:
		return tf.Shape{}, fmt.Errorf("refused graph: the output %s is of type %s, not of numbers or bool", output, name)
	}
}

func setShape(node *nodepb.NodeDef, shape []int64) {
	definite := &shapepb.TensorShapeProto{}
	for _, size := range shape {
		definite.Dim = append(definite.Dim, &shapepb.TensorShapeProto_Dim{Size: size})
	}
	if node.Attr == nil {
		node.Attr = map[string]*attrpb.AttrValue{}
	}
	node.Attr["shape"] = &attrpb.AttrValue{Value: &attrpb.AttrValue_Shape{Shape: definite}}
}

func checkSizes(graph *tf.Graph, used Set) error {
	total := new(big.Int)
	for _, operation := range graph.Operations() {
		refuse := func(format string, values ...any) error {
			return fmt.Errorf("refused graph: the output of node %s %s", operation.Name(), fmt.Sprintf(format, values...))
		}
		for i := range operation.NumOutputs() {
			shape := operation.Output(i).Shape()
			elements := count(shape)
			if elements == nil && used[operation.Name()] {
				return refuse("has no definite shape")
			}
			if elements != nil && elements.Cmp(big.NewInt(maxElements)) > 0 {
				return refuse("has %s elements (at most %d)", elements, maxElements)
			}
			if shape.NumDimensions() > maxRank {
				return refuse("has %d dimensions (at most %d)", shape.NumDimensions(), maxRank)
			}
			if elements != nil && used[operation.Name()] {
				total.Add(total, elements)
			}
		}
	}
	if total.Cmp(big.NewInt(maxTotal)) > 0 {
		return fmt.Errorf("refused graph: its outputs have %s elements together (at most %d)", total, maxTotal)
	}
	return nil
}

// count returns how many elements a shape has; nil where that is open.
func count(shape tf.Shape) *big.Int {
	dims, err := shape.ToSlice()
	if err != nil || slices.Min(append(dims, 0)) < 0 {
		return nil
	}
	elements := big.NewInt(1)
	for _, dim := range dims {
		elements.Mul(elements, big.NewInt(dim))
	}
	return elements
}

// FindOutput returns the tensor of that operation or tensor name. The error says how many outputs the operation has.
func FindOutput(graph *tf.Graph, name string) (tf.Output, error) {
	operation := graph.Operation(OperationName(name))
	if operation == nil {
		return tf.Output{}, fmt.Errorf("no such output: %s", name)
	}
	_, text, _ := strings.Cut(name, ":")
	index, err := strconv.ParseUint("0"+text, 10, 31)
	if err != nil || int(index) >= operation.NumOutputs() {
		return tf.Output{}, fmt.Errorf("no such output: %s (%s has %d)", name, operation.Name(), operation.NumOutputs())
	}
	return operation.Output(int(index)), nil
}

// RowsARun is check 6 for --stdin. It returns how many rows go into one run, 4,096 numbers together at most: one, where
// the first dimension of the placeholder or of the output does not count rows.
func RowsARun(graphDef *graphpb.GraphDef, name string, shapes map[string][]int64, output string, trust bool) (int, error) {
	one, err := CheckShapes(graphDef, shapes, output, trust)
	if err != nil {
		return 0, err
	}
	placeholder, err := FindPlaceholder(graphDef, name)
	if err != nil {
		return 0, err
	}
	row := int64(1)
	for _, size := range shapes[name] {
		row *= size
	}
	dims := PlaceholderDims(placeholder)
	batch := int64(maxBatch) / row
	if batch < 2 || dims != nil && (len(dims) == 0 || dims[0] != -1) {
		return 1, nil
	}
	wider := map[string][]int64{}
	for other, shape := range shapes {
		wider[other] = slices.Clone(shape)
	}
	wider[name][0] = batch
	many, err := CheckShapes(graphDef, wider, output, trust)
	if err != nil {
		return 0, err
	}
	if one.NumDimensions() < 0 || many.NumDimensions() < 0 {
		return int(batch), nil
	}
	if one.Size(0) == 1 && many.Size(0) == batch || one.NumDimensions() > 0 && one.Size(0) < 0 && many.Size(0) < 0 {
		return int(batch), nil
	}
	return 1, nil
}

// ImportGraph imports a GraphDef into a graph of its own. The error says why TensorFlow does not take it.
func ImportGraph(graphDef *graphpb.GraphDef) (*tf.Graph, error) {
	data, err := proto.Marshal(graphDef)
	if err != nil {
		return nil, err
	}
	graph := tf.NewGraph()
	if err := graph.Import(data, ""); err != nil {
		return nil, fmt.Errorf("refused graph: %w", err)
	}
	return graph, nil
}
