"""Starts the model server for a test, and sends it requests."""

import contextlib
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from conftest import free_ports, start_program, wait_for
from model_import_export.graph_mode import tf

import numpy as np

LINE = [-2.9987834928787795, -1.4987794569534572, -4.498787528804102, 0.0012245789718652311]  # the contract's results


class Server(NamedTuple):
    """A running server."""

    process: Any
    folder: Path
    port: int
    grpc: str

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def rest(self) -> str:
        """The URL of the models."""
        return f"{self.url}/v1/models"

    @property
    def log(self) -> str:
        """What it has printed, on both streams."""
        return "".join(self.process.output())

    @property
    def workers(self) -> list[int]:
        """The processes that answer requests."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(child) for child in children if _listens(int(child), self.port)]

    def states(self, model: str = "m") -> dict[int, str]:
        """The states of a model's versions."""
        entries = ask(f"{self.rest}/{model}")[1].get("model_version_status", [])
        return {int(entry["version"]): entry["state"] for entry in entries}

    def predict(self, model: str = "m", value: float = 0.0) -> Any:
        """The reply of a model with one input `[?]`."""
        return ask(f"{self.rest}/{model}:predict", {"instances": [value]})


def _listens(pid: int, port: int) -> bool:
    """Whether a process holds a socket that listens on a port."""
    with contextlib.suppress(OSError):
        lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
        inodes = {line[9] for line in lines if line[1].endswith(f":{port:04X}") and line[3] == "0A"}
        links = [link.readlink().name for link in Path(f"/proc/{pid}/fd").iterdir()]
        return any(f"socket:[{inode}]" in links for inode in inodes)
    return False


def ask(url: str, body: object = None, headers: Mapping[str, str] = {}, method: str | None = None) -> tuple[int, Any]:
    """Sends a request; a body that is not bytes is sent as JSON. Returns the status and the reply's JSON."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        request = urllib.request.Request(url, data, dict(headers), method=method)
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@contextlib.contextmanager
def serving(folder: Path, *flags: object, **environment: str) -> Iterator[Server]:
    """Runs the model server in a folder."""
    rest, grpc = free_ports(2)
    ports = ("--port", grpc, "--rest_api_port", rest)
    looks = () if "--file_system_poll_wait_seconds" in flags else ("--file_system_poll_wait_seconds", 0.1)
    program = start_program("serving/model_server.py", *ports, *looks, *flags, folder=folder, environment=environment)
    with program as process:
        wait_for(lambda: f"REST on http://127.0.0.1:{rest}" in process.output()[0] or process.exitcode is not None)
        assert process.exitcode is None, process.output()
        yield Server(process, folder, rest, f"127.0.0.1:{grpc}")


def raw(port: int, text: bytes, seconds: float = 30) -> bytes:
    """Sends bytes, and returns everything received until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(text)
        parts = []
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(1 << 16):
                parts.append(part)
        return b"".join(parts)


def call(server: Server, method: str, request: Any) -> Any:
    """Calls a method of PredictionService or ModelService."""
    import grpc
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    with grpc.insecure_channel(server.grpc) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        if method in ("GetModelStatus", "HandleReloadConfigRequest"):
            stub = model_service_pb2_grpc.ModelServiceStub(channel)
        return getattr(stub, method)(request, timeout=60)


def predict_request(model: str, signature: str = "", **inputs: Any) -> Any:
    """A PredictRequest."""
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for key, value in inputs.items():
        proto = value if isinstance(value, tf.make_tensor_proto(0).__class__) else tf.make_tensor_proto(value)
        request.inputs[key].CopyFrom(proto)
    return request


def predict_over_grpc(server: Server, model: str, signature: str = "", **inputs: Any) -> dict[str, np.ndarray]:
    """A model's outputs by key."""
    reply = call(server, "Predict", predict_request(model, signature, **inputs))
    return {key: tf.make_ndarray(proto) for key, proto in reply.outputs.items()}


def refusal(server: Server, method: str, request: Any) -> tuple[str, str]:
    """The code and message with which a gRPC request is refused."""
    import grpc

    try:
        call(server, method, request)
    except grpc.RpcError as error:
        return error.code().name, error.details()
    raise AssertionError("not refused")


def config_of(folder: Path, **policies: str) -> str:
    """Writes a ModelServerConfig for models in folders with their names; each value is text for more fields."""
    models = (f'config {{ name: "{name}" base_path: "{name}" {more} }}' for name, more in policies.items())
    text = f"model_config_list {{ {' '.join(models)} }}"
    (folder / "models.config").write_text(text)
    return "models.config"
