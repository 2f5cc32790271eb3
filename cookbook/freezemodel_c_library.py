"""Runs the frozen regression over TensorFlow's C library itself, without importing TensorFlow.

    python cookbook/freezemodel_c_library.py

It calls what the bindings of Go and Java call underneath (c_api.py), and starts in a tenth of the time.
Reads frozen_graphs/frozen_linear_regression.pb, which SHA256SUMS must vouch for: nothing else is checked here.
"""

import argparse
import sys

import numpy as np

import artefacts
import c_api
from model_import_export import command_line, model_file, rows


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--model", metavar="FILE", default=artefacts.REGRESSION, help="a GraphDef of float64")
    parser.add_argument("--input", metavar="NODE", default="inputs/x_sample", help="its placeholder")
    parser.add_argument("--output", metavar="NODE", default="linear_regression/add", help="what to calculate")
    parser.add_argument("--x", metavar="LIST", default="0,1,-1,2", help="comma-separated numbers")
    artefacts.add_trust(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    x = rows.parse_values(flags.x, "float64", " in --x")[np.newaxis]
    graph_def = model_file.read_file(artefacts.need_checked(flags.model, flags))
    # Load the library and the graph into it, run, close.
    session = c_api.Session(c_api.load_library(), graph_def)
    rows.write_results(sys.stdout, [session.run(flags.input, x, flags.output)])
    session.close()
    if "tensorflow" in sys.modules:
        raise ValueError("TensorFlow was imported after all")


if __name__ == "__main__":
    command_line.run(main)
