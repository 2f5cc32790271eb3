"""Runs the frozen regression through TensorFlow's C library, without importing TensorFlow.

    python cookbook/freezemodel_c_library.py

It makes the calls that the Go and Java bindings make (c_api.py), and starts in less than a fifth of the time.
Reads frozen_graphs/frozen_linear_regression.pb, if its digest is in frozen_graphs/SHA256SUMS
"""

import argparse
import sys

import artefacts
import c_api
from model_import_export import command_line, model_file, rows

import numpy as np


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument(
        "--model", metavar="FILE", default=artefacts.REGRESSION, help="frozen graph with float64 input and output"
    )
    parser.add_argument("--input", metavar="NODE", default="inputs/x_sample", help="placeholder to feed")
    parser.add_argument("--output", metavar="NODE", default="linear_regression/add", help="operation to calculate")
    parser.add_argument("--x", metavar="LIST", default="0,1,-1,2", help="comma-separated numbers for the input")
    artefacts.add_trust(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    x = rows.parse_values(flags.x, "float64", " in --x")[np.newaxis]
    graph_def = model_file.read_file(artefacts.need_checked(flags.model, flags))
    # Load the library and the graph, run, and close.
    session = c_api.Session(c_api.load_library(), graph_def)
    rows.write_results(sys.stdout, [session.run(flags.input, x, flags.output)])
    session.close()
    if "tensorflow" in sys.modules:
        raise ValueError("TensorFlow was imported, contrary to this recipe's claim")


if __name__ == "__main__":
    command_line.run(main)
