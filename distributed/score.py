"""Scores Parquet or CSV files of any size: each row, with the model's prediction added, goes into a Parquet file.

    python distributed/score.py --rows data --save results/scored
    python distributed/score.py --rows data --save results/scored --spark spark://HOST:7077

Reads   --rows   a folder (and those below it), a pattern or a file; paths of this machine or such as s3://BUCKET/FOLDER
        --model  a frozen graph or a SavedModel's folder
Writes  --save   a Parquet file per input file (several, for a large one), whole or not at all. One that is there
                 already, of the same file, model and flags, is left as it is: a rerun does what is missing.
"""

import argparse
import codecs
import os
import re

from model_import_export import command_line, digests

MASTERS = "spark://HOST:PORT, yarn, k8s://..., local[2]"


def master(text: str) -> str:
    """The type of --spark."""
    if not re.fullmatch(r"local(\[.+\])?|spark://.+:\d+|yarn|k8s://.+", text):
        raise argparse.ArgumentTypeError(f"not a Spark master: {text} ({MASTERS})")
    return text


def delimiter(text: str) -> str:
    """The type of --delimiter."""
    text = {"\\t": "\t", "tab": "\t"}.get(text, text)
    if len(text) != 1 or not text.isascii() or text in '"\r\n\0':
        raise argparse.ArgumentTypeError(f"not one ASCII character: {text}")
    return text


def encoding(text: str) -> str:
    """The type of --encoding."""
    try:
        "".encode(text)
        return codecs.lookup(text).name
    except LookupError:
        raise argparse.ArgumentTypeError(f"not an encoding that Python knows: {text}") from None


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    add = parser.add_argument
    add(
        "--model",
        metavar="PATH",
        default="frozen_graphs/frozen_linear_regression.pb",
        help="frozen graph (.pb) or SavedModel folder",
    )
    add(
        "--rows",
        metavar="FILES",
        default="data/linear_regression.csv",
        help="folder, pattern or file: .parquet, .pq, .csv, .tsv",
    )
    add("--save", metavar="DIR", default="results/scored", help="folder for the scored files")
    add(
        "--column",
        metavar="NAME",
        action="append",
        help="column with the numbers; repeatable, for a model that takes several per row; or one that holds lists "
        "(default: x)",
    )
    add("--prediction", metavar="NAME", default="prediction", help="name of the column that is added")
    add("--on-error", choices=("fail", "null"), default="fail", help="what to do about text, null and NaN in a row")
    add("--delimiter", metavar="CHAR", type=delimiter, help="between cells of CSV (default: comma, in .tsv tab)")
    add("--encoding", metavar="NAME", type=encoding, default="utf-8", help="of CSV, such as utf-16 or latin-1")
    workers = add("--workers", metavar="N", type=command_line.count, help="processes (default: one per core)")
    add("--spark", metavar="MASTER", type=master, help=f"score on a Spark cluster: {MASTERS}")
    add(
        "--conf",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        type=command_line.name_and_value,
        help="setting of Spark; repeatable",
    )
    add("--input", metavar="NAME", help="operation, tensor or signature key to feed (default: the only placeholder)")
    add("--output", metavar="NAME", help="what to calculate (default: the only end)")
    add("--tag", metavar="NAME", default="serve", help="tag of a SavedModel's graph")
    add("--signature", metavar="NAME", default="serving_default", help="signature of a SavedModel")
    add(
        "--feed",
        metavar="NAME=VALUES",
        action="append",
        default=[],
        type=command_line.name_and_value,
        help="values for a further input; repeatable",
    )
    add("--checked", metavar="FILE", default=digests.CHECKED, help="list of checked models; others are checked first")
    add("--allow-op", metavar="OP", action="append", default=[], help="operation to accept besides; repeatable")
    add("--trust", action="store_true", help="take a model unchecked: one you made yourself")
    flags = parser.parse_args()
    if flags.spark and flags.workers:
        parser.error(f"argument {workers.option_strings[0]}: not allowed with argument --spark")
    flags.workers = flags.workers or len(os.sched_getaffinity(0))
    return flags


def main() -> None:
    flags = parse_arguments()
    from driver import score_files

    score_files(flags)


if __name__ == "__main__":
    command_line.run(main)
