"""The REST API: what is answered, to the last digit, and the errors for requests that cannot be answered."""

import base64
import concurrent.futures
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import serving_models as models
from model_import_export.graph_mode import tf
from running_server import Server, ask, config_of, serving

import numpy as np
import pytest

NAMES = ("line", "sums", "half_plus_two", "slow", "text", "texts", "pair", "types")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes four requests at a time."""
    folder = tmp_path_factory.mktemp("rest")
    for name in NAMES:
        models.save(folder / name / "1", getattr(models, name))
    models.save(folder / "line" / "2", models.line)
    config = dict.fromkeys(NAMES, "") | {
        "line": 'model_version_policy { all {} } version_labels { key: "old" value: 1 }'
    }
    with serving(folder, "--model_config_file", config_of(folder, **config), "--max_in_flight", 4) as server:
        yield server


def test_row_and_column_form(server: Server) -> None:
    for values in ([[0, 1, -1, 2]], [{"x": [0, 1, -1, 2]}]):
        answer = 200, {"predictions": [[-3.0, -1.5, -4.5, 0.0]]}
        assert ask(f"{server.rest}/line:predict", {"instances": values}) == answer
    for values in ([[0, 1, -1, 2]], {"x": [[0, 1, -1, 2]]}):
        for path in ("", "/versions/1", "/versions/0", "/labels/old"):
            answer = 200, {"outputs": [[-3.0, -1.5, -4.5, 0.0]]}
            assert ask(f"{server.rest}/line{path}:predict", {"inputs": values}) == answer
    tens = {"instances": [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [5] * 10], "signature_name": "serving_default"}
    assert ask(f"{server.rest}/sums:predict", tens) == (200, {"predictions": [[False], [True]]})
    rows = {"instances": [{"a": 1.0, "b": [2.0, 3.0]}, {"a": -1.0, "b": [0.5, 0.5]}]}
    expected = [{"rows": [2.0, 3.0], "sum": 6.0}, {"rows": [0.5, 0.5], "sum": 0.0}]
    assert ask(f"{server.rest}/pair:predict", rows) == (200, {"predictions": expected})


def test_numbers_keep_their_digits(server: Server) -> None:
    numbers = [1e-308, 5e-324, 0.1, 1e22, -0.0, 123456.789]
    status, reply = ask(f"{server.rest}/line:predict", {"instances": [numbers]})
    assert (status, reply["predictions"][0]) == (200, [1.5 * x - 3.0 for x in numbers])
    for dtype, value in (("float32", 0.1), ("float64", 0.1), ("int64", 2**63 - 1), ("uint64", 2**64 - 1),
                         ("int8", -128), ("float16", 0.5), ("bfloat16", -0.25), ("bool", True),
                         ("uint32", 2**32 - 1)):  # fmt: skip
        body = {"signature_name": dtype, "instances": [value]}
        assert ask(f"{server.rest}/types:predict", body) == (200, {"predictions": [value]}), dtype


def test_nan_and_infinity_go_both_ways(server: Server) -> None:
    body = b'{"inputs": [[NaN, Infinity, -Infinity, 0]]}'
    with urllib.request.urlopen(f"{server.rest}/line:predict", body) as reply:
        assert reply.read() == b'{"outputs": [[NaN, Infinity, -Infinity, -3.0]]}\n'


def test_classify_and_regress(server: Server) -> None:
    classify = {"signature_name": "classification", "examples": [{"x": 1.0}, {"x": [2.0]}]}
    answer = 200, {"results": [[["low", 2.5]], [["high", 3.0]]]}
    assert ask(f"{server.rest}/half_plus_two:classify", classify) == answer
    regress = {"signature_name": "regression", "context": {"x": 3.5}, "examples": [{}, {"x": 0.0}]}
    assert ask(f"{server.rest}/half_plus_two:regress", regress) == (200, {"results": [3.75, 2.0]})
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(5.0)
    encoded = base64.b64encode(example.SerializeToString()).decode()
    body = {"signature_name": "classification", "inputs": {"inputs": [{"b64": encoded}]}}
    expected = {"outputs": {"classes": [["high"]], "scores": [[4.5]]}}
    assert ask(f"{server.rest}/half_plus_two:predict", body) == (200, expected)


def test_strings(server: Server) -> None:
    assert ask(f"{server.rest}/text:predict", {"inputs": "a"}) == (200, {"outputs": "a"})
    assert ask(f"{server.rest}/text:predict", {"inputs": {"b64": "/w=="}}) == (200, {"outputs": {"b64": "/w=="}})
    for sent in ("YWI=", "YWI", " YW\nI=\t", "Y W I"):  # with padding, without, with white space
        answer = ask(f"{server.rest}/texts:predict", {"instances": [{"b64": sent}]})
        assert answer == (200, {"predictions": [{"b64": "YWI="}]}), sent


def test_status_and_metadata(server: Server) -> None:
    assert server.states("line") == {2: "AVAILABLE", 1: "AVAILABLE"}
    assert [e["version"] for e in ask(f"{server.rest}/line/versions/1")[1]["model_version_status"]] == ["1"]
    assert [e["version"] for e in ask(f"{server.rest}/line/labels/old")[1]["model_version_status"]] == ["1"]
    status, reply = ask(f"{server.rest}/line/metadata")
    signature = reply["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert (status, reply["model_spec"]["version"]) == (200, "2")
    assert signature["inputs"]["x"]["dtype"] == "DT_DOUBLE"
    assert [dim["size"] for dim in signature["outputs"]["y"]["tensor_shape"]["dim"]] == ["-1", "-1"]
    assert ask(server.rest) == (200, {"models": sorted(NAMES)})
    assert ask(f"{server.url}/openapi.json")[1]["components"]["parameters"]["name"]["schema"]["enum"] == sorted(NAMES)


LINE, TYPES, EXAMPLES = "/line:predict", "/types:predict", "/half_plus_two:classify"


def example(value: Any) -> Any:
    """A request to classify an example with this x."""
    return {"signature_name": "classification", "examples": [{"x": value}]}


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        (LINE, b"{", 400, "not JSON: "),
        (LINE, b"[" * 100_000, 400, "not JSON: "),
        (LINE, b"\xff", 400, "not JSON: "),
        (LINE, [1], 400, "not an object: the body"),
        (LINE, {}, 400, "not a predict request (give either"),
        (LINE, {"x": 1}, 400, "not a predict request: x (give either"),
        (LINE, {"instances": []}, 400, "not a list with a row at least: instances"),
        (LINE, {"instances": [[1], [1, 2]]}, 400, "not a tensor: x (its lists are not all of one length)"),
        (LINE, {"instances": [1]}, 400, "wrong shape: x is [1], not [?, ?]"),
        (LINE, {"instances": [["1"]]}, 400, "wrong type: a string in x, which takes float64"),
        (LINE, {"instances": [[True]]}, 400, "wrong type: a bool in x, which takes float64"),
        (LINE, {"instances": [[None]]}, 400, "wrong type: null in x, which takes float64"),
        (LINE, {"instances": [[10**400]]}, 400, "out of range for float64: a number in x"),
        (LINE, b'{"instances": [[1e400]]}', 400, "out of range for float64: 1e400"),
        (LINE, b'{"instances": [[-1e400, NaN]]}', 400, "out of range for float64: -1e400"),
        ("/sums:predict", {"instances": [[1e39] * 10]}, 400, "out of range for float32: a number in inputs_1"),
        (TYPES, {"signature_name": "int8", "instances": [128]}, 400, "out of range for int8: a number in x"),
        (TYPES, {"signature_name": "uint8", "instances": [-1]}, 400, "out of range for uint8: a number in x"),
        (TYPES, {"signature_name": "int64", "instances": [2**63]}, 400, "out of range for int64: a number in x"),
        (TYPES, {"signature_name": "float16", "instances": [7e4]}, 400, "out of range for float16: a number in x"),
        (TYPES, {"signature_name": "int32", "instances": [0.5]}, 400, "wrong type: a number in x, which takes int32"),
        (LINE, {"instances": [{"z": [1]}]}, 400, "no value for: x (the signature takes: x)"),
        (LINE, {"inputs": {"x": [[1]], "z": 1}}, 400, "no such input: z (the signature takes: x)"),
        (LINE, {"instances": [[0]] * 10_001}, 400, "too large: x is [10001, 1] (at most 10000 rows, 10000 values)"),
        (LINE, {"instances": [[0] * 10_001]}, 400, "too large: x is [1, 10001] (at most 10000 rows, 10000 values)"),
        (LINE, {"signature_name": "s", "inputs": 1}, 400, "no such signature: s (the model line has: serving_default)"),
        (LINE, {"signature_name": 1, "inputs": 1}, 400, "not a string: signature_name"),
        (LINE, b" " * (33 << 20), 413, "too large: the body (at most 33554432 bytes)"),
        ("/line:classify", {"examples": [{}]}, 400, "no such signature to classify with: serving_default"),
        (EXAMPLES, {"signature_name": "classification"}, 400, "not a classify or regress request"),
        (EXAMPLES, {"signature_name": "classification", "examples": [1]}, 400, "not an object: one of the examples"),
        (EXAMPLES, example(1), 400, "cannot calculate: "),  # an int64, but the model wants a float
        (EXAMPLES, example(True), 400, "wrong type: a bool in x, a feature of an example"),
        (EXAMPLES, example([1.0, False]), 400, "wrong type: a bool in x, a feature of an example"),
        (EXAMPLES, example(None), 400, "wrong type: null in x, a feature of an example"),
        (EXAMPLES, example([[1.0]]), 400, "wrong type: a list in x, a feature of an example"),
        (EXAMPLES, example(["a", 1]), 400, "wrong type: a string in x, a feature of an example"),
        (EXAMPLES, example({"b64": "?"}), 400, "not base64: b64 in x"),
        (EXAMPLES, example({"b65": ""}), 400, "wrong type: an object in x, which takes strings or b64 objects"),
        (EXAMPLES, example(2**63), 400, "out of range for int64 or float32: a number in x"),
        (EXAMPLES, example(1e39), 400, "out of range for int64 or float32: a number in x"),
        ("/texts:predict", {"instances": [{"b64": "YWI=="}]}, 400, "not base64: b64 in inputs"),
        ("/texts:predict", {"instances": [{"b64": "YWJjZ"}]}, 400, "not base64: b64 in inputs"),
        ("/texts:predict", {"instances": [1]}, 400, "wrong type: an integer in inputs, which takes strings or b64"),
        ("/nothing:predict", {}, 404, "no such model: nothing (there are: half_plus_two, "),
        ("/line/versions/7:predict", {}, 404, "no such version: 7 of model line (loaded: 1, 2)"),
        ("/line/versions/x:predict", {}, 400, "not a version: x"),
        (f"/line/versions/{'0' * 5000}:predict", {}, 400, "not a version: 0000"),
        (f"/line/versions/{'9' * 19}:predict", {}, 400, "not a version: 9999"),
        ("/line/labels/new:predict", {}, 404, "no such label: new of model line (there are: old)"),
        ("/line:guess", {}, 404, "no such path: /v1/models/line:guess"),
        ("/nothing", None, 404, "no such model: nothing"),
        ("/nothing/metadata", None, 404, "no such model: nothing"),
        ("/line/versions/7", None, 404, "no such version: 7"),
        (f"/line/versions/{'0' * 5000}", None, 400, "not a version: 0000"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(server: Server, path: str, body: Any, status: int, said: str) -> None:
    got, reply = ask(server.rest + path, body)
    assert (got, list(reply)) == (status, ["error"])
    assert reply["error"].startswith(said)
    assert "Traceback" not in reply["error"]
    assert ask(f"{server.rest}/pair:predict", {"inputs": {"a": [1.0], "b": [[1.0, 2.0]]}})[0] == 200


def test_too_many_at_a_time_are_told_to_come_again(server: Server) -> None:
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda _: server.predict("slow", 1.0), range(12)))
    statuses = [status for status, _ in replies]
    assert statuses.count(200) >= 4
    assert set(statuses) == {200, 429}
    said = {json.dumps(reply) for status, reply in replies if status == 429}
    assert said == {'{"error": "too many requests in flight: 4 (try again in a second)"}'}
    assert server.predict("slow", 2.0) == (200, {"predictions": [2.0]})


def test_rows_of_scalars_end_when_the_time_does(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A request's time is limited, over each protocol by its own flag."""
    folder = tmp_path_factory.mktemp("time")
    models.save(folder / "m" / "1", models.slow)
    flags = ["--model_name", "m", "--model_base_path", "m", "--max_seconds", 20, "--rest-api-timeout-in-ms", 100]
    with serving(folder, *flags) as server:
        assert server.predict() == (503, {"error": "not done within 0.1 s"})
        from running_server import predict_over_grpc

        assert predict_over_grpc(server, "m", x=np.array([3.0]))["y"].tolist() == [3.0]
