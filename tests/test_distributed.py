"""Training on a cluster and scoring, on processes of this machine, in a network of their own where that can be had."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import page
from conftest import ROOT, USER, Result, free_ports, run_command, run_program, wait_for
from test_producer import published, table

FROZEN = "frozen_graphs/frozen_linear_regression.pb"
# Brings up the loopback of a new network, which has no other: `tf.train.Server` listens on all interfaces.
LOOPBACK = (
    "import fcntl, socket, struct, sys, time; "
    "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sH14s', b'lo', 0x1, b'')); print('up', flush=True); "
    "sys.stdin.read()"
)


@pytest.fixture(scope="module")
def network() -> Iterator[list[str]]:
    """The words before a command that run it in a network of its own; none where this user cannot make one."""
    with subprocess.Popen(
        ["unshare", "--net", sys.executable, "-c", LOOPBACK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        up = holder.stdout.readline() == "up\n"
        yield ["nsenter", f"--net=/proc/{holder.pid}/ns/net"] if up else []
        holder.stdin.close()


def check_table(text: str, lines: int = 20) -> None:
    """The published table, or its beginning; each line once."""
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
    """With the script, whose lines stand behind the tasks' names. Two files, of which each worker reads its part."""
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
    # What the producer leaves behind, and it is the producer's one-machine graph.
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
    for task in ("ps 0", "worker 0"):  # the chief is gone
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


# Scoring


def score(folder: Path, *flags: object, model: object = FROZEN) -> Result:
    return run_program("distributed/score.py", "--model", model, *flags, folder=folder)


@pytest.fixture
def rows(trained: Path, tmp_path: Path) -> Path:
    """A folder with the frozen graph and with rows as Parquet, in two folders, and as CSV."""
    shutil.copytree(trained / "frozen_graphs", tmp_path / "frozen_graphs")
    x = np.random.default_rng(5).normal(0, 100, 300_000)
    for name, part in (("in/a", x[:200_000]), ("in/deep/b", x[200_000:])):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(
            pa.table({"id": np.arange(len(part)), "x": part, "note": ["n"] * len(part)}), tmp_path / f"{name}.parquet"
        )
    (tmp_path / "in/c.csv").write_text("x,note\n0,a\n1,b\n-1,\n+2,d\n")
    return tmp_path


def line(folder: Path) -> tuple[float, float]:
    """Slope and intercept of the trained model, from what the consumer says of 0 and 1e6."""
    done = run_program("model_consumer.py", "--model", FROZEN, "--x", "0,1000000", folder=folder)
    zero, million = map(float, re.search(r"\[(.*)\]", done.out)[1].split())
    return (million - zero) / 1e6, zero


def test_scores_parquet_and_csv(rows: Path) -> None:
    assert score(rows, "--input", "in", "--output", "out") == (0, "files to score: 3, already scored: 0\n", "")
    slope, intercept = line(rows)
    for name in ("a", "deep/b"):
        before, after = pq.read_table(rows / f"in/{name}.parquet"), pq.read_table(rows / f"out/{name}.parquet")
        assert after.drop_columns("prediction").equals(before)
        np.testing.assert_allclose(
            after["prediction"], slope * before["x"].to_numpy() + intercept, rtol=1e-9, atol=1e-9
        )
    after = pq.read_table(rows / "out/c.parquet").to_pylist()
    assert [row["x"] for row in after] == ["0", "1", "-1", "+2"]
    assert [row["note"] for row in after] == ["a", "b", None, "d"]
    # The same bits as the consumer gives.
    said = run_program("model_consumer.py", "--model", FROZEN, "--x", "0,1,-1,2", folder=rows).out
    assert [row["prediction"] for row in after] == list(map(float, re.search(r"\[(.*)\]", said)[1].split()))
    assert sorted(path.name for path in (rows / "out").rglob("*") if path.is_file()) == [
        "a.parquet",
        "b.parquet",
        "c.parquet",
    ]


