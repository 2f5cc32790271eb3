// Package tensors finds the tensors of a loaded graph by the names that a user gives (of operations, of tensors, or a
// signature's keys), and copies values into tensors and out of them.
package tensors

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go_consumer/commandline"
	"go_consumer/rows"

	tf "github.com/wamuir/graft/tensorflow"
	typespb "github.com/wamuir/graft/tensorflow/core/framework/types_go_proto"
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
	inputs, outputs []end
	only            bool                 // they are the keys of a signature, and nothing else can be asked for
	fed             map[string]tf.Output // by the tensor's name
}

// An end is an input or output: its name, and its tensor's name.
type end struct{ name, tensor string }

// LoadedGraph offers a graph's placeholders, and the outputs of the operations whose outputs nothing uses.
func LoadedGraph(graph *tf.Graph, session *tf.Session) Loaded {
	l := Loaded{Session: session, graph: graph, fed: map[string]tf.Output{}}
	for _, operation := range graph.Operations() {
		kind, used := operation.Type(), false
		var outputs []end
		for i := range operation.NumOutputs() {
			used = used || len(operation.Output(i).Consumers()) > 0
			if i == 0 || !strings.HasPrefix(kind, "FusedBatchNorm") { // whose further outputs are for training
				name := nameOf(operation.Output(i))
				outputs = append(outputs, end{strings.TrimSuffix(name, ":0"), name})
			}
		}
		if kind == "Placeholder" {
			l.inputs = append(l.inputs, outputs...)
		} else if kind != "Const" && !used {
			l.outputs = append(l.outputs, outputs...)
		}
	}
	return l
}

// LoadedKeys offers a signature's keys. The error lists the signatures that the model has.
func LoadedKeys(model *tf.SavedModel, signature string) (Loaded, error) {
	found, known := model.Signatures[signature]
	if !known {
		names := sorted(model.Signatures, func(tf.Signature) string { return "" })
		return Loaded{}, fmt.Errorf("no such signature: %s (the model has: %s)", signature, list(names, len(names)))
	}
	name := func(tensor tf.TensorInfo) string { return tensor.Name }
	inputs, outputs := sorted(found.Inputs, name), sorted(found.Outputs, name)
	return Loaded{model.Session, model.Graph, inputs, outputs, true, map[string]tf.Output{}}, nil
}

func sorted[V any](keys map[string]V, tensor func(V) string) (ends []end) {
	for key, value := range keys {
		ends = append(ends, end{key, tensor(value)})
	}
	slices.SortFunc(ends, func(a, b end) int { return strings.Compare(a.name, b.name) })
	return ends
}

// HasInputs tells whether there is anything that must be fed.
func (l Loaded) HasInputs() bool { return len(l.inputs) > 0 }

// FindInput returns the tensor of a name, and what can be fed to it; without a name, the only input, otherwise the contract's.
// The same tensor is always the same value. The error lists the inputs that the model has, or says that the type cannot be fed.
func (l Loaded) FindInput(name string) (tf.Output, rows.Placeholder, error) {
	tensor, name := l.find(name, l.inputs, "inputs/x_sample")
	if tensor.Op == nil {
		return tensor, rows.Placeholder{}, fmt.Errorf("no such input: %s (the model has: %s)", name, list(l.inputs, shown))
	}
	name = nameOf(tensor)
	if same, again := l.fed[name]; again {
		tensor = same
	}
	l.fed[name] = tensor
	dtype, err := typeOf(tensor)
	return tensor, rows.Placeholder{Name: strings.TrimSuffix(name, ":0"), Type: dtype, Shape: ShapeOf(tensor)}, err
}

// FindOutputs returns the tensors of names; without names, the only output, otherwise the contract's. The error lists the
// outputs that the model has, or says that the type cannot be printed.
func (l Loaded) FindOutputs(names []string) (outputs []tf.Output, err error) {
	if len(names) == 0 {
		names = []string{""}
	}
	for _, name := range names {
		tensor, name := l.find(name, l.outputs, "linear_regression/add")
		if tensor.Op == nil {
			return nil, l.noOutput(name)
		}
		if _, err := typeOf(tensor); err != nil {
			return nil, err
		}
		if _, fed := l.fed[nameOf(tensor)]; fed { // TensorFlow refuses to fetch what it is fed
			name = fmt.Sprintf("go_consumer/fed/%s/%d", tensor.Op.Name(), len(outputs))
			if tensor, err = l.add(tf.OpSpec{Type: "Identity", Name: name, Input: []tf.Input{tensor}}); err != nil {
				return nil, err
			}
		}
		outputs = append(outputs, tensor)
	}
	return outputs, nil
}

// find returns the tensor of a name, which has no operation if there is none, and the name. Without a name, it is that of the only
// tensor that is offered, otherwise the contract's.
func (l Loaded) find(name string, offered []end, contract string) (tf.Output, string) {
	if name == "" && len(offered) == 1 {
		name = offered[0].name
	}
	name = cmp.Or(name, contract)
	tensor := name
	if i := slices.IndexFunc(offered, func(o end) bool { return o.name == name }); i >= 0 {
		tensor = offered[i].tensor
	} else if l.only {
		return tf.Output{}, name
	}
	operation, text, found := strings.Cut(tensor, ":")
	index, err := strconv.Atoi(text)
	if op := l.graph.Operation(operation); op != nil && (err == nil || !found) && index >= 0 && index < op.NumOutputs() {
		return op.Output(index), name
	}
	return tf.Output{}, name
}

func (l Loaded) noOutput(name string) error {
	if l.only {
		return fmt.Errorf("no such output: %s (the model has: %s)", name, list(l.outputs, shown))
	}
	var names []string
	for _, operation := range l.graph.Operations() {
		if operation.NumOutputs() > 0 {
			names = append(names, operation.Name())
		}
	}
	operation, _, _ := strings.Cut(name, ":")
	near := cmp.Or(strings.Join(commandline.Nearest(operation, names), ", "), "none")
	return fmt.Errorf("no such output: %s (the model ends in: %s; nearest: %s)", name, list(l.outputs, shown), near)
}

// add adds an operation of one output to the graph; the session notices.
func (l Loaded) add(spec tf.OpSpec) (tf.Output, error) {
	operation, err := l.graph.AddOperation(spec)
	if err != nil {
		return tf.Output{}, err
	}
	return operation.Output(0), nil
}

func list(ends []end, most int) string {
	var names []string
	for _, end := range ends {
		names = append(names, end.name)
	}
	if len(names) > most {
		names = append(names[:most], "...")
	}
	return cmp.Or(strings.Join(names, ", "), "none")
}

func nameOf(tensor tf.Output) string {
	return fmt.Sprintf("%s:%d", tensor.Op.Name(), tensor.Index)
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
	names := make([]string, len(outputs))
	for i, tensor := range outputs {
		names[i] = nameOf(tensor)
	}
	return fmt.Errorf("cannot calculate: %s: %w", strings.Join(names, ", "), err)
}
