"""Scores Parquet or CSV files of any size: adds a model's prediction to each row.

    python distributed/score.py --rows data --save results/scored
    python distributed/score.py --rows data --save results/scored \\
      --spark spark://HOST:7077

Reads   --rows   a folder and those below it, a pattern or a file, on this
                 machine or in a store (s3://BUCKET/FOLDER)
        --model  a frozen graph or a SavedModel folder
Writes  --save   one Parquet file per input file (several for a large one),
                 whole or not at all. A rerun keeps those that were made of the
                 same file with the same model and flags.
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
        help="column with the numbers (default: x); repeatable for a model that takes several per row, or one column "
        "of lists",
    )
    add("--prediction", metavar="NAME", default="prediction", help="name of the added column")
    add(
        "--on-error",
        choices=("fail", "null"),
        default="fail",
        help="end at a row with text, null or NaN, or give it no prediction",
    )
    add(
        "--delimiter",
        metavar="CHAR",
        type=delimiter,
        help="character between the cells of CSV (default: a comma, a tab in .tsv)",
    )
    add("--encoding", metavar="NAME", type=encoding, default="utf-8", help="encoding of CSV, such as utf-16 or latin-1")
    workers = add("--workers", metavar="N", type=command_line.count, help="number of processes (default: one per core)")
    add("--spark", metavar="MASTER", type=master, help=f"Spark cluster to score on: {MASTERS}")
    add(
        "--conf",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        type=command_line.name_and_value,
        help="Spark setting; repeatable",
    )
    add("--input", metavar="NAME", help="operation, tensor or signature key to feed (default: the only placeholder)")
    add("--output", metavar="NAME", help="operation, tensor or signature key to calculate (default: the only end)")
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
    add(
        "--checked",
        metavar="FILE",
        default=digests.CHECKED,
        help="list of checked models; a model that is not in it is checked first",
    )
    add("--allow-op", metavar="OP", action="append", default=[], help="operation to accept in addition; repeatable")
    add("--trust", action="store_true", help="skip the checks (only for models you made)")
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