def test_a_rerun_does_what_is_missing(rows: Path) -> None:
    assert score(rows, "--input", "in", "--output", "out").status == 0
    (rows / "out/a.parquet").unlink()
    os.utime(rows / "in/c.csv", (time.time() + 5, time.time() + 5))
    kept = (rows / "out/deep/b.parquet").stat()
    assert score(rows, "--input", "in", "--output", "out").out == "files to score: 2, already scored: 1\n"
    assert (rows / "out/deep/b.parquet").stat().st_mtime_ns == kept.st_mtime_ns
    assert (rows / "out/a.parquet").exists()
    os.utime(rows / FROZEN, (time.time() + 9, time.time() + 9))
    assert score(rows, "--input", "in/*.parquet", "--output", "out").out == "files to score: 1, already scored: 0\n"


BAD = ["1", "abc", "", "nan", "1e999", "-inf", "+5", " 7", "1_0"]
GOOD = {1: 1.0, 6: -np.inf, 7: 5.0}  # by the number of the row


def test_bad_rows(rows: Path) -> None:
    (rows / "bad").mkdir()
    (rows / "bad/t.csv").write_text("x\n" + "".join(f'"{text}"\n' for text in BAD))
    values = pa.array([1.0, None, float("nan"), float("-inf"), 3.0])
    pq.write_table(pa.table({"x": values}), rows / "bad/p.parquet")
    failed = score(rows, "--input", "bad/t.csv", "--output", "out")
    assert (failed.status, list((rows / "out").iterdir())) == (1, [])
    hint = "(--on-error null goes on without a prediction for it)"
    assert failed.err == f"score.py: not a number: abc in row 2 of {rows}/bad/t.csv {hint}\n"
    assert (
        f"not a number: null in row 2 of {rows}/bad/p.parquet" in score(rows, "--input", "bad", "--output", "out").err
    )
    done = score(rows, "--input", "bad", "--output", "out", "--on-error", "null")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        "files to score: 2, already scored: 0",
        f"no prediction for 2 rows of {rows}/bad/p.parquet: 2, 3",
        f"no prediction for 6 rows of {rows}/bad/t.csv: 2, 3, 4, 5, 8, 9",
    ]
    slope, intercept = line(rows)
    after = pq.read_table(rows / "out/t.parquet")
    assert after["x"].to_pylist() == [text or None for text in BAD]  # CSV does not tell an empty text from none
    expected = [slope * GOOD[i] + intercept if i in GOOD else None for i in range(1, 10)]
    assert after["prediction"].to_pylist() == pytest.approx(expected)
    expected = [slope + intercept, None, None, -np.inf, 3 * slope + intercept]
    assert pq.read_table(rows / "out/p.parquet")["prediction"].to_pylist() == pytest.approx(expected)


