package tensors

import (
	"bytes"
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

// A Copier copies arrays into tensors and out of them. It caches graphs that turn a tensor into one of the same bits and another
// type, by the two types.
type Copier map[[2]tf.DataType]cast

type cast struct {
	session      *tf.Session
	bits, result tf.Output
}

// The binding cannot copy these types, but TensorFlow can cast them from and to others of the same size.
var sameSize = map[tf.DataType]tf.DataType{
	tf.Half: tf.Uint16, tf.Bfloat16: tf.Uint16, tf.Uint32: tf.Int32, tf.Uint64: tf.Int64,
}

// Tensors returns tensors that hold what arrays do.
func (c Copier) Tensors(arrays map[tf.Output]rows.Array) (map[tf.Output]*tf.Tensor, error) {
	tensors := make(map[tf.Output]*tf.Tensor, len(arrays))
	for output, array := range arrays {
		var err error
		other, known := sameSize[array.Type]
		contents := bytes.NewReader(array.Contents)
		switch {
		case array.Type == tf.String:
			tensors[output], err = tf.NewTensor(nest(array.Strings, array.Shape))
		case !known:
			tensors[output], err = tf.ReadTensor(array.Type, array.Shape, contents)
		default:
			if tensors[output], err = tf.ReadTensor(other, array.Shape, contents); err == nil {
				tensors[output], err = c.cast(tensors[output], array.Type)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return tensors, nil
}

// Arrays returns what tensors hold.
func (c Copier) Arrays(tensors []*tf.Tensor) ([]rows.Array, error) {
	arrays := make([]rows.Array, len(tensors))
	for i, tensor := range tensors {
		dtype := tensor.DataType()
		arrays[i] = rows.Array{Type: dtype, Shape: tensor.Shape()}
		if dtype == tf.String {
			if !slices.Contains(arrays[i].Shape, 0) { // the binding cannot read an empty tensor
				arrays[i].Strings = flatten(reflect.ValueOf(tensor.Value()), nil)
			}
			continue
		}
		if other, known := sameSize[dtype]; known {
			var err error
			if tensor, err = c.cast(tensor, other); err != nil {
				return nil, err
			}
		}
		var contents bytes.Buffer
		if _, err := tensor.WriteContentsTo(&contents); err != nil {
			return nil, err
		}
		runtime.KeepAlive(tensor) // otherwise it may be freed while it is read
		arrays[i].Contents = contents.Bytes()
	}
	return arrays, nil
}

// cast returns a tensor of the same bits and another type.
func (c Copier) cast(tensor *tf.Tensor, dtype tf.DataType) (*tf.Tensor, error) {
	types := [2]tf.DataType{tensor.DataType(), dtype}
	if _, made := c[types]; !made {
		graph := tf.NewGraph()
		bits, err := graph.AddOperation(tf.OpSpec{Type: "Placeholder", Attrs: map[string]any{"dtype": types[0]}})
		if err != nil {
			return nil, err
		}
		spec := tf.OpSpec{Type: "Bitcast", Input: []tf.Input{bits.Output(0)}, Attrs: map[string]any{"type": dtype}}
		result, err := graph.AddOperation(spec)
		if err != nil {
			return nil, err
		}
		session, err := tf.NewSession(graph, SessionOptions())
		if err != nil {
			return nil, err
		}
		c[types] = cast{session, bits.Output(0), result.Output(0)}
	}
	by := c[types]
	results, err := by.session.Run(map[tf.Output]*tf.Tensor{by.bits: tensor}, []tf.Output{by.result}, nil)
	if err != nil {
		return nil, err
	}
	return results[0], nil
}

// nest returns strings as slices of slices, because the binding takes a tensor's shape from them.
func nest(values []string, shape []int64) any {
	if len(shape) == 0 {
		return values[0]
	}
	nested := reflect.ValueOf(values)
	for i := len(shape) - 1; i > 0; i-- {
		n := int(shape[i])
		outer := reflect.MakeSlice(reflect.SliceOf(nested.Type()), 0, nested.Len()/n)
		for j := 0; j < nested.Len(); j += n {
			outer = reflect.Append(outer, nested.Slice(j, j+n))
		}
		nested = outer
	}
	return nested.Interface()
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
