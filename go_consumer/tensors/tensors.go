// Package tensors finds the tensors of a loaded graph by the names that a user gives (of operations, of tensors, or a
// signature's keys), and copies values into tensors and out of them.
package tensors

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"go_consumer/commandline"
	"go_consumer/rows"

	tf "github.com/wamuir/graft/tensorflow"
	graphpb "github.com/wamuir/graft/tensorflow/core/framework/graph_go_proto"
	typespb "github.com/wamuir/graft/tensorflow/core/framework/types_go_proto"
	"google.golang.org/protobuf/proto"
)

const shown = 20 // names in an error

// Names is what the command line says of a model's inputs and outputs.
type Names struct {
	Input          string
	Outputs        []string
	Tag, Signature string
}

// Loaded is a graph in a session, and what it offers to feed and to fetch.
type Loaded struct {
	Session         *tf.Session
	graph           *tf.Graph
	inputs, outputs []string // names
	isSignature     bool     // they are keys, and nothing else can be asked for
	keys            tf.Signature
	fed             map[string]tf.Output // by the tensor's name
}

// SessionOptions returns those of every session here.
//
// All operations run in the caller's thread: a small graph is faster so, and the same numbers give the same bits, for the
// threads of TensorFlow's pool flush subnormal numbers to zero. A GPU that a graph names need not be here.
func SessionOptions() *tf.SessionOptions {
	// A ConfigProto: intra_op_parallelism_threads = 1, inter_op_parallelism_threads = -1, allow_soft_placement = true.
	return &tf.SessionOptions{Config: []byte("\x10\x01\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x38\x01")}
}

// ClearDevices returns a GraphDef in which no operation is bound to a device of the machine that made it.
func ClearDevices(data []byte) []byte {
	var graph graphpb.GraphDef
	if !bytes.Contains(data, []byte("/job:")) || proto.Unmarshal(data, &graph) != nil {
		return data
	}
	for _, node := range graph.GetNode() {
		node.Device = ""
	}
	if cleared, err := proto.Marshal(&graph); err == nil {
		return cleared
	}
	return data
}

// LoadedGraph offers a graph's placeholders, and the outputs of the operations whose outputs nothing uses.
func LoadedGraph(graph *tf.Graph, session *tf.Session) Loaded {
	l := Loaded{Session: session, graph: graph, fed: map[string]tf.Output{}}
	for _, operation := range graph.Operations() {
		kind, used := operation.Type(), false
		var names []string
		for i := range operation.NumOutputs() {
			used = used || len(operation.Output(i).Consumers()) > 0
			if i == 0 || !strings.HasPrefix(kind, "FusedBatchNorm") { // whose further outputs are for training
				names = append(names, nameOf(operation.Output(i)))
			}
		}
		if kind == "Placeholder" {
			l.inputs = append(l.inputs, names...)
		} else if kind != "Const" && !used {
			l.outputs = append(l.outputs, names...)
		}
	}
	return l
}

// LoadedKeys offers a signature's keys. The error lists the signatures that the model has.
func LoadedKeys(model *tf.SavedModel, signature string) (Loaded, error) {
	keys, known := model.Signatures[signature]
	if !known {
		isLoaders := func(name string) bool { return strings.HasPrefix(name, "__") }
		names := slices.DeleteFunc(sorted(model.Signatures), isLoaders)
		return Loaded{}, fmt.Errorf("no such signature: %s (the model has: %s)", signature, list(names, len(names)))
	}
	inputs, outputs := sorted(keys.Inputs), sorted(keys.Outputs)
	return Loaded{model.Session, model.Graph, inputs, outputs, true, keys, map[string]tf.Output{}}, nil
}

