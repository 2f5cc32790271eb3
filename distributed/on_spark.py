"""Scores files on a Spark cluster: an input file is a task, its rows go through the same function as on one machine.

Spark reads and writes them, so that paths are those of its own file systems (`s3a://`, `gs://`, `hdfs://`) where the
connectors are installed; each machine must reach them under the same name.
"""

import argparse
import functools
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_type
from pyspark.sql.types import StructField, StructType
from tqdm import tqdm

import files
import scoring
from files import File
from model_import_export import command_line, graph_check, graph_mode, model_file, rows

JOBS = 16  # files at a time; Spark gives them to the cores there are
SETTINGS = {
    "spark.ui.showConsoleProgress": "false",
    # A file is one task, so that its rows keep their order and their numbers.
    "spark.sql.files.maxPartitionBytes": str(1 << 50),
    "spark.sql.files.minPartitionNum": "1",
    "spark.sql.execution.arrow.maxRecordsPerBatch": str(files.BATCH),
    "spark.hadoop.fs.file.impl": "org.apache.hadoop.fs.RawLocalFileSystem",  # without .crc files, which others ignore
    "spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false",
}


def start(master: str, settings: list[str]) -> SparkSession:
    """Connects to a cluster. Raises ValueError where there is none, or a setting is none."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if not {"SPARK_HOME", "SPARK_CONF_DIR"} & os.environ.keys():
        os.environ["SPARK_CONF_DIR"] = os.path.join(os.path.dirname(os.path.abspath(__file__)), "spark_conf")
    builder = SparkSession.builder.master(master).appName("score")
    for key, value in SETTINGS.items():
        builder.config(key, value)
    for setting in settings:
        key, separator, value = setting.partition("=")
        if not separator:
            raise ValueError(f"not KEY=VALUE: {setting} in --conf")
        builder.config(key, value)
    try:
        spark = builder.getOrCreate()
    except (Py4JError, PySparkException) as error:
        raise ValueError(
            f"no Spark: {master}: {what_is_wrong(error)} (is its master running, is a JDK here?)"
        ) from None
    for module in (command_line, files, graph_check, graph_mode, model_file, rows, scoring):
        spark.sparkContext.addPyFile(os.path.abspath(module.__file__))
    return spark


def find(spark: SparkSession, uri: str) -> tuple[str, list[File]]:
    """A path as Hadoop's file systems write it in full, and the files below it or of the pattern."""
    system, path = hadoop(spark, uri)
    full = system.makeQualified(path).toString()
    found = []
    for status in system.globStatus(path) or []:
        below = system.listFiles(status.getPath(), True)
        while below.hasNext():
            each = below.next()
            found.append(File(each.getPath().toString(), each.getModificationTime() / 1000, each.getLen()))
    return full, found


def hadoop(spark: SparkSession, uri: str) -> tuple[Any, Any]:
    """Hadoop's FileSystem and Path of a URI."""
    path = spark._jvm.org.apache.hadoop.fs.Path(uri)
    return path.getFileSystem(spark._jsc.hadoopConfiguration()), path


def read(spark: SparkSession, path: str) -> DataFrame:
    """A file's rows, those of CSV as text, null where nothing stands. The path is no pattern, whatever it is called."""
    name = re.sub(r"([\\*?{}\[\]])", r"\\\1", path)
    if path.endswith(".parquet"):
        return spark.read.parquet(name)
    return spark.read.csv(name, header=True)


def score_file(spark: SparkSession, scorer: scoring.Scorer, file: File, output: str) -> tuple[int, list[int]]:
    """Scores one file. Returns how many rows are without a prediction, and the numbers of the first.

    Raises:
        ValueError: a row is bad, or a column is missing.
    """
    data = read(spark, file.path)
    scorer.schema(pa.schema([(name, pa.null()) for name in data.columns]), file.path)
    field = StructField(scorer.field.name, from_arrow_type(scorer.field.type))
    schema = StructType([*data.schema.fields, field])
    model = os.path.basename(scorer.options.model.rstrip("/"))
    function = functools.partial(scoring.score_shipped, scorer.options, model, file.path)
    folder, name = output.rsplit("/", 1)
    system, temporary = hadoop(spark, f"{folder}/.{name}.partial")
    try:
        data.mapInArrow(function, schema).coalesce(1).write.mode("overwrite").parquet(temporary.toString())
        (part,) = [s.getPath() for s in system.listStatus(temporary) if s.getPath().getName().startswith("part-")]
        final = hadoop(spark, output)[1]
        system.delete(final, False)
        if not system.rename(part, final):
            raise OSError(f"cannot write: {output}")
    finally:
        system.delete(temporary, True)
    if scorer.options.on_error == "fail":
        return 0, []
    written = read(spark, output)
    missing = written.filter(written[scorer.field.name].isNull())
    return missing.count(), [row[0] + 1 for row in missing.select("_metadata.row_index").limit(scoring.SHOWN).collect()]


def score_on_spark(flags: argparse.Namespace, options: scoring.Options, newest: float, report: Any) -> None:
    """Scores all files on the cluster.

    Args:
        newest: when the model was changed last, in seconds since 1970.
        report: is told of each file's path and of its rows without a prediction: how many, and the first.

    Raises:
        ValueError: a file cannot be scored; it is named. Those that were are done.
    """
    scorer = scoring.load_scorer(options)
    try:
        spark = start(flags.spark, flags.conf)
        try:
            _score_all(spark, flags, scorer, newest, report)
        finally:
            spark.stop()
    except (PySparkException, Py4JError) as error:
        raise ValueError(what_is_wrong(error)) from None


def _score_all(
    spark: SparkSession, flags: argparse.Namespace, scorer: scoring.Scorer, newest: float, report: Any
) -> None:
    (source, found), (target, done) = find(spark, flags.input), find(spark, flags.output)
    pairs = files.pair(found, source, target)
    left = files.undone(pairs, done, newest)
    print(f"files to score: {len(left)}, already scored: {len(pairs) - len(left)}", flush=True)
    model, size = scorer.options.model, sum(file.size for file in left.values())
    spark.sparkContext.addFile(model, recursive=os.path.isdir(model))
    with (
        tqdm(total=size, unit="B", unit_scale=True, leave=False, disable=None) as bar,
        ThreadPoolExecutor(JOBS) as pool,
    ):
        jobs = [(file, pool.submit(score_file, spark, scorer, file, output)) for output, file in left.items()]
        for file, job in jobs:
            try:
                report(file.path, *job.result())
            except Exception:
                pool.shutdown(wait=False, cancel_futures=True)
                spark.sparkContext.cancelAllJobs()
                raise
            bar.update(file.size)


def what_is_wrong(error: Exception) -> str:
    """The words of an executor's own error within Spark's, which holds the traces of both, or else Java's words."""
    python = re.findall(r"^([\w.]+Error): (.+)$", str(error), re.MULTILINE)
    if python:
        kind, words = python[-1]
        return words if kind.endswith(("ValueError", "ModelError")) else f"{kind}: {words}"
    java = re.search(r"\w+(?:Exception|Error): [^\n]+", str(error))
    return java[0] if java else command_line.one_line(error)
