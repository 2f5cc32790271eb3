// Loads a trained model and calculates with it: y = slope * x + intercept, or what a model of your own does.
//
//	go run go_consumer/go_consumer.go
//
// Reads a frozen graph (default: frozen_graphs/frozen_linear_regression.pb) or the folder of a SavedModel.
package main

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"

	"go_consumer/commandline"
	"go_consumer/graphcheck"
	"go_consumer/modelfile"
	"go_consumer/rows"

	tf "github.com/wamuir/graft/tensorflow"
	typespb "github.com/wamuir/graft/tensorflow/core/framework/types_go_proto"
	corepb "github.com/wamuir/graft/tensorflow/core/protobuf/for_core_protos_go_proto"
	"google.golang.org/protobuf/proto"
)

const (
	input, output = "inputs/x_sample", "linear_regression/add"
	about         = "Loads a trained model and calculates with it: y = slope * x + intercept, or what a model of your own does."
)

var flags struct {
	model, input, output, tag, signature, x string
	feed                                    commandline.Pairs
	allowOp                                 commandline.Strings
	stdin, trust, list                      bool
}

// checkModel reads the model and checks it, before TensorFlow runs any of it.
func checkModel() (*modelfile.Model, error) {
	kind, err := modelfile.KindOf(flags.model)
	if err != nil {
		return nil, err
	}
	if kind == modelfile.SavedModel {
		tags := strings.Split(flags.tag, ",")
		return modelfile.ReadSavedModel(flags.model, tags, flags.signature, flags.input, flags.output, flags.allowOp, flags.trust)
	}
	source, target := flags.input, flags.output
	if source == "" {
		source = input
	}
	if target == "" {
		target = output
	}
	return modelfile.ReadFrozenGraph(flags.model, source, target, flags.allowOp, flags.trust)
}

// feed turns the numbers of the command line into arrays of the placeholders' types and shapes, by the placeholders'
// names. The input's is a row of zeros where --stdin will bring it.
func feed(model *modelfile.Model) (map[string]rows.Array, error) {
	texts := [][3]string{{model.Input, flags.x, "--x"}}
	for _, pair := range flags.feed {
		name, known := model.Keys[pair.Name]
		if !known {
			name = pair.Name
		}
		texts = append(texts, [3]string{name, pair.Value, "--feed " + pair.Name})
	}
	arrays := map[string]rows.Array{}
	var fed []string
	for _, text := range texts {
		name, list, flag := text[0], text[1], text[2]
		placeholder, err := graphcheck.FindPlaceholder(model.GraphDef, name)
		if err != nil {
			return nil, err
		}
		name = placeholder.GetName()
		if _, twice := arrays[name]; twice {
			return nil, fmt.Errorf("fed twice: %s in %s", name, flag)
		}
		dtype, dims := graphcheck.TypeOf(placeholder), graphcheck.PlaceholderDims(placeholder)
		array := rows.Array{Type: dtype}
		if flags.stdin && flag == "--x" {
			array = rows.Zeros(dtype, rows.RowShape(dims))
		} else {
			var count int
			if array.Contents, count, err = rows.AppendNumbers(nil, list, dtype, " in "+flag); err != nil {
				return nil, err
			}
			if array.Shape, err = rows.FeedShape(dims, count, name); err != nil {
				return nil, err
			}
		}
		arrays[name], fed = array, append(fed, name)
	}
	return arrays, graphcheck.CheckOutput(model.GraphDef, model.Output, fed)
}

// loadGraph loads the graph, and the values of its variables if it has some, into a session.
func loadGraph(model *modelfile.Model) (*tf.Graph, *tf.Session, error) {
	// All operations run in this thread: a small graph is faster so, and the same numbers give the same bits (the
	// threads of TensorFlow's pool flush subnormal numbers to zero).
	config, err := proto.Marshal(&corepb.ConfigProto{InterOpParallelismThreads: -1, IntraOpParallelismThreads: 1, AllowSoftPlacement: true})
	if err != nil {
		return nil, nil, err
	}
	options := &tf.SessionOptions{Config: config}
	if model.Kind == modelfile.SavedModel {
		loaded, err := tf.LoadSavedModel(model.Path, model.MetaGraph.GetMetaInfoDef().GetTags(), options)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot load: %s: %w", model.Path, err)
		}
		return loaded.Graph, loaded.Session, nil
	}
	graph, err := graphcheck.ImportGraph(model.GraphDef)
	if err != nil {
		return nil, nil, err
	}
	session, err := tf.NewSession(graph, options)
	return graph, session, err
}

// run feeds the placeholders and fetches the output.
func run(graph *tf.Graph, session *tf.Session, model *modelfile.Model, arrays map[string]rows.Array) (rows.Array, error) {
	fetch, err := graphcheck.FindOutput(graph, model.Output)
	if err != nil {
		return rows.Array{}, err
	}
	feeds := make(map[tf.Output]*tf.Tensor, len(arrays))
	for name, array := range arrays {
		tensor, err := tf.ReadTensor(tf.DataType(array.Type), array.Shape, bytes.NewReader(array.Contents))
		if err != nil {
			return rows.Array{}, err
		}
		feeds[graph.Operation(name).Output(0)] = tensor
	}
	fetched, err := session.Run(feeds, []tf.Output{fetch}, nil)
	if err != nil {
		return rows.Array{}, fmt.Errorf("cannot calculate: %s:%d: %w", fetch.Op.Name(), fetch.Index, err)
	}
	results, err := read(fetched[0])
	collect(arrays, results)
	return results, err
}

