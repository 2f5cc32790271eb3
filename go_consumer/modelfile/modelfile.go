// Package modelfile reads a model's files: a frozen graph or a SavedModel. What is read has passed checks 1 to 3 of
// graphcheck, so that TensorFlow may have it.
package modelfile

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"

	"go_consumer/graphcheck"
	"go_consumer/rows"

	tf "github.com/wamuir/graft/tensorflow"
	graphpb "github.com/wamuir/graft/tensorflow/core/framework/graph_go_proto"
	typespb "github.com/wamuir/graft/tensorflow/core/framework/types_go_proto"
	corepb "github.com/wamuir/graft/tensorflow/core/protobuf/for_core_protos_go_proto"
)

// A Kind of model.
type Kind string

// The kinds of model that this program reads.
const (
	FrozenGraph Kind = "frozen graph"
	SavedModel  Kind = "SavedModel"
)

// The names under which a folder can hold a SavedModel, in the order in which the loader looks for them.
var savedModelFiles = []string{"saved_model.cpb", "saved_model.pb", "saved_model.pbtxt"}

var fileOfCheckpoint = regexp.MustCompile(`^(.+)\.(?:meta|index|data-\d{5}-of-\d{5})$`)

// A Model is one whose files were read and checked.
type Model struct {
	Kind      Kind
	Path      string // the frozen graph or the SavedModel's folder
	GraphDef  *graphpb.GraphDef
	MetaGraph *corepb.MetaGraphDef // of a SavedModel
	Input     string               // the tensor or operation to feed
	Output    string               // the tensor or operation to fetch
	Keys      map[string]string    // of a SavedModel, the signature's input keys and their tensor names
}

// KindOf tells of which kind the model at a path is. The error says that there is nothing, or a checkpoint.
func KindOf(path string) (Kind, error) {
	if savedModelFile(path) != "" {
		return SavedModel, nil
	}
	status, err := os.Stat(path)
	if holdsCheckpoint(path) || fileOfCheckpoint.MatchString(path) && err == nil {
		return "", fmt.Errorf("not a frozen graph or SavedModel: %s (it holds Saver checkpoints; freeze one with "+
			"./freeze_graph_linear_regression.sh)", path)
	}
	if err != nil {
		return "", fmt.Errorf("no model: %s (run ./freeze_graph_linear_regression.sh first, or give --model)", path)
	}
	if status.IsDir() {
		return "", fmt.Errorf("not a usable model file: %s is not a regular file", path)
	}
	return FrozenGraph, nil
}

func savedModelFile(folder string) string {
	for _, name := range savedModelFiles {
		if path := filepath.Join(folder, name); exists(path) {
			return path
		}
	}
	return ""
}

