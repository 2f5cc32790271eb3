// Asks a model server over REST, with Go's standard library alone.
//
//	go run serving/client_rest.go -x 0,1,-1,2
//
// It works against serving/model_server.py and TensorFlow Serving alike.
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

// predict returns the predictions for a row of comma-separated numbers.
func predict(url, model, values string, seconds float64) ([][]float64, error) {
	var row []float64
	for _, text := range strings.Split(values, ",") {
		number, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, fmt.Errorf("not a number: %s in --x", text)
		}
		row = append(row, number)
	}
	body, err := json.Marshal(map[string]any{"instances": [][]float64{row}})
	if err != nil { // NaN and infinity, which JSON does not have
		return nil, fmt.Errorf("not a finite number: %s in --x", values)
	}
	client := http.Client{Timeout: time.Duration(seconds * float64(time.Second))}
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
	url := flag.String("url", "http://127.0.0.1:8501", "`URL` of the server")
	model := flag.String("model", "linear_regression", "`NAME` by which the server knows the model")
	x := flag.String("x", "0,1,-1,2", "comma-separated `VALUES`: one row")
	seconds := flag.Float64("seconds", 10, "seconds `S` to wait for the answer")
	flag.Parse()
	predictions, err := predict(*url, *model, *x, *seconds)
	if err != nil {
		fmt.Fprintf(os.Stderr, "client_rest: %v\n", err)
		os.Exit(1)
	}
	fmt.Println(predictions)
}
