"""Turns a frozen graph into a SavedModel, for a server that takes nothing else.

    python cookbook/savedmodel_from_frozen.py

Reads   results/frozen_model.pb (freezemodel_save.py)
Writes  results/frozensavedmodel, whose `variables` is empty: the weights are constants in saved_model.pb
"""

import argparse

import numpy as np

import artefacts
import classifier
import command_line
import graph_check
import model_file
import savedmodel
from graph_mode import tf


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--frozen", metavar="FILE", default=artefacts.FROZEN, help="a GraphDef without variables")
    parser.add_argument("--input", metavar="NODE", default=classifier.INPUT, help="its placeholder")
    parser.add_argument("--output", metavar="NODE", default=classifier.OUTPUT, help="what to calculate")
    parser.add_argument("--export", metavar="DIR", default="results/frozensavedmodel", help="to write")
    artefacts.add_check_flags(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    artefacts.need(flags.frozen)
    model = model_file.read_frozen_graph(flags.frozen, flags.input, flags.output, flags.allow_op, flags.trust)
    node = graph_check.find_placeholder(model.graph_def, flags.input)
    graph_check.check_output(model.graph_def, flags.output, [node.name])
    dims = [10 if dim < 0 else dim for dim in graph_check.placeholder_dims(node) or [10]]
    x = np.resize(np.arange(10), dims).astype(graph_check.dtype_of(node))
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(model.graph_def, name="")
        inputs, outputs = (graph.get_tensor_by_name(f"{name}:0") for name in (flags.input, flags.output))
        signature = tf.saved_model.predict_signature_def({"inputs": inputs}, {"outputs": outputs})
        with savedmodel.new_folder(flags.export) as folder:
            builder = tf.saved_model.builder.SavedModelBuilder(folder)
            builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
            builder.save()
        expected = session.run(outputs, {inputs: x})

    print(f"{flags.export}:")
    savedmodel.print_files(flags.export)
    with tf.Session(graph=tf.Graph()) as session:
        meta_graph = savedmodel.load(session, flags.export, ["serve"], flags.allow_op, flags.trust)
        results = savedmodel.calculate(session, meta_graph, "serving_default", {"inputs": x})["outputs"]
    if not np.array_equal(results, expected):
        raise ValueError(f"not the results of {flags.frozen}: {flags.export}")
    print(f"on {results.shape[0]} rows the results of {flags.frozen}")


if __name__ == "__main__":
    command_line.run(main)