func holdsCheckpoint(path string) bool {
	indexes, _ := filepath.Glob(filepath.Join(path, "*.index"))
	return exists(path+".index") || exists(path+".meta") || exists(filepath.Join(path, "checkpoint")) || len(indexes) > 0
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// ReadFrozenGraph reads a frozen graph, whose input and output have these names.
func ReadFrozenGraph(path, input, output string, allow []string, trust bool) (*Model, error) {
	if slices.Contains(savedModelFiles, filepath.Base(path)) {
		return nil, fmt.Errorf("not a GraphDef: %s: it is a SavedModel (give its folder)", path)
	}
	data, err := graphcheck.ReadFile(path, trust)
	if err != nil {
		return nil, err
	}
	graphDef := &graphpb.GraphDef{}
	if err := graphcheck.Parse(graphDef, data, path); err != nil {
		return nil, err
	}
	if !trust {
		if err := graphcheck.CheckGraph(graphDef, graphcheck.Operations.With(allow)); err != nil {
			return nil, err
		}
	}
	return &Model{Kind: FrozenGraph, Path: path, GraphDef: graphDef, Input: input, Output: output}, nil
}

// ReadSavedModel reads from a SavedModel's folder the MetaGraphDef that the loader would load for just these tags. input
// and output are keys of the signature's; "" takes the only one. The error lists those there are.
func ReadSavedModel(folder string, tags []string, signature, input, output string, allow []string, trust bool) (*Model, error) {
	path := savedModelFile(folder)
	if strings.HasSuffix(path, ".cpb") {
		return nil, fmt.Errorf("not a usable model file: %s is a SavedModel in chunks, which nothing here checks", path)
	}
	data, err := graphcheck.ReadFile(path, trust)
	if err != nil {
		return nil, err
	}
	savedModel := &corepb.SavedModel{}
	if err := graphcheck.Parse(savedModel, data, path); err != nil {
		return nil, err
	}
	metaGraph, err := findTags(savedModel, tags)
	if err != nil {
		return nil, err
	}
	if !trust {
		if err := graphcheck.CheckGraph(metaGraph.GetGraphDef(), graphcheck.SavedModelOperations.With(allow)); err != nil {
			return nil, err
		}
		if err := graphcheck.CheckLoading(metaGraph, folder); err != nil {
			return nil, err
		}
	}
	signatureDef, known := metaGraph.GetSignatureDef()[signature]
	if !known {
		present := graphcheck.OrNone(sortedKeys(metaGraph.GetSignatureDef()))
		return nil, fmt.Errorf("no such signature: %s (the model has: %s)", signature, present)
	}
	model := &Model{Kind: SavedModel, Path: folder, GraphDef: metaGraph.GetGraphDef(), MetaGraph: metaGraph}
	if model.Input, err = find(signatureDef.GetInputs(), input, "input"); err != nil {
		return nil, err
	}
	if model.Output, err = find(signatureDef.GetOutputs(), output, "output"); err != nil {
		return nil, err
	}
	model.Keys = map[string]string{}
	for key, tensor := range signatureDef.GetInputs() {
		model.Keys[key] = tensor.GetName()
	}
	return model, nil
}

func findTags(savedModel *corepb.SavedModel, tags []string) (*corepb.MetaGraphDef, error) {
	wanted := distinct(tags)
	var present []string
	for _, metaGraph := range savedModel.GetMetaGraphs() {
		if slices.Equal(distinct(metaGraph.GetMetaInfoDef().GetTags()), wanted) {
			return metaGraph, nil
		}
		present = append(present, strings.Join(metaGraph.GetMetaInfoDef().GetTags(), ","))
	}
	return nil, fmt.Errorf("no such tag: %s (the model has: %s)", strings.Join(tags, ","), strings.Join(present, "; "))
}

func distinct(names []string) []string {
	sorted := slices.Clone(names)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

func sortedKeys[V any](entries map[string]V) []string {
	keys := make([]string, 0, len(entries))
	for key := range entries {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

func find(tensors map[string]*corepb.TensorInfo, key, kind string) (string, error) {
	keys := sortedKeys(tensors)
	if key == "" && len(keys) == 1 {
		key = keys[0]
	}
	tensor, known := tensors[key]
	if key == "" || !known {
		if key == "" {
			key = "(none given)"
		}
		return "", fmt.Errorf("no such %s: %s (the model has: %s)", kind, key, graphcheck.OrNone(keys))
	}
	return tensor.GetName(), nil
}

// Describe returns the lines of --list: placeholders, outputs or signatures, operations, versions.
func Describe(model *Model) ([]string, error) {
	graph, err := graphcheck.ImportGraph(model.GraphDef)
	if err != nil {
		return nil, err
	}
	var lines, ends []string
	operations := graph.Operations()
	for i := range operations {
		operation := &operations[i]
		used := false
		for j := range operation.NumOutputs() {
			used = used || len(operation.Output(j).Consumers()) > 0
		}
		if operation.Type() == "Placeholder" {
			lines = append(lines, "placeholder: "+describeTensor(operation.Output(0)))
		} else if !used && operation.Type() != "Const" {
			for j := range operation.NumOutputs() {
				ends = append(ends, "output: "+describeTensor(operation.Output(j)))
			}
		}
	}
	if model.Kind == FrozenGraph {
		lines = append(lines, ends...)
	}
	signatures := model.MetaGraph.GetSignatureDef()
	for _, name := range sortedKeys(signatures) {
		lines = append(lines, "signature: "+name)
		for _, keys := range []struct {
			kind    string
			tensors map[string]*corepb.TensorInfo
		}{{"input", signatures[name].GetInputs()}, {"output", signatures[name].GetOutputs()}} {
			for _, key := range sortedKeys(keys.tensors) {
				tensor, err := graphcheck.FindOutput(graph, keys.tensors[key].GetName())
				if err != nil {
					return nil, err
				}
				lines = append(lines, fmt.Sprintf("  %s: %s = %s", keys.kind, key, describeTensor(tensor)))
			}
		}
	}
	return append(lines,
		fmt.Sprintf("operations: %d", len(operations)),
		fmt.Sprintf("producer version: %d", model.GraphDef.GetVersions().GetProducer()),
		fmt.Sprintf("TensorFlow version: %s", tf.Version())), nil
}

func describeTensor(tensor tf.Output) string {
	shape := "?"
	if dims, err := tensor.Shape().ToSlice(); err == nil {
		shape = rows.ShapeText(dims)
	}
	return fmt.Sprintf("%s %s %s", tensor.Op.Name(), graphcheck.TypeName(typespb.DataType(tensor.DataType())), shape)
}