// read copies what a tensor holds.
func read(tensor *tf.Tensor) (rows.Array, error) {
	results := rows.Array{Type: typespb.DataType(tensor.DataType()), Shape: tensor.Shape()}
	var contents bytes.Buffer
	var err error
	switch tensor.DataType() {
	case tf.Uint32, tf.Uint64: // WriteContentsTo does not take them
		elements := int64(1)
		for _, size := range results.Shape {
			elements *= size
		}
		if err = tensor.Reshape([]int64{elements}); err == nil {
			err = binary.Write(&contents, binary.NativeEndian, tensor.Value())
		}
	default:
		_, err = tensor.WriteContentsTo(&contents)
	}
	runtime.KeepAlive(tensor) // else it may be freed while it is read
	results.Contents = contents.Bytes()
	return results, err
}

var uncollected int

// collect has the tensors freed from time to time. Their memory is TensorFlow's: Go's garbage collector, which frees it
// with them, does not see how much it is and may let gigabytes gather.
func collect(arrays map[string]rows.Array, results rows.Array) {
	for _, array := range arrays {
		uncollected += len(array.Contents)
	}
	if uncollected += len(results.Contents); uncollected > 64<<20 {
		runtime.GC()
		uncollected = 0
	}
}

// printResults prints the results of --x.
func printResults(graph *tf.Graph, session *tf.Session, model *modelfile.Model, arrays map[string]rows.Array) error {
	results, err := run(graph, session, model, arrays)
	if err != nil {
		return err
	}
	return rows.WriteResults(os.Stdout, results)
}

// streamResults reads the rows of standard input and prints the results of each on a line.
func streamResults(graph *tf.Graph, session *tf.Session, model *modelfile.Model, arrays map[string]rows.Array, batch int) error {
	name := graphcheck.OperationName(model.Input)
	row := arrays[name]
	runRows := func(contents []byte, n int) (rows.Array, error) {
		shape := row.Shape
		if batch > 1 {
			shape = append([]int64{int64(n)}, row.Shape[1:]...)
		}
		arrays[name] = rows.Array{Type: row.Type, Shape: shape, Contents: contents}
		results, err := run(graph, session, model, arrays)
		if err == nil && batch > 1 && (len(results.Shape) == 0 || results.Shape[0] != int64(n)) {
			err = fmt.Errorf("not a result a row: %s has the shape %s for %d rows", model.Output, rows.ShapeText(results.Shape), n)
		}
		return results, err
	}
	return rows.Stream(os.Stdin, os.Stdout, runRows, row, name, batch)
}

func parseArguments() {
	set := flag.NewFlagSet("", flag.ContinueOnError)
	set.StringVar(&flags.model, "model", "frozen_graphs/frozen_linear_regression.pb", "`PATH` of a frozen graph (.pb) or of a SavedModel's folder")
	set.StringVar(&flags.input, "input", "", "`NAME` of an operation or tensor, of a SavedModel its signature's key; the default is "+input)
	set.StringVar(&flags.output, "output", "", "`NAME` likewise; the default is "+output)
	set.StringVar(&flags.tag, "tag", "serve", "`NAME`, of a SavedModel")
	set.StringVar(&flags.signature, "signature", "serving_default", "`NAME`, of a SavedModel")
	set.StringVar(&flags.x, "x", "0,1,-1,2", "`LIST` of comma-separated numbers")
	set.BoolVar(&flags.stdin, "stdin", false, "rows of numbers from standard input, a result line each")
	set.Var(&flags.feed, "feed", "`NAME=LIST` for a further placeholder; repeatable")
	set.Var(&flags.allowOp, "allow-op", "`OP` is one more operation type to accept; repeatable")
	set.BoolVar(&flags.trust, "trust", false, "accept any graph, of a model you made yourself")
	set.BoolVar(&flags.list, "list", false, "print what the model has, and stop")
	commandline.Parse(set, about, [2]string{"x", "stdin"})
}

func consume() error {
	parseArguments()

	// The checks come first: importing some graphs is enough to end the process.
	model, err := checkModel()
	if err != nil {
		return err
	}
	if flags.list {
		lines, err := modelfile.Describe(model)
		if err == nil {
			_, err = fmt.Println(strings.Join(lines, "\n"))
		}
		return err
	}
	arrays, err := feed(model)
	if err != nil {
		return err
	}
	shapes := map[string][]int64{}
	for name, array := range arrays {
		shapes[name] = array.Shape
	}
	batch := 0
	if flags.stdin {
		batch, err = graphcheck.RowsARun(model.GraphDef, graphcheck.OperationName(model.Input), shapes, model.Output, flags.trust)
	} else {
		_, err = graphcheck.CheckShapes(model.GraphDef, shapes, model.Output, flags.trust)
	}
	if err != nil {
		return err
	}

	graph, session, err := loadGraph(model)
	if err != nil {
		return err
	}
	if flags.stdin {
		return streamResults(graph, session, model, arrays, batch)
	}
	return printResults(graph, session, model, arrays)
}

func main() {
	commandline.Run(consume)
}
