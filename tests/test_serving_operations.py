"""What operators need: the start and its messages, flags, metrics, several workers, and the end."""

import concurrent.futures
import contextlib
import os
import re
import shutil
import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import serving_models as models
from conftest import free_ports, run_program, start_program, wait_for
from running_server import Server, config_of, predict_over_grpc, predict_request, refusal, serving

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

METRICS = "/monitoring/prometheus/metrics"
COUNT = ":tensorflow:serving:request_count_total"  # the parser adds this ending
ONE = ("--model_name", "m", "--model_base_path", "m")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model m in three versions, y = x + version, and a slow one."""
    folder = tmp_path_factory.mktemp("operations")
    for version in (1, 2, 3):
        models.save(folder / "m" / str(version), models.plus(float(version)))
    models.save(folder / "slow" / "1", models.slow)
    (folder / "broken" / "1").mkdir(parents=True)
    (folder / "broken" / "1" / "saved_model.pb").write_bytes(b"broken")
    config_of(folder, m="", slow="")
    (folder / "specific.config").write_text(
        'model_config_list { config { name: "m" base_path: "m" '
        "model_version_policy { specific { versions: 7 versions: 9 } } } }"
    )
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """A server with two workers."""
    with serving(folder, "--model_config_file", "models.config", "--workers", 2) as server:
        yield server


# The start


@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        (["--model_base_path", "nothing"], 1, "no model: linear_regression: no such folder: nothing (make exports "),
        (
            ["--model_base_path", "m/1"],
            1,
            "no model: linear_regression: m/1 is a version's folder (give the folder that ",
        ),
        (["--model_base_path", "m/1/"], 1, "no model: linear_regression: m/1/ is a version's folder (give the folder "),
        (["--model_base_path", "m/1/variables"], 1, "no model: linear_regression: no version in m/1/variables (a vers"),
        (["--model_config_file", "specific.config"], 1, "no model: m: no version 7, 9 in m (there are: 1, 2, 3)\n"),
        (
            ["--model_base_path", "broken"],
            1,
            "not loaded: version 1 of model linear_regression: not a SavedModel: brok",
        ),
        (["--trust", "x"], 1, "no such model: x in --trust (there are: linear_regression)\n"),
        (["--model_config_file", "nothing"], 1, "No such file or directory: nothing\n"),
        (["--model_config_file", "m/1/saved_model.pb"], 1, "not a ModelServerConfig: m/1/saved_model.pb:"),
        (["--monitoring_config_file", "models.config"], 1, "not a MonitoringConfig: models.config: "),
        (["--max_rows", "0"], 2, "argument --max_rows: not a whole number from 1 to 2147483647: 0 (--help lists "),
        (["--port", "x"], 2, "argument --port: not a port from 0 to 65535: x (--help lists the flags)\n"),
        (["--max_seconds", "0"], 2, "argument --max_seconds: not a number above zero: 0 (--help lists the flags)\n"),
        (["--file-system-poll-wait-seconds=x"], 2, "argument --file_system_poll_wait_seconds: not a number of seconds"),
        (["--rest-api-prot", "1"], 2, "unknown argument: --rest_api_prot (nearest: --rest_api_port; --help lists the "),
        (["--enable_batching"], 2, "argument --enable_batching: not in this server: requests are not batched here; wh"),
        (["--enable-batching=true"], 2, "argument --enable_batching: not in this server: requests are not batched he"),
        (["--batching_parameters_file=f"], 2, "argument --batching_parameters_file: not in this server: requests are"),
        (["--ssl-config-file", "f"], 2, "argument --ssl_config_file: not in this server: it has no encryption; put i"),
        (["--rest_api_enable_cors_support"], 2, "argument --rest_api_enable_cors_support: not in this server: that a"),
        (["--tensorflow_intra_op_parallelism=4"], 2, "argument --tensorflow_intra_op_parallelism: not in this server"),
    ],
)
def test_what_is_wrong_at_the_start_is_said_once(folder: Path, flags: list[str], status: int, said: str) -> None:
    ports = ["--port", 0, "--rest_api_port", 0]
    result = run_program("serving/model_server.py", *ports, *flags, folder=folder)
    assert (result.status, result.out) == (status, "")
    assert result.err.startswith(f"model_server.py: {said}")
    assert result.err.count("\n") == 1


def test_what_is_refused_gets_advice_that_helps(folder: Path) -> None:
    flags = ["--model_name", "b", "--model_base_path", "broken", "--port", 0, "--rest_api_port", 0]
    refused = run_program("serving/model_server.py", *flags, folder=folder)
    assert refused.err.endswith(" (--trust b takes it as it is, if you made it yourself)\n")
    assert "allow-op" not in refused.err


def test_the_version_and_the_help() -> None:
    shown = run_program("serving/model_server.py", "--version")
    assert re.fullmatch(r"model_server.py [\d.]+, TensorFlow [\d.]+\n", shown.out)
    shown = run_program("serving/model_server.py", "--help")
    assert (shown.status, shown.err) == (0, "")
    assert "--enable_batching" not in shown.out


def test_both_spellings_of_every_flag() -> None:
    shown = run_program("serving/model_server.py", "--help").out
    names = set(re.findall(r"^  (--[a-z_]+)", shown, re.MULTILINE)) - {"--version", "--help"}
    assert len(names) > 15
    for spelled in (names, {"--" + name[2:].replace("_", "-") for name in names}):
        shown = run_program("serving/model_server.py", *(f"{name}=1" for name in spelled), "--version")
        assert (shown.status, shown.err) == (0, "")  # the flags before --version were accepted


def test_a_port_that_is_taken(server: Server) -> None:
    for flag, port in (("--rest_api_port", server.port), ("--port", server.grpc.rpartition(":")[2])):
        ports = [] if flag == "--port" else ["--port", 0]
        result = run_program("serving/model_server.py", *ports, flag, port, *ONE, folder=server.folder)
        said = f"model_server.py: cannot listen on: 127.0.0.1:{port}: Address already in use (give {flag})\n"
        assert result == (1, "", said)


def test_it_listens_when_it_says_so(folder: Path) -> None:
    """Each port of several workers is tried as soon as the line appears, without waiting."""
    rest, grpc = free_ports(2)
    ports = ["--port", grpc, "--rest_api_port", rest, "--workers", 3]
    with start_program("serving/model_server.py", *ports, *ONE, folder=folder) as process:
        said = ""
        while f"REST on http://127.0.0.1:{rest}\n" not in said:
            assert process.exitcode is None
            said = process.output()[0]
        for _ in range(20):
            for port in (rest, grpc):
                socket.create_connection(("127.0.0.1", port)).close()


# Metrics


def scrape(server: Server, path: str = METRICS) -> dict[tuple[str, ...], float]:
    """The values of the metrics by name and labels."""
    with urllib.request.urlopen(server.url + path, timeout=30) as reply:
        assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
        text = reply.read().decode()
    assert "request_count_total" not in text
    families = list(text_string_to_metric_families(text))
    assert {family.name: family.type for family in families}.get(":tensorflow:serving:request_count") in (
        None,
        "counter",
    )
    return {
        (sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_of_all_workers_are_added_up(folder: Path) -> None:
    with serving(folder, *ONE, "--workers", 2) as server:
        for _ in range(10):
            assert server.predict(value=1.0)[0] == 200
        assert server.predict(value="x")[0] == 400  # type: ignore[arg-type]
        assert server.predict("nothing")[0] == 404
        predict_over_grpc(server, "m", x=np.array([1.0]))
        refusal(server, "Predict", predict_request("m", x=np.array([[1.0]])))

        def counts() -> dict[tuple[str, ...], float]:
            return {key[1:]: value for key, value in scrape(server).items() if key[0] == COUNT}

        rest = "API=Predict", "entrypoint=REST", "model_name=m"
        expected = {
            (*rest, "status=OK", "version=3"): 10,
            (*rest, "status=INVALID_ARGUMENT", "version=3"): 1,
            ("API=Predict", "entrypoint=REST", "model_name=", "status=NOT_FOUND", "version="): 1,
            ("API=Predict", "entrypoint=GRPC", "model_name=m", "status=OK", "version=3"): 1,
            ("API=Predict", "entrypoint=GRPC", "model_name=m", "status=INVALID_ARGUMENT", "version=3"): 1,
        }
        for _ in range(6):  # the same whichever worker answers
            assert counts() == expected
        found = scrape(server)
        assert found["model_server_loaded_version", "model_name=m", "version=3"] == 1
        assert found["model_server_requests_in_flight",] == 0
        latency = ":tensorflow:serving:request_latency"
        labels = (*rest, "version=3")
        assert found[f"{latency}_count", *labels] == 11
        assert 11 * 10 < found[f"{latency}_sum", *labels] < 11 * 5e6  # microseconds
        buckets = {
            key: value for key, value in found.items() if key[0] == f"{latency}_bucket" and set(labels) <= set(key)
        }
        assert len(buckets) == 34
        # What a worker counted before it ended stays counted.
        dead = server.workers[0]
        os.kill(dead, signal.SIGKILL)
        wait_for(lambda: len(server.workers) == 2 and dead not in server.workers)
        assert counts() == expected


@pytest.mark.slow
def test_the_monitoring_configuration(folder: Path) -> None:
    for text, found in (
        ('prometheus_config { enable: true path: "/numbers" }', "/numbers"),
        ("prometheus_config { enable: false }", None),
    ):
        (folder / "monitoring.config").write_text(text)
        with serving(folder, *ONE, "--monitoring-config-file=monitoring.config") as server:
            statuses = {path: _status(server.url + path) for path in (METRICS, "/numbers")}
            assert statuses == {path: 200 if path == found else 404 for path in statuses}


def _status(url: str) -> int:
    try:
        return urllib.request.urlopen(url, timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code


# Workers


def test_workers_share_the_ports(server: Server) -> None:
    """Connections go to both workers, and each answers correctly over both protocols."""
    first, second = server.workers
    for _ in range(32):
        assert server.predict() == (200, {"predictions": [3.0]})
        assert predict_over_grpc(server, "m", x=np.array([1.0]))["y"].tolist() == [4.0]
    folder = Path(os.environ.get("TMPDIR", "/tmp"))
    written = {int(path.stem.split("_")[-1]) for path in folder.glob("model_server.*/counter_*.db")}
    assert {first, second} <= written


def test_there_is_one_log(server: Server) -> None:
    expected = ["loaded: version 3 of model m from m/3", "loaded: version 1 of model slow from slow/1"]
    assert server.log.splitlines() == [*expected, f"gRPC on {server.grpc}", f"REST on {server.url}"]


def test_a_worker_that_dies_is_replaced(folder: Path) -> None:
    with (
        serving(folder, "--model_config_file", "models.config", "--workers", 2) as server,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        before = server.workers
        waiting = [pool.submit(server.predict, "slow", float(i)) for i in range(8)]
        wait_for(lambda: scrape(server)["model_server_requests_in_flight",] >= 1)
        os.kill(before[0], signal.SIGSEGV)
        for i, each in enumerate(waiting):
            with contextlib.suppress(ConnectionError, urllib.error.URLError):  # closed, never wrong
                assert each.result(60) == (200, {"predictions": [float(i)]})
        wait_for(lambda: len(server.workers) == 2 and before[0] not in server.workers)
        assert before[1] in server.workers
        assert server.log.count("model_server.py: a worker ended (SIGSEGV); another takes its place\n") == 1
        for _ in range(16):
            assert server.predict() == (200, {"predictions": [3.0]})


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_running_requests_finish_before_the_end(folder: Path, number: int, status: int) -> None:
    with (
        serving(folder, "--model_config_file", "models.config", "--workers", 2) as server,
        concurrent.futures.ThreadPoolExecutor() as pool,
    ):
        workers = server.workers
        replies = [pool.submit(server.predict, "slow", 1.0) for _ in range(2)]
        wait_for(lambda: scrape(server)["model_server_requests_in_flight",] >= 2)
        scratch = set(Path("/tmp").glob("model_server.*"))
        os.kill(server.process.pid, number)
        assert [reply.result() for reply in replies] == [(200, {"predictions": [1.0]})] * 2
        server.process.join(30)
        said = "model_server.py: interrupted\n" if status else ""
        assert (server.process.exitcode, server.process.output()[1]) == (status, said)
        assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
        assert len(set(Path("/tmp").glob("model_server.*")) & scratch) < len(scratch)


def test_workers_end_with_the_process_that_started_them(folder: Path) -> None:
    with serving(folder, *ONE, "--workers", 2) as server:
        workers = server.workers
        assert len(workers) == 2
        os.kill(server.process.pid, signal.SIGKILL)
        wait_for(lambda: not any(_is_alive(worker) for worker in workers))
    for path in Path("/tmp").glob("model_server.*"):
        if not any(_is_alive(int(file.stem.split("_")[-1])) for file in path.glob("*.db")):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_only_rest_and_only_grpc(folder: Path) -> None:
    (port,) = free_ports()
    for flags, said in (
        (["--port", 0, "--rest_api_port", port], f"REST on http://127.0.0.1:{port}\n"),
        (["--port", port, "--rest_api_port", 0], f"gRPC on 127.0.0.1:{port}\n"),
    ):
        with start_program("serving/model_server.py", *flags, *ONE, folder=folder) as process:
            wait_for(lambda process=process: " on " in process.output()[0])
            assert process.output()[0].endswith(said)
            assert process.output()[0].count(" on ") == 1
            socket.create_connection(("127.0.0.1", port)).close()


def test_the_configurations_are_of_tensorflow_serving() -> None:
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    text = (Path(__file__).parent.parent / "serving" / "models.config").read_text()
    parsed: Any = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    names = [model.name for model in parsed.model_config_list.config]
    assert names == ["linear_regression", "classifier", "half_plus_two", "exp_model"]
