"""Trains y = slope * x + intercept in TensorFlow's graph mode and writes the files that consumers read.

    python model_producer.py
    python model_producer.py --data points.csv --output-dir results/points

Reads   data/linear_regression.csv
Writes  exported_graphs/  the graph as text (graphdef.pbtxt) and a list of its operations (get_operations.txt)
        saved_model/      Saver checkpoints, the newest five
        summaries/        slope, intercept and loss at every epoch, for TensorBoard
"""

import argparse
import array
import csv
import math
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any, NamedTuple

from model_import_export import command_line
from model_import_export.graph_mode import session_config, tf
from model_import_export.training import (
    NAME,
    add_training_flags,
    check_summaries,
    export_graph,
    print_line,
    remove_earlier_run,
)

import numpy as np
from tqdm import tqdm


class TrainingGraph(NamedTuple):
    """A graph, and the parts of it that training needs."""

    g: Any  # tf.Graph
    x_sample: Any  # placeholder, float64 [?, ?]
    y_sample: Any  # placeholder, float64 [?, ?]
    fetches: list[Any]  # the training step; loss, slope, intercept (float64 scalars); the summaries, serialized
    init: Any
    saver: Any


def build_graph(learning_rate: float) -> TrainingGraph:
    """Builds the model, its training and its Saver: 118 operations, listed in data/graph_nodes.txt."""
    g = tf.Graph()
    with g.as_default():
        with tf.name_scope("inputs"):
            x_sample = tf.placeholder(tf.float64, [None, None], name="x_sample")
            y_sample = tf.placeholder(tf.float64, [None, None], name="y_sample")
            tf.add_to_collection("inputs", x_sample)
            tf.add_to_collection("inputs", y_sample)

        with tf.variable_scope("model_variables"):
            slope = tf.get_variable("slope", initializer=tf.constant(1.0, tf.float64))
            intercept = tf.get_variable("intercept", initializer=tf.constant(1.0, tf.float64))
            tf.summary.scalar("slope", slope)
            tf.summary.scalar("intercept", intercept)
            tf.summary.histogram("slope", slope)
            tf.summary.histogram("intercept", intercept)

        with tf.name_scope("linear_regression"):
            y_calc = slope * x_sample + intercept
            tf.add_to_collection("y_calc", y_calc)

        with tf.name_scope("optimizer"):
            loss = tf.reduce_sum((y_calc - y_sample) ** 2)
            train_op = tf.train.AdagradOptimizer(learning_rate, initial_accumulator_value=0.1).minimize(loss)
            tf.summary.scalar("loss", loss)
            tf.summary.histogram("loss", loss)

        summaries = tf.summary.merge_all()
        init = tf.global_variables_initializer()
        # Saves only the two variables: the consumers need no optimizer slots. Relative paths in the state file let the
        # folder be moved.
        saver = tf.train.Saver([slope, intercept], max_to_keep=5, save_relative_paths=True)
    return TrainingGraph(g, x_sample, y_sample, [train_op, loss, slope, intercept, summaries], init, saver)


def load_sample(path: str) -> tuple[np.ndarray, np.ndarray]:
    """Reads the columns `x` and `y` of a CSV file.

    Returns:
        x and y, float64, shape `[1, n]` each.

    Raises:
        ValueError: a column is missing, a cell is not a finite number, or the points do not determine a line.
    """
    x, y = array.array("d"), array.array("d")
    if not os.path.exists(path):
        raise ValueError(f"no data: {path} (give --data FILE, or --random-sample)")
    csv.field_size_limit(sys.maxsize)
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = csv.reader(file)
        header = [name.strip() for name in next(rows, [])]
        missing = [name for name in ("x", "y") if name not in header]
        if missing:
            raise ValueError(f"no column {missing[0]}: {path} (its first line names the columns: x,y)")
        x_column, y_column = header.index("x"), header.index("y")
        for row in filter(None, rows):
            try:
                point = float(row[x_column]), float(row[y_column])
                valid = all(map(math.isfinite, point)) and "_" not in row[x_column] + row[y_column]
            except (ValueError, IndexError):
                valid = False
            if not valid:
                raise ValueError(f"not two finite numbers: {','.join(row)} on line {rows.line_num} of {path}")
            x.append(point[0])
            y.append(point[1])
    if len(x) < 2 or min(x) == max(x):
        raise ValueError(f"too few points: {path} has {len(x)} rows, {len(set(x))} different x (a line takes two)")
    return np.array(x)[np.newaxis], np.array(y)[np.newaxis]


