"""The models that the server loads without `--trust`, how they answer, and how much they take."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import serving_models as models
from conftest import run_command, run_program
from running_server import Server, ask, config_of, predict_over_grpc, predict_request, refusal, serving

import numpy as np
import pytest

GRAPH = (
    models.half_plus_two, models.text, models.scalars, models.one_row, models.counter, models.image,
    models.large_image, models.two_sizes, models.product, models.wide_examples, models.unused_placeholder,
    models.behind_the_feed, models.no_shape, models.on_devices,
)  # fmt: skip
ROOT = Path(__file__).parent


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a model of each kind, none of them trusted."""
    folder = tmp_path_factory.mktemp("models")
    for build in GRAPH:
        models.save(folder / build.__name__ / "1", build)
    models.save(folder / "tagged" / "1", models.line, ("train", "serve"))
    made = run_command(f"TF_CPP_MIN_LOG_LEVEL=3 python {ROOT}/serving_models.py {folder}")
    assert made.status == 0, made
    names = [*(build.__name__ for build in GRAPH), "tagged", "keras", "module"]
    with serving(folder, "--model_config_file", config_of(folder, **dict.fromkeys(names, ""))) as server:
        yield server


@pytest.mark.parametrize(
    ("model", "instances", "predictions"),
    [
        ("half_plus_two", [1.0, 2.0, 5.0], [2.5, 3.0, 4.5]),  # TensorFlow Serving's own quick start
        ("half_plus_two", [[1.0], [2.0], [5.0]], [[2.5], [3.0], [4.5]]),
        ("keras", [[1.0, 2.0, 3.0, 4.0]], [[30.0]]),
        ("module", [1.0, 2.5], [7.0, 17.5]),
        ("unused_placeholder", [1.0, 2.0], [2.0, 4.0]),
        ("behind_the_feed", [1.0, 2.0], [3.0, 6.0]),
        ("no_shape", [1.0, 2.0], [4.0, 8.0]),
        ("no_shape", [[1.0, 2.0], [3.0, 4.0]], [[4.0, 8.0], [12.0, 16.0]]),
        ("on_devices", [1.0, 2.0], [5.0, 10.0]),
        ("tagged", [[0.0, 4.0]], [[-3.0, 3.0]]),
        ("scalars", [{"a": 2.0, "b": 3.0}, {"a": -1.0, "b": 0.5}], [6.0, -0.5]),
        ("one_row", [3.0], [9.0]),
        ("one_row", [1.0, 2.0, 3.0], [1.0, 4.0, 9.0]),
        ("text", ["a"], ["a"]),
        ("text", ["a", "b"], ["a", "b"]),
    ],
)
def test_row_form(server: Server, model: str, instances: Any, predictions: Any) -> None:
    assert ask(f"{server.rest}/{model}:predict", {"instances": instances}) == (200, {"predictions": predictions})


@pytest.mark.parametrize(
    ("model", "inputs", "outputs"),
    [
        ("half_plus_two", [1.0, 5.0], [2.5, 4.5]),
        ("half_plus_two", [[1.0], [5.0]], [[2.5], [4.5]]),
        ("text", "a", "a"),
        ("scalars", {"a": 2.0, "b": 3.0}, 6.0),
        ("no_shape", 1.0, 4.0),
        ("one_row", [3.0], [9.0]),
        ("one_row", [3.0, 4.0], [9.0, 16.0]),
        ("module", [0.5], [3.5]),
    ],
)
def test_column_form(server: Server, model: str, inputs: Any, outputs: Any) -> None:
    assert ask(f"{server.rest}/{model}:predict", {"inputs": inputs}) == (200, {"outputs": outputs})


def test_over_grpc(server: Server) -> None:
    for model, feed, expected in (
        ("half_plus_two", {"x": np.float32([1, 2, 5])}, [2.5, 3, 4.5]),
        ("half_plus_two", {"x": np.float32([[1], [2]])}, [[2.5], [3]]),
        ("keras", {"x": np.float32([[1, 2, 3, 4]])}, [[30]]),
        ("module", {"x": np.array([2.0])}, [14]),
        ("scalars", {"a": 2.0, "b": 3.0}, None),
        ("text", {"inputs": "a"}, b"a"),
        ("on_devices", {"x": np.array([2.0])}, [10]),
        ("behind_the_feed", {"x": np.array([2.0])}, [6]),
    ):
        if expected is None:
            refused = refusal(server, "Predict", predict_request(model, **feed))
            assert refused == ("INVALID_ARGUMENT", "wrong type: a is float32, not float64")
            feed, expected = {"a": np.float64(2), "b": np.float64(3)}, 6.0
        (found,) = predict_over_grpc(server, model, **feed).values()
        assert found.tolist() == expected


