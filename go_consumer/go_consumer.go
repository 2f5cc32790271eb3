// Loads a trained model and calculates with it: y = slope * x + intercept, or whatever a model of your own does.
//
//	go run go_consumer/go_consumer.go
//
// Reads a frozen graph (default: frozen_graphs/frozen_linear_regression.pb) or a SavedModel folder.
package main

import (
	"fmt"
	"os"
	"strings"

	"go_consumer/checked"
	"go_consumer/commandline"
	"go_consumer/rows"
	"go_consumer/tensors"

	tf "github.com/wamuir/graft/tensorflow"
)

const about = "Loads a trained model and calculates with it: y = slope * x + intercept, or\nwhatever a model of your own does."
const examples = "  go_consumer --x 0.5,10\n  go_consumer --model cnn.pb --x images.npy --save classes.npy\n  seq 10 | go_consumer --stdin"

// arguments is what the command line says.
type arguments struct {
	model, x, save, checked string
	names                   tensors.Names
	feed                    []string
	batch                   int
	stdin, trust, xGiven    bool
}

// findModel finds the model and makes sure that TensorFlow may have it: it is in the list.
func findModel(flags *arguments) (checked.Model, error) {
	return checked.Find(flags.model, flags.checked, flags.trust)
}

// loadGraph loads the graph, and the values of its variables if it has any, into a session.
func loadGraph(model checked.Model, names tensors.Names) (tensors.Loaded, error) {
	if model.GraphDef == nil {
		savedModel, err := tf.LoadSavedModel(model.Path, strings.Split(names.Tag, ","), tensors.SessionOptions())
		if err != nil {
			return tensors.Loaded{}, model.Explain(err, names.Tag)
		}
		return tensors.LoadedKeys(savedModel, names.Signature)
	}
	graph := tf.NewGraph()
	// The devices are those of the machine that trained: they are cleared.
	if err := graph.Import(tensors.ClearDevices(model.GraphDef), ""); err != nil {
		return tensors.Loaded{}, model.Explain(err, names.Tag)
	}
	session, err := tf.NewSession(graph, tensors.SessionOptions())
	return tensors.LoadedGraph(graph, session), err
}

// feed turns the values of the command line into arrays of the placeholders' types and shapes; the array of --stdin is empty.
func feed(loaded tensors.Loaded, flags *arguments) (map[tf.Output]rows.Array, error) {
	arrays := map[tf.Output]rows.Array{}
	add := func(name, values, flag string) error {
		tensor, placeholder, err := loaded.FindInput(name)
		if err != nil {
			return err
		}
		if _, twice := arrays[tensor]; twice {
			return fmt.Errorf("fed twice: %s in %s", name, flag)
		}
		arrays[tensor], err = rows.MakeFeed(placeholder, values, flag)
		return err
	}
	var err error
	if flags.stdin {
		err = add(flags.names.Input, "", "--stdin")
	} else if loaded.HasInputs() || flags.names.Input != "" || flags.xGiven {
		err = add(flags.names.Input, flags.x, "--x")
	}
	for i := 0; i < len(flags.feed) && err == nil; i++ {
		name, values, _ := strings.Cut(flags.feed[i], "=")
		err = add(name, values, "--feed "+name)
	}
	return arrays, err
}

// run feeds the placeholders and fetches the outputs.
func run(loaded tensors.Loaded, outputs []tf.Output, arrays map[tf.Output]rows.Array) ([]rows.Array, error) {
	feeds, err := loaded.Tensors(arrays)
	if err != nil {
		return nil, err
	}
	fetched, err := loaded.Session.Run(feeds, outputs, nil)
	if err != nil {
		return nil, tensors.Explain(err, outputs)
	}
	return loaded.Arrays(fetched)
}

// printResults prints the results of --x, or saves them.
func printResults(loaded tensors.Loaded, arrays map[tf.Output]rows.Array, flags *arguments) error {
	outputs, err := loaded.FindOutputs(flags.names.Outputs)
	if err != nil {
		return err
	}
	results, err := run(loaded, outputs, arrays)
	if err != nil {
		return err
	}
	if flags.save != "" {
		return rows.SaveArray(flags.save, results[0])
	}
	return rows.WriteResults(os.Stdout, results, flags.names.Outputs)
}

// streamResults reads the rows of standard input and prints the results of each on a line.
func streamResults(loaded tensors.Loaded, arrays map[tf.Output]rows.Array, flags *arguments) error {
	source, row, err := loaded.FindInput(flags.names.Input)
	if err != nil {
		return err
	}
	outputs, err := loaded.FindOutputs(flags.names.Outputs)
	if err != nil {
		return err
	}
	batch, err := rows.BatchRows(row, tensors.ShapeOf(outputs[0]), flags.batch, commandline.IsTerminal())
	if err != nil {
		return err
	}
	return rows.Stream(os.Stdin, os.Stdout, func(values rows.Array) ([]rows.Array, error) {
		arrays[source] = values
		return run(loaded, outputs, arrays)
	}, row, batch)
}

func parseArguments() *arguments {
	set, flags := commandline.NewFlags(), &arguments{}
	set.StringVar(&flags.model, "model", "frozen_graphs/frozen_linear_regression.pb", "load the frozen graph or SavedModel `PATH`")
	set.StringVar(&flags.names.Input, "input", "", "feed `NAME`: an operation, tensor or signature key (default: the only input)")
	set.StringArrayVar(&flags.names.Outputs, "output", nil, "fetch `NAME` (default: the only one); repeatable")
	set.StringVar(&flags.names.Tag, "tag", "serve", "load the graph of a SavedModel that has the tag `NAME`")
	set.StringVar(&flags.names.Signature, "signature", "serving_default", "use the signature `NAME` of a SavedModel")
	set.StringVar(&flags.x, "x", "0,1,-1,2", "feed comma-separated `VALUES`, or a file NAME.npy")
	set.StringArrayVar(&flags.feed, "feed", nil, "feed a further input: `NAME=VALUES`; repeatable")
	set.BoolVar(&flags.stdin, "stdin", false, "read rows from standard input and print one result per row")
	set.Func("batch", "run `N` rows of --stdin at once (default: 4096 numbers)", commandline.Count(&flags.batch))
	set.StringVar(&flags.save, "save", "", "write the result with its shape to `FILE.npy`, print nothing")
	set.StringVar(&flags.checked, "checked", "frozen_graphs/SHA256SUMS", "look up the model's digests in `FILE`")
	set.BoolVar(&flags.trust, "trust", false, "load a model that is not in the list: one you made yourself")
	binding := commandline.ModuleVersion("github.com/wamuir/graft")
	commandline.ParseConsumer(set, about, examples, "1.0.0, graft "+binding+", TensorFlow "+tf.Version())
	flags.xGiven = set.Changed("x")
	return flags
}

func consume() error {
	flags := parseArguments()
	model, err := findModel(flags)
	if err != nil {
		return err
	}
	loaded, err := loadGraph(model, flags.names)
	if err != nil {
		return err
	}
	arrays, err := feed(loaded, flags)
	if err != nil {
		return err
	}
	if flags.stdin {
		return streamResults(loaded, arrays, flags)
	}
	return printResults(loaded, arrays, flags)
}

func main() { commandline.Run(consume) }
