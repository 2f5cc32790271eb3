"""Saves some of the variables, under chosen names, and restores them while the others are initialized.

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
    """Adds 1 to v1 and subtracts 1 from v2. One Saver saves v1 as `v1`, another saves v2 as `counted/down`."""
    with tf.Graph().as_default(), tf.Session() as session:
        v1, v2 = build_variables()
        up, down = v1.assign(v1 + 1), v2.assign(v2 - 1)
        # A list saves variables under their own names, a dict under its keys. A graph can have several Savers.
        savers = {prefix: tf.train.Saver({"v1": v1}), renamed: tf.train.Saver({"counted/down": v2})}
        session.run(tf.global_variables_initializer())
        session.run([up, down])
        for path, saver in savers.items():
            print(f"Model saved in path: {saver.save(session, path)}")


def restore(prefix: str, names: dict[str, str]) -> None:
    """Restores variables from the names that `names` maps to theirs, initializes the others, and prints all."""
    with tf.Graph().as_default(), tf.Session() as session:
        v1, v2 = build_variables()
        variables = {"v1": v1, "v2": v2}
        chosen = {there: variables[here] for there, here in names.items()}
        # Initializes only what is not restored: an initializer that runs after `restore` undoes it.
        session.run(tf.variables_initializer([v for v in variables.values() if v not in chosen.values()]))
        checkpoint.restore(session, prefix, chosen)
        for name, variable in variables.items():
            print(name, session.run(variable))
        saved = checkpoint.values(prefix)
        for there, variable in chosen.items():
            if session.run(variable).tobytes() != saved[there].tobytes():
                raise ValueError(f"not equal to the saved value: {there}")


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--save", metavar="DIR", default="results/subset", help="folder for both checkpoints, to write")
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    os.makedirs(flags.save, exist_ok=True)
    prefix, renamed = os.path.join(flags.save, "model.ckpt"), os.path.join(flags.save, "renamed.ckpt")
    save(prefix, renamed)
    print(f"from {prefix}, only v1:")
    restore(prefix, {"v1": "v1"})
    print(f"from {renamed}, counted/down as v2:")
    restore(renamed, {"counted/down": "v2"})


if __name__ == "__main__":
    command_line.run(main)
