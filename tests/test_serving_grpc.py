"""The gRPC API: its services' answers and refusals, health checks and reflection."""

from collections.abc import Iterator
from typing import Any

import serving_models as models
from model_import_export.graph_mode import tf
from running_server import Server, call, config_of, predict_over_grpc, predict_request, refusal, serving

import numpy as np
import pytest

NAMES = ("line", "half_plus_two", "text", "pair", "types")
PREDICT = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server without REST's limits in the way."""
    folder = tmp_path_factory.mktemp("grpc")
    for name in NAMES:
        models.save(folder / name / "1", getattr(models, name))
    models.save(folder / "line" / "2", models.line)
    config = dict.fromkeys(NAMES, "") | {"line": "model_version_policy { all {} }"}
    with serving(folder, "--model-config-file", config_of(folder, **config)) as server:
        yield server


def test_predict(server: Server) -> None:
    reply = call(server, "Predict", predict_request("line", x=np.array([[0.0, 1, -1, 2]])))
    assert list(reply.outputs["y"].double_val) == [-3, -1.5, -4.5, 0]
    assert (reply.model_spec.version.value, reply.model_spec.signature_name) == (2, "serving_default")
    request = predict_request("line", x=np.array([[2.0]]))
    request.model_spec.version.value = 1
    assert call(server, "Predict", request).model_spec.version.value == 1
    assert predict_over_grpc(server, "text", inputs="a")["outputs"] == b"a"
    request = predict_request("pair", a=np.array([1.0]), b=np.array([[2.0, 3.0]]))
    request.output_filter.append("sum")
    assert {key: list(proto.double_val) for key, proto in call(server, "Predict", request).outputs.items()} == {
        "sum": [6]
    }


@pytest.mark.parametrize("packed", [False, True])
def test_every_type(server: Server, packed: bool) -> None:
    values = {"float16": [0.1, -65504], "bfloat16": [0.5, -3e38], "float32": [0.1], "float64": [0.1, 5e-324],
              "int8": [-128, 127], "uint8": [255], "int16": [-(2**15)], "uint16": [2**16 - 1], "int32": [-(2**31)],
              "uint32": [2**32 - 1], "int64": [-(2**63)], "uint64": [2**64 - 1], "bool": [True, False]}  # fmt: skip
    for name, numbers in values.items():
        array = np.array(numbers).astype(tf.as_dtype(name).as_numpy_dtype)
        proto = tf.make_tensor_proto(array)
        if packed:
            proto = type(proto)(dtype=proto.dtype, tensor_shape=proto.tensor_shape, tensor_content=array.tobytes())
        found = predict_over_grpc(server, "types", name, x=proto)["y"]
        assert (found.dtype, found.tobytes()) == (array.dtype, array.tobytes()), name


def test_classify_and_regress(server: Server) -> None:
    from tensorflow_serving.apis import classification_pb2, regression_pb2

    for kind, method, signature in (
        (classification_pb2.ClassificationRequest, "Classify", "classification"),
        (regression_pb2.RegressionRequest, "Regress", "regression"),
    ):
        request = kind()
        request.model_spec.name, request.model_spec.signature_name = "half_plus_two", signature
        with_context = kind.FromString(request.SerializeToString())
        for value in (2.0, 1.0):
            example = request.input.example_list.examples.add()
            example.features.feature["x"].float_list.value.append(value)
        with_context.input.example_list_with_context.context.CopyFrom(request.input.example_list.examples[0])
        with_context.input.example_list_with_context.examples.add()
        with_context.input.example_list_with_context.examples.add().CopyFrom(request.input.example_list.examples[1])
        for each in (request, with_context):
            result = call(server, method, each).result
            if method == "Classify":
                found = [[(entry.label, entry.score) for entry in one.classes] for one in result.classifications]
                assert found == [[("high", 3)], [("low", 2.5)]]
            else:
                assert [regression.value for regression in result.regressions] == [3, 2.5]


def test_metadata_and_status(server: Server) -> None:
    from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "pair"
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert call(server, "GetModelMetadata", request).metadata["signature_def"].Unpack(signatures)
    assert sorted(signatures.signature_def["serving_default"].inputs) == ["a", "b"]
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "line"
    found = call(server, "GetModelStatus", request).model_version_status
    assert [(entry.version, entry.state) for entry in found] == [(2, 30), (1, 30)]
    request.model_spec.version.value = 7
    assert refusal(server, "GetModelStatus", request) == ("NOT_FOUND", "no such version: 7 of model line")


