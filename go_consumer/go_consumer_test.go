package main

import "testing"

// BenchmarkRun is a warm call on four numbers: tensor made, run, values read.
func BenchmarkRun(b *testing.B) {
	flags := &arguments{model: "../frozen_graphs/frozen_linear_regression.pb", x: "0,1,-1,2", trust: true}
	model, err := findModel(flags)
	if err != nil {
		b.Skip(err)
	}
	loaded, err := loadGraph(model, flags.names)
	if err != nil {
		b.Fatal(err)
	}
	arrays, err := feed(loaded, flags)
	if err != nil {
		b.Fatal(err)
	}
	outputs, err := loaded.FindOutputs(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		if _, err := run(loaded, outputs, arrays); err != nil {
			b.Fatal(err)
		}
	}
}
