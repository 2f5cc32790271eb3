"""Turns a frozen graph into a SavedModel, for servers that take nothing else.

    python cookbook/savedmodel_from_frozen.py

Reads   results/frozen_model.pb (freezemodel_save.py)
Writes  results/frozensavedmodel, whose folder `variables` is empty: the weights are constants in saved_model.pb
"""

import argparse
from typing import Any

import artefacts
import savedmodel
from model_import_export import command_line, model_file, tensors
from model_import_export.graph_mode import tf

import numpy as np

ROWS = 10


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--model", metavar="FILE", default=artefacts.FROZEN, help="frozen graph to convert")
    for kind in ("input", "output"):
        what = f"make NAME an {kind} of the signature (default: all of the graph's); repeatable"
        parser.add_argument(f"--{kind}", metavar="NAME", action="append", help=what)
    parser.add_argument("--save", metavar="DIR", default="results/frozensavedmodel", help="SavedModel folder to write")
    artefacts.add_trust(parser)
    return parser.parse_args()


def keys_for(key: str, found: dict[str, Any]) -> dict[str, Any]:
    """The keys of a signature: `key` for a single tensor, otherwise the names of the operations."""
    return {key: next(iter(found.values()))} if len(found) == 1 else found


def rows_for(tensor: Any) -> np.ndarray:
    """Rows of zeros and ones for an input, which are valid as categories too."""
    dims = [ROWS if dim < 0 else dim for dim in tensors.shape_of(tensor) or [ROWS]]
    return np.resize([0, 1, 1], dims).astype(tensor.dtype.as_numpy_dtype)


def main() -> None:
    flags = parse_arguments()
    graph_def = model_file.read_frozen_graph(artefacts.need_checked(flags.model, flags))
    with tf.Graph().as_default() as graph, tf.Session() as session:
        tf.import_graph_def(graph_def, name="")
        ends = tensors.ends_of(graph)
        inputs = keys_for("inputs", {name: ends.find_input(name) for name in flags.input or ends.inputs})
        outputs = keys_for("outputs", {name: ends.find_output(name) for name in flags.output or ends.outputs})
        signature = tf.saved_model.predict_signature_def(inputs, outputs)
        with savedmodel.new_folder(flags.save) as folder:
            builder = tf.saved_model.builder.SavedModelBuilder(folder)
            builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
            builder.save()
        feed = {key: rows_for(tensor) for key, tensor in inputs.items()}
        expected = session.run(outputs, {inputs[key]: array for key, array in feed.items()})

    print(f"{flags.save}:")
    savedmodel.print_files(flags.save)
    with tf.Session(graph=tf.Graph()) as session:
        meta_graph = savedmodel.load(session, flags.save, ["serve"])
        results = savedmodel.calculate(session, meta_graph, "serving_default", feed)
    if any(not np.array_equal(results[key], array) for key, array in expected.items()):
        raise ValueError(f"not equal to the results of {flags.model}: {flags.save}")
    print(f"{ROWS} rows give the same results as {flags.model}")
    artefacts.admit(flags.save, flags.checked)


if __name__ == "__main__":
    command_line.run(main)
