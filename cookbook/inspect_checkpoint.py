"""Prints the tensors of a checkpoint: names, dtypes, shapes and values. It needs neither graph nor .meta.

    python cookbook/inspect_checkpoint.py

Reads results/graph.ckpt (checkpoint_save.py).
"""

import argparse
import os
from pathlib import Path

import artefacts
import checkpoint
from model_import_export import command_line

import numpy as np


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument(
        "--checkpoint", metavar="PREFIX", default=artefacts.CHECKPOINT, help="checkpoint prefix or folder"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--tensor", metavar="NAME", help="print only this tensor, with its values")
    which.add_argument("--all", action="store_true", help="print the values of all tensors")
    return parser.parse_args()


def size_of(value: np.ndarray) -> int:
    """The bytes of a tensor; for strings, the bytes of their text."""
    return sum(map(len, value.flat)) if value.dtype == object else value.nbytes


def main() -> None:
    flags = parse_arguments()
    path = artefacts.need(flags.checkpoint)
    prefix = checkpoint.find_prefix(path) if os.path.isdir(path) else path
    values = checkpoint.values(prefix)
    if flags.tensor and flags.tensor not in values:
        raise ValueError(f"no such tensor: {flags.tensor} in {prefix} (it has: {', '.join(values)})")
    for name, value in values.items():
        if flags.tensor in (None, name):
            print(f"{name} {'string' if value.dtype == object else value.dtype} {list(value.shape)}")
            if flags.tensor or flags.all:
                print(np.array2string(value, threshold=100))
    data = sum(file.stat().st_size for file in Path(prefix).parent.glob(f"{Path(prefix).name}.data-*"))
    print(f"{len(values)} tensors of {sum(map(size_of, values.values()))} bytes; .data has {data}")


if __name__ == "__main__":
    command_line.run(main)
