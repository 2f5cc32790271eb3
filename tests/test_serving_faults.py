"""Everything at once: many good and bad requests, while versions, configurations, folders and workers change."""

import concurrent.futures
import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import serving_models as models
from conftest import ROOT, run_command, wait_for
from running_server import Server, config_of, predict_request, serving

import numpy as np
import pytest

BAD = (b"{", b"[]", b'{"instances": []}', b'{"instances": [[1]]}', b'{"inputs": {"z": 1}}', b'{"instances": ["a"]}',
       b'{"instances": [1e400]}', b'{"instances": ' + b"[" * 10_000)  # fmt: skip
CONNECTIONS, REQUESTS, SECONDS = 32, 320, 30


def put(folder: Path, version: int) -> None:
    """Adds a version in the proper way; each adds 1."""
    models.save(folder.parent / "new", models.plus(1.0))
    (folder.parent / "new").rename(folder / str(version))


@contextlib.contextmanager
def repeating(act: Callable[[], None], seconds: float) -> Iterator[None]:
    """Repeats an action in the background, `seconds` apart."""
    stop, failed = threading.Event(), []

    def repeat() -> None:
        while not stop.wait(seconds):
            try:
                act()
            except BaseException as error:
                failed.append(error)
                raise

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        assert not failed, failed


class Faults:
    """The faults that happen while requests arrive."""

    def __init__(self, server: Server) -> None:
        self.server, self.number, self.counts = server, 1, Counter()
        self.moving = threading.Lock()

    def change_versions(self) -> None:
        """Adds a version, every third time a broken one, and removes the oldest."""
        with self.moving:
            folder = self.server.folder / "m"
            self.number += 1
            if self.number % 3 == 0:
                (folder / str(self.number)).mkdir()
                (folder / str(self.number) / "saved_model.pb").write_bytes(b"broken")
                self.counts["broken"] += 1
            else:
                put(folder, self.number)
                self.counts["versions"] += 1
            for old in sorted(folder.iterdir(), key=lambda path: int(path.name))[:-3]:
                shutil.rmtree(old)

    def change_configuration(self) -> None:
        """Adds or removes another model, with a bad configuration every third time. Sends a signal each time."""
        self.counts["configurations"] += 1
        kind = self.counts["configurations"] % 3
        config_of(self.server.folder, m="", **({"other": ""} if kind == 1 else {}))
        if kind == 2:
            (self.server.folder / "models.config").write_text("model_config_list {")
        os.kill(self.server.process.pid, signal.SIGHUP)

    def move_the_folder(self) -> None:
        """Moves the model's folder away for half a second."""
        with self.moving:
            (self.server.folder / "m").rename(self.server.folder / "away")
            time.sleep(0.5)
            (self.server.folder / "away").rename(self.server.folder / "m")
            self.counts["away"] += 1

    def kill_a_worker(self) -> None:
        """Kills one of two workers."""
        workers = self.server.workers
        if len(workers) == 2:
            os.kill(random.choice(workers), signal.SIGKILL)
            self.counts["killed"] += 1


def ask_over_rest(server: Server, seed: int, deadline: float) -> Counter[str]:
    """Sends requests over one connection at a time. Fails if an answer is wrong."""
    chosen, counts = random.Random(seed), Counter()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    while sum(counts.values()) < REQUESTS or time.monotonic() < deadline:
        good, x = chosen.random() < 0.5, chosen.uniform(-1e6, 1e6)
        body = json.dumps({"instances": [x]}).encode() if good else chosen.choice(BAD)
        named = good or chosen.random() < 0.7
        path = "m" if named else chosen.choice(["nothing", "m/versions/999999", "m/versions/x", "m/labels/none"])
        try:
            connection.request("POST", f"/v1/models/{path}:predict", body)
            reply = connection.getresponse()
            document = json.loads(reply.read())
        except (OSError, http.client.HTTPException):  # its worker was killed
            counts["closed"] += 1
            connection.close()
            time.sleep(0.05)
            continue
        if good:
            assert reply.status in (200, 429, 503), document
            assert reply.status != 200 or document == {"predictions": [x + 1]}
        else:
            assert 400 <= reply.status < 500, document
            assert list(document) == ["error"]
        counts[f"{good} {reply.status}"] += 1
    return counts


