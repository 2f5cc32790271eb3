// Package checked finds a model's files, and makes sure that model_check.py has checked them: the SHA-256 of each is in its
// list. It does not look into graphs; the code that judges them exists only once, in Python.
package checked

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A Model is one that TensorFlow may have.
type Model struct {
	Path     string // the frozen graph or the SavedModel's folder
	GraphDef []byte // of a frozen graph
}

var (
	// The names under which a folder can hold a SavedModel.
	savedModelFiles = []string{"saved_model.cpb", "saved_model.pb", "saved_model.pbtxt"}
	kerasExtensions = []string{".keras", ".h5", ".hdf5"}
	isOfCheckpoint  = regexp.MustCompile(`.\.(meta|index|data-\d{5}-of-\d{5})$|^checkpoint$`).MatchString
	listedDigest    = regexp.MustCompile(`(?m)^\\?([0-9a-f]{64}) [ *].+\n`)
)

// Find returns the model at a path. The error says that there is none, that it must be frozen first, or that one of its files is
// not in the list, unless it is to be trusted.
func Find(path, list string, trust bool) (Model, error) {
	isFolder, err := isSavedModel(path)
	if err != nil {
		return Model{}, err
	}
	known, err := listed(list)
	if err != nil && !trust {
		return Model{}, err
	}
	model, isKnown := Model{Path: path}, true
	if isFolder {
		err = fs.WalkDir(os.DirFS(path), ".", func(name string, entry fs.DirEntry, err error) error {
			file := strings.TrimSuffix(path, "/") + "/" + name
			switch {
			case err != nil || entry.IsDir():
				return err
			case !entry.Type().IsRegular(): // TensorFlow would follow a link anywhere, and wait forever for a FIFO
				return irregular(file)
			case trust:
				return nil
			}
			digest, err := digestOf(file)
			isKnown = isKnown && known[digest]
			return err
		})
	} else if model.GraphDef, err = readRegular(path); err == nil && len(model.GraphDef) == 0 {
		err = fmt.Errorf("not a usable model file: %s is empty", path)
	} else if !trust {
		isKnown = known[fmt.Sprintf("%x", sha256.Sum256(model.GraphDef))]
	}
	if err == nil && !trust && !isKnown {
		err = fmt.Errorf("not checked: %s (python model_check.py %s checks it; --trust takes it as it is)", path, path)
	}
	return model, err
}

// Explain rewords an error of TensorFlow's that occurred while it loaded the model, and names it.
func (m Model) Explain(err error, tag string) error {
	if strings.Contains(err.Error(), "matching supplied tags") {
		return fmt.Errorf("no such tag: %s (python model_check.py --list %s shows those it has)", tag, m.Path)
	}
	if strings.Contains(err.Error(), "Cannot assign a device") { // the loader cannot be told to clear them
		return fmt.Errorf("cannot load: %s: it names devices that are not here (python model_freeze.py clears them)", m.Path)
	}
	return fmt.Errorf("cannot load: %s: %w", m.Path, err)
}

// isSavedModel tells a SavedModel's folder from a frozen graph. The error says that there is neither.
func isSavedModel(path string) (bool, error) {
	holds := func(name string) bool { return exists(filepath.Join(path, name)) }
	if slices.ContainsFunc(savedModelFiles, holds) {
		return true, nil
	}
	entries, _ := os.ReadDir(path)
	isPart := func(entry os.DirEntry) bool { return isOfCheckpoint(entry.Name()) }
	name, extension, isPrefix := filepath.Base(path), filepath.Ext(path), exists(path+".index") || exists(path+".meta")
	switch status, err := os.Stat(path); {
	case err != nil && !isPrefix && extension == ".pb":
		return false, fmt.Errorf("no model: %s (run ./freeze_graph_linear_regression.sh first, or give --model)", path)
	case err != nil && !isPrefix:
		return false, fmt.Errorf("no model: %s (run python model_producer.py first, or give --model)", path)
	case err == nil && status.IsDir() && !slices.ContainsFunc(entries, isPart):
		return false, irregular(path)
	case isPrefix || status.IsDir() || isOfCheckpoint(name):
		return false, fmt.Errorf("not a frozen graph or SavedModel: %s "+
			"(it holds Saver checkpoints; freeze it with python model_freeze.py)", path)
	case slices.Contains(kerasExtensions, extension):
		return false, fmt.Errorf("not a frozen graph or SavedModel: %s (a Keras file; freeze it with model_freeze.py)", path)
	case slices.Contains(savedModelFiles, name):
		return false, fmt.Errorf("not a frozen graph: %s is a file of a SavedModel (give its folder)", path)
	}
	return false, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func irregular(path string) error {
	return fmt.Errorf("not a usable model file: %s is not a regular file", path)
}

// listed returns the digests in a list; none if the list does not exist.
func listed(list string) (map[string]bool, error) {
	known := map[string]bool{}
	if !exists(list) {
		return known, nil
	}
	data, err := readRegular(list)
	for _, line := range listedDigest.FindAllSubmatch(data, -1) {
		known[string(line[1])] = true
	}
	return known, err
}

func digestOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, file)
	return fmt.Sprintf("%x", sum.Sum(nil)), err
}

func readRegular(path string) ([]byte, error) {
	if status, err := os.Stat(path); err == nil && !status.Mode().IsRegular() {
		return nil, irregular(path)
	}
	return os.ReadFile(path)
}