def test_a_counter_counts(server: Server) -> None:
    def count(signature: str, body: dict[str, Any]) -> Any:
        return ask(f"{server.rest}/counter:predict", {"signature_name": signature, **body})

    assert count("get", {"inputs": {}}) == (200, {"outputs": 0.0})
    assert count("add", {"instances": [{}, {}]}) == (200, {"predictions": [1.0, 2.0]})
    assert count("get", {"instances": [{}]}) == (200, {"predictions": [2.0]})
    assert predict_over_grpc(server, "counter", "get")["output"] == 2


def test_a_model_takes_as_many_rows_as_its_size_allows(server: Server) -> None:
    # With 26 x 26 x 128 numbers per image, 16 Mi are 193 images; the limit of 10,000 rows is halved until it fits.
    assert "loaded: version 1 of model image from image/1 (at most 156 rows per request)\n" in server.log
    assert "loaded: version 1 of model large_image from large_image/1 (at most 1 row per request)\n" in server.log
    assert "loaded: version 1 of model one_row from one_row/1\n" in server.log
    assert (
        "loaded: version 1 of model two_sizes from two_sizes/1 (per request at most 156 rows with image)\n"
        in server.log
    )
    image = np.ones([28, 28, 1], np.float32)
    found = predict_over_grpc(server, "image", x=np.stack([image, 2 * image]))["y"]
    np.testing.assert_allclose(found, np.outer([1, 2], np.full(128, 9 * 26 * 26)))
    assert predict_over_grpc(server, "image", x=np.zeros([156, 28, 28, 1], np.float32))["y"].shape == (156, 128)
    refused = refusal(server, "Predict", predict_request("image", x=np.zeros([157, 28, 28, 1], np.float32)))
    assert refused == ("INVALID_ARGUMENT", "too large: x is [157, 28, 28, 1] (at most 156 rows, 122304 values)")


def test_what_would_make_a_model_allocate_is_refused(server: Server) -> None:
    # 10,000 numbers transposed times themselves are 100 million; 4,096 give 16 Mi, the limit.
    url = f"{server.rest}/product:predict"
    most = max(count for count in (10_000 >> i for i in range(15)) if count**2 <= 16 << 20)
    assert most == 2500
    assert ask(url, {"inputs": [[1.0] * most]}) == (200, {"outputs": float(most**2)})
    for shape in ([1, most + 1], [most + 1, 1]):
        status, reply = ask(url, {"inputs": np.ones(shape).tolist()})
        assert (status, reply["error"]) == (400, f"too large: x is {shape} (at most {most} rows, {most} values)")
    # An example becomes 100,000 numbers, so 167 examples are the limit.
    many = {"examples": [{}] * 200}
    status, reply = ask(f"{server.rest}/wide_examples:regress", many)
    assert (status, reply["error"]) == (400, "too large: inputs is [200] (at most 156 rows, 156 values)")
    status, reply = ask(f"{server.rest}/wide_examples:regress", {"examples": [{}] * 156})
    assert (status, reply) == (200, {"results": [100_000.0] * 156})


def test_a_model_that_does_harm_is_never_loaded(tmp_path: Path) -> None:
    models.save(tmp_path / "m" / "1", models.reads_a_file)
    flags = ["--model_name", "m", "--model_base_path", "m", "--port", 0, "--rest_api_port", 0]
    refused = run_program("serving/model_server.py", *flags, folder=tmp_path)
    assert (refused.status, refused.out) == (1, "")
    assert refused.err.count("\n") == 1
    assert "operations not allowed: ReadFile in node ReadFile (--trust m" in refused.err
    assert refused.err.endswith("(--trust m takes it as it is, if you made it yourself)\n")
    with serving(tmp_path, "--model_name", "m", "--model_base_path", "m", "--trust", "m") as server:
        size = Path("/etc/passwd").stat().st_size
        assert server.predict(value=1.0) == (200, {"predictions": [1.0 + size]})
