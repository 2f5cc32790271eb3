"""Compares the servers with a minimal one: FastAPI around one `session.run`, nothing checked.

    python benchmarks/serving.py

All serve the classifier. wrk sends requests over HTTP, h2load over gRPC. Both are written in C and run on the same
machine, so a table shows how much of its processors they use. The servers are measured in turn.
"""

import contextlib
import json
import resource
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from measure import ROOT, in_turn, table
from model_import_export import command_line

METHOD = "/tensorflow.serving.PredictionService/Predict"
FROZEN, EXPORT = "results/frozen_model.pb", "exports/classifier"
POINTS = [(connections, rows) for rows in (2, 1000) for connections in (1, 32)]


class Load(NamedTuple):
    """What a server achieved: requests per second, and the median and 99th percentile in milliseconds."""

    rate: float
    p50: float
    p99: float
    taken: float  # processors that the load itself kept busy


def busy() -> float:
    """Processor seconds of the children that have ended: those of the load, because the servers are still running."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def free_port() -> int:
    """A free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def running(*words: object, port: int) -> Iterator[None]:
    """Starts a server, waits until it listens, and ends it afterwards."""
    with subprocess.Popen([sys.executable, *map(str, words)], cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        try:
            while socket.socket().connect_ex(("127.0.0.1", port)):
                if process.poll() is not None:
                    raise SystemExit(f"serving.py: ended at once: {words[0]} (run make cookbook exports first)")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()


def rows_of(count: int) -> list[list[float]]:
    """Rows for the classifier."""
    return [[(i * 7 + j * 3) % 10 + 0.5 for j in range(10)] for i in range(count)]


def http_load(url: str, body: dict[str, object], connections: int, seconds: float) -> Load:
    """Sends requests with wrk."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
            f"wrk.body = [==[{json.dumps(body)}]==]\n"
            "done = function(s, l) io.write(string.format('%f %f %f %d\\n', s.requests / s.duration * 1e6, "
            "l:percentile(50) / 1e3, l:percentile(99) / 1e3, s.errors.status + s.errors.read + s.errors.timeout)) end\n"
        )
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=30s", "-s", script.name, url]
        started, before = time.perf_counter(), busy()
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        taken = (busy() - before) / (time.perf_counter() - started)
    rate, p50, p99, errors = map(float, out.splitlines()[-1].split())
    if errors:
        raise SystemExit(f"serving.py: {errors:.0f} requests failed: {url}")
    return Load(rate, p50, p99, taken)


def grpc_load(address: str, request: bytes, connections: int, seconds: float) -> Load:
    """Sends requests with h2load, one at a time on each connection."""
    with tempfile.NamedTemporaryFile() as body, tempfile.NamedTemporaryFile("r") as log:
        body.write(b"\0" + struct.pack(">I", len(request)) + request)  # a gRPC message: no compression, length
        body.flush()
        command = ["h2load", f"--clients={connections}", "--max-concurrent-streams=1", f"--duration={seconds}"]
        command += ["--warm-up-time=1", f"--data={body.name}", f"--log-file={log.name}"]
        for header in ("content-type: application/grpc", "te: trailers"):
            command += ["--header", header]
        started, before = time.perf_counter(), busy()
        subprocess.run([*command, f"http://{address}{METHOD}"], capture_output=True, check=True)
        taken = (busy() - before) / (time.perf_counter() - started)
        answers = [line.split() for line in log]
    failed = sum(status != "200" for _, status, _ in answers)
    if failed:
        raise SystemExit(f"serving.py: {failed} requests failed: {address}")
    cuts = statistics.quantiles((int(taken) for _, _, taken in answers), n=100)
    return Load(len(answers) / seconds, cuts[49] / 1e3, cuts[98] / 1e3, taken)


def predict_request(rows: int) -> bytes:
    """A serialized PredictRequest."""
    from model_import_export import graph_mode
    from model_import_export.graph_mode import tf

    import numpy as np

    graph_mode.load()
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name = "classifier"
    request.inputs["inputs_1"].CopyFrom(tf.make_tensor_proto(np.array(rows_of(rows), np.float32)))
    return request.SerializeToString()


def measure(addresses: dict[str, str], connections: int, rows: int, rounds: int, seconds: int) -> dict[str, list[Load]]:
    """Loads the servers in turn. Returns the loads of each."""
    instances, request = {"instances": rows_of(rows)}, predict_request(rows)
    asks: dict[str, Callable[[str], Load]] = {
        name: lambda address: http_load(address, instances, connections, seconds) for name in addresses
    }
    for name in ("our gRPC", "our gRPC, 2 workers"):
        asks[name] = lambda address: grpc_load(address, request, connections, seconds)
    asks["Flask, waitress"] = lambda address: http_load(address, {"x": rows_of(rows)}, connections, seconds)
    return in_turn(rounds, {name: partial(asks[name], address) for name, address in addresses.items()})


def main() -> None:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--rounds", metavar="N", type=int, default=3, help="runs of each")
    parser.add_argument("--seconds", metavar="S", type=int, default=3, help="of each measurement")
    flags = parser.parse_args()
    for tool, package in (("wrk", "wrk"), ("h2load", "nghttp2-client")):
        if not shutil.which(tool):
            raise SystemExit(f"serving.py: no {tool} (on Debian and Ubuntu: apt-get install {package})")
    for path in (FROZEN, EXPORT):
        if not (ROOT / path).exists():
            raise SystemExit(f"serving.py: no such file: {path} (run make cookbook exports first)")
    rest, grpc, rest2, grpc2, flask, floor = (free_port() for _ in range(6))
    addresses = {
        "bare FastAPI": f"http://127.0.0.1:{floor}/predict",
        "our REST": f"http://127.0.0.1:{rest}/v1/models/classifier:predict",
        "our REST, 2 workers": f"http://127.0.0.1:{rest2}/v1/models/classifier:predict",
        "our gRPC": f"127.0.0.1:{grpc}",
        "our gRPC, 2 workers": f"127.0.0.1:{grpc2}",
        "Flask, waitress": f"http://127.0.0.1:{flask}/api/predict",
    }
    model = ["--model_name", "classifier", "--model_base_path", EXPORT]
    with (
        running("benchmarks/floor_api.py", "--frozen", FROZEN, "--port", floor, port=floor),
        running("serving/model_server.py", *model, "--port", grpc, "--rest_api_port", rest, port=rest),
        running(
            "serving/model_server.py", *model, "--port", grpc2, "--rest_api_port", rest2, "--workers", 2, port=rest2
        ),
        running("cookbook/freezemodel_serve.py", "--port", flask, port=flask),
    ):
        for connections, rows in POINTS:
            loads = measure(addresses, connections, rows, flags.rounds, flags.seconds)
            title = f"Serving, {connections} connection{'s' * (connections > 1)}, {rows} rows per request"
            rates, p50s, p99s, taken = (
                {n: [load[i] for load in found] for n, found in loads.items()} for i in range(4)
            )
            targets = dict.fromkeys(("our REST", "our gRPC"), ">= 0.8")
            is_busy = (connections, rows) == (32, 2)
            table(title, "1/s", rates, "bare FastAPI", targets)
            table(title, "ms", p50s, "bare FastAPI", kind="p50")
            table(title, "ms", p99s, "bare FastAPI", {"our REST": "<= 1"} if is_busy else {}, kind="p99")
            if is_busy:
                table(title, "cores", taken, "bare FastAPI", kind="processors that the load takes")
                for name in targets:
                    two = f"{name}, 2 workers"
                    table(title, "1/s", {name: rates[name], two: rates[two]}, name, {two: ">= 1.4"})


if __name__ == "__main__":
    main()