def bad_requests() -> Iterator[tuple[Any, str, str]]:
    """Requests, and the code and message with which each is refused."""
    bomb = tf.make_tensor_proto(np.array([1.0]))
    bomb.tensor_shape.dim[0].size = 1 << 40
    short = tf.make_tensor_proto(np.array([[1.0, 2.0]]))
    short.tensor_shape.dim[1].size = 3
    unknown = tf.make_tensor_proto(np.array([[1.0]]))
    unknown.dtype = 99
    large, half = tf.make_tensor_proto(np.int8([1])), tf.make_tensor_proto(np.float16([1]))
    large.tensor_content = half.tensor_content = b""
    large.int_val[:], half.half_val[:] = [1000], [70000]
    odd = tf.make_tensor_proto(np.array([[1.0]]))
    odd.double_val[:] = []
    odd.tensor_content = bytes(9)
    filtered = predict_request("line", x=np.array([[1.0]]))
    filtered.output_filter.append("z")
    bad = "INVALID_ARGUMENT"
    yield predict_request("nothing"), "NOT_FOUND", "no such model: nothing (there are: half_plus_two, line, "
    yield predict_request("line"), bad, "not the inputs of the signature serving_default: none (it takes: x)"
    yield predict_request("line", "s"), bad, "no such signature: s (the model line has: serving_default)"
    yield predict_request("line", x=np.float32([[1]])), bad, "wrong type: x is float32, not float64"
    yield predict_request("line", x=["a"]), bad, "wrong type: x is string, not float64"
    yield predict_request("text", inputs=1.0), bad, "wrong type: inputs is float32, not string"
    yield predict_request("line", x=np.array([1.0])), bad, "wrong shape: x is [1], not [?, ?]"
    yield predict_request("line", x=bomb), bad, "wrong shape: x is [1099511627776] (at most 16777216 elements)"
    yield predict_request("line", x=short), bad, "wrong shape: x is [1, 3] and holds 2 elements"
    yield predict_request("line", x=odd), bad, "wrong shape: x is [1, 1] and holds 1.125 elements"
    yield predict_request("line", x=unknown), bad, "wrong type: x is of the type 99"
    yield predict_request("types", "int8", x=large), bad, "out of range for int8: a number in x"
    yield predict_request("types", "float16", x=half), bad, "out of range for float16: a number in x"
    yield predict_request("line", x=np.zeros([10_001, 1])), bad, "too large: x is [10001, 1] (at most 10000 rows"
    yield filtered, bad, "no such output: z (the model has: y)"


def test_what_is_wrong_is_said(server: Server) -> None:
    for request, code, said in bad_requests():
        found, words = refusal(server, "Predict", request)
        assert (found, words[: len(said)]) == (code, said)
    assert "Traceback" not in server.log


def test_bytes_that_are_no_request(server: Server) -> None:
    import grpc

    with grpc.insecure_channel(server.grpc) as channel:
        for sent in (b"\xff", b"\x0a\x7f", bytes(100)):
            with pytest.raises(grpc.RpcError) as error:
                channel.unary_unary(PREDICT)(sent, timeout=30)
            assert (error.value.code().name, error.value.details()) == ("INVALID_ARGUMENT", "not a PredictRequest")
        with pytest.raises(grpc.RpcError) as error:
            channel.unary_unary(PREDICT.replace("Predict", "Guess"))(b"", timeout=30)
        assert error.value.code().name == "UNIMPLEMENTED"


def test_health(server: Server) -> None:
    """The protocol of grpc_health_probe: grpc.health.v1.Health/Check."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with grpc.insecure_channel(server.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"):
            assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=30).status == 1  # SERVING
        with pytest.raises(grpc.RpcError) as error:
            stub.Check(health_pb2.HealthCheckRequest(service="nothing"), timeout=30)
        assert error.value.code().name == "NOT_FOUND"
        assert next(stub.Watch(health_pb2.HealthCheckRequest(), timeout=30)).status == 1


def test_reflection(server: Server) -> None:
    """A client that knows nothing about TensorFlow Serving finds its methods, and the types that they take."""
    import grpc
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    with grpc.insecure_channel(server.grpc) as channel:
        found = ProtoReflectionDescriptorDatabase(channel)
        assert {"tensorflow.serving.PredictionService", "grpc.health.v1.Health"} <= set(found.get_services())
        file = found.FindFileContainingSymbol("tensorflow.serving.PredictionService")
        assert "Predict" in [method.name for method in file.service[0].method]
