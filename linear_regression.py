"""What every training of the linear regression shares: its graph, its flags, and the files that it leaves behind."""

import argparse
import errno
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from graph_mode import tf
from whole_file import write_whole

NAME = "linear_regression"
EVENT_FILES = "events.out.tfevents.*"


class TrainingGraph(NamedTuple):
    """A graph, and what a training needs of it."""

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
        # Over the two variables alone: the consumers need no slots of the optimizer. Relative paths in the state file
        # let the folder be moved.
        saver = tf.train.Saver([slope, intercept], max_to_keep=5, save_relative_paths=True)
    return TrainingGraph(g, x_sample, y_sample, [train_op, loss, slope, intercept, summaries], init, saver)


def export_graph(g: Any, folder: Path) -> None:
    """Writes the graph as a GraphDef in text form, and its operations as `get_operations()` prints them."""
    write_whole(folder / "graphdef.pbtxt", str(g.as_graph_def()))
    write_whole(folder / "get_operations.txt", "".join(f"{operation!r}\n" for operation in g.get_operations()))


def remove_earlier_run(checkpoints: Path, summaries: Path) -> None:
    """Removes an earlier run's files, else its checkpoints could pass for this run's newest. First the state file:
    without it no checkpoint counts, so a kill in between leaves nothing that misleads."""
    for folder, pattern in (
        (checkpoints, "checkpoint"),
        (checkpoints, "checkpoint.tmp*"),
        (checkpoints, f"{NAME}.ckpt-*"),
        (summaries, EVENT_FILES),
    ):
        for path in folder.glob(pattern):
            path.unlink()


def print_line(line: str) -> None:
    """Prints beside the progress bar. When the reader goes away (`| head`) the training goes on: its files matter."""
    try:
        tqdm.write(line)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def check_summaries(folder: Path, last_step: int) -> None:
    """Raises OSError where the newest event file lacks the last step: TensorFlow's writer passes over some failed
    writes."""
    path, step = max(folder.glob(EVENT_FILES)), -1
    try:
        for record in tf.io.tf_record_iterator(str(path)):
            step = tf.Event.FromString(record).step
    except tf.errors.DataLossError:
        pass
    if step != last_step:
        raise OSError(
            errno.EIO,
            f"the summaries end at step {step}, not at {last_step} (a full disk, or a second producer here?)",
            str(path),
        )


def count(text: str) -> int:
    """The type of a flag that counts from one."""
    if not text.lstrip("-").isdecimal():
        raise ValueError
    if not 0 < int(text) < 1 << 31:
        raise argparse.ArgumentTypeError(f"not from 1 to {(1 << 31) - 1}: {text}")
    return int(text)


def rate(text: str) -> float:
    """The type of --learning-rate, which Adagrad holds as a float32."""
    limits = np.finfo(np.float32)
    if not float(limits.tiny) <= float(text) <= float(limits.max):
        raise argparse.ArgumentTypeError(f"not a number above zero that a float32 holds: {text}")
    return float(text)


def add_training_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a training."""
    parser.add_argument("--epochs", metavar="N", type=count, default=2000, help="steps on the whole sample")
    parser.add_argument("--learning-rate", metavar="RATE", type=rate, default=0.8, help="Adagrad's")
    parser.add_argument("--checkpoint-every", metavar="N", type=count, default=100, help="epochs from one to the next")
    parser.add_argument("--output-dir", metavar="DIR", type=Path, default=Path(), help="where the folders are made")
