module go_consumer

go 1.22

require github.com/wamuir/graft v0.10.0 // TensorFlow for Go: the official binding with its generated code

require google.golang.org/protobuf v1.36.6 // parses a graph before TensorFlow may have it