def test_a_model_that_takes_several_numbers_a_row(tmp_path: Path) -> None:
    """Columns, or a column of lists; float32, to which a number is rounded once, and out of whose range one can be."""
    from model_import_export.graph_mode import tf

    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        tf.concat([x * 2.0, x + 1.0], 1, name="y")
    (tmp_path / "two.pb").write_bytes(graph.as_graph_def().SerializeToString())
    lists = pa.array([[1.0, 2.0], [3.0], None, [4.0, 1e300], [5.0, None], [6.0, 7.0]])
    data = pa.table({"a": pa.array([1, 2, 3, 4, 5, 6]), "b": ["0.1"] * 6, "both": lists})
    pq.write_table(data, tmp_path / "in.parquet")
    names = ["--input", "in.parquet", "--input-name", "x", "--output-name", "y"]
    done = score(tmp_path, *names, "--column", "a", "--column", "b", "--output", "out", model="two.pb")
    assert (done.status, done.err) == (0, "")
    tenth = float(np.float32("0.1"))
    assert pq.read_table(tmp_path / "out/in.parquet")["prediction"].to_pylist() == [
        [2.0 * i, float(np.float32(tenth) * 2), i + 1.0, float(np.float32(tenth) + np.float32(1))] for i in range(1, 7)
    ]
    done = score(tmp_path, *names, "--column", "both", "--output", "out2", "--on-error", "null", model="two.pb")
    assert done.out.endswith("no prediction for 4 rows of " + str(tmp_path / "in.parquet") + ": 2, 3, 4, 5\n")
    after = pq.read_table(tmp_path / "out2/in.parquet")["prediction"].to_pylist()
    assert after == [[2.0, 4.0, 2.0, 3.0], None, None, None, None, [12.0, 14.0, 7.0, 8.0]]
    wrong = score(tmp_path, *names, "--column", "a", "--output", "out3", model="two.pb")
    assert "wrong number of columns: 1 given, the placeholder x takes 2 (repeat --column" in wrong.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--input", "nothing"], "no data: {rows}/nothing (no .parquet, .csv or .csv.gz is there)"),
        (
            ["--input", "in", "--column", "y"],
            "no column y: {rows}/in/a.parquet (it has: id, x, note; --column names the",
        ),
        (["--input", "in", "--column", "note"], "not a number: n in row 1 of {rows}/in/a.parquet"),
        (
            ["--input", "in", "--prediction", "x"],
            "a column x is there already: {rows}/in/a.parquet (--prediction names",
        ),
        (["--input", "in", "--output", "in/out"], "the output lies in the input: {rows}/in/out"),
        (["--input", "broken"], "cannot read: {rows}/broken/b.parquet: "),
        (["--input", "twice"], "two inputs of one output: {rows}/twice/a.csv and {rows}/twice/a.parquet"),
        (["--input", "in", "--model", "nothing.pb"], "no model: nothing.pb (run ./freeze_graph"),
        (["--input", "in", "--model", "checkpoints"], "not a frozen graph or SavedModel: checkpoints (it holds Saver"),
        (["--input", "in", "--output-name", "nothing"], "no such output: nothing (the nearest: "),
    ],
)
def test_what_cannot_be_scored(rows: Path, flags: list[str], said: str) -> None:
    (rows / "broken").mkdir()
    (rows / "broken/b.parquet").write_bytes(b"PAR1 and no more")
    (rows / "twice").mkdir()
    for name in ("a.csv", "a.parquet"):
        (rows / "twice" / name).touch()
    (rows / "checkpoints").mkdir()
    done = score(rows, *([] if "--output" in flags else ["--output", "out"]), *flags)
    assert (done.status, done.out.count("Traceback"), done.err.count("\n")) == (1, 0, 1)
    assert done.err.startswith(f"score.py: {said.format(rows=rows)}")
    assert not any(path.is_file() for path in (rows / "out").rglob("*"))


@pytest.mark.slow
def test_a_full_disk_leaves_no_part_of_a_file(rows: Path) -> None:
    command = (
        f"mkdir out && mount -t tmpfs -o size=3m tmpfs out && python {ROOT}/distributed/score.py --model {FROZEN} "
        "--input in --output out; echo $?; ls -A out; umount out"
    )
    done = run_command(f"unshare --mount bash -c '{command}'", rows)
    if "unshare failed" in done.err or "permission denied" in done.err:
        pytest.skip("no file system of its own: not root")
    assert done.out == "files to score: 3, already scored: 0\n1\n"
    assert done.err.count("\n") == 1
    assert "No space left on device" in done.err


# The page


@pytest.mark.slow
def test_every_command_prints_what_the_page_says(trained: Path, tmp_path: Path) -> None:
    folder = page.check_out(tmp_path / "checkout")
    shutil.copytree(trained / "saved_model", folder / "saved_model")
    shutil.copytree(trained / "frozen_graphs", folder / "frozen_graphs")
    assert run_command("make .venv/distributed-complete", timeout=600).status == 0
    page.check(page.walk(page.steps((ROOT / "distributed" / "README.md").read_text()), folder), more_than=9)


# Spark


