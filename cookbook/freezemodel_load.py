"""Loads the frozen classifier under a prefix and calculates.

    python cookbook/freezemodel_load.py

Reads results/frozen_model.pb (freezemodel_save.py).
"""

import argparse

import numpy as np

import artefacts
import classifier
import command_line
import graph_check
import model_file
from feed import parse_feed
from graph_mode import tf


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--frozen", metavar="FILE", default=artefacts.FROZEN, help="a GraphDef without variables")
    parser.add_argument("--input", metavar="NODE", default=classifier.INPUT, help="its placeholder")
    parser.add_argument("--output", metavar="NODE", default=classifier.OUTPUT, help="what to calculate")
    parser.add_argument("--x", metavar="LIST", default="5,5,5,5,5,5,5,5,5,5", help="comma-separated numbers")
    parser.add_argument("--prefix", metavar="NAME", default="prefix", help="what to put before all names")
    artefacts.add_check_flags(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    artefacts.need(flags.frozen)
    model = model_file.read_frozen_graph(flags.frozen, flags.input, flags.output, flags.allow_op, flags.trust)
    x = parse_feed(model.graph_def, flags.input, flags.x)
    graph_check.check_output(model.graph_def, flags.output, [flags.input])
    graph = tf.Graph()
    with graph.as_default():
        # Without `name` all of it would lie under `import/`.
        tf.import_graph_def(model.graph_def, name=flags.prefix)
    for operation in graph.get_operations():
        print(f"{operation.name} ({operation.type})")
    inputs, outputs = (graph.get_tensor_by_name(f"{flags.prefix}/{name}:0") for name in (flags.input, flags.output))
    with tf.Session(graph=graph) as session:
        print(f"{inputs.name} = {x.tolist()}")
        results = session.run(outputs, {inputs: x})
        print(f"{outputs.name} = {results.tolist()}")
    with tf.Graph().as_default(), tf.Session() as session:
        (plain,) = tf.import_graph_def(model.graph_def, {flags.input: x}, [f"{flags.output}:0"])
        if not np.array_equal(session.run(plain), results):
            raise ValueError(f"not the same results with the numbers as a constant: {flags.frozen}")


if __name__ == "__main__":
    command_line.run(main)
