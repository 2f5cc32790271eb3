// Package checked finds a model's files, and makes sure that model_check.py has checked them: the SHA-256 of each is in its
// list. It does not look into graphs; the code that judges them exists only once, in Python.
package checked

import (
	"crypto/sha256"
	"encoding/hex"
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

// The names under which a folder can hold a SavedModel.
var savedModelFiles = []string{"saved_model.cpb", "saved_model.pb", "saved_model.pbtxt"}

// Find returns the model at a path. The error says that there is none, that it must be frozen first, or that one of its files is
// not in the list, unless it is to be trusted.
func Find(path, list string, trust bool) (Model, error) {
	isFolder, err := isSavedModel(path)
	if err != nil {
		return Model{}, err
	}
	var known map[string]bool
	if !trust {
		if known, err = listed(list); err != nil {
			return Model{}, err
		}
	}
	unchecked := fmt.Errorf("not checked: %s (python model_check.py %s checks it; --trust takes it as it is)", path, path)
	if isFolder {
		files, err := filesOf(path)
		for i := 0; !trust && err == nil && i < len(files); i++ {
			var digest string
			if digest, err = digestOf(files[i]); err == nil && !known[digest] {
				err = unchecked
			}
		}
		return Model{Path: path}, err
	}
	data, err := readRegular(path)
	if err == nil && len(data) == 0 {
		err = fmt.Errorf("not a usable model file: %s is empty", path)
	} else if digest := sha256.Sum256(data); err == nil && !trust && !known[hex.EncodeToString(digest[:])] {
		err = unchecked
	}
	return Model{path, data}, err
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
	status, err := os.Stat(path)
	isFile := err == nil && !status.IsDir()
	entries, _ := os.ReadDir(path)
	isPart := regexp.MustCompile(`.\.(meta|index|data-\d{5}-of-\d{5})$|^checkpoint$`).MatchString
	holdsPart := slices.ContainsFunc(entries, func(entry os.DirEntry) bool { return isPart(entry.Name()) })
	name, extension := filepath.Base(path), filepath.Ext(path)
	switch {
	case err == nil && !isFile && !holdsPart:
		return false, irregular(path)
	case err == nil && !isFile, exists(path + ".index"), exists(path + ".meta"), isFile && isPart(name):
		return false, fmt.Errorf("not a frozen graph or SavedModel: %s "+
			"(it holds Saver checkpoints; freeze it with python model_freeze.py)", path)
	case isFile && slices.Contains([]string{".keras", ".h5", ".hdf5"}, extension):
		return false, fmt.Errorf("not a frozen graph or SavedModel: %s (a Keras file; freeze it with model_freeze.py)", path)
	case isFile && slices.Contains(savedModelFiles, name):
		return false, fmt.Errorf("not a frozen graph: %s is a file of a SavedModel (give its folder)", path)
	case isFile:
		return false, nil
	}
	step := "python model_producer.py"
	if extension == ".pb" {
		step = "./freeze_graph_linear_regression.sh"
	}
	return false, fmt.Errorf("no model: %s (run %s first, or give --model)", path, step)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func irregular(path string) error {
	return fmt.Errorf("not a usable model file: %s is not a regular file", path)
}

// filesOf returns all files below a folder. The error says that one is not regular: TensorFlow would follow a link anywhere,
// and wait forever for a FIFO.
func filesOf(folder string) (files []string, err error) {
	err = fs.WalkDir(os.DirFS(folder), ".", func(name string, entry fs.DirEntry, err error) error {
		path := strings.TrimSuffix(folder, "/") + "/" + name
		if err == nil && !entry.IsDir() {
			files = append(files, path)
			if !entry.Type().IsRegular() {
				return irregular(path)
			}
		}
		return err
	})
	return files, err
}

// listed returns the digests in a list; none if the list does not exist.
func listed(list string) (map[string]bool, error) {
	known := map[string]bool{}
	if !exists(list) {
		return known, nil
	}
	data, err := readRegular(list)
	for _, line := range regexp.MustCompile(`(?m)^\\?([0-9a-f]{64}) [ *].+\n`).FindAllSubmatch(data, -1) {
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
	return hex.EncodeToString(sum.Sum(nil)), err
}

func readRegular(path string) ([]byte, error) {
	status, err := os.Stat(path)
	if err == nil && !status.Mode().IsRegular() {
		err = irregular(path)
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}
