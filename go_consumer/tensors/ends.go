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

// Ends is what a loaded graph offers.
type Ends struct {
	graph           *tf.Graph
	inputs, outputs []end
	only            bool                 // they are the keys of a signature, and nothing else can be asked for
	fed             map[string]tf.Output // by the tensor's name
}

// An end is an input or output: its name, and its tensor's name.
type end struct{ name, tensor string }

// EndsOf returns a graph's placeholders, and the outputs of the operations whose outputs nothing uses.
func EndsOf(graph *tf.Graph) Ends {
	ends := Ends{graph: graph, fed: map[string]tf.Output{}}
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
			ends.inputs = append(ends.inputs, outputs...)
		} else if kind != "Const" && !used {
			ends.outputs = append(ends.outputs, outputs...)
		}
	}
	return ends
}

// KeysOf returns a signature's keys. The error lists the signatures that the model has.
func KeysOf(model *tf.SavedModel, signature string) (Ends, error) {
	found, known := model.Signatures[signature]
	if !known {
		names := sorted(model.Signatures, func(tf.Signature) string { return "" })
		return Ends{}, fmt.Errorf("no such signature: %s (the model has: %s)", signature, list(names, len(names)))
	}
	name := func(tensor tf.TensorInfo) string { return tensor.Name }
	return Ends{model.Graph, sorted(found.Inputs, name), sorted(found.Outputs, name), true, map[string]tf.Output{}}, nil
}

func sorted[V any](keys map[string]V, tensor func(V) string) (ends []end) {
	for key, value := range keys {
		ends = append(ends, end{key, tensor(value)})
	}
	slices.SortFunc(ends, func(a, b end) int { return strings.Compare(a.name, b.name) })
	return ends
}

// HasInputs tells whether there is anything that must be fed.
func (e Ends) HasInputs() bool { return len(e.inputs) > 0 }

// FindInput returns the tensor of a name, and what can be fed to it; without a name, the only input, otherwise the contract's.
// The same tensor is always the same value. The error lists the inputs that the model has, or says that the type cannot be fed.
func (e Ends) FindInput(name string) (tf.Output, rows.Placeholder, error) {
	tensor, name := e.find(e.inputs, cmp.Or(name, only(e.inputs), "inputs/x_sample"))
	if tensor.Op == nil {
		return tensor, rows.Placeholder{}, fmt.Errorf("no such input: %s (the model has: %s)", name, list(e.inputs, shown))
	}
	name = nameOf(tensor)
	if _, again := e.fed[name]; !again {
		e.fed[name] = tensor
	}
	dtype, err := typeOf(tensor)
	return e.fed[name], rows.Placeholder{Name: strings.TrimSuffix(name, ":0"), Type: dtype, Shape: ShapeOf(tensor)}, err
}

// FindOutputs returns the tensors of names; without names, the only output, otherwise the contract's. The error lists the
// outputs that the model has, or says that the type cannot be printed.
func (e Ends) FindOutputs(names []string) (outputs []tf.Output, err error) {
	if len(names) == 0 {
		names = []string{""}
	}
	for _, name := range names {
		tensor, name := e.find(e.outputs, cmp.Or(name, only(e.outputs), "linear_regression/add"))
		if tensor.Op == nil {
			return nil, e.noOutput(name)
		}
		if _, err := typeOf(tensor); err != nil {
			return nil, err
		}
		if _, fed := e.fed[nameOf(tensor)]; fed { // TensorFlow refuses to fetch what it is fed
			name = fmt.Sprintf("fed/%s/%d", tensor.Op.Name(), len(outputs))
			same, err := e.graph.AddOperation(tf.OpSpec{Type: "Identity", Name: name, Input: []tf.Input{tensor}})
			if err != nil {
				return nil, err
			}
			tensor = same.Output(0)
		}
		outputs = append(outputs, tensor)
	}
	return outputs, nil
}

func (e Ends) noOutput(name string) error {
	if e.only {
		return fmt.Errorf("no such output: %s (the model has: %s)", name, list(e.outputs, shown))
	}
	var names []string
	for _, operation := range e.graph.Operations() {
		if operation.NumOutputs() > 0 {
			names = append(names, operation.Name())
		}
	}
	operation, _, _ := strings.Cut(name, ":")
	near := cmp.Or(strings.Join(commandline.Nearest(operation, names), ", "), "none")
	return fmt.Errorf("no such output: %s (the model ends in: %s; nearest: %s)", name, list(e.outputs, shown), near)
}

// find returns the tensor of a name, which has no operation if there is none, and the name.
func (e Ends) find(offered []end, name string) (tf.Output, string) {
	tensor := name
	if i := slices.IndexFunc(offered, func(o end) bool { return o.name == name }); i >= 0 {
		tensor = offered[i].tensor
	} else if e.only {
		return tf.Output{}, name
	}
	operation, text, found := strings.Cut(tensor, ":")
	index, err := strconv.Atoi(text)
	if op := e.graph.Operation(operation); op != nil && (err == nil || !found) && index >= 0 && index < op.NumOutputs() {
		return op.Output(index), name
	}
	return tf.Output{}, name
}

func only(ends []end) string {
	if len(ends) == 1 {
		return ends[0].name
	}
	return ""
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
