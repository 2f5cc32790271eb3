"""Asks a model server over gRPC.

    python serving/client_grpc.py --x 0,1,-1,2

It works against serving/model_server.py and TensorFlow Serving alike. The stubs of `tensorflow-serving-api` import
TensorFlow, which takes seconds: for a short-lived client, REST is faster.
"""

import argparse

from model_import_export import command_line, graph_mode
from model_import_export.graph_mode import tf

import numpy as np


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--address", metavar="HOST:PORT", default="127.0.0.1:8500", help="address of the server")
    parser.add_argument(
        "--model", metavar="NAME", default="linear_regression", help="name by which the server knows the model"
    )
    parser.add_argument("--input", metavar="KEY", default="x", help="key of the input in the signature")
    parser.add_argument("--output", metavar="KEY", default="y", help="key of the output in the signature")
    parser.add_argument("--dtype", metavar="NAME", default="float64", help="type of the input, which is never cast")
    parser.add_argument("--x", metavar="LIST", default="0,1,-1,2", help="comma-separated numbers: one row")
    parser.add_argument("--seconds", metavar="S", type=float, default=10, help="seconds to wait for the answer")
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    try:
        row = np.array([[float(text) for text in flags.x.split(",")]], flags.dtype)
    except (ValueError, TypeError) as error:
        raise ValueError(f"not numbers of {flags.dtype}: {flags.x} in --x: {error}") from None
    graph_mode.load()
    import grpc
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name = flags.model
    request.inputs[flags.input].CopyFrom(tf.make_tensor_proto(row))
    with grpc.insecure_channel(flags.address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            reply = stub.Predict(request, timeout=flags.seconds)
        except grpc.RpcError as error:
            hint = " (run make serve first, or give --address)" if error.code() == grpc.StatusCode.UNAVAILABLE else ""
            raise ValueError(f"the server answers {error.code().name}: {error.details()}{hint}") from None
    if flags.output not in reply.outputs:
        raise ValueError(f"no such output: {flags.output} (the model has: {', '.join(sorted(reply.outputs))})")
    print(tf.make_ndarray(reply.outputs[flags.output]).tolist())


if __name__ == "__main__":
    command_line.run(main)