class SparkCluster:
    """A standalone cluster of a master and two workers with a core each."""

    def __init__(self, folder: Path, network: list[str]) -> None:
        import pyspark

        self.home, self.folder, self.network = os.path.dirname(pyspark.__file__), folder, network
        self.processes: list[subprocess.Popen] = []
        self.environment = USER | {"SPARK_HOME": self.home, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_NO_DAEMONIZE": "1"}
        self.start("master.Master", "-h", "127.0.0.1", "-p", "7077", "--webui-port", "8080")
        wait_for(lambda: "I have been elected leader" in self.log(0))
        for port in ("8081", "8082"):
            self.start(
                "worker.Worker",
                "-h",
                "127.0.0.1",
                "-c",
                "1",
                "-m",
                "2g",
                "--webui-port",
                port,
                "spark://127.0.0.1:7077",
            )
        wait_for(lambda: self.log(0).count("Registering worker") == 2)

    def start(self, kind: str, *flags: str) -> None:
        command = [*self.network, f"{self.home}/bin/spark-class", f"org.apache.spark.deploy.{kind}", *flags]
        with open(self.folder / f"{len(self.processes)}.log", "w") as log:
            self.processes.append(
                subprocess.Popen(
                    command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, process_group=0
                )
            )

    def log(self, number: int) -> str:
        return (self.folder / f"{number}.log").read_text()

    def score(self, folder: Path, *flags: object) -> subprocess.Popen:
        settings = ["spark.driver.host=127.0.0.1", "spark.driver.bindAddress=127.0.0.1", "spark.executor.memory=1g"]
        words = ["--spark", "spark://127.0.0.1:7077", *(word for setting in settings for word in ("--conf", setting))]
        command = [*self.network, sys.executable, str(ROOT / "distributed/score.py"), "--model", FROZEN, *words, *flags]
        environment = USER | {"SPARK_LOCAL_IP": "127.0.0.1"}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            list(map(str, command)), cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True
        )


@pytest.fixture(scope="module")
def spark(network: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkCluster]:
    assert run_command("make .venv/distributed-complete", timeout=600).status == 0
    cluster = SparkCluster(tmp_path_factory.mktemp("spark"), network)
    yield cluster
    for process in cluster.processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_spark_gives_what_one_machine_gives(spark: SparkCluster, rows: Path) -> None:
    (rows / "in/t.csv").write_text("x\n" + "".join(f'"{text}"\n' for text in BAD))
    alone = score(rows, "--input", "in", "--output", "alone", "--on-error", "null")
    process = spark.score(rows, "--input", "in", "--output", "out", "--on-error", "null")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert out.replace("file:", "") == alone.out
    for name in ("a", "deep/b", "c", "t"):
        assert pq.read_table(rows / f"out/{name}.parquet").equals(pq.read_table(rows / f"alone/{name}.parquet"))
    assert len([path for path in (rows / "out").rglob("*") if path.is_file()]) == 4
    (rows / "out/t.parquet").unlink()
    failed = spark.score(rows, "--input", "in", "--output", "out")
    out, err = failed.communicate(timeout=200)
    assert (failed.returncode, out) == (1, "files to score: 1, already scored: 3\n")
    assert f"score.py: not a number: abc in row 2 of file:{rows}/in/t.csv (--on-error null" in err
    assert "Traceback" not in err
    assert not (rows / "out/t.parquet").exists()


def test_a_spark_master_that_is_none(tmp_path: Path) -> None:
    done = score(tmp_path, "--spark", "nowhere://")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("score.py: argument --spark: not a Spark master: nowhere:// (spark://HOST:PORT, ")


@pytest.mark.slow
def test_spark_loses_a_worker_in_the_middle(spark: SparkCluster, rows: Path) -> None:
    x = np.random.default_rng(7).normal(0, 100, 500_000)
    (rows / "many").mkdir()
    for i in range(40):
        pq.write_table(pa.table({"x": x + i}), rows / f"many/{i:02}.parquet")
    process = spark.score(rows, "--input", "many", "--output", "out")
    wait_for(lambda: len(list((rows / "out").glob("[0-9]*.parquet"))) > 3)
    killed = spark.processes[-1]
    executors = subprocess.run(["pgrep", "-P", str(killed.pid)], capture_output=True, text=True, check=True).stdout
    for pid in [killed.pid, *map(int, executors.split())]:
        os.kill(pid, signal.SIGKILL)
    assert len(list((rows / "out").glob("[0-9]*.parquet"))) < 40
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out == "files to score: 40, already scored: 0\n"
    slope, intercept = line(rows)
    for i in range(40):
        after = pq.read_table(rows / f"out/{i:02}.parquet")
        np.testing.assert_allclose(after["prediction"], slope * (x + i) + intercept, rtol=1e-9, atol=1e-9)
    assert sorted(path.name for path in (rows / "out").iterdir()) == [f"{i:02}.parquet" for i in range(40)]
