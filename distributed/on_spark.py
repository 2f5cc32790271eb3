"""Runs the tasks on a Spark cluster: its executors read, score and write as a process on one machine does."""

import contextlib
import functools
import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import spark_session
from files import Task, find, locate, zip_code
from scoring import Job, Outcome, score_task
from tables import is_left_over

from py4j.protocol import Py4JError
from pyspark import AccumulatorParam, SparkContext, SparkFiles
from pyspark.errors import PySparkException

BUNDLE = 32 << 20  # bytes of small files per Spark task, which costs a few hundredths of a second


class Outcomes(AccumulatorParam):
    """Brings the outcomes to the driver as the tasks end."""

    zero = staticmethod(lambda _: [])
    addInPlace = staticmethod(list.__add__)  # noqa: N815


@contextlib.contextmanager
def cluster(job: Job, master: str, settings: Sequence[tuple[str, str]]) -> Iterator[Any]:
    """Yields executors with the code and the model, as an engine. Raises ValueError if there is no such master.

    In the end they are stopped, and files that killed executors had begun to write are removed.
    """
    with _no_leftovers(job), tempfile.TemporaryDirectory() as folder, spark_session.start(master, settings) as spark:
        with spark_session.explaining(master):
            spark.addPyFile(zip_code(folder))
            spark.addFile(job.options.model.path, recursive=os.path.isdir(job.options.model.path))
        yield lambda tasks: _run(spark, job, tasks)


@contextlib.contextmanager
def _no_leftovers(job: Job) -> Iterator[None]:
    try:
        yield
    finally:
        system, folder = locate(job.save)
        with contextlib.suppress(OSError):
            for file in find(system, folder)[1]:
                if is_left_over(file.path, job.run):
                    system.delete_file(file.path)


def _run(spark: SparkContext, job: Job, tasks: Sequence[Task]) -> Iterator[int | Outcome]:
    count, seen = min(len(tasks), sum(task.size for task in tasks) // BUNDLE + 1), 0
    with spark_session.explaining(spark.master):  # Spark gives up after a while if there is no master
        outcomes = spark.accumulator([], Outcomes())
        bundles = spark.parallelize([tasks[i::count] for i in range(count)], count)
    score = functools.partial(_score_shipped, job)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(bundles.foreach, lambda bundle: outcomes.add(list(map(score, bundle))))
        try:
            while not wait([running], 0.1).done or seen < len(outcomes.value):
                for outcome in outcomes.value[seen:]:
                    seen += 1
                    yield from (outcome.task.size, outcome)
            running.result()
        except (Py4JError, PySparkException) as error:
            raise OSError(spark_session.words(error)) from None
        finally:
            spark.cancelAllJobs()


def _score_shipped(job: Job, task: Task) -> Outcome:
    model = job.options.model
    here = model._replace(path=SparkFiles.get(os.path.basename(model.path.rstrip("/"))))
    return score_task(job._replace(options=job.options._replace(model=here)), task)
