"""Saves some of the variables, under names of one's choice, and restores them where the others are made anew.

    python cookbook/checkpoint_subset.py

Writes results/subset/model.ckpt.* and results/subset/renamed.ckpt.*
"""

import argparse
import os
from typing import Any

import checkpoint
from model_import_export import command_line
from model_import_export.graph_mode import tf


def build_variables(first: str = "v1") -> tuple[Any, Any]:
    """Two vectors of zeros, float32 `[3]` and `[5]`."""
    zeros = tf.zeros_initializer()
    return tf.get_variable(first, [3], initializer=zeros), tf.get_variable("v2", [5], initializer=zeros)


def save(prefix: str, renamed: str) -> None:
    """Counts v1 up and v2 down; saves v1 as `v1`, and with a second Saver v2 as `counted/down`."""
    with tf.Graph().as_default(), tf.Session() as session:
        v1, v2 = build_variables()
        up, down = v1.assign(v1 + 1), v2.assign(v2 - 1)
        # A list saves variables under their own names, a dict under its keys. Several Savers can share a graph.
        savers = {prefix: tf.train.Saver({"v1": v1}), renamed: tf.train.Saver({"counted/down": v2})}
        session.run(tf.global_variables_initializer())
        session.run([up, down])
        for path, saver in savers.items():
            print(f"Model saved in path: {saver.save(session, path)}")


def restore(prefix: str, names: dict[str, str]) -> None:
    """Restores variables from other names than their own, initializes the rest, and prints all."""
    with tf.Graph().as_default(), tf.Session() as session:
        v1, v2 = build_variables()
        variables = {"v1": v1, "v2": v2}
        chosen = {there: variables[here] for there, here in names.items()}
        # Only what is not restored: the other way round the initializer would undo the restoring.
        session.run(tf.variables_initializer([v for v in variables.values() if v not in chosen.values()]))
        checkpoint.restore(session, prefix, chosen)
        for name, variable in variables.items():
            print(name, session.run(variable))
        saved = checkpoint.values(prefix)
        for there, variable in chosen.items():
            if session.run(variable).tobytes() != saved[there].tobytes():
                raise ValueError(f"not restored as it was saved: {there}")


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--folder", metavar="DIR", default="results/subset", help="to write")
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    os.makedirs(flags.folder, exist_ok=True)
    prefix, renamed = os.path.join(flags.folder, "model.ckpt"), os.path.join(flags.folder, "renamed.ckpt")
    save(prefix, renamed)
    print(f"from {prefix}, v1 alone:")
    restore(prefix, {"v1": "v1"})
    print(f"from {renamed}, counted/down into v2:")
    restore(renamed, {"counted/down": "v2"})


if __name__ == "__main__":
    command_line.run(main)
