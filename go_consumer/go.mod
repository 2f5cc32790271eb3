module go_consumer

go 1.22

require (
	github.com/google/renameio/v2 v2.0.0 // writes a file whole or not at all
	github.com/spf13/pflag v1.0.10 // defines GNU flags and wraps their help
	github.com/wamuir/graft v0.10.0 // TensorFlow for Go: the official binding with its generated code
	google.golang.org/protobuf v1.36.6 // clears the devices in a graph
)
