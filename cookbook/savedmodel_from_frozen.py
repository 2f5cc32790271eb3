"""Turns a frozen graph into a SavedModel, for servers that take nothing else.

    python cookbook/savedmodel_from_frozen.py

Reads   results/frozen_model.pb (freezemodel_save.py)
Writes  results/frozensavedmodel, whose folder `variables` is empty: the weights are constants in saved_model.pb
"""

import argparse

import artefacts
import classifier
import savedmodel
from model_import_export import command_line, model_file, tensors
from model_import_export.graph_mode import tf

import numpy as np


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--model", metavar="FILE", default=artefacts.FROZEN, help="frozen graph to convert")
    parser.add_argument(
        "--input", metavar="NODE", default=classifier.INPUT, help="placeholder that becomes the signature's input"
    )
    parser.add_argument(
        "--output", metavar="NODE", default=classifier.OUTPUT, help="operation that becomes the signature's output"
    )
    parser.add_argument("--save", metavar="DIR", default="results/frozensavedmodel", help="SavedModel folder to write")
    artefacts.add_trust(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    graph_def = model_file.read_frozen_graph(artefacts.need_checked(flags.model, flags))
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        ends = tensors.ends_of(graph)
        inputs, outputs = ends.find_input(flags.input), ends.find_output(flags.output)
        dims = [10 if dim < 0 else dim for dim in tensors.shape_of(inputs) or [10]]
        x = np.resize(np.arange(10), dims).astype(inputs.dtype.as_numpy_dtype)
        signature = tf.saved_model.predict_signature_def({"inputs": inputs}, {"outputs": outputs})
        with savedmodel.new_folder(flags.save) as folder:
            builder = tf.saved_model.builder.SavedModelBuilder(folder)
            builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
            builder.save()
        expected = session.run(outputs, {inputs: x})

    print(f"{flags.save}:")
    savedmodel.print_files(flags.save)
    with tf.Session(graph=tf.Graph()) as session:
        meta_graph = savedmodel.load(session, flags.save, ["serve"])
        results = savedmodel.calculate(session, meta_graph, "serving_default", {"inputs": x})["outputs"]
    if not np.array_equal(results, expected):
        raise ValueError(f"not equal to the results of {flags.model}: {flags.save}")
    print(f"{results.shape[0]} rows give the same results as {flags.model}")
    artefacts.admit(flags.save, flags.checked)


if __name__ == "__main__":
    command_line.run(main)
