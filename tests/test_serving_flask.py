"""The smallest server, cookbook/freezemodel_serve.py."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from conftest import free_ports, start_program, wait_for
from model_import_export.graph_mode import tf
from running_server import raw

import pytest

TEN = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]


@pytest.fixture(scope="module")
def flask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The server for a graph with the classifier's names: whether ten numbers add up to 47.5 or more."""
    folder = tmp_path_factory.mktemp("flask")
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 10], "Placeholder/inputs_placeholder")
        tf.greater_equal(tf.reduce_sum(x, 1, keepdims=True), 47.5, "Accuracy/predictions")
    (folder / "model.pb").write_bytes(graph.as_graph_def().SerializeToString())
    (port,) = free_ports()
    flags = ["--model", "model.pb", "--trust", "--port", port]
    with start_program("cookbook/freezemodel_serve.py", *flags, folder=folder) as process:
        wait_for(lambda: "listening" in process.output()[0] or process.exitcode is not None)
        process.port = port
        yield process


def post(server: Any, body: bytes, kind: str = "application/json") -> tuple[int, Any]:
    """Posts a request. Returns the status and the reply's JSON."""
    url = f"http://127.0.0.1:{server.port}/api/predict"
    try:
        request = urllib.request.Request(url, body, {"Content-Type": kind})
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_answers(flask: Any) -> None:
    assert post(flask, json.dumps({"x": [TEN]}).encode()) == (200, {"y": [[False]]})
    assert post(flask, json.dumps({"x": [TEN, [5] * 10]}).encode()) == (200, {"y": [[False], [True]]})


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, ""),
        (b"{}", 400, "not a request: give"),
        (b'{"x": [[1]]}', 400, "not 10 numbers: row 0 of x"),
        (b'{"x": [["1", 1, 1, 1, 1, 1, 1, 1, 1, 1]]}', 400, "not a number that a float32 holds: in row 0"),
        (b'{"x": [[NaN, 1, 1, 1, 1, 1, 1, 1, 1, 1]]}', 400, "not a number that a float32 holds: in row 0"),
        (b'{"x": [[1e400, 1, 1, 1, 1, 1, 1, 1, 1, 1]]}', 400, "not a number that a float32 holds: in row 0"),
        (
            b'{"x": [[1' + b"0" * 400 + b", 1, 1, 1, 1, 1, 1, 1, 1, 1]]}",
            400,
            "not a number that a float32 holds: in row",
        ),
        (b'{"x": [[1' + b"0" * 5000 + b", 1, 1, 1, 1, 1, 1, 1, 1, 1]]}", 400, ""),
        (b"[" * 100_000, 400, "not a request: too many brackets"),
        (b'{"x": ' + b"[" * 100_000, 400, "not a request: too many brackets"),
        (b" " * (9 << 20), 413, ""),
    ],
)
def test_refuses(flask: Any, body: bytes, status: int, said: str) -> None:
    got, reply = post(flask, body)
    assert (got, list(reply)) == (status, ["error"])
    assert reply["error"].startswith(said)
    assert flask.output()[1] == ""


def test_refuses_other_types(flask: Any) -> None:
    assert post(flask, b"{}", "text/plain")[0] == 415


@pytest.mark.slow
def test_connections_that_send_nothing_time_out_and_block_nobody(flask: Any) -> None:
    begun = b"POST /api/predict HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
    slow = [socket.create_connection(("127.0.0.1", flask.port), timeout=60) for _ in range(200)]
    for i, connection in enumerate(slow):
        connection.sendall(begun[: (0, 10, 40, len(begun))[i % 4]])
    assert post(flask, json.dumps({"x": [TEN]}).encode()) == (200, {"y": [[False]]})
    assert [connection.recv(1) for connection in slow] == [b""] * 200
    answer = raw(flask.port, b"GET /nothing HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404"), answer