func sorted[V any](values map[string]V) (keys []string) {
	for key := range values {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// HasInputs tells whether there is anything that must be fed.
func (l Loaded) HasInputs() bool { return len(l.inputs) > 0 }

// FindInput returns the tensor of a name, and what can be fed to it; without a name, the only input, otherwise the contract's.
// The same tensor is always the same value. The error lists the inputs that the model has, or says that the type cannot be fed.
func (l Loaded) FindInput(name string) (tf.Output, rows.Placeholder, error) {
	tensor, name := l.find(name, l.inputs, l.keys.Inputs, "inputs/x_sample")
	if tensor.Op == nil {
		return tensor, rows.Placeholder{}, fmt.Errorf("no such input: %s (the model has: %s)", name, list(l.inputs, shown))
	}
	name = nameOf(tensor)
	if same, again := l.fed[name]; again {
		tensor = same
	}
	l.fed[name] = tensor
	dtype, err := typeOf(tensor)
	return tensor, rows.Placeholder{Name: name, Type: dtype, Shape: ShapeOf(tensor)}, err
}

// FindOutputs returns the tensors of names; without names, the only output, otherwise the contract's. The error lists the
// outputs that the model has, or says that the type cannot be printed.
func (l Loaded) FindOutputs(names []string) (outputs []tf.Output, err error) {
	if len(names) == 0 {
		names = []string{""}
	}
	for _, name := range names {
		tensor, name := l.find(name, l.outputs, l.keys.Outputs, "linear_regression/add")
		if tensor.Op == nil {
			return nil, l.noOutput(name)
		}
		if _, err := typeOf(tensor); err != nil {
			return nil, err
		}
		if _, fed := l.fed[nameOf(tensor)]; fed { // TensorFlow refuses to fetch what it is fed
			name = fmt.Sprintf("go_consumer/fed/%s/%d", tensor.Op.Name(), len(outputs))
			if tensor, err = l.add("Identity", name, nil, tensor); err != nil {
				return nil, err
			}
		}
		outputs = append(outputs, tensor)
	}
	return outputs, nil
}

// find returns the tensor of a name, which has no operation if there is none, and the name: without one, that of the only tensor
// that is offered, otherwise the contract's.
func (l Loaded) find(name string, offered []string, keys map[string]tf.TensorInfo, contract string) (tf.Output, string) {
	if name == "" && len(offered) == 1 {
		name = offered[0]
	}
	name = cmp.Or(name, contract)
	tensor := name
	if l.isSignature {
		tensor = keys[name].Name
	}
	operation, text, found := strings.Cut(tensor, ":")
	index, err := strconv.Atoi(text)
	if op := l.graph.Operation(operation); op != nil && (err == nil || !found) && index >= 0 && index < op.NumOutputs() {
		return op.Output(index), name
	}
	return tf.Output{}, name
}

func (l Loaded) noOutput(name string) error {
	if l.isSignature {
		return fmt.Errorf("no such output: %s (the model has: %s)", name, list(l.outputs, shown))
	}
	var names []string
	for _, operation := range l.graph.Operations() {
		if operation.NumOutputs() > 0 {
			names = append(names, operation.Name())
		}
	}
	operation, _, _ := strings.Cut(name, ":")
	near := list(commandline.Nearest(operation, names), shown)
	return fmt.Errorf("no such output: %s (the model ends in: %s; nearest: %s)", name, list(l.outputs, shown), near)
}

func list(names []string, most int) string {
	if len(names) > most {
		names = append(slices.Clone(names[:most]), "...")
	}
	return cmp.Or(strings.Join(names, ", "), "none")
}

func nameOf(tensor tf.Output) string {
	return strings.TrimSuffix(fmt.Sprintf("%s:%d", tensor.Op.Name(), tensor.Index), ":0")
}

// ShapeOf returns a tensor's static shape: -1 for an open dimension, nil for an unknown rank.
func ShapeOf(tensor tf.Output) []int64 {
	shape, _ := tensor.Shape().ToSlice()
	return shape
}

func typeOf(tensor tf.Output) (tf.DataType, error) {
	dtype := tensor.DataType() % 100 // a reference to a type, as of a TensorFlow 1 variable, is that type plus 100
	if rows.Knows(dtype) {
		return dtype, nil
	}
	name := strings.ToLower(strings.TrimPrefix(typespb.DataType(dtype).String(), "DT_"))
	return dtype, fmt.Errorf("not a type that can be fed or printed: %s (these can: %s)", name, rows.AllTypes)
}

// Explain rewords an error of TensorFlow's that occurred while it calculated outputs, and names them.
func Explain(err error, outputs []tf.Output) error {
	if _, rest, found := strings.Cut(err.Error(), "You must feed a value for placeholder tensor '"); found {
		name, _, _ := strings.Cut(rest, "'")
		return fmt.Errorf("no value for the placeholder: %s (give --feed %s=...)", name, name)
	}
	var names []string
	for _, tensor := range outputs {
		names = append(names, fmt.Sprintf("%s:%d", tensor.Op.Name(), tensor.Index))
	}
	return fmt.Errorf("cannot calculate: %s: %w", strings.Join(names, ", "), err)
}

// The binding cannot copy these types, but TensorFlow can cast them from and to others of the same size.
var sameSize = map[tf.DataType]tf.DataType{
	tf.Half: tf.Uint16, tf.Bfloat16: tf.Uint16, tf.Uint32: tf.Int32, tf.Uint64: tf.Int64,
}

// Tensors returns tensors that hold what arrays do.
func (l Loaded) Tensors(arrays map[tf.Output]rows.Array) (map[tf.Output]*tf.Tensor, error) {
	tensors := make(map[tf.Output]*tf.Tensor, len(arrays))
	for output, array := range arrays {
		var tensor *tf.Tensor
		var err error
		copied := cmp.Or(sameSize[array.Type], array.Type)
		if array.Type == tf.String {
			tensor, err = tf.NewTensor(nest(array.Strings, array.Shape).Interface())
		} else {
			tensor, err = tf.ReadTensor(copied, array.Shape, bytes.NewReader(array.Contents))
		}
		if err == nil && copied != array.Type {
			tensor, err = l.cast(tensor, copied, array.Type)
		}
		if err != nil {
			return nil, err
		}
		tensors[output] = tensor
	}
	return tensors, nil
}

// Arrays returns what tensors hold.
func (l Loaded) Arrays(tensors []*tf.Tensor) (arrays []rows.Array, err error) {
	for _, tensor := range tensors {
		array := rows.Array{Type: tensor.DataType(), Shape: tensor.Shape()}
		if copied, known := sameSize[array.Type]; known {
			if tensor, err = l.cast(tensor, array.Type, copied); err != nil {
				return nil, err
			}
		}
		if array.Type != tf.String {
			var contents bytes.Buffer
			if _, err = tensor.WriteContentsTo(&contents); err != nil {
				return nil, err
			}
			array.Contents = contents.Bytes()
		} else if !slices.Contains(array.Shape, 0) { // the binding cannot read an empty tensor
			array.Strings = flatten(reflect.ValueOf(tensor.Value()), nil)
		}
		runtime.KeepAlive(tensor) // otherwise it may be freed while it is read
		arrays = append(arrays, array)
	}
	return arrays, nil
}

// cast returns a tensor of the same bits and another type. The graph gets an operation for each pair of types.
func (l Loaded) cast(tensor *tf.Tensor, from, to tf.DataType) (*tf.Tensor, error) {
	name := fmt.Sprintf("go_consumer/cast/%d/%d", from, to)
	if l.graph.Operation(name) == nil {
		bits, err := l.add("Placeholder", name+"/bits", map[string]any{"dtype": from})
		if err == nil {
			_, err = l.add("Bitcast", name, map[string]any{"type": to}, bits)
		}
		if err != nil {
			return nil, err
		}
	}
	feeds := map[tf.Output]*tf.Tensor{l.graph.Operation(name + "/bits").Output(0): tensor}
	results, err := l.Session.Run(feeds, []tf.Output{l.graph.Operation(name).Output(0)}, nil)
	if err != nil {
		return nil, err
	}
	return results[0], nil
}

// add adds an operation of one output to the graph; the session takes it up.
func (l Loaded) add(kind, name string, attributes map[string]any, inputs ...tf.Input) (tf.Output, error) {
	operation, err := l.graph.AddOperation(tf.OpSpec{Type: kind, Name: name, Attrs: attributes, Input: inputs})
	if err != nil {
		return tf.Output{}, err
	}
	return operation.Output(0), nil
}

// nest returns strings as slices of slices, because the binding takes a tensor's shape from them.
func nest(values []string, shape []int64) reflect.Value {
	switch len(shape) {
	case 0:
		return reflect.ValueOf(values[0])
	case 1:
		return reflect.ValueOf(values)
	}
	nested := reflect.MakeSlice(tf.TypeOf(tf.String, shape), 0, int(shape[0]))
	for width := len(values) / int(shape[0]); len(values) > 0; values = values[width:] {
		nested = reflect.Append(nested, nest(values[:width], shape[1:]))
	}
	return nested
}

func flatten(nested reflect.Value, values []string) []string {
	if nested.Kind() == reflect.String {
		return append(values, nested.String())
	}
	for i := range nested.Len() {
		values = flatten(nested.Index(i), values)
	}
	return values
}
