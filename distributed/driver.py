"""Plans a run of score.py, has an engine do its tasks, and reports the outcome."""

import argparse
import contextlib
import os
import signal
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import files
import graph_runtime
import scoring
import tables
from files import File, Task
from model_import_export import command_line, digests, tensors
from scoring import Job, Outcome

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

READERS = 16  # footers read at the same time
SHOWN = 10  # names in a line

# Does tasks. Yields each outcome as it comes, and in between the number of bytes that are done.
Engine = Callable[[Sequence[Task]], Iterator[int | Outcome]]


class Plan(NamedTuple):
    """The tasks to do, and what earlier runs left."""

    tasks: list[Task]
    done: int  # input files whose outputs all exist
    stale: list[str]  # outputs of an input file's earlier version, and files that killed processes were writing
    others: list[str]  # files of other kinds


def score_files(flags: argparse.Namespace) -> None:
    """Scores what is not scored yet. Raises ValueError or OSError if a file fails; files before it stay scored."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # to report what was done before ending
    job, left = make_job(flags), None
    try:
        with start_engine(job, flags) as engine:
            plan = make_plan(job, 1 if flags.spark else flags.workers)
            left = Counter(task.path for task in plan.tasks)
            count = len(left)
            print(f"files to score: {count}, already scored: {plan.done}", flush=True)
            if plan.others:
                print(f"left out, neither Parquet nor CSV: {some(plan.others)}", flush=True)
            for path in plan.stale:
                files.locate(job.save)[0].delete_file(path)
            outcomes = []
            for outcome in with_bar(engine, plan.tasks):
                if outcome.error:
                    raise ValueError(outcome.error)
                outcomes.append(outcome)
                left[outcome.task.path] -= 1
    except KeyboardInterrupt:
        kept = f"{sum(not n for n in left.values())} of {len(left)} files were scored" if left else "nothing was scored"
        command_line.fail(f"interrupted: {kept} (the same command goes on from there)", status=130)
    report(outcomes, flags.save)


def make_job(flags: argparse.Namespace) -> Job:
    """Builds what all tasks have in common. Raises ModelError if the model is refused."""
    model = scoring.admit(flags.model, flags.checked, flags.allow_op, flags.trust)
    names = tensors.Names(flags.input, tuple([flags.output] if flags.output else ()), flags.tag, flags.signature)
    columns = tuple(flags.column or ["x"])
    options = scoring.Options(model, names, tuple(flags.feed), columns, flags.prediction, flags.on_error)
    return Job(options, flags.rows, flags.save, tables.Text(flags.delimiter, flags.encoding), uuid.uuid4().hex[:8])


def start_engine(job: Job, flags: argparse.Namespace) -> contextlib.AbstractContextManager[Engine]:
    """Starts the engine that the flags ask for; imports only what it needs."""
    if flags.spark:
        import on_spark

        return on_spark.cluster(job, flags.spark, flags.conf)
    import on_processes

    graph_runtime.load(saved_model=os.path.isdir(job.options.model.path))
    return on_processes.workers(job, flags.workers)


def make_plan(job: Job, workers: int) -> Plan:
    """Finds the files, and which of them are already scored.

    Raises:
        ValueError: there are no files, or their outputs cannot be written where --save says.
    """
    (system, source), (target_system, target) = files.locate(job.rows), files.locate(job.save)
    base, found = files.find(system, source)
    pairs, others = files.pair(base, found, target)
    if not pairs:
        raise ValueError(f"no data: {source} (no .parquet, .pq, .csv or .tsv is there)")
    files.check_apart((system, target_system), source, target, pairs)
    there = {file.path for file in files.find(target_system, target)[1]}
    settings = settings_of(job)

    def tasks_of(output: str, file: File) -> list[Task]:
        mark = files.mark_of(file, settings)
        if files.is_parquet(file.path) and file.size > files.PART:
            return files.split(tables.open_parquet(system, file.path).metadata, file, output, mark)
        return [Task(file.path, output, file.size, mark)]

    def mark_there(path: str) -> bytes | None:
        """The mark of a file among the outputs; None if score.py did not write it."""
        with contextlib.suppress(pa.ArrowException):
            return (pq.read_metadata(path, filesystem=target_system).metadata or {}).get(files.KEY)
        return None

    def is_done(task: Task) -> bool:
        mark = mark_there(task.output) if task.output in there else b""
        if mark is None:
            raise ValueError(
                f"not written by score.py: {task.output} (it would be replaced; move it, or give another --save)"
            )
        return mark == task.mark[files.KEY]

    with ThreadPoolExecutor(READERS) as pool:
        tasks = [task for each in pool.map(tasks_of, pairs, pairs.values()) for task in each]
        left = [task for task, done in zip(tasks, pool.map(is_done, tasks), strict=True) if not done]
        split_otherwise = [
            path for path in there - {task.output for task in tasks} if files.before_split(path) in pairs
        ]
        stale = [
            path for path, mark in zip(split_otherwise, pool.map(mark_there, split_otherwise), strict=True) if mark
        ]
    stale += (path for path in there if tables.is_left_over(path, job.run))
    done = len(pairs) - len({task.path for task in left})
    return Plan([task._replace(spare=len(left) < workers) for task in left], done, stale, others)


def settings_of(job: Job) -> list[Any]:
    """What an output depends on besides its input file. If any of it changes, the file is scored again."""
    options = job.options
    feed = [(name, digests.digest(text) if text.endswith(".npy") else text) for name, text in options.feed]
    return [options.model.digests, feed, *options._replace(model=None, feed=None), job.text]


def with_bar(engine: Engine, tasks: Sequence[Task]) -> Iterator[Outcome]:
    """Yields the outcomes of tasks, with a progress bar on a terminal."""
    size = sum(task.size for task in tasks)
    with tqdm(total=size, unit="B", unit_scale=True, leave=False, disable=None) as bar:
        for each in engine(tasks) if tasks else ():
            if isinstance(each, int):
                bar.update(each)
            else:
                yield each


def report(outcomes: list[Outcome], save: str) -> None:
    """Prints which rows have no prediction, which files have other columns, and how many rows were written where."""
    outcomes.sort(key=lambda outcome: (outcome.task.path, outcome.task.first_row))
    bad, first = Counter(), {}
    for outcome in outcomes:
        bad[outcome.task.path] += outcome.bad
        first.setdefault(outcome.task.path, []).extend(outcome.first_bad)
    for path, count in bad.items():
        if count:
            print(f"no prediction for {count} row{'s' * (count > 1)} of {path}: {some(first[path], count)}")
    differing = {}
    for outcome in outcomes:
        its, usual = outcome.columns, outcomes[0].columns
        if its != usual:
            words = [
                f"{word} {', '.join(names)}"
                for word, names in (
                    ("without", [name for name in usual if name not in its]),
                    ("with", [name for name in its if name not in usual]),
                )
                if names
            ]
            differing[outcome.task.path] = f"{outcome.task.path} ({'; '.join(words) or 'in another order'})"
    if differing:
        print(f"columns other than in {outcomes[0].task.path}: {some(list(differing.values()))}")
    rows = sum(outcome.rows for outcome in outcomes)
    print(f"rows scored: {rows}, without a prediction: {bad.total()}, written to: {save}")


def some(names: list[Any], count: int | None = None) -> str:
    """The first few names, with `...` if there are more (`count` in all)."""
    return ", ".join(map(str, names[:SHOWN])) + (", ..." if (count or len(names)) > SHOWN else "")
