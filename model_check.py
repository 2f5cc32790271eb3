"""Checks a model before anything runs it: prints what it is, and lists the digests of its files for the consumers.

    python model_check.py exports/linear_regression/1
    python model_check.py --list saved_model

Reads   a frozen graph or a SavedModel folder
Writes  frozen_graphs/SHA256SUMS
"""

import argparse

from model_import_export import command_line, digests, graph_check


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    add = parser.add_argument
    add("model", metavar="PATH", help="frozen graph (.pb) or SavedModel folder")
    add("--checked", metavar="FILE", default=digests.CHECKED, help="add the digests to the list FILE")
    add("--allow-op", metavar="OP", action="append", default=[], help="also accept the operation OP; repeatable")
    add("--list", action="store_true", help="only print what the model has, without judging it; also of a checkpoint")
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    if flags.list:
        print("\n".join(graph_check.describe(flags.model)))
        return
    print("\n".join(graph_check.admit(flags.model, flags.checked, flags.allow_op)))


if __name__ == "__main__":
    command_line.run(main)
