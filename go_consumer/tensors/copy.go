package tensors

import (
	"bytes"
	"fmt"
	"reflect"
	"runtime"
	"slices"

	"go_consumer/rows"

	tf "github.com/wamuir/graft/tensorflow"
	graphpb "github.com/wamuir/graft/tensorflow/core/framework/graph_go_proto"
	"google.golang.org/protobuf/proto"
)

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

// The binding cannot copy these types, but TensorFlow can cast them from and to others of the same size.
var sameSize = map[tf.DataType]tf.DataType{
	tf.Half: tf.Uint16, tf.Bfloat16: tf.Uint16, tf.Uint32: tf.Int32, tf.Uint64: tf.Int64,
}

// ToTensor returns a tensor that holds what an array does.
func (l Loaded) ToTensor(array rows.Array) (*tf.Tensor, error) {
	if array.Type == tf.String {
		return tf.NewTensor(nest(array.Strings, array.Shape).Interface())
	}
	contents := bytes.NewReader(array.Contents)
	if other, known := sameSize[array.Type]; known {
		tensor, err := tf.ReadTensor(other, array.Shape, contents)
		if err != nil {
			return nil, err
		}
		return l.cast(tensor, array.Type)
	}
	return tf.ReadTensor(array.Type, array.Shape, contents)
}

// ToArray returns what a tensor holds.
func (l Loaded) ToArray(tensor *tf.Tensor) (array rows.Array, err error) {
	array = rows.Array{Type: tensor.DataType(), Shape: tensor.Shape()}
	if array.Type == tf.String {
		if !slices.Contains(array.Shape, 0) { // the binding cannot read an empty tensor
			array.Strings = flatten(reflect.ValueOf(tensor.Value()), nil)
		}
		return array, nil
	}
	if other, known := sameSize[array.Type]; known {
		if tensor, err = l.cast(tensor, other); err != nil {
			return array, err
		}
	}
	var contents bytes.Buffer
	_, err = tensor.WriteContentsTo(&contents)
	runtime.KeepAlive(tensor) // otherwise it may be freed while it is read
	array.Contents = contents.Bytes()
	return array, err
}

// cast returns a tensor of the same bits and another type.
func (l Loaded) cast(tensor *tf.Tensor, dtype tf.DataType) (*tf.Tensor, error) {
	name := fmt.Sprintf("go_consumer/cast/%d/%d", tensor.DataType(), dtype)
	if l.graph.Operation(name) == nil {
		spec := tf.OpSpec{Type: "Placeholder", Name: name + "/bits", Attrs: map[string]any{"dtype": tensor.DataType()}}
		bits, err := l.add(spec)
		if err != nil {
			return nil, err
		}
		spec = tf.OpSpec{Type: "Bitcast", Name: name, Input: []tf.Input{bits}, Attrs: map[string]any{"type": dtype}}
		if _, err = l.add(spec); err != nil {
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
