"""The servers: answers, refusals, versions that come and go, limits, and clients that no one here wrote."""

import concurrent.futures
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import page
from conftest import ROOT, USER, free_ports, run_command, run_program, start_program, wait_for
from model_import_export.graph_mode import tf

LINE = [-2.9987834928787795, -1.4987794569534572, -4.498787528804102, 0.0012245789718652311]  # of the contract
CLASSES = "java_consumer/target/java_consumer.jar"


class Server(NamedTuple):
    """A running server."""

    process: Any
    folder: Path
    rest: str
    grpc: str


def ask(url: str, body: object = None, method: str | None = None) -> tuple[int, Any]:
    """Requests; a body that is not bytes goes as JSON. Returns the status and the reply's JSON."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, method=method), timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@contextlib.contextmanager
def serving(folder: Path, *flags: object) -> Iterator[Server]:
    """Starts the model server in a folder, and ends it."""
    rest, grpc = free_ports(2)
    ports = ("--port", grpc, "--rest_api_port", rest, "--file_system_poll_wait_seconds", 0.1)
    with start_program("serving/model_server.py", *ports, *flags, folder=folder) as process:
        wait_for(lambda: f"REST on http://127.0.0.1:{rest}" in process.output()[0] or process.exitcode is not None)
        assert process.exitcode is None, process.output()
        url = f"http://127.0.0.1:{rest}/v1/models"
        wait_for(lambda: not socket.socket().connect_ex(("127.0.0.1", rest)))
        yield Server(process, folder, url, f"127.0.0.1:{grpc}")


def save(path: Path, build: Any) -> None:
    """Writes a SavedModel, x to y, both float64 `[?]`."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float64, [None], name="x")
        y = build(x)
        session.run(tf.global_variables_initializer())
        tf.saved_model.simple_save(session, str(path), {"x": x}, {"y": y})


def slow(x: Any) -> Any:
    """A good second of multiplications, none of which can be done before x is known."""
    weights = tf.constant(1e-3, tf.float64, [1000, 1000])
    y = weights + tf.reduce_max(x)
    for _ in range(12):
        y = tf.matmul(y, weights)
    return x + tf.reduce_min(y) * 0


