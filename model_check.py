"""Checks a model before anything runs it: prints what it is, and lists the digests of its files for the consumers.

    python model_check.py frozen_graphs/frozen_linear_regression.pb

Reads   a frozen graph or a SavedModel folder
Writes  frozen_graphs/SHA256SUMS
"""

import argparse

from model_import_export import command_line, digests, graph_check


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    add = parser.add_argument
    add("model", metavar="PATH", help="a frozen graph (.pb) or a SavedModel folder")
    add("--checked", metavar="FILE", default=digests.CHECKED, help="list of checked models, to which it is added")
    add("--allow-op", metavar="OP", action="append", default=[], help="operation to accept besides; repeatable")
    add("--list", action="store_true", help="only print what the model is, without judging it; a checkpoint too")
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    if flags.list:
        print("\n".join(graph_check.describe(flags.model)))
        return
    print("\n".join(graph_check.admit(flags.model, flags.checked, flags.allow_op)))


if __name__ == "__main__":
    command_line.run(main)
