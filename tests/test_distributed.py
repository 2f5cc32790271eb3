"""Training on a cluster of processes on this machine, in a separate network if that is possible."""

import contextlib
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from conftest import ROOT, USER, Result, free_ports, run_command, run_program, wait_for
from test_producer import published, table

import numpy as np
import pytest

FROZEN = "frozen_graphs/frozen_linear_regression.pb"
# Brings up loopback in a new network, which has nothing else: `tf.train.Server` listens on all interfaces.
LOOPBACK = (
    "import fcntl, socket, struct, sys, time; "
    "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sH14s', b'lo', 0x1, b'')); print('up', flush=True); "
    "sys.stdin.read()"
)


@contextlib.contextmanager
def own_network() -> Iterator[list[str]]:
    """The words that run a command in a separate network; none if this user cannot create one."""
    with subprocess.Popen(
        ["unshare", "--net", sys.executable, "-c", LOOPBACK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        up = holder.stdout.readline() == "up\n"
        yield ["nsenter", f"--net=/proc/{holder.pid}/ns/net"] if up else []
        holder.stdin.close()


@pytest.fixture(scope="module")
def network() -> Iterator[list[str]]:
    with own_network() as words:
        yield words


def check_table(text: str, lines: int = 20) -> None:
    """Asserts that a text is the published table, or its beginning, with each line once."""
    got, expected = table(text), published()[:lines]
    assert [row[0] for row in got] == [row[0] for row in expected]
    np.testing.assert_allclose(got, expected, rtol=1e-11)


# Training


class LocalCluster:
    """Tasks of distributed/train.py, each a process."""

    def __init__(self, folder: Path, network: list[str], workers: int, *flags: object) -> None:
        self.folder, self.network, self.flags = folder, network, list(map(str, flags))
        addresses = [f"127.0.0.1:{port}" for port in free_ports(workers + 2)]
        self.tasks = {"chief": addresses[:1], "ps": addresses[1:2], "worker": addresses[2:]}
        self.processes: dict[str, subprocess.Popen] = {}

    def start(self, *tasks: str) -> None:
        for task in tasks:
            job, index = task.split()
            config = {"cluster": self.tasks, "task": {"type": job, "index": int(index)}}
            with open(self.folder / f"{task}.out", "a") as out, open(self.folder / f"{task}.err", "a") as err:
                self.processes[task] = subprocess.Popen(
                    [*self.network, sys.executable, str(ROOT / "distributed/train.py"), *self.flags],
                    cwd=self.folder,
                    env=USER | {"TF_CONFIG": json.dumps(config)},
                    stdout=out,
                    stderr=err,
                )

    def start_all(self) -> None:
        self.start(*(f"{job} {i}" for job, addresses in self.tasks.items() for i in range(len(addresses))))

    def kill(self, task: str) -> None:
        self.processes[task].kill()
        self.processes[task].wait()

    def out(self, task: str = "chief 0") -> str:
        return (self.folder / f"{task}.out").read_text()

    def err(self, task: str = "chief 0") -> str:
        return (self.folder / f"{task}.err").read_text()


@pytest.fixture
def cluster(tmp_path: Path, network: list[str]) -> Iterator[Callable[..., LocalCluster]]:
    made = []

    def make(workers: int = 2, *flags: object) -> LocalCluster:
        if "--data" not in flags:
            flags = ("--data", ROOT / "data/linear_regression.csv", *flags)
        made.append(LocalCluster(tmp_path, network, workers, *flags))
        return made[-1]

    yield make
    for each in made:
        for process in each.processes.values():
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_short_run_on_two_workers(tmp_path: Path, network: list[str], consume: Callable[..., Result]) -> None:
    """With the script, which puts the task's name before each line. Each worker reads its part of two files."""
    header, *lines = (ROOT / "data/linear_regression.csv").read_text().splitlines()
    for name, part in (("a", lines[:33]), ("b", lines[33:])):
        text = "\n".join([header, *part])
        (tmp_path / f"{name}.csv").write_text(text + "\n" if name == "a" else text.replace("\n", "\r\n") + "\r\n\r\n")
    command = f"{' '.join(network)} {ROOT}/distributed/local_cluster.sh --data '*.csv' --epochs 301"
    done = run_command(command, tmp_path)
    assert done.status == 0
    assert not re.sub(r"^(ps|worker|chief) \d: train.py: (waiting|here): .*\n", "", done.err, flags=re.MULTILINE)
    chief = re.findall(r"^chief 0: (.*)\n", done.out, re.MULTILINE)
    check_table("\n".join(chief), 4)
    others = set(re.findall(r"^((?:ps|worker) \d): \1 listens on 127\.0\.0\.1:\d+$", done.out, re.MULTILINE))
    assert others == {"ps 0", "worker 0", "worker 1"}
    # It writes what the producer writes, including the producer's one-machine graph.
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    checkpoints = {
        f"saved_model/linear_regression.ckpt-{epoch}.{ending}"
        for epoch in (0, 100, 200, 300)
        for ending in ("data-00000-of-00001", "index", "meta")
    }
    events = {name for name in written if name.startswith("summaries/linear_regression/events.out.tfevents.")}
    graph = {"exported_graphs/graphdef.pbtxt", "exported_graphs/get_operations.txt"}
    assert written == {"a.csv", "b.csv", "saved_model/checkpoint", *checkpoints, *graph, *events}
    for name in graph:
        assert (tmp_path / name).read_bytes() == (ROOT / name).read_bytes()
    consumed = consume("--x", "0,1", folder=tmp_path)
    slope, intercept = table(chief[-1])[0][2:]
    assert consumed.err == ""
    numbers = list(map(float, re.search(r"results : \[(.*)\]", consumed.out)[1].split()))
    assert numbers == [intercept, slope + intercept]
    steps = summaries(tmp_path)
    assert [step for step, _ in steps] == list(range(301))
    np.testing.assert_allclose(steps[300][1], slope, rtol=1e-6)


def summaries(folder: Path) -> list[tuple[int, float]]:
    """The steps and values of the slope, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "summaries/linear_regression"), {"scalars": 0})
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("model_variables/slope_1")]


@pytest.mark.slow
def test_a_killed_task_comes_back_and_the_table_is_the_same(cluster: Callable[..., LocalCluster]) -> None:
    ours = cluster(2)
    ours.start_all()
    for task, after in (("ps 0", 2), ("chief 0", 8), ("worker 0", 14)):
        wait_for(lambda after=after: ours.out().count("\n") > after)
        ours.kill(task)
        assert ours.processes["chief 0"].poll() is not None or task != "chief 0"
        ours.start(task)
    assert ours.processes["chief 0"].wait(120) == 0, ours.err()
    check_table(ours.out())
    for task, process in ours.processes.items():
        assert process.wait(20) == 0, ours.err(task)
    assert not (ours.folder / "recovery").exists()
    steps = summaries(ours.folder)
    assert [step for step, _ in steps] == list(range(2000))
    assert (ours.folder / "saved_model/checkpoint").read_text().count("all_model_checkpoint_paths") == 5


@pytest.mark.slow
def test_ctrl_c_ends_the_cluster(tmp_path: Path, network: list[str]) -> None:
    command = [*network, ROOT / "distributed/local_cluster.sh", "--data", ROOT / "data/linear_regression.csv"]
    command += ["--output-dir", tmp_path]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        list(map(str, command)), cwd=tmp_path, env=USER, stdout=pipe, stderr=pipe, text=True
    ) as script:
        while not script.stdout.readline().startswith("chief 0: epoch: 100"):
            assert script.poll() is None
        script.send_signal(signal.SIGINT)
        assert script.wait(20) == 130
    assert run_command(f"pgrep -f 'train.py.*--output-dir {tmp_path}$'").status == 1


@pytest.mark.slow
def test_a_task_that_does_not_come_is_named(cluster: Callable[..., LocalCluster]) -> None:
    ours = cluster(2, "--cluster-timeout", 9)
    ours.start("chief 0", "ps 0", "worker 0")
    assert ours.processes["chief 0"].wait(60) == 1
    address = ours.tasks["worker"][1]
    assert f"train.py: waiting: worker 1 at {address} does not answer (for 9 s at most)\n" in ours.err()
    lost = f"train.py: lost: worker 1 at {address} did not come within 9 s (start it, then this again)\n"
    assert ours.err().endswith(lost)
    assert ours.out() == ""
    for task in ("ps 0", "worker 0"):  # the chief has ended
        assert ours.processes[task].wait(60) == 1
        assert "lost: chief 0 at " in ours.err(task)


@pytest.mark.slow
def test_a_task_that_hangs_is_named(cluster: Callable[..., LocalCluster]) -> None:
    ours = cluster(1, "--cluster-timeout", 8)
    ours.start_all()
    wait_for(lambda: ours.out().count("\n") > 2)
    ours.processes["worker 0"].send_signal(signal.SIGSTOP)
    assert ours.processes["chief 0"].wait(60) == 1
    assert "lost: worker 0 at " in ours.err()
    assert "Traceback" not in ours.err()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no data: *.csv on worker 0 (give --data FILE or PATTERN, the same on each worker)"),
        ({"a": "a,b\n1,2\n"}, "no column x: ./a.csv (its first line names the columns: x,y)"),
        ({"a": "x,y\n1,2\n\n1,abc\n"}, "not two finite numbers: 1,abc on line 4 of ./a.csv"),
        ({"a": "x,y\n1,2\n1,1e999\n"}, "not two finite numbers: 1,1e999 on line 3 of ./a.csv"),
        ({"a": "x,y\n1,2\n", "b": "y,x\n1,2\n"}, "another header: ./b.csv"),
        ({"a": "x,y\n1,2\n1,3\n"}, "too few points: *.csv has 2 rows (a line takes two different x)"),
    ],
)
def test_data_that_cannot_be_used(cluster: Callable[..., LocalCluster], files: dict[str, str], said: str) -> None:
    ours = cluster(1, "--data", "*.csv")
    for name, text in files.items():
        (ours.folder / f"{name}.csv").write_text(text)
    ours.start_all()
    assert ours.processes["chief 0"].wait(60) == 1
    assert ours.err().splitlines()[-1] == f"train.py: {said}"
    assert not (ours.folder / "recovery").exists()
    assert "Traceback" not in ours.err()


@pytest.mark.slow
def test_a_loss_that_is_no_longer_finite(cluster: Callable[..., LocalCluster]) -> None:
    ours = cluster(1, "--data", "far.csv", "--epochs", 500)
    (ours.folder / "far.csv").write_text("x,y\n1,1e300\n2,1\n")
    ours.start_all()
    assert ours.processes["chief 0"].wait(60) == 1
    said = "train.py: the loss is no longer finite: epoch 0 (lower --learning-rate; no checkpoint was saved)"
    assert ours.err().splitlines()[-1] == said
    assert not (ours.folder / "recovery").exists()


@pytest.mark.slow
def test_columns_go_by_their_names(cluster: Callable[..., LocalCluster]) -> None:
    ours = cluster(3, "--data", "c.csv", "--epochs", 101)
    lines = (ROOT / "data/linear_regression.csv").read_text().split()[1:]
    rows = [f'"{y}", {x} ,"a ""b"", c",z' for x, y in (line.split(",") for line in lines)]
    (ours.folder / "c.csv").write_text("\ufeff" + "\n".join(['"y", x ,note,z', *rows]) + "\n")
    ours.start_all()
    assert ours.processes["chief 0"].wait(60) == 0, ours.err()
    check_table(ours.out(), 2)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("", "no cluster: TF_CONFIG is not set (distributed/local_cluster.sh starts one here; "),
        ("{", "not a cluster: TF_CONFIG: "),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}',
            "not a cluster: TF_CONFIG (it takes",
        ),
        (
            '{"cluster": {"chief": ["a:1"], "ps": ["a:2"], "worker": ["a:3"]}, "task": {"type": "worker", "index": 1}}',
            "no such task: worker 1 in TF_CONFIG's cluster",
        ),
    ],
)
def test_a_cluster_that_is_none(config: str, said: str, tmp_path: Path) -> None:
    done = run_program("distributed/train.py", folder=tmp_path, environment={"TF_CONFIG": config})
    assert (done.status, done.out, done.err.count("\n")) == (1, "", 1)
    assert done.err.startswith(f"train.py: {said}")


@pytest.mark.slow
def test_the_recovery_state_of_another_run_is_kept(cluster: Callable[..., LocalCluster]) -> None:
    ours = cluster(1)
    ours.start_all()
    wait_for(lambda: ours.out().count("\n") > 2)
    for task in ours.processes:
        ours.kill(task)
    before = sorted((ours.folder / "recovery").iterdir())
    other = cluster(1, "--epochs", 500)
    other.start_all()
    assert other.processes["chief 0"].wait(60) == 1
    assert "the recovery state of another run: recovery, of --epochs 2000 (give the same flags" in other.err()
    assert sorted((ours.folder / "recovery").iterdir()) == before