def draw_sample(seed: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Draws y = 1.5x - 3 + N(0, 0.005^2) at x = 0..99, as the tutorial of 2018 did. Shapes as in `load_sample`."""
    x = np.arange(100, dtype=np.float64)[np.newaxis]
    return x, 1.5 * x - 3 + np.random.default_rng(seed).normal(0, 0.005, x.shape)


def train(model: TrainingGraph, x: np.ndarray, y: np.ndarray, epochs: int, every: int, folder: Path) -> None:
    """Trains on the whole sample in every epoch. Every `every` epochs, prints a line and saves a checkpoint.

    Args:
        x, y: float64, shape `[1, n]`.
        folder: where `saved_model` and `summaries` are.

    Raises:
        ValueError: the loss or a variable is no longer finite; the checkpoints saved so far are good.
    """
    prefix, last = folder / "saved_model" / f"{NAME}.ckpt", None
    threading.excepthook = lambda _: None  # errors in the writer's thread are raised in this one too
    summaries_folder = str(folder / "summaries" / NAME)
    for path in (prefix.parent, Path(summaries_folder)):
        path.mkdir(parents=True, exist_ok=True)
    with (
        tf.Session(graph=model.g, config=session_config()) as session,
        tf.summary.FileWriter(summaries_folder, model.g) as writer,
    ):
        session.run(model.init)
        command_line.leaves.append(lambda: f"the newest checkpoint is {last}" if last else "no checkpoint was saved")
        step = session.make_callable(model.fetches, [model.x_sample, model.y_sample])
        for epoch in tqdm(range(epochs), unit=" epochs", leave=False, disable=None):
            try:
                # With reference variables, the loss is from before the step and the variables from after it.
                _, loss, slope, intercept, summaries = step(x, y)
                finite = math.isfinite(loss) and math.isfinite(slope) and math.isfinite(intercept)
            except tf.errors.InvalidArgumentError as error:
                if "in histogram" not in str(error).lower():  # a histogram rejects NaN and infinity
                    raise
                finite = False
            if not finite:
                good = f"the last good checkpoint is {last}" if last else "no checkpoint was saved"
                raise ValueError(f"the loss is no longer finite: epoch {epoch} (lower --learning-rate; {good})")
            writer.add_summary(summaries, epoch)
            if epoch % every == 0:
                last = model.saver.save(session, str(prefix), global_step=epoch)
                print_line(f"epoch: {epoch}, loss: {loss}, slope: {slope}, intercept: {intercept}")
    check_summaries(Path(summaries_folder), epochs - 1)


def seed(text: str) -> int:
    """The argparse type of --random-sample."""
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"not a whole number from 0 on: {text}")
    return int(text)


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    sample = parser.add_mutually_exclusive_group()
    sample.add_argument(
        "--data",
        metavar="FILE",
        default="data/linear_regression.csv",
        help="train on the CSV file FILE with the columns x,y",
    )
    sample.add_argument(
        "--random-sample",
        metavar="SEED",
        nargs="?",
        type=seed,
        default=argparse.SUPPRESS,
        help="train on random points around y = 1.5x - 3 instead; the same SEED gives the same points",
    )
    add_training_flags(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    random = "random_sample" in flags
    x, y = draw_sample(flags.random_sample) if random else load_sample(flags.data)
    model = build_graph(flags.learning_rate)
    export_graph(model.g, flags.output_dir / "exported_graphs")
    remove_earlier_run(flags.output_dir / "saved_model", flags.output_dir / "summaries" / NAME)
    train(model, x, y, flags.epochs, flags.checkpoint_every, flags.output_dir)


if __name__ == "__main__":
    command_line.run(main)
