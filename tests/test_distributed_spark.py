"""Scoring on Spark: a master and two workers on this machine, in a separate network if that is possible."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from conftest import ROOT, USER, Result, run_command, wait_for
from scorer import BAD, check_many, many, models, names, summary, whole_files, with_model, write
from test_distributed import own_network

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

__all__ = ["many", "models"]  # fixtures
pytestmark = pytest.mark.slow
MASTER = "spark://127.0.0.1:7077"
SETTINGS = ("spark.driver.host=127.0.0.1", "spark.driver.bindAddress=127.0.0.1", "spark.executor.memory=1g")


class SparkCluster:
    """A standalone cluster of a master and two workers with one core each."""

    def __init__(self, folder: Path, network: list[str]) -> None:
        import pyspark

        self.home, self.folder, self.network = os.path.dirname(pyspark.__file__), folder, network
        self.processes: list[subprocess.Popen] = []
        self.start("master.Master", "-p", "7077")
        wait_for(lambda: "I have been elected leader" in self.log(0))
        for _ in range(2):
            self.start_worker()

    def start(self, kind: str, *flags: str) -> None:
        command = [*self.network, f"{self.home}/bin/spark-class", f"org.apache.spark.deploy.{kind}"]
        command += ["-h", "127.0.0.1", "--webui-port", "0", *flags]
        environment = USER | {"SPARK_HOME": self.home, "SPARK_LOCAL_IP": "127.0.0.1"}
        with open(self.folder / f"{len(self.processes)}.log", "w") as log:
            self.processes.append(
                subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log, process_group=0)
            )

    def start_worker(self) -> None:
        before = self.log(0).count("Registering worker")
        self.start("worker.Worker", "-c", "1", "-m", "2g", MASTER)
        wait_for(lambda: self.log(0).count("Registering worker") > before)

    def log(self, number: int) -> str:
        return (self.folder / f"{number}.log").read_text()

    def score(self, folder: Path, *flags: object) -> subprocess.Popen:
        settings = [word for setting in SETTINGS for word in ("--conf", setting)]
        command = [*self.network, sys.executable, ROOT / "distributed/score.py", "--spark", MASTER, *settings, *flags]
        pipe = subprocess.PIPE
        environment = USER | {"SPARK_LOCAL_IP": "127.0.0.1"}
        return subprocess.Popen(
            list(map(str, command)), cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True
        )


def result(process: subprocess.Popen) -> Result:
    """The result of a process, once it has ended."""
    out, err = process.communicate(timeout=200)
    return Result(process.returncode, out, err)


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkCluster]:
    assert run_command("make .venv/distributed-complete", timeout=600).status == 0
    with own_network() as network:
        cluster = SparkCluster(tmp_path_factory.mktemp("spark"), network)
        yield cluster
        for process in cluster.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def score(spark: SparkCluster, models: Path, tmp_path: Path) -> Callable[..., subprocess.Popen]:
    """Starts score.py on the cluster, in a scratch folder, with the model line.pb."""
    return lambda *flags: spark.score(tmp_path, *with_model(models), *flags)


def test_spark_gives_what_one_machine_gives(
    score: Callable[..., subprocess.Popen], models: Path, tmp_path: Path
) -> None:
    x = np.random.default_rng(5).normal(0, 100, 300_000)
    write(tmp_path / "in/a.parquet", id=np.arange(200_000), x=x[:200_000], note=["n"] * 200_000)
    when = pa.array(np.arange(100_000), pa.timestamp("us", "America/New_York"))
    write(tmp_path / "in/deep/b.parquet", x=x[200_000:], id=np.arange(100_000).astype("u8"), when=when)
    (tmp_path / "in/t.csv").write_text("x,n\n" + "".join(f'"{text}","c ""d"",\n"\n' for text in BAD))
    flags = ("--rows", "in", "--on-error", "null")
    words = " ".join(map(str, ["python", ROOT / "distributed/score.py", *with_model(models), *flags]))
    alone = run_command(f"{words} --save alone", tmp_path)
    assert (alone.status, alone.err) == (0, "")
    assert alone.out.endswith(summary(300_014, 9, "alone"))
    on_spark = result(score(*flags, "--save", "out"))
    assert on_spark == (0, alone.out.replace("written to: alone", "written to: out"), "")
    assert names(tmp_path / "out") == names(tmp_path / "alone") == ["a.parquet", "deep/b.parquet", "t.parquet"]
    assert (
        pq.read_table(tmp_path / "out/deep/b.parquet")
        .drop_columns("prediction")
        .equals(pq.read_table(tmp_path / "in/deep/b.parquet"))
    )
    for name in names(tmp_path / "out"):
        assert pq.read_table(tmp_path / "out" / name).equals(pq.read_table(tmp_path / "alone" / name))
    (tmp_path / "out/a.parquet").unlink()
    assert result(score(*flags, "--save", "out")).out == f"files to score: 1, already scored: 2\n{summary(200_000)}"
    failed = result(score("--rows", "in/t.csv", "--save", "failed"))
    assert (failed.status, failed.out) == (1, "files to score: 1, already scored: 0\n")
    hint = "(--on-error null goes on without a prediction for it)"
    assert failed.err == f"score.py: not a number: abc in row 2 of {tmp_path}/in/t.csv {hint}\n"
    assert names(tmp_path / "failed") == []


def test_a_master_that_is_not_there(spark: SparkCluster, models: Path, tmp_path: Path) -> None:
    write(tmp_path / "t.parquet", x=[1.0])
    nowhere = ["--spark", "spark://127.0.0.1:1", "--conf", "spark.driver.host=127.0.0.1"]
    failed = result(spark.score(tmp_path, *with_model(models), "--rows", "t.parquet", "--save", "out", *nowhere))
    assert (failed.status, failed.err.count("\n")) == (1, 1)
    assert failed.out in ("", "files to score: 1, already scored: 0\n"), "Spark gives up before or after"
    assert failed.err.startswith("score.py: no Spark: spark://127.0.0.1:1: ")


def test_spark_loses_a_worker_in_the_middle(
    spark: SparkCluster, score: Callable[..., subprocess.Popen], tmp_path: Path, many: np.ndarray
) -> None:
    process = score("--rows", "in", "--save", "out")
    wait_for(lambda: len(whole_files(tmp_path)) > 2, 180)
    killed = spark.processes[-1]
    executors = subprocess.check_output(["pgrep", "-P", str(killed.pid)], text=True).split()
    for pid in [killed.pid, *map(int, executors)]:
        os.kill(pid, signal.SIGKILL)
    assert len(whole_files(tmp_path)) < 16
    done = result(process)
    assert done == (0, f"files to score: 16, already scored: 0\n{summary(16 * len(many))}", "")
    check_many(tmp_path, many)
    spark.start_worker()


def test_a_killed_driver_and_a_rerun(score: Callable[..., subprocess.Popen], tmp_path: Path, many: np.ndarray) -> None:
    process = score("--rows", "in", "--save", "out")
    wait_for(lambda: len(whole_files(tmp_path)) > 2, 180)
    process.kill()
    assert result(process).status == -9
    assert len(whole_files(tmp_path)) < 16
    again = result(score("--rows", "in", "--save", "out"))
    assert (again.status, again.err) == (0, "")
    check_many(tmp_path, many)
