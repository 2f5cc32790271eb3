"""Compares scoring with numpy, Spark with one machine, and training on a cluster with training in one process.

    python benchmarks/distributed.py

A rate is that of the rows alone: the time of a run over all rows, less that of a run over one row, which is the start.
On two cores the cluster and Spark show what they cost, not how they grow: that takes more machines.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from measure import ROOT, Used, in_turn, run, scratch_folder, table
from model_import_export import command_line

FILES, EPOCHS, PORT = 8, 20, 7077
MODEL = "frozen_graphs/frozen_linear_regression.pb"
SCORE = [sys.executable, "distributed/score.py", "--model", MODEL]


def write_rows(folder: Path, rows: int) -> None:
    """Writes Parquet files with a column `id` and a column `x` of random numbers."""
    folder.mkdir()
    files = min(FILES, rows)
    for i in range(files):
        part = rows // files
        with pq.ParquetWriter(folder / f"{i}.parquet", pa.schema({"id": pa.int64(), "x": pa.float64()})) as writer:
            for start in range(0, part, 1 << 17):
                ids = np.arange(start, min(part, start + (1 << 17)))
                x = np.random.default_rng([i, start]).normal(size=len(ids))
                writer.write_batch(pa.record_batch({"id": ids, "x": x}))


def write_points(path: Path, rows: int) -> None:
    """Writes a CSV file with points near y = 1.5x - 3."""
    random = np.random.default_rng(1)
    with open(path, "w") as file:
        file.write("x,y\n")
        for start in range(0, rows, 1 << 17):
            x = random.uniform(0, 100, min(1 << 17, rows - start))
            y = 1.5 * x - 3 + random.normal(0, 0.005, len(x))
            file.write("".join(f"{a!r},{b!r}\n" for a, b in zip(x.tolist(), y.tolist(), strict=True)))


def score(command: list[object], source: Path, spark: int = 0) -> Used:
    """Scores a folder into an empty one, on so many workers of Spark."""
    target = source.with_name("out")
    shutil.rmtree(target, ignore_errors=True)
    with spark_cluster(spark, source.parent) if spark else contextlib.nullcontext():
        return run([*command, "--input", source, "--output", target])


def train(command: list[object], data: Path, output: Path) -> float:
    """Trains into an empty folder. Returns seconds."""
    shutil.rmtree(output, ignore_errors=True)
    return run([*command, "--data", data, "--epochs", EPOCHS, "--output-dir", output]).seconds


@contextlib.contextmanager
def spark_cluster(workers: int, folder: Path) -> Iterator[None]:
    """A standalone cluster, each worker with one core."""
    import pyspark

    home = os.path.dirname(pyspark.__file__)
    environment = os.environ | {"SPARK_HOME": home, "SPARK_LOCAL_IP": "127.0.0.1"}
    kinds = [["master.Master", "-h", "127.0.0.1", "-p", PORT, "--webui-port", 0]]
    kinds += [
        ["worker.Worker", "-h", "127.0.0.1", "-c", 1, "-m", "2g", "--webui-port", 0, f"spark://127.0.0.1:{PORT}"]
    ] * workers
    log = folder / "spark.log"
    with contextlib.ExitStack() as stack, open(log, "wb") as out:
        for kind, *flags in kinds:
            words = [f"{home}/bin/spark-class", f"org.apache.spark.deploy.{kind}", *map(str, flags)]
            process = subprocess.Popen(words, cwd=folder, env=environment, stdout=out, stderr=out)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            wanted = "elected leader" if "Master" in kind else "Successfully registered with master"
            seen = log.read_text().count(wanted)
            while log.read_text().count(wanted) == seen:
                if process.poll() is not None:
                    sys.exit(f"distributed.py: Spark did not start: {log.read_text()[-500:]}")
                time.sleep(0.1)
        yield


def compare_scoring(rounds: int, rows: int) -> None:
    """Scores with each engine, and with ours from a tenth to ten times the rows."""
    sizes = [rows // 10, rows, rows * 10]
    with scratch_folder() as folder:
        for count in (1, *sizes):
            write_rows(folder / str(count), count)
        floor = [sys.executable, "benchmarks/floor_score.py"]
        settings = ["spark.driver.host=127.0.0.1", "spark.driver.bindAddress=127.0.0.1"]
        spark = [*SCORE, "--spark", f"spark://127.0.0.1:{PORT}", *(w for s in settings for w in ("--conf", s))]
        ways = {
            "numpy and pyarrow": (floor, 0),
            "score.py": (SCORE, 0),
            "Spark, 1 worker": (spark, 1),
            "Spark, 2 workers": (spark, 2),
        }
        runs = {
            (name, count): partial(score, command, folder / str(count), workers)
            for name, (command, workers) in ways.items()
            for count in (1, rows)
        }
        runs |= {("score.py", count): partial(score, SCORE, folder / str(count)) for count in sizes}
        used = in_turn(rounds, runs)
        seconds = {key: [u.seconds for u in taken] for key, taken in used.items()}
        title = f"Scoring {rows:,} rows, Parquet to Parquet"
        whole = {name: seconds[name, rows] for name in ways}
        alone = {name: [b - a for a, b in zip(seconds[name, 1], whole[name], strict=True)] for name in ways}
        targets = {"score.py": ">= 0.9"}
        table(f"{title}, the start left out: rate to numpy's", "s", alone, "numpy and pyarrow", targets, faster=True)
        table(f"{title}, whole processes: rate to numpy's", "s", whole, "numpy and pyarrow", faster=True)
        grown = {f"{count:,} rows": used["score.py", count] for count in sizes}
        first = next(iter(grown))
        taken = {name: [u.seconds for u in taken] for name, taken in grown.items()}
        table("score.py as the rows grow: time to the first", "s", taken, first)
        taken = {name: [u.megabytes for u in taken] for name, taken in grown.items()}
        table("score.py as the rows grow: resident memory to the first", "MB", taken, first)


def compare_training(rounds: int, rows: int) -> None:
    """Trains in one process and on clusters, from a hundredth of the rows to all."""
    sizes = [rows // 100, rows // 10, rows]
    with scratch_folder() as folder:
        for count in sizes:
            write_points(folder / f"{count}.csv", count)
        trainers = {
            "one process": [sys.executable, "model_producer.py"],
            "cluster, 1 worker": ["distributed/local_cluster.sh", "--workers", 1],
            "cluster, 2 workers": ["distributed/local_cluster.sh", "--workers", 2],
        }
        runs = {
            (name, count): partial(train, command, folder / f"{count}.csv", folder / "trained")
            for name, command in trainers.items()
            for count in sizes
        }
        used = in_turn(rounds, runs)
        for count in sizes:
            taken = {name: used[name, count] for name in trainers}
            title = f"Training, {EPOCHS} epochs on {count:,} rows of CSV: time to one process's"
            table(title, "s", taken, "one process")
        for name in trainers:
            taken = {f"{count:,} rows": used[name, count] for count in sizes}
            title = f"Training, {name}, as the rows grow: time to the first"
            table(title, "s", taken, next(iter(taken)))


def main() -> None:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--rounds", metavar="N", type=int, default=3, help="runs of each")
    parser.add_argument("--rows", metavar="N", type=int, default=10_000_000, help="scored and trained on")
    flags = parser.parse_args()
    if not (ROOT / MODEL).exists():
        sys.exit(f"distributed.py: no {MODEL} (run make run first)")
    compare_scoring(flags.rounds, flags.rows)
    compare_training(flags.rounds, flags.rows)


if __name__ == "__main__":
    main()
