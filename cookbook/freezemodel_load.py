"""Loads the frozen classifier under a prefix and calculates.

    python cookbook/freezemodel_load.py

Reads results/frozen_model.pb (freezemodel_save.py).
"""

import argparse

import numpy as np

import artefacts
import classifier
from feed import parse_feed
from model_import_export import command_line, model_file, tensors
from model_import_export.graph_mode import tf


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--model", metavar="FILE", default=artefacts.FROZEN, help="a GraphDef without variables")
    parser.add_argument("--input", metavar="NODE", default=classifier.INPUT, help="its placeholder")
    parser.add_argument("--output", metavar="NODE", default=classifier.OUTPUT, help="what to calculate")
    parser.add_argument("--x", metavar="LIST", default="5,5,5,5,5,5,5,5,5,5", help="comma-separated numbers")
    parser.add_argument("--prefix", metavar="NAME", default="prefix", help="what to put before all names")
    artefacts.add_trust(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    graph_def = model_file.read_frozen_graph(artefacts.need_checked(flags.model, flags))
    graph = tf.Graph()
    with graph.as_default():
        # Without `name` all of it would be under `import/`.
        tf.import_graph_def(graph_def, name=flags.prefix)
    x = parse_feed(graph, f"{flags.prefix}/{flags.input}", flags.x)
    for operation in graph.get_operations():
        print(f"{operation.name} ({operation.type})")
    ends = tensors.ends_of(graph)
    inputs, outputs = (
        ends.find_input(f"{flags.prefix}/{flags.input}"),
        ends.find_output(f"{flags.prefix}/{flags.output}"),
    )
    with tf.Session(graph=graph) as session:
        print(f"{inputs.name} = {x.tolist()}")
        results = session.run(outputs, {inputs: x})
        print(f"{outputs.name} = {results.tolist()}")
    with tf.Graph().as_default(), tf.Session() as session:
        (plain,) = tf.import_graph_def(graph_def, {flags.input: x}, [f"{flags.output}:0"])
        if not np.array_equal(session.run(plain), results):
            raise ValueError(f"not the same results with the numbers as a constant: {flags.model}")


if __name__ == "__main__":
    command_line.run(main)
