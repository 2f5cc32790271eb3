"""Starts Spark, whose Java only schedules the work, and keeps Spark's log off the terminal."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence

from files import HERE
from model_import_export.command_line import one_line

from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext
from pyspark.errors import PySparkException

LIGHT = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1"
SETTINGS = {
    "spark.ui.showConsoleProgress": "false",
    "spark.python.unix.domain.socket.enabled": "true",  # TCP delays each task by 80 ms
    "spark.driver.extraJavaOptions": LIGHT,
    "spark.executor.extraJavaOptions": LIGHT,
}


def start(master: str, settings: Sequence[tuple[str, str]]) -> SparkContext:
    """Connects to a master. Raises ValueError if there is none.

    Java's output is discarded, unless Spark's own configuration says where to log.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    ours = not {"SPARK_HOME", "SPARK_CONF_DIR"} & os.environ.keys()
    if ours:
        os.environ["SPARK_CONF_DIR"] = os.path.join(HERE, "spark_conf")
    conf = SparkConf().setMaster(master).setAppName("score").setAll(SETTINGS.items()).setAll(settings)
    with _without_standard_error() if ours else contextlib.nullcontext(), explaining(master):
        return SparkContext(conf=conf)


@contextlib.contextmanager
def explaining(master: str) -> Iterator[None]:
    """Turns Spark's errors into a ValueError: there is no such master, or it has given up."""
    try:
        yield
    except (Py4JError, PySparkException) as error:
        raise ValueError(f"no Spark: {master}: {words(error)} (is its master running, is a JDK here?)") from None


@contextlib.contextmanager
def _without_standard_error() -> Iterator[None]:
    terminal, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


def words(error: Exception) -> str:
    """Java's message, from an error that contains the traces of both languages."""
    java = re.search(r"\w+(?:Exception|Error): [^\n]+", str(error))
    return java[0] if java else one_line(error)
