"""Loads the frozen classifier under a name prefix and runs it.

    python cookbook/freezemodel_load.py

Reads results/frozen_model.pb (freezemodel_save.py).
"""

import argparse

import artefacts
import classifier
from feed import parse_feed
from model_import_export import command_line, model_file, tensors
from model_import_export.graph_mode import tf

import numpy as np


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--model", metavar="FILE", default=artefacts.FROZEN, help="frozen graph to load")
    parser.add_argument("--input", metavar="NODE", default=classifier.INPUT, help="placeholder to feed")
    parser.add_argument("--output", metavar="NODE", default=classifier.OUTPUT, help="operation to calculate")
    parser.add_argument(
        "--x", metavar="LIST", default="5,5,5,5,5,5,5,5,5,5", help="comma-separated numbers for the input"
    )
    parser.add_argument("--prefix", metavar="NAME", default="prefix", help="prefix for all names in the graph")
    artefacts.add_trust(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    graph_def = model_file.read_frozen_graph(artefacts.need_checked(flags.model, flags))
    graph = tf.Graph()
    with graph.as_default():
        # Without `name`, everything would be under `import/`.
        tf.import_graph_def(graph_def, name=flags.prefix)
    x = parse_feed(graph, f"{flags.prefix}/{flags.input}", flags.x)
    for operation in graph.get_operations():
        print(f"{operation.name} ({operation.type})")
    ends = tensors.ends_of(graph)
    inputs = ends.find_input(f"{flags.prefix}/{flags.input}")
    outputs = ends.find_output(f"{flags.prefix}/{flags.output}")
    with tf.Session(graph=graph) as session:
        print(f"{inputs.name} = {x.tolist()}")
        results = session.run(outputs, {inputs: x})
        print(f"{outputs.name} = {results.tolist()}")
    with tf.Graph().as_default(), tf.Session() as session:
        (plain,) = tf.import_graph_def(graph_def, {flags.input: x}, [f"{flags.output}:0"])
        if not np.array_equal(session.run(plain), results):
            raise ValueError(f"not the same results when the numbers are a constant: {flags.model}")


if __name__ == "__main__":
    command_line.run(main)
