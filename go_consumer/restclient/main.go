// Command restclient asks a model server over REST, with Go's standard library alone: no C library, no TensorFlow.
//
//	go run go_consumer/restclient/main.go -x 0,1,-1,2
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

func predict(url, model, list string) ([][]float64, error) {
	var row []float64
	for _, text := range strings.Split(list, ",") {
		x, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("not a number: %s in --x", text)
		}
		row = append(row, x)
	}
	body, err := json.Marshal(map[string]any{"instances": [][]float64{row}})
	if err != nil { // NaN and infinity, which JSON does not have
		return nil, fmt.Errorf("not a finite number: %s in --x", list)
	}
	client := http.Client{Timeout: 10 * time.Second}
	reply, err := client.Post(url+"/v1/models/"+model+":predict", "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("no server: %w (run make serve first, or give --url)", err)
	}
	defer reply.Body.Close()
	var document struct {
		Predictions [][]float64
		Error       string
	}
	if err := json.NewDecoder(reply.Body).Decode(&document); err != nil {
		return nil, fmt.Errorf("not an answer: status %d: %w", reply.StatusCode, err)
	}
	if reply.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers %d: %s", reply.StatusCode, document.Error)
	}
	return document.Predictions, nil
}

func main() {
	url := flag.String("url", "http://127.0.0.1:8501", "of the server")
	model := flag.String("model", "linear_regression", "as the server calls it")
	x := flag.String("x", "0,1,-1,2", "comma-separated numbers: a row")
	flag.Parse()
	predictions, err := predict(*url, *model, *x)
	if err != nil {
		fmt.Fprintf(os.Stderr, "restclient: %v\n", err)
		os.Exit(1)
	}
	fmt.Println(predictions)
}
