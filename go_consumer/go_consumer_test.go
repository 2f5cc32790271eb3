package main

import (
	"testing"
)

// BenchmarkRun is a warm call on four numbers: tensor made, run, values read. The model is that of the default flags.
func BenchmarkRun(b *testing.B) {
	flags.model, flags.x = "../frozen_graphs/frozen_linear_regression.pb", "0,1,-1,2"
	model, err := checkModel()
	if err != nil {
		b.Skip(err)
	}
	arrays, err := feed(model)
	if err != nil {
		b.Fatal(err)
	}
	graph, session, err := loadGraph(model)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		if _, err := run(graph, session, model, arrays); err != nil {
			b.Fatal(err)
		}
	}
}
