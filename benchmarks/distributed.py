"""Compares scoring with numpy, Spark with one machine, and training on a cluster with training in one process.

    python benchmarks/distributed.py

A rate is that of the rows alone: the time of a run over all rows, less that of a run over one row, which is the start.
On two cores the cluster and Spark show what they cost, not how they grow: that takes more machines.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from measure import ROOT, in_turn, run, table

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


def score_seconds(command: list[object], source: Path, spark: int = 0) -> float:
    """Scores a folder into an empty one, on so many workers of Spark."""
    target = source.with_name("out")
    shutil.rmtree(target, ignore_errors=True)
    with spark_cluster(spark, source.parent) if spark else contextlib.nullcontext():
        return run([*command, "--input", source, "--output", target]).seconds


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=10_000_000, help="scored and trained on (default: %(default)s)")
    flags = parser.parse_args()
    if not (ROOT / MODEL).exists():
        sys.exit(f"distributed.py: no {MODEL} (run make run first)")

    with tempfile.TemporaryDirectory(dir=ROOT / ".cache") as scratch:
        folder = Path(scratch)
        for name, rows in (("one", 1), ("tenth", flags.rows // 10), ("rows", flags.rows)):
            write_rows(folder / name, rows)
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
            (name, source): lambda way=way, source=source: score_seconds(way[0], folder / source, way[1])
            for name, way in ways.items()
            for source in ("one", "rows")
        }
        taken = in_turn(flags.rounds, runs)
        title = f"Scoring {flags.rows} rows, Parquet to Parquet"
        whole = {name: taken[name, "rows"] for name in ways}
        alone = {name: [b - a for a, b in zip(taken[name, "one"], taken[name, "rows"], strict=True)] for name in ways}
        table(
            f"{title}, the start left out, times numpy's rate",
            "s",
            alone,
            "numpy and pyarrow",
            {"score.py": ">= 0.9"},
            True,
        )
        table(f"{title}, the whole process", "s", whole, "numpy and pyarrow", faster=True)

        write_rows(folder / "tenfold", flags.rows * 10)
        sizes = {
            f"{flags.rows // 10} rows": "tenth",
            f"{flags.rows} rows": "rows",
            f"{flags.rows * 10} rows": "tenfold",
        }
        used = {
            name: run([*SCORE, "--input", folder / s, "--output", folder / f"{s}-out"]) for name, s in sizes.items()
        }
        base = next(iter(sizes))
        table("score.py as the work grows, the whole process", "s", {n: [u.seconds] for n, u in used.items()}, base)
        table("score.py as the work grows, resident memory", "MB", {n: [u.megabytes] for n, u in used.items()}, base)
        for name in ("tenfold", "tenfold-out"):
            shutil.rmtree(folder / name)

        write_points(folder / "points.csv", flags.rows)
        train = ["--data", folder / "points.csv", "--epochs", EPOCHS, "--output-dir", folder / "trained"]
        trainings = {
            "one process": [sys.executable, "model_producer.py", *train],
            "cluster, 1 worker": ["distributed/local_cluster.sh", "--workers", 1, *train],
            "cluster, 2 workers": ["distributed/local_cluster.sh", "--workers", 2, *train],
        }
        taken = in_turn(flags.rounds, {n: lambda c=c: run(c).seconds for n, c in trainings.items()})
        table(f"Training, {EPOCHS} epochs on {flags.rows} rows of CSV", "s", taken, "one process")


if __name__ == "__main__":
    main()
