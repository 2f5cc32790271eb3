"""Scores Parquet or CSV files of any size: each row, with the model's prediction added, goes into a Parquet file.

    python distributed/score.py --input data --output scored
    python distributed/score.py --input data --output scored --spark spark://HOST:7077

Reads   --input   a folder (and those below it), a pattern or a file; paths of this machine or such as s3://BUCKET/FOLDER
        --model   a frozen graph or a SavedModel's folder
Writes  --output  a Parquet file an input file, whole or not at all. One that is newer than its input and the model is
                  left as it is, so that a rerun does what is missing.
"""

import argparse
import os
import re
from collections.abc import Sequence

from tqdm import tqdm

from model_import_export import command_line, graph_mode

MASTERS = "spark://HOST:PORT, yarn, k8s://..., local[2]"


def score_here(flags: argparse.Namespace, options: tuple) -> None:
    """Scores on this machine, a file after the other. Raises ValueError or OSError; the files before it are done."""
    import files
    from scoring import BadRows, load_scorer

    (system, source), (target_system, target) = files.locate(flags.input), files.locate(flags.output)
    pairs = files.pair(files.find(system, source), source, target)
    left = files.undone(pairs, files.find(target_system, target), newest(flags.model))
    print(f"files to score: {len(left)}, already scored: {len(pairs) - len(left)}", flush=True)
    if not left:
        return
    scorer = load_scorer(options)
    size = sum(file.size for file in left.values())
    with tqdm(total=size, unit="B", unit_scale=True, leave=False, disable=None) as bar:
        for output, file in left.items():
            bad = BadRows()
            schema, rows, batches = files.open_file(system, file)
            scored = scorer.score(files.read_ahead(file, rows, batches, bar.update), file.path, bad)
            files.write_parquet(target_system, output, scorer.schema(schema, file.path), scored)
            report_bad(file.path, bad.count, bad.first)


def newest(model: str) -> float:
    """When a model's files were changed last, in seconds since 1970."""
    paths = [os.path.join(folder, name) for folder, _, names in os.walk(model) for name in names] or [model]
    return max((os.path.getmtime(path) for path in paths if os.path.exists(path)), default=0)


def report_bad(path: str, count: int, rows: Sequence[int]) -> None:
    """Names the rows without a prediction, or the first of them."""
    if count:
        shown = ", ".join(map(str, rows)) + (", ..." if count > len(rows) else "")
        tqdm.write(f"no prediction for {count} rows of {path}: {shown}")


def master(text: str) -> str:
    """The type of --spark."""
    if not re.fullmatch(r"local(\[.+\])?|spark://.+:\d+|yarn|k8s://.+", text):
        raise argparse.ArgumentTypeError(f"not a Spark master: {text} ({MASTERS})")
    return text


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    add = parser.add_argument
    add(
        "--model",
        metavar="PATH",
        default="frozen_graphs/frozen_linear_regression.pb",
        help="a frozen graph or SavedModel",
    )
    add("--input", metavar="FILES", default="data", help="a folder, a pattern or a file: .parquet, .csv, .csv.gz")
    add("--output", metavar="DIR", default="results/scored", help="the folder of the outputs")
    add(
        "--column",
        metavar="NAME",
        action="append",
        help="with the numbers; repeatable, for a model that takes several a row; or one that holds lists (default: x)",
    )
    add("--prediction", metavar="NAME", default="prediction", help="the column that is added")
    add("--on-error", choices=("fail", "null"), default="fail", help="what becomes of text, null and NaN in a row")
    add("--spark", metavar="MASTER", type=master, help=f"score on a Spark cluster: {MASTERS}")
    add("--conf", metavar="KEY=VALUE", action="append", default=[], help="a setting of Spark; repeatable")
    add("--input-name", metavar="NAME", help="operation or tensor to feed, of a SavedModel the signature's key")
    add("--output-name", metavar="NAME", help="operation or tensor to fetch, likewise")
    add("--tag", metavar="NAME", default="serve", help="of a SavedModel")
    add("--signature", metavar="NAME", default="serving_default", help="of a SavedModel")
    add(
        "--feed",
        metavar="NAME=LIST",
        action="append",
        default=[],
        type=command_line.name_and_value,
        help="a further placeholder; repeatable",
    )
    add("--allow-op", metavar="OP", action="append", default=[], help="accept one more operation type; repeatable")
    add("--trust", action="store_true", help="accept any graph, of a model you made yourself")
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    graph_mode.load()
    from scoring import Options

    options = Options(
        flags.model,
        tuple(flags.column or ["x"]),
        flags.prediction,
        flags.on_error,
        flags.input_name,
        flags.output_name,
        flags.tag,
        flags.signature,
        tuple(flags.feed),
        tuple(flags.allow_op),
        flags.trust,
    )
    if flags.spark:
        from on_spark import score_on_spark

        score_on_spark(flags, options, newest(flags.model), report_bad)
    else:
        score_here(flags, options)


if __name__ == "__main__":
    command_line.run(main)
