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
    """Parses --spark."""
    if not re.fullmatch(r"local(\[.+\])?|spark://.+:\d+|yarn|k8s://.+", text):
        raise argparse.ArgumentTypeError(f"not a Spark master: {text} ({MASTERS})")
    return text


def delimiter(text: str) -> str:
    """Parses --delimiter."""
    text = {"\\t": "\t", "tab": "\t"}.get(text, text)
    if len(text) != 1 or not text.isascii() or text in '"\r\n\0':
        raise argparse.ArgumentTypeError(f"not one ASCII character: {text}")
    return text


def encoding(text: str) -> str:
    """Parses --encoding."""
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
        help="load the frozen graph or SavedModel PATH",
    )
    add(
        "--rows",
        metavar="FILES",
        default="data/linear_regression.csv",
        help="score a folder, pattern or file: .parquet, .pq, .csv, .tsv",
    )
    add("--save", metavar="DIR", default="results/scored", help="write the scored files to DIR")
    add(
        "--column",
        metavar="NAME",
        action="append",
        help="feed the column NAME (default: x); repeatable, or a column of lists, for several numbers per row",
    )
    add("--prediction", metavar="NAME", default="prediction", help="call the added column NAME")
    add(
        "--on-error",
        choices=("fail", "null"),
        default="fail",
        help="stop at a row with text, null or NaN, or give it no prediction",
    )
    add(
        "--delimiter",
        metavar="CHAR",
        type=delimiter,
        help="split CSV lines at CHAR (default: a comma, a tab in .tsv)",
    )
    add(
        "--encoding",
        metavar="NAME",
        type=encoding,
        default="utf-8",
        help="decode CSV as NAME, such as utf-16 or latin-1",
    )
    workers = add(
        "--workers", metavar="N", type=command_line.count, help="score in N processes (default: one per core)"
    )
    add("--spark", metavar="MASTER", type=master, help=f"score on a Spark cluster: {MASTERS}")
    add(
        "--conf",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        type=command_line.name_and_value,
        help="configure Spark; repeatable",
    )
    add("--input", metavar="NAME", help="feed NAME: an operation, tensor or signature key (default: the only input)")
    add("--output", metavar="NAME", help="fetch NAME (default: the only one)")
    add("--tag", metavar="NAME", default="serve", help="load the graph of a SavedModel that has the tag NAME")
    add("--signature", metavar="NAME", default="serving_default", help="use the signature NAME of a SavedModel")
    add(
        "--feed",
        metavar="NAME=VALUES",
        action="append",
        default=[],
        type=command_line.name_and_value,
        help="feed a further input; repeatable",
    )
    add(
        "--checked",
        metavar="FILE",
        default=digests.CHECKED,
        help="look up the model's digests in FILE; a model that is not in it is checked first",
    )
    add("--allow-op", metavar="OP", action="append", default=[], help="also accept the operation OP; repeatable")
    add("--trust", action="store_true", help="skip the checks: for a model you made yourself")
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