def ask_over_grpc(server: Server, seed: int, deadline: float) -> Counter[str]:
    """Sends requests over one channel. Fails if an answer is wrong."""
    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    chosen, counts = random.Random(seed), Counter()
    bad = [predict_request("nothing", x=[1.0]), predict_request("m", z=[1.0]), predict_request("m", x=["a"])]
    with grpc.insecure_channel(server.grpc, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        while sum(counts.values()) < REQUESTS or time.monotonic() < deadline:
            good, x = chosen.random() < 0.5, chosen.uniform(-1e6, 1e6)
            request = predict_request("m", x=np.array([x])) if good else chosen.choice(bad)
            try:
                reply, code = stub.Predict(request, timeout=60), "OK"
            except grpc.RpcError as error:
                code = error.code().name
            if code == "UNAVAILABLE":  # its worker was killed
                time.sleep(0.05)
            elif good:
                assert code in ("OK", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")
                assert code != "OK" or list(reply.outputs["y"].double_val) == [x + 1]
            else:
                assert code in ("INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED")
            counts[f"{good} {code}"] += 1
    return counts


def resident(pid: int) -> int:
    """A process's resident memory in megabytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) >> 10


@pytest.mark.slow
def test_ten_thousand_requests_while_everything_changes(tmp_path: Path) -> None:
    """Every good request gets the right answer, is told to retry, or loses its connection."""
    for name in ("m", "other"):
        (tmp_path / name).mkdir()
        put(tmp_path / name, 1)
    flags = ["--model_config_file", config_of(tmp_path, m=""), "--max_in_flight", 12, "--workers", 2]
    with serving(tmp_path, *flags) as server:
        ask_over_rest(server, 0, 0)
        faults, before = Faults(server), resident(server.process.pid)
        deadline = time.monotonic() + SECONDS
        with contextlib.ExitStack() as meanwhile:
            meanwhile.enter_context(repeating(faults.change_versions, 0.7))
            meanwhile.enter_context(repeating(faults.change_configuration, 0.9))
            meanwhile.enter_context(repeating(faults.move_the_folder, 2.3))
            meanwhile.enter_context(repeating(faults.kill_a_worker, 3.1))
            with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
                asking = [ask_over_grpc if seed % 4 == 0 else ask_over_rest for seed in range(CONNECTIONS)]
                counts = list(pool.map(lambda seed: asking[seed](server, seed, deadline), range(CONNECTIONS)))
        total = sum(counts, Counter())
        assert sum(total.values()) > 10_000, total
        assert total["True 200"] > 2000, total
        assert total["True OK"] > 700, total
        assert total["closed"] + total["True UNAVAILABLE"] < sum(total.values()) / 10, total
        assert min(faults.counts[kind] for kind in ("versions", "broken", "configurations", "away", "killed")) > 2, (
            faults.counts
        )
        # Afterwards all is well: two workers serve the newest version.
        put(tmp_path / "m", 1000)
        config_of(tmp_path, m="")
        os.kill(server.process.pid, signal.SIGHUP)
        wait_for(lambda: server.workers and server.states().get(1000) == "AVAILABLE")
        wait_for(lambda: len(server.workers) == 2)
        for _ in range(16):
            assert server.predict(value=1.0) == (200, {"predictions": [2.0]})
        assert resident(server.process.pid) < before + 100
        assert server.process.exitcode is None
        assert "Traceback" not in server.log


@pytest.mark.slow
def test_requests_made_from_the_description_find_no_server_error(tmp_path: Path) -> None:
    assert run_command("make .cache/schemathesis/complete", timeout=600).status == 0
    for name in ("line", "half_plus_two", "types", "texts"):
        models.save(tmp_path / name / "1", getattr(models, name))
    config = config_of(tmp_path, line='version_labels { key: "old" value: 1 }', half_plus_two="", types="", texts="")
    with serving(tmp_path, "--model_config_file", config) as server:
        before = resident(server.workers[0])
        fuzz = run_command(
            f"{ROOT}/.cache/schemathesis/bin/schemathesis run {server.url}/openapi.json --seed 1 --workers 1 "
            "--checks not_a_server_error,response_schema_conformance,content_type_conformance,status_code_conformance "
            "--max-examples 50 --phases examples,coverage,fuzzing",
            tmp_path,
            timeout=900,
        )
        assert fuzz.status == 0, fuzz.out[-5000:]
        assert resident(server.workers[0]) < before + 150
        assert "Traceback" not in server.log
