"""Code that every training of the linear regression shares: its flags, and the files that it writes."""

import argparse
import contextlib
import errno
import os
import sys
from pathlib import Path
from typing import Any

from model_import_export.command_line import count
from model_import_export.digests import write_whole
from model_import_export.graph_mode import tf

import numpy as np
from tqdm import tqdm

NAME = "linear_regression"
EVENT_FILES = "events.out.tfevents.*"


def export_graph(g: Any, folder: Path) -> None:
    """Writes the graph as a GraphDef in text form, and its operations as `get_operations()` prints them."""
    write_whole(folder / "graphdef.pbtxt", str(g.as_graph_def()))
    write_whole(folder / "get_operations.txt", "".join(f"{operation!r}\n" for operation in g.get_operations()))


def remove_earlier_run(checkpoints: Path, summaries: Path) -> None:
    """Removes an earlier run's files: its checkpoints could pass for this run's newest.

    The state file goes first. Without it no checkpoint counts, so a kill partway leaves nothing that misleads.
    """
    for folder, pattern in (
        (checkpoints, "checkpoint"),
        (checkpoints, "checkpoint.tmp*"),
        (checkpoints, f"{NAME}.ckpt-*"),
        (summaries, EVENT_FILES),
    ):
        for path in folder.glob(pattern):
            path.unlink()


def print_line(line: str) -> None:
    """Prints a line above the progress bar. If the reader goes away (`| head`), training goes on: its files matter."""
    try:
        tqdm.write(line)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def check_summaries(folder: Path, last_step: int) -> None:
    """Raises OSError if the newest event file lacks the last step: TensorFlow's writer ignores some failed writes."""
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


def rate(text: str) -> float:
    """The argparse type of --learning-rate, which Adagrad stores as a float32."""
    limits = np.finfo(np.float32)
    with contextlib.suppress(ValueError):
        if float(limits.tiny) <= float(text) <= float(limits.max):
            return float(text)
    raise argparse.ArgumentTypeError(f"not a number above zero that a float32 holds: {text}")


def add_training_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the training flags."""
    parser.add_argument("--epochs", metavar="N", type=count, default=2000, help="take N steps on the whole sample")
    parser.add_argument("--learning-rate", metavar="RATE", type=rate, default=0.8, help="learning rate (Adagrad)")
    parser.add_argument(
        "--checkpoint-every", metavar="N", type=count, default=100, help="save a checkpoint every N epochs"
    )
    parser.add_argument("--output-dir", metavar="DIR", type=Path, default=Path(), help="write the folders into DIR")
