"""The files that recipes exchange, and the command that makes each of them."""

import argparse
import os
from pathlib import Path

from model_import_export import digests, graph_check

CHECKPOINT = "results/graph.ckpt"
FROZEN = "results/frozen_model.pb"
KERAS = "results/keras_model.h5"
REGRESSION_CHECKPOINT = "saved_model"
REGRESSION = "frozen_graphs/frozen_linear_regression.pb"
CNN, IMAGES = "frozen_graphs/cnn.pb", "results/images.npy"
MADE_BY = {
    CHECKPOINT: "python cookbook/checkpoint_save.py",
    FROZEN: "python cookbook/freezemodel_save.py",
    REGRESSION_CHECKPOINT: "python model_producer.py",
    REGRESSION: "./freeze_graph_linear_regression.sh",
    CNN: "make models",
    IMAGES: "make models",
    "results/frozensavedmodel": "python cookbook/savedmodel_from_frozen.py",
    "results/simplesavedmodel": "python cookbook/savedmodel_from_source.py",
    "results/tfckptmodel": "python cookbook/savedmodel_from_checkpoint.py",
    "exp_model/1": "python cookbook/savedmodel_builder.py",
    "exports/linear_regression/1": "make exports",
}


def need(path: str) -> str:
    """Returns the path of a file or folder, or a checkpoint's prefix.

    Raises:
        ValueError: nothing is there; the message says which command makes it.
    """
    if not os.path.exists(path) and not os.path.exists(f"{path}.index"):
        prefix = next((known for known in MADE_BY if path.startswith(known)), None)
        raise ValueError(f"no such file: {path} (run {MADE_BY[prefix]} first)" if prefix else f"no such file: {path}")
    return path


def size_of(path: str) -> int:
    """The size in bytes of a file, of all files in a folder, or of a checkpoint's `.meta`, `.index` and `.data`."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    files = Path(path).rglob("*") if os.path.isdir(path) else Path(path).parent.glob(f"{Path(path).name}.[mid]*[!n]")
    return sum(file.stat().st_size for file in files if file.is_file())


def add_checked(parser: argparse.ArgumentParser) -> None:
    """Adds the flag that names the list of checked models."""
    parser.add_argument("--checked", metavar="FILE", default=digests.CHECKED, help="list of checked models")


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of a recipe that reads a model which may come from someone else."""
    add_checked(parser)
    parser.add_argument(
        "--trust", action="store_true", help="take a model that is not in the list: one you made yourself"
    )


def need_checked(path: str, flags: argparse.Namespace) -> str:
    """Returns the path of a frozen graph or SavedModel that is in the list or trusted. Raises ValueError."""
    need(path)
    if not flags.trust:
        digests.require_checked(path, flags.checked)
    return path


def admit(path: str, checked: str) -> None:
    """Judges and lists the model that a recipe wrote, and prints the last line of the verdict."""
    print(graph_check.admit(path, checked)[-1])