@pytest.fixture(scope="module")
def exports(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the exports of the cookbook, and the configuration that serves them."""
    folder = tmp_path_factory.mktemp("serving")
    names = ["--input", "x=inputs/x_sample", "--output", "y=linear_regression/add"]
    line = ["--checkpoint", trained / "saved_model", *names, "--export", "exports/linear_regression/1"]
    for recipe, *flags in (
        ["savedmodel_from_checkpoint", *line],
        ["checkpoint_save", "--steps", 300],
        ["savedmodel_from_checkpoint", "--export", "exports/classifier/1"],
        ["freezemodel_save"],
        ["savedmodel_from_source"],
        ["savedmodel_builder"],
    ):
        result = run_program(f"cookbook/{recipe}.py", *flags, folder=folder)
        assert (result.status, result.err) == (0, "")
    save(folder / "slow" / "1", slow)
    config = (ROOT / "serving" / "models.config").read_text().rstrip().removesuffix("}")
    (folder / "models.config").write_text(f'{config}  config {{ name: "slow" base_path: "slow" }}\n}}\n')
    return folder


@pytest.fixture(scope="module")
def server(exports: Path) -> Iterator[Server]:
    """The server with all the models."""
    with serving(exports, "--model_config_file", "models.config", "--max_in_flight", 4) as server:
        yield server


# REST


def test_row_and_column_form(server: Server) -> None:
    predict = f"{server.rest}/linear_regression:predict"
    for values in ([[0, 1, -1, 2]], [{"x": [0, 1, -1, 2]}]):
        status, reply = ask(predict, {"instances": values})
        assert (status, list(reply)) == (200, ["predictions"])
        np.testing.assert_allclose(reply["predictions"], [LINE], rtol=1e-11)
    for values in ([[0, 1, -1, 2]], {"x": [[0, 1, -1, 2]]}):
        for path in ("", "/versions/1", "/versions/0"):
            status, reply = ask(f"{server.rest}/linear_regression{path}:predict", {"inputs": values})
            assert (status, list(reply)) == (200, ["outputs"])
            np.testing.assert_allclose(reply["outputs"], [LINE], rtol=1e-11)
    sums = {"instances": [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [5] * 10], "signature_name": "serving_default"}
    assert ask(f"{server.rest}/classifier:predict", sums) == (200, {"predictions": [[False], [True]]})
    assert ask(f"{server.rest}/half_plus_two:predict", {"instances": [1.0, 2.0, 5.0]})[1]["predictions"] == [
        2.5,
        3,
        4.5,
    ]
    labelled = ask(
        f"{server.rest}/exp_model/labels/stable:predict", {"signature_name": "prediction", "inputs": [[1.0]]}
    )
    assert labelled == (200, {"outputs": [[2.5]]})


def test_the_same_digits_as_the_consumer(server: Server, trained: Path) -> None:
    xs = "1e-308,5e-324,0.1,1e22,-0.0,123456.789"
    body = f'{{"instances": [[{xs}]]}}'.encode()
    status, reply = ask(f"{server.rest}/linear_regression:predict", body)
    consumed = run_program(
        "model_consumer.py", "--model", "frozen_graphs/frozen_linear_regression.pb", "--x", xs, folder=trained
    )
    expected = consumed.out.partition("[")[2].rstrip("]\n").split()
    assert (status, [float(text) for text in expected]) == (200, reply["predictions"][0])


def test_nan_and_infinity_go_both_ways(server: Server) -> None:
    body = b'{"inputs": [[NaN, Infinity, -Infinity, 0]]}'
    with urllib.request.urlopen(f"{server.rest}/linear_regression:predict", body) as reply:
        text = reply.read().decode()
    assert text.startswith('{"outputs": [[NaN, Infinity, -Infinity, -2.99878349287')


def test_classify_regress_and_base64(server: Server) -> None:
    classify = {"signature_name": "classification", "examples": [{"x": 1.0}, {"x": 2.0}]}
    assert ask(f"{server.rest}/exp_model:classify", classify) == (200, {"result": [[["low", 2.5]], [["high", 3.0]]]})
    regress = {"signature_name": "regression", "context": {"x": 3.5}, "examples": [{}, {"x": 0.0}]}
    assert ask(f"{server.rest}/exp_model:regress", regress) == (200, {"result": [3.75, 2.0]})
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(5.0)
    import base64

    encoded = base64.b64encode(example.SerializeToString()).decode()
    body = {"signature_name": "classification", "inputs": {"inputs": [{"b64": encoded}]}}
    expected = {"outputs": {"classes": [["high"]], "scores": [[4.5]]}}
    assert ask(f"{server.rest}/exp_model:predict", body) == (200, expected)


def test_status_and_metadata(server: Server) -> None:
    status, reply = ask(f"{server.rest}/exp_model")
    states = [(entry["version"], entry["state"]) for entry in reply["model_version_status"]]
    assert (status, states) == (200, [("2", "AVAILABLE"), ("1", "AVAILABLE")])
    assert [e["version"] for e in ask(f"{server.rest}/exp_model/versions/1")[1]["model_version_status"]] == ["1"]
    status, reply = ask(f"{server.rest}/linear_regression/metadata")
    signature = reply["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert (status, reply["model_spec"]["version"]) == (200, "1")
    assert signature["inputs"]["x"]["dtype"] == "DT_DOUBLE"
    assert [dim["size"] for dim in signature["outputs"]["y"]["tensor_shape"]["dim"]] == ["-1", "-1"]
    assert ask(server.rest)[1] == {"models": ["classifier", "exp_model", "half_plus_two", "linear_regression", "slow"]}


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/linear_regression:predict", b"{", 400, "not JSON: "),
        ("/linear_regression:predict", b"[" * 100_000, 400, "not JSON: "),
        ("/linear_regression:predict", b"\xff", 400, "not JSON: "),
        ("/linear_regression:predict", [1], 400, "not an object: the body"),
        ("/linear_regression:predict", {}, 400, "not a predict request (give either"),
        ("/linear_regression:predict", {"x": 1}, 400, "not a predict request: x (give either"),
        ("/linear_regression:predict", {"instances": []}, 400, "not a list with a row at least: instances"),
        ("/linear_regression:predict", {"instances": [[1], [1, 2]]}, 400, "not a tensor: x (its lists are not all"),
        ("/linear_regression:predict", {"instances": [1]}, 400, "wrong shape: x is [1], not [?, ?]"),
        ("/linear_regression:predict", {"instances": [["1"]]}, 400, "wrong type: a string in x, which takes float64"),
        ("/linear_regression:predict", {"instances": [[True]]}, 400, "wrong type: a bool in x, which takes float64"),
        ("/linear_regression:predict", {"instances": [[None]]}, 400, "wrong type: null in x, which takes float64"),
        ("/linear_regression:predict", {"instances": [[10**400]]}, 400, "out of range for float64: a number in x"),
        ("/classifier:predict", {"instances": [[1e39] * 10]}, 400, "out of range for float32: a number in inputs_1"),
        ("/linear_regression:predict", {"instances": [{"z": [1]}]}, 400, "no value for: x (the signature takes: x)"),
        ("/linear_regression:predict", {"inputs": {"x": [[1]], "z": 1}}, 400, "no such input: z (the signature takes"),
        ("/linear_regression:predict", {"instances": [[0]] * 10_001}, 400, "too large: x is [10001, 1] (at most 10000"),
        ("/linear_regression:predict", {"instances": [[0] * 10_001]}, 400, "too large: x is [1, 10001] (at most 10000"),
        (
            "/linear_regression:predict",
            {"signature_name": "s", "inputs": 1},
            400,
            "no such signature: s (the model lin",
        ),
        ("/linear_regression:predict", {"signature_name": 1, "inputs": 1}, 400, "not a string: signature_name"),
        ("/linear_regression:predict", b" " * (33 << 20), 413, "too large: the body (at most 33554432 bytes)"),
        ("/linear_regression:classify", {"examples": [{}]}, 400, "no such signature to classify with: serving_default"),
        ("/exp_model:classify", {"signature_name": "classification"}, 400, "not a classify or regress request"),
        (
            "/exp_model:classify",
            {"signature_name": "classification", "examples": [{"x": 1}]},
            400,
            "cannot calculate: ",
        ),
        (
            "/exp_model:predict",
            {"signature_name": "classification", "inputs": {"inputs": [{"b64": "?"}]}},
            400,
            "not base64: b64 in inputs",
        ),
        ("/nothing:predict", {}, 404, "no such model: nothing (there are: classifier, "),
        ("/linear_regression/versions/7:predict", {}, 404, "no such version: 7 of model linear_regression"),
        ("/linear_regression/versions/x:predict", {}, 400, "not a version: x"),
        ("/exp_model/labels/old:predict", {}, 404, "no such label: old of model exp_model (there are: stable)"),
        ("/linear_regression:guess", {}, 404, "no such path: /v1/models/linear_regression:guess"),
        ("/linear_regression:predict", None, 405, "Method Not Allowed"),
        ("/nothing", None, 404, "no such model: nothing"),
        ("/nothing/metadata", None, 404, "no such model: nothing"),
        ("/linear_regression/versions/7", None, 404, "no such version: 7"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(server: Server, path: str, body: Any, status: int, said: str) -> None:
    got, reply = ask(server.rest + path, body)
    assert (got, list(reply)) == (status, ["error"])
    assert reply["error"].startswith(said)
    assert "Traceback" not in reply["error"]
    assert ask(f"{server.rest}/half_plus_two:predict", {"inputs": [2]}) == (200, {"outputs": [3.0]})


def test_too_many_at_a_time_are_told_to_come_again(server: Server) -> None:
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda _: ask(f"{server.rest}/slow:predict", {"instances": [1.0]}), range(12)))
    statuses = [status for status, _ in replies]
    assert statuses.count(200) >= 4
    assert set(statuses) == {200, 429}
    assert all("too many requests in flight: 4" in reply["error"] for status, reply in replies if status == 429)
    assert ask(f"{server.rest}/half_plus_two:predict", {"inputs": [2]}) == (200, {"outputs": [3.0]})


def test_the_time_of_a_request_is_limited(exports: Path) -> None:
    flags = ["--model_name", "slow", "--model_base_path", "slow", "--max_seconds", 0.2]
    with serving(exports, *flags) as server:
        started = time.monotonic()
        status, reply = ask(f"{server.rest}/slow:predict", {"instances": [1.0]})
        assert (status, reply) == (503, {"error": "not done within 0.2 s"})
        assert time.monotonic() - started < 2


def test_running_requests_finish_after_sigterm(exports: Path) -> None:
    with (
        serving(exports, "--model_name", "slow", "--model_base_path", "slow") as server,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        reply = pool.submit(ask, f"{server.rest}/slow:predict", {"instances": [1.0]})
        time.sleep(0.3)
        assert not reply.done()
        os.kill(server.process.pid, signal.SIGTERM)
        assert reply.result() == (200, {"predictions": [1.0]})
        server.process.join(30)
        assert (server.process.exitcode, server.process.output()[1]) == (0, "")


# Versions


def test_versions_come_and_go(tmp_path: Path) -> None:
    def version(number: int, offset: float) -> None:
        save(tmp_path / "new", lambda x: x + tf.get_variable("v", initializer=tf.constant(offset, tf.float64)))
        (tmp_path / "new").rename(tmp_path / "model" / str(number))

    (tmp_path / "model").mkdir()
    version(1, 1.0)
    with serving(tmp_path, "--model_name", "m", "--model_base_path", "model") as server:

        def answer() -> Any:
            return ask(f"{server.rest}/m:predict", {"instances": [0.0]})

        def states() -> dict[str, str]:
            return {e["version"]: e["state"] for e in ask(f"{server.rest}/m")[1]["model_version_status"]}

        assert answer() == (200, {"predictions": [1.0]})
        version(2, 2.0)
        wait_for(lambda: answer() == (200, {"predictions": [2.0]}))
        wait_for(lambda: states() == {"2": "AVAILABLE", "1": "END"})
        assert ask(f"{server.rest}/m/versions/1:predict", {"instances": [0.0]})[0] == 404
        # Broken: refused, and the old one stays.
        (tmp_path / "model" / "3").mkdir()
        (tmp_path / "model" / "3" / "saved_model.pb").write_bytes(b"broken")
        wait_for(lambda: "3" in states())
        assert states()["3"] == "END"
        assert answer() == (200, {"predictions": [2.0]})
        error = ask(f"{server.rest}/m/versions/3")[1]["model_version_status"][0]["status"]
        assert error["error_message"].startswith("not a SavedModel: model/3/saved_model.pb: ")
        # One that does harm: refused.
        save(tmp_path / "harm", lambda x: x + tf.cast(tf.size(tf.io.read_file("/etc/passwd")), tf.float64))
        (tmp_path / "harm").rename(tmp_path / "model" / "4")
        wait_for(lambda: "operation not allowed: ReadFile" in server.process.output()[1])
        assert answer() == (200, {"predictions": [2.0]})
        # Mended, and gone again.
        shutil.rmtree(tmp_path / "model" / "4")
        shutil.rmtree(tmp_path / "model" / "3")
        version(3, 3.0)
        wait_for(lambda: answer() == (200, {"predictions": [3.0]}))
        shutil.rmtree(tmp_path / "model" / "3")
        version(5, 5.0)
        wait_for(lambda: answer() == (200, {"predictions": [5.0]}))


@pytest.mark.slow
def test_trust_serves_a_model_of_tensorflow_2(tmp_path: Path) -> None:
    script = (
        "import tensorflow as tf; m = tf.Module(); "
        "m.f = tf.function(lambda x: {'y': x * 2}, input_signature=[tf.TensorSpec([None], tf.float64, 'x')]); "
        "tf.saved_model.save(m, 'two/1', signatures=m.f)"
    )
    assert run_command(f'python -c "{script}" 2>/dev/null', tmp_path).status == 0
    flags = ["--model_name", "two", "--model_base_path", "two"]
    refused = run_program("serving/model_server.py", *flags, "--port", 0, "--rest_api_port", 0, folder=tmp_path)
    assert (refused.status, refused.out) == (1, "")
    assert "it has a function library" in refused.err
    with serving(tmp_path, *flags, "--trust", "two") as server:
        assert ask(f"{server.rest}/two:predict", {"instances": [1.5]}) == (200, {"predictions": [3.0]})


@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        (
            ["--model_base_path", "nothing"],
            1,
            "model_server.py: no model: linear_regression: no version in nothing (run",
        ),
        (["--trust", "x"], 1, "model_server.py: no such model: x in --trust (there are: linear_regression)\n"),
        (["--model_config_file", "nothing"], 1, "model_server.py: No such file or directory: nothing\n"),
        (
            ["--model_config_file", "exp_model/2/saved_model.pbtxt"],
            1,
            "model_server.py: not a ModelServerConfig: exp_m",
        ),
        (["--max_rows", "0"], 2, "model_server.py: argument --max_rows: not a number above zero: 0 (--help"),
        (["--port", "x"], 2, "model_server.py: argument --port: invalid port value: 'x' (--help lists the flags)\n"),
    ],
)
def test_what_is_wrong_at_the_start_is_said(exports: Path, flags: list[str], status: int, said: str) -> None:
    result = run_program("serving/model_server.py", *flags, folder=exports)
    assert result.status == status
    assert said in result.err
    assert "Traceback" not in result.err


def test_a_port_that_is_taken(server: Server) -> None:
    port = server.rest.split(":")[2].split("/")[0]
    result = run_program("serving/model_server.py", "--port", 0, "--rest_api_port", port, folder=server.folder)
    assert result.status == 1
    assert result.err == (
        f"model_server.py: cannot listen on: 127.0.0.1:{port}: Address already in use (give --rest_api_port)\n"
    )


# gRPC


def call(server: Server, method: str, request: Any) -> Any:
    """Calls a method of PredictionService or ModelService."""
    import grpc
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    with grpc.insecure_channel(server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        if method == "GetModelStatus":
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
        return getattr(stub, method)(request, timeout=30)


def predict_request(model: str, **inputs: Any) -> Any:
    """A PredictRequest."""
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    for key, value in inputs.items():
        proto = value if isinstance(value, tf.make_tensor_proto(0).__class__) else tf.make_tensor_proto(value)
        request.inputs[key].CopyFrom(proto)
    return request


def test_grpc(server: Server) -> None:
    from tensorflow_serving.apis import (
        classification_pb2,
        get_model_metadata_pb2,
        get_model_status_pb2,
        regression_pb2,
    )

    reply = call(server, "Predict", predict_request("linear_regression", x=np.array([[0.0, 1, -1, 2]])))
    np.testing.assert_allclose(tf.make_ndarray(reply.outputs["y"]), [LINE], rtol=1e-11)
    assert list(reply.outputs["y"].double_val) == tf.make_ndarray(reply.outputs["y"]).ravel().tolist()
    assert (reply.model_spec.version.value, reply.model_spec.signature_name) == (1, "serving_default")
    for kind, method, expected in (
        (classification_pb2.ClassificationRequest, "Classify", ("high", 3.0)),
        (regression_pb2.RegressionRequest, "Regress", 3.0),
    ):
        request = kind()
        request.model_spec.name = "exp_model"
        request.model_spec.signature_name = "classification" if method == "Classify" else "regression"
        example = request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.append(2.0)
        result = call(server, method, request).result
        if method == "Classify":
            (entry,) = result.classifications[0].classes
            assert (entry.label, entry.score) == expected
        else:
            assert [regression.value for regression in result.regressions] == [expected]
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "classifier"
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert call(server, "GetModelMetadata", request).metadata["signature_def"].Unpack(signatures)
    assert list(signatures.signature_def["serving_default"].inputs) == ["inputs_1"]
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "exp_model"
    assert [entry.state for entry in call(server, "GetModelStatus", request).model_version_status] == [30, 30]


def test_grpc_says_what_is_wrong(server: Server) -> None:
    import grpc

    bomb = tf.make_tensor_proto(np.array([1.0]))
    bomb.tensor_shape.dim[0].size = 1 << 40
    short = tf.make_tensor_proto(np.array([[1.0, 2.0]]))
    short.tensor_shape.dim[1].size = 3
    unknown = tf.make_tensor_proto(np.array([[1.0]]))
    unknown.dtype = 99
    filtered = predict_request("linear_regression", x=np.array([[1.0]]))
    filtered.output_filter.append("z")
    for request, code, said in (
        (predict_request("nothing"), "NOT_FOUND", "no such model: nothing (there are: "),
        (
            predict_request("linear_regression"),
            "INVALID_ARGUMENT",
            "not the inputs of the signature serving_default: none",
        ),
        (
            predict_request("linear_regression", x=np.float32([[1]])),
            "INVALID_ARGUMENT",
            "wrong type: x is float32, not",
        ),
        (
            predict_request("linear_regression", x=np.array([1.0])),
            "INVALID_ARGUMENT",
            "wrong shape: x is [1], not [?, ?]",
        ),
        (predict_request("linear_regression", x=bomb), "INVALID_ARGUMENT", "wrong shape: x is [1099511627776]"),
        (predict_request("linear_regression", x=short), "INVALID_ARGUMENT", "wrong shape: x is [1, 3] and holds 2"),
        (predict_request("linear_regression", x=unknown), "INVALID_ARGUMENT", "wrong type: x is of the type 99"),
        (
            predict_request("linear_regression", x=np.zeros([10_001, 1])),
            "INVALID_ARGUMENT",
            "too large: x is [10001, 1]",
        ),
        (filtered, "INVALID_ARGUMENT", "no such output: z (the model has: y)"),
    ):
        with pytest.raises(grpc.RpcError) as error:
            call(server, "Predict", request)
        assert (error.value.code().name, error.value.details()[: len(said)]) == (code, said)


# Clients


def test_clients_in_four_languages(server: Server) -> None:
    url, port = server.rest.removesuffix("/v1/models"), server.grpc
    printed = "[[-2.9987834928787795, -1.4987794569534572, -4.498787528804102, 0.0012245789718652311]]\n"
    assert run_program("serving/client_rest.py", "--url", url) == (0, printed, "")
    assert run_program("serving/client_grpc.py", "--address", port) == (0, printed, "")
    go = run_command(f". go_consumer/env.sh && go run go_consumer/restclient/main.go -url {url} -x -1,2")
    assert (go.status, go.out) == (0, "[[-4.498787528804102 0.0012245789718652311]]\n"), go
    java = run_command(f"java -cp {CLASSES} modelimportexport.RestClient -1,2 {url}")
    assert java == (0, '{"predictions":[[-4.498787528804102,0.0012245789718652311]]}\n', "")


@pytest.mark.slow
def test_clients_say_what_is_wrong(server: Server) -> None:
    url = server.rest.removesuffix("/v1/models")
    said = "the server answers 404: no such model: m (there are: classifier, "
    nobody = f"http://127.0.0.1:{free_ports()[0]}"
    for result, words in (
        (run_program("serving/client_rest.py", "--url", url, "--model", "m"), said),
        (run_program("serving/client_rest.py", "--url", nobody), f"no server: {nobody}"),
        (run_program("serving/client_rest.py", "--x", "a"), "not a number: "),
        (
            run_program("serving/client_grpc.py", "--address", server.grpc, "--model", "m"),
            "the server answers NOT_FOUND",
        ),
        (run_command(f"java -cp {CLASSES} modelimportexport.RestClient 1 {url} m"), "the server answers 404: "),
        (run_command(f"java -cp {CLASSES} modelimportexport.RestClient 1 {nobody}"), f"no server: {nobody}"),
    ):
        assert (result.status, result.out) == (1, "")
        assert words in result.err
        assert result.err.count("\n") == 1


@pytest.mark.slow
def test_ovmsclient(server: Server) -> None:
    """A real client of TensorFlow Serving, in an environment of its own."""
    assert run_command("make .cache/ovmsclient/complete", timeout=600).status == 0
    script = ROOT / "tests" / "interop" / "ovms_client.py"
    url = server.rest.removesuffix("/v1/models").removeprefix("http://")
    for kind, address in (("http", url), ("grpc", server.grpc)):
        result = run_command(f"{ROOT}/.cache/ovmsclient/bin/python {script} {kind} {address}")
        assert (result.status, result.err) == (0, "")
        line, sums, status, missing = map(json.loads, result.out.splitlines())
        np.testing.assert_allclose(line, [LINE], rtol=1e-11)
        assert sums == [[False], [True]]
        assert status == {"1": "AVAILABLE"}
        assert missing.startswith("ModelNotFoundError")


# The smallest server


def test_flask_recipe(exports: Path) -> None:
    (port,) = free_ports()
    with start_program("cookbook/freezemodel_serve.py", "--port", port, folder=exports) as process:
        wait_for(lambda: "listening" in process.output()[0])
        url = f"http://127.0.0.1:{port}/api/predict"

        def post(body: bytes, kind: str = "application/json") -> tuple[int, Any]:
            try:
                request = urllib.request.Request(url, body, {"Content-Type": kind})
                with urllib.request.urlopen(request, timeout=30) as reply:
                    return reply.status, json.load(reply)
            except urllib.error.HTTPError as error:
                return error.code, json.loads(error.read())

        wait_for(lambda: not socket.socket().connect_ex(("127.0.0.1", port)))
        rows = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [5] * 10]
        assert post(json.dumps({"x": rows[:1]}).encode()) == (200, {"y": [[False]]})
        assert post(json.dumps({"x": rows}).encode()) == (200, {"y": [[False], [True]]})
        for body, status, said in (
            (b"{", 400, ""),
            (b"{}", 400, "not a request: give"),
            (b'{"x": [[1]]}', 400, "not 10 numbers: row 0 of x"),
            (b'{"x": [["1", 1, 1, 1, 1, 1, 1, 1, 1, 1]]}', 400, "not a number that a float32 holds: in row 0"),
            (b'{"x": [[NaN, 1, 1, 1, 1, 1, 1, 1, 1, 1]]}', 400, "not a number that a float32 holds: in row 0"),
            (b" " * (9 << 20), 413, ""),
        ):
            got, reply = post(body)
            assert (got, list(reply)) == (status, ["error"])
            assert reply["error"].startswith(said)
        assert post(b"{}", "text/plain")[0] == 415


# SOAP


@pytest.fixture(scope="module")
def soap(trained: Path) -> Iterator[str]:
    """The SOAP service's address."""
    (port,) = free_ports()
    command = ["java", "-cp", str(ROOT / CLASSES), "modelimportexport.SoapService", "--port", str(port)]
    with subprocess.Popen(command, cwd=trained, env=USER, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == f"listening on http://127.0.0.1:{port}/LinearRegression?wsdl\n".encode()
        try:
            yield f"http://127.0.0.1:{port}/LinearRegression"
        finally:
            process.terminate()
        assert process.wait(30) in (0, 143)
        assert process.stderr.read() == b""


def test_soap_with_a_client_made_from_the_wsdl(soap: str) -> None:
    import zeep

    service = zeep.Client(f"{soap}?wsdl").service
    np.testing.assert_allclose(service.predict([0, 1, -1, 2]), LINE, rtol=1e-11)
    xs = np.arange(10_000) / 7
    np.testing.assert_allclose(service.predict(xs.tolist()), LINE[0] + (LINE[1] - LINE[0]) * xs, rtol=1e-9, atol=1e-9)
    for wrong, said in (
        ([], "not 1 to 100000 numbers: 0 in x"),
        ([0.0] * 100_001, "not 1 to 100000 numbers: 100001 in"),
    ):
        with pytest.raises(zeep.exceptions.Fault, match=said):
            service.predict(wrong)


@pytest.mark.parametrize(
    ("doctype", "body", "status", "said"),
    [
        ("", "<x>abc</x>", 500, "'abc' is not a valid value for 'double'"),
        ("", "<z>1</z>", 500, "Invalid content was found starting with element 'z'"),
        ("<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>", "<x>&e;</x>", 400, "refused XML: it has a DTD"),
        ("<!DOCTYPE a [<!ENTITY e '1'>]>", "<x>&e;</x>", 400, "refused XML: it has a DTD"),
        ("", "<x>1</y>", 400, "not XML: "),
        ("", "<x>1</x>" + " " * (8 << 20), 413, "too large: the body (at most 8388608 bytes)"),
    ],
)
def test_soap_refuses(soap: str, doctype: str, body: str, status: int, said: str) -> None:
    envelope = (
        f'<?xml version="1.0"?>{doctype}<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
        f'<n:predict xmlns:n="urn:modelimportexport">{body}</n:predict></s:Body></s:Envelope>'
    )
    for encoding in ("utf-8", "utf-16") if doctype else ("utf-8",):
        headers = {"Content-Type": f"text/xml; charset={encoding}", "SOAPAction": '""'}
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(urllib.request.Request(soap, envelope.encode(encoding), headers))
        text = error.value.read().decode()
        assert (error.value.code, said in text) == (status, True), text
        assert "root:" not in text
        assert "\tat " not in text


# The page of the tutorial


@pytest.mark.slow
def test_every_command_prints_what_the_page_says(exports: Path, trained: Path) -> None:
    """With the servers that it tells to start, on their own ports."""
    text = (ROOT / "serving" / "README.md").read_text()
    java = ["java", "-cp", str(ROOT / CLASSES), "modelimportexport.SoapService"]
    config = ROOT / "serving" / "models.config"
    with (
        start_program("cookbook/freezemodel_serve.py", folder=exports) as flask,
        start_program("serving/model_server.py", "--model_config_file", config, folder=exports) as server,
        subprocess.Popen(java, cwd=trained, env=USER, stdout=subprocess.PIPE) as soap,
        contextlib.ExitStack() as at_end,
    ):
        at_end.callback(soap.terminate)
        assert soap.stdout.readline() in page.blocks(text, "console", run=False)[-1].encode()
        for process in (flask, server):
            wait_for(lambda process=process: "http" in process.output()[0])
        for port in (5000, 8501):
            wait_for(lambda port=port: not socket.socket().connect_ex(("127.0.0.1", port)))
        page.check(page.walk(page.steps(text), ROOT))


# What is for TensorFlow Serving


def test_the_configurations_are_of_tensorflow_serving() -> None:
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    text = (ROOT / "serving" / "models.config").read_text()
    parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    names = [model.name for model in parsed.model_config_list.config]
    assert names == ["linear_regression", "classifier", "half_plus_two", "exp_model"]


# The page


@pytest.mark.slow
def test_the_page(server: Server) -> None:
    if not Path("/usr/bin/chromedriver").exists():
        installed = (
            os.geteuid() == 0
            and run_command("apt-get update && apt-get install -y chromium chromium-driver", timeout=600).status == 0
        )
        if not installed:
            pytest.skip("no browser: install chromium and chromium-driver")
    sys.path.insert(0, str(ROOT / "docs"))
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.select import Select

    from chromium import open_browser

    with open_browser(420, 900) as driver:
        driver.get(server.rest.removesuffix("v1/models"))
        signature = driver.find_element("id", "signature")
        wait_for(lambda: len(Select(signature).options) == 7)
        rows = driver.find_element("id", "models").text.splitlines()
        assert "linear_regression 1 AVAILABLE" in rows
        Select(signature).select_by_visible_text("linear_regression: serving_default (predict)")
        body = driver.find_element("id", "body")
        body.clear()
        body.send_keys('{"inputs": {"x": [[0, 1, -1, 2]]}}')
        body.send_keys(Keys.TAB)  # to the button, which the keyboard presses
        assert driver.switch_to.active_element.text == "Predict"
        driver.switch_to.active_element.send_keys(Keys.ENTER)
        answer = driver.find_element("id", "answer")
        wait_for(lambda: "outputs" in answer.text)
        np.testing.assert_allclose(json.loads(answer.text)["outputs"], [LINE], rtol=1e-11)
        wait_for(lambda: len(driver.find_elements("css selector", "#line polyline")) == 1)
        points = driver.find_element("css selector", "#line polyline").get_attribute("points").split()
        assert len(points) == 21
        heights = np.diff([float(point.split(",")[1]) for point in points])
        assert np.allclose(heights, heights[0])
        curl = driver.find_element("id", "curl").text
        shown = run_command(curl)
        assert json.loads(shown.out) == json.loads(answer.text)
        # Nothing sticks out on a phone.
        assert driver.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        body.clear()
        body.send_keys("{")
        driver.find_element("css selector", "button").click()
        wait_for(lambda: "not JSON" in answer.text)
        Select(signature).select_by_visible_text("exp_model: classification (classify)")
        driver.find_element("css selector", "button").click()
        wait_for(lambda: "result" in answer.text)
        assert json.loads(answer.text) == {"result": [[["low", 2.75]]]}
        assert not driver.find_element("id", "drawing").is_displayed()


def resident(process: Any) -> int:
    """Megabytes of a process's memory."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) >> 10


@pytest.mark.slow
def test_ten_thousand_requests_while_versions_change(tmp_path: Path) -> None:
    """Every good request ends in the right answer or is told to come again; none ends in another 5xx."""
    import http.client
    import random
    import threading

    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    assert run_command("make .cache/schemathesis/complete", timeout=600).status == 0

    def version(number: int) -> None:
        save(tmp_path / "new", lambda x: x + tf.get_variable("v", initializer=tf.constant(1.0, tf.float64)))
        (tmp_path / "new").rename(tmp_path / "model" / str(number))

    (tmp_path / "model").mkdir()
    version(1)
    stop, seen = threading.Event(), set()

    def change() -> None:
        number = 2
        while not stop.wait(0.5):
            folder = tmp_path / "model" / str(number)
            if number % 3 == 0:
                folder.mkdir()
                (folder / "saved_model.pb").write_bytes(b"broken")
            else:
                version(number)
                seen.add(number)
            for old in sorted((tmp_path / "model").iterdir(), key=lambda path: int(path.name))[:-3]:
                shutil.rmtree(old)
            number += 1

    bad = [b"{", b"[]", b'{"instances": []}', b'{"instances": [[1]]}', b'{"inputs": {"z": 1}}', b'{"instances": ["a"]}']

    def work(seed: int, count: int) -> dict[str, int]:
        chosen, counts = random.Random(seed), {}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for _ in range(count):
            good = chosen.random() < 0.5
            x = chosen.uniform(-1e6, 1e6)
            body = json.dumps({"instances": [x]}).encode() if good else chosen.choice(bad)
            path = (
                "m" if good or chosen.random() < 0.8 else chosen.choice(["nothing", "m/versions/999", "m/versions/x"])
            )
            connection.request("POST", f"/v1/models/{path}:predict", body)
            reply = connection.getresponse()
            document = json.loads(reply.read())
            if good:
                assert reply.status in (200, 429, 503), document
                assert reply.status != 200 or document == {"predictions": [x + 1]}
            else:
                assert 400 <= reply.status < 500, document
                assert list(document) == ["error"]
            counts[f"{good} {reply.status}"] = counts.get(f"{good} {reply.status}", 0) + 1
        return counts

    def work_over_grpc(seed: int, count: int) -> dict[str, int]:
        chosen, counts = random.Random(seed), {}
        bad = [predict_request("nothing", x=[1.0]), predict_request("m", z=[1.0]), predict_request("m", x=["a"])]
        with grpc.insecure_channel(server.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            for _ in range(count):
                good = chosen.random() < 0.5
                x = chosen.uniform(-1e6, 1e6)
                request = predict_request("m", x=np.array([x])) if good else chosen.choice(bad)
                try:
                    reply, code = stub.Predict(request, timeout=60), "OK"
                except grpc.RpcError as error:
                    code = error.code().name
                if good:
                    assert code in ("OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")
                    assert code != "OK" or list(reply.outputs["y"].double_val) == [x + 1]
                else:
                    assert code in ("INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED")
                counts[f"{good} {code}"] = counts.get(f"{good} {code}", 0) + 1
        return counts

    with serving(tmp_path, "--model_name", "m", "--model_base_path", "model", "--max_in_flight", 24) as server:
        port = int(server.rest.split(":")[2].split("/")[0])
        work(0, 500)
        before = resident(server.process)
        changer = threading.Thread(target=change)
        changer.start()
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            works = [work_over_grpc if seed % 4 == 0 else work for seed in range(1, 33)]
            counts = list(pool.map(lambda seed: works[seed - 1](seed, 313), range(1, 33)))
        fuzz = run_command(
            f"{ROOT}/.cache/schemathesis/bin/schemathesis run http://127.0.0.1:{port}/openapi.json "
            "--checks not_a_server_error --max-examples 50 --workers 1 --phases examples,coverage,fuzzing --seed 1",
            tmp_path,
            timeout=600,
        )
        stop.set()
        changer.join()
        assert fuzz.status == 0, fuzz.out[-3000:]
        total = {key: sum(count.get(key, 0) for count in counts) for key in set().union(*counts)}
        assert sum(total.values()) > 10_000
        assert total["True 200"] > 2000
        assert total["True OK"] > 700
        assert len(seen) > 3
        wait_for(lambda: ask(f"{server.rest}/m:predict", {"instances": [1.0]}) == (200, {"predictions": [2.0]}))
        assert resident(server.process) < before + 150
        assert server.process.exitcode is None
        assert "Traceback" not in server.process.output()[1]
