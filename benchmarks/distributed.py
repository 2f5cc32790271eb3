"""Compares scoring with numpy, Spark with one machine, and training on a cluster with training in one process.

    python benchmarks/distributed.py

"The start left out" is measured in processes that have started and have scored all rows once. On two cores the
clusters show their overhead. How they scale only more machines would show.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import floor_score
from measure import ROOT, Used, in_turn, run, scratch_folder, table
from model_import_export import command_line

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FILES, EPOCHS = 8, 20
MODEL = "frozen_graphs/frozen_linear_regression.pb"
SCORE = [sys.executable, "distributed/score.py", "--model", MODEL]
FLOOR = [sys.executable, "benchmarks/floor_score.py"]


def write_rows(folder: Path, rows: int, files: int = FILES) -> None:
    """Writes Parquet files with a column `id` and a column `x` of random numbers."""
    folder.mkdir()
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


def score(command: list[object], rows: Path, save: Path) -> Used:
    """Scores a folder into an empty one, in a separate process."""
    shutil.rmtree(save, ignore_errors=True)
    return run([*command, "--rows", rows, "--save", save])


def serve_floor(rows: str, save: str) -> None:
    """Scores with numpy whenever a line arrives, and answers with the seconds taken."""
    _serve(save, lambda: floor_score.score(rows, save))


def serve_engine(*words: str) -> None:
    """Does the same with what score.py does after its start: finds the files and has its engine do the tasks."""
    sys.path.insert(0, str(ROOT / "distributed"))
    sys.argv = [str(ROOT / "distributed/score.py"), *words]
    import driver
    from score import parse_arguments

    flags = parse_arguments()
    job = driver.make_job(flags)
    with driver.start_engine(job, flags) as engine:

        def score() -> None:
            tasks = driver.make_plan(job, 1 if flags.spark else flags.workers).tasks
            outcomes = [each for each in engine(tasks) if not isinstance(each, int)]
            assert len(outcomes) == len(tasks) and not any(outcome.error for outcome in outcomes)

        _serve(flags.save, score)


def _serve(save: str, work: Callable[[], None]) -> None:
    for _ in sys.stdin:
        shutil.rmtree(save, ignore_errors=True)
        start = time.perf_counter()
        work()
        print(time.perf_counter() - start, flush=True)


@contextlib.contextmanager
def started(function: str, *words: object) -> Iterator[Callable[[], float]]:
    """Starts a serving process. Yields a function that makes it score once and returns the seconds."""
    code = f"import sys; sys.path.insert(0, 'benchmarks'); import distributed; distributed.{function}(*sys.argv[1:])"
    command = [sys.executable, "-c", code, *map(str, words)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask() -> float:
            process.stdin.write("\n")
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                sys.exit(f"distributed.py: failed: {' '.join(command[3:])}")
            return float(line)

        try:
            ask()
            yield ask
        finally:
            process.stdin.close()


def train(command: list[object], data: Path, output: Path) -> float:
    """Trains into an empty folder. Returns the seconds taken."""
    shutil.rmtree(output, ignore_errors=True)
    return run([*command, "--data", data, "--epochs", EPOCHS, "--output-dir", output]).seconds


@contextlib.contextmanager
def spark_cluster(workers: int, port: int, folder: Path) -> Iterator[list[object]]:
    """Starts a standalone cluster with one core per worker. Yields the flags of score.py for it."""
    import pyspark

    home = os.path.dirname(pyspark.__file__)
    environment = os.environ | {"SPARK_HOME": home, "SPARK_LOCAL_IP": "127.0.0.1"}
    kinds = [["master.Master", "-h", "127.0.0.1", "-p", port, "--webui-port", 0]]
    kinds += [
        ["worker.Worker", "-h", "127.0.0.1", "-c", 1, "-m", "2g", "--webui-port", 0, f"spark://127.0.0.1:{port}"]
    ] * workers
    log = folder / f"spark{port}.log"
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
        settings = ["spark.driver.host=127.0.0.1", "spark.driver.bindAddress=127.0.0.1", "spark.executor.memory=1g"]
        yield ["--spark", f"spark://127.0.0.1:{port}", *(word for each in settings for word in ("--conf", each))]


def compare_scoring(rounds: int, rows: int) -> None:
    """Scores with each engine: without the start, as whole processes, and one large file."""
    with scratch_folder() as folder, contextlib.ExitStack() as stack:
        few, many, one = folder / "few", folder / "many", folder / "one"
        write_rows(few, rows)
        flags = ["--model", MODEL, "--rows", few, "--save"]
        engines = {
            "numpy and pyarrow": ("serve_floor", [few, folder / "floor"]),
            "score.py --workers 1": ("serve_engine", [*flags, folder / "1", "--workers", 1]),
            "score.py --workers 2": ("serve_engine", [*flags, folder / "2", "--workers", 2]),
        }
        for workers, port in ((1, 7079), (2, 7078)):
            its = stack.enter_context(spark_cluster(workers, port, folder))
            name = f"Spark, {workers} worker{'s' * (workers > 1)}"
            engines[name] = ("serve_engine", [*flags, folder / name[:7], *its])
        ready = {name: stack.enter_context(started(kind, *words)) for name, (kind, words) in engines.items()}
        seconds = in_turn(rounds, ready)
        stack.close()
        title = f"Scoring {rows:,} rows in {FILES} files, Parquet to Parquet, start left out"
        targets = {"score.py --workers 2": ">= 0.9", "Spark, 2 workers": ">= 0.9"}
        table(title, "s", seconds, "numpy and pyarrow", targets, "throughput")
        for workers in (1, 2):
            pair = {
                name: taken for name, taken in seconds.items() if f"{workers} worker" in name or f"s {workers}" in name
            }
            base = f"score.py --workers {workers}"
            targets = {name: ">= 0.8" for name in pair if name != base}
            table(title, "s", pair, base, targets, "throughput")
        write_rows(many, 10 * rows)
        write_rows(one, 10 * rows, 1)
        ways = {"numpy and pyarrow": FLOOR, "score.py": SCORE}
        runs = {
            (name, count): partial(score, command, source, folder / "out")
            for name, command in ways.items()
            for count, source in ((rows, few), (10 * rows, many))
        }
        runs |= {workers: partial(score, [*SCORE, "--workers", workers], one, folder / "out") for workers in (1, 2)}
        used = in_turn(rounds, runs)
        for count, target in ((rows, ">= 0.6"), (10 * rows, ">= 0.9")):
            whole = {name: [u.seconds for u in used[name, count]] for name in ways}
            title = f"Scoring {count:,} rows in {FILES} files, whole processes"
            table(title, "s", whole, "numpy and pyarrow", {"score.py": target}, "throughput")
        grown = {f"{count:,} rows": [u.megabytes for u in used["score.py", count]] for count in (rows, 10 * rows)}
        title = "The largest process of score.py, as the rows grow"
        table(title, "MB", grown, f"{rows:,} rows", {f"{10 * rows:,} rows": "<= 1.15"})
        alone = {f"{workers} worker{'s' * (workers > 1)}": used[workers] for workers in (1, 2)}
        title = f"Scoring {10 * rows:,} rows in one file"
        taken = {name: [u.seconds for u in each] for name, each in alone.items()}
        table(title, "s", taken, "1 worker", {"2 workers": "<= 0.65"})
        taken = {name: [u.megabytes for u in each] for name, each in alone.items()}
        table(f"{title}, the largest process", "MB", taken, "1 worker")


def compare_training(rounds: int, rows: int) -> None:
    """Trains in one process and on clusters, with a hundredth of the rows up to all of them."""
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
            title = f"Training, {EPOCHS} epochs on {count:,} rows of CSV"
            table(title, "s", taken, "one process")
        for name in trainers:
            taken = {f"{count:,} rows": used[name, count] for count in sizes}
            title = f"Training, {name}"
            table(title, "s", taken, next(iter(taken)), kind="growth in time")


def main() -> None:
    parser = command_line.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--rounds", metavar="N", type=int, default=5, help="runs of each")
    add("--rows", metavar="N", type=int, default=10_000_000, help="rows to score and to train on")
    add("--only", choices=("scoring", "training"), help="one of the two")
    flags = parser.parse_args()
    if not (ROOT / MODEL).exists():
        sys.exit(f"distributed.py: no {MODEL} (run make run first)")
    if flags.only != "training":
        compare_scoring(flags.rounds, flags.rows)
    if flags.only != "scoring":
        compare_training(min(flags.rounds, 3), flags.rows)


if __name__ == "__main__":
    main()
