"""Loads a trained model and calculates with it: y = slope * x + intercept, or whatever a model of your own does.
Reads a checkpoint (default: the newest one in saved_model/), a frozen graph or a SavedModel folder.

    python model_consumer.py --x 0.5,10
    python model_consumer.py --model cnn.pb --x images.npy --save classes.npy
    seq 10 | python model_consumer.py --model line.pb --stdin
"""

import sys
from argparse import Namespace
from typing import Any, NamedTuple

from model_import_export import command_line, digests, graph_check, model_file, rows, tensors
from model_import_export.graph_mode import session_config, tf
from model_import_export.model_file import CHECKPOINT, SAVED_MODEL, Model

import numpy as np


class Loaded(NamedTuple):
    """A graph in a session, and what can be fed and fetched."""

    session: Any  # tf.Session
    ends: tensors.Ends


def find_model(flags: Namespace) -> Model:
    """Finds the model and makes sure that TensorFlow may load it: it is in the list, or is judged here."""
    names = tensors.Names(flags.input, flags.output, flags.tag, flags.signature)
    if (kind := model_file.kind_of(flags.model)) == CHECKPOINT:
        return graph_check.read_checkpoint(flags.model, names, flags.trust)
    if not flags.trust:
        digests.require_checked(flags.model, flags.checked)
    return Model(kind, flags.model, names)


def load_graph(model: Model) -> Loaded:
    """Loads the graph, and the values of its variables if it has any, into a session."""
    graph = tf.Graph()
    session = tf.Session(graph=graph, config=session_config())
    # Devices are those of the machine that trained the model, so they are cleared.
    with graph.as_default(), model_file.explaining(model.path, model.names.tag):
        if model.kind == SAVED_MODEL:
            tags = model.names.tag.split(",")
            meta_graph = tf.saved_model.loader.load(session, tags, model.path, clear_devices=True)
            return Loaded(session, tensors.keys_of(graph, meta_graph, model.names.signature))
        if model.kind == CHECKPOINT:
            tf.train.import_meta_graph(model.meta_graph, clear_devices=True).restore(session, model.path)
            session.run(graph_check.table_initializers(model.meta_graph))
        else:
            tf.import_graph_def(model_file.read_frozen_graph(model.path), name="")
        return Loaded(session, tensors.ends_of(graph))


def feed(loaded: Loaded, model: Model, flags: Namespace) -> dict[Any, np.ndarray]:
    """Turns command-line values into arrays of the placeholders' types and shapes; None for the rows of --stdin."""
    arrays: dict[Any, np.ndarray | None] = {}
    texts = [(name, text, f"--feed {name}") for name, text in flags.feed]
    if loaded.ends.inputs or model.names.input or flags.x or flags.stdin:
        texts.insert(0, (model.names.input, flags.x, "--stdin" if flags.stdin else "--x"))
    for name, text, flag in texts:
        if (tensor := loaded.ends.find_input(name)) in arrays:
            raise ValueError(f"fed twice: {name} in {flag}")
        arrays[tensor] = rows.make_feed(tensors.placeholder_of(tensor), text, flag)
    return arrays


def run(loaded: Loaded, outputs: list[Any], arrays: dict[Any, np.ndarray]) -> list[np.ndarray]:
    """Feeds the placeholders and fetches the outputs."""
    with tensors.explaining(outputs):
        return [tensors.as_array(result) for result in loaded.session.run(outputs, arrays)]


def print_results(loaded: Loaded, model: Model, arrays: dict[Any, np.ndarray], flags: Namespace) -> None:
    """Prints the results of --x, or saves them. For a checkpoint, also prints the collection that named the inputs."""
    results = run(loaded, [loaded.ends.find_output(name) for name in model.names.wanted], arrays)
    if flags.save:
        rows.save_array(flags.save, results[0])
        return
    if model.kind == CHECKPOINT and (inputs := loaded.session.graph.get_collection("inputs")):
        print(inputs)
    rows.write_results(sys.stdout, results, model.names.wanted)


def stream_results(loaded: Loaded, model: Model, arrays: dict[Any, np.ndarray], flags: Namespace) -> None:
    """Reads rows from standard input and prints the results of each row on one line."""
    source, output = loaded.ends.find_input(model.names.input), loaded.ends.find_output(model.names.wanted[0])
    row = tensors.placeholder_of(source)
    batch = rows.batch_rows(row, tensors.shape_of(output), flags.batch, sys.stdin.isatty())
    rows.stream(0, sys.stdout, lambda values: run(loaded, [output], {**arrays, source: values})[0], row, batch)


def parse_arguments() -> Namespace:
    parser = command_line.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--model", metavar="PATH", default="saved_model", help="load the checkpoint, frozen graph or SavedModel PATH")
    add("--input", metavar="NAME", help="feed NAME: an operation, tensor or signature key (default: the only input)")
    add("--output", metavar="NAME", action="append", default=[], help="fetch NAME (default: the only one); repeatable")
    add("--tag", metavar="NAME", default="serve", help="load the graph of a SavedModel that has the tag NAME")
    add("--signature", metavar="NAME", default="serving_default", help="use the signature NAME of a SavedModel")
    add("--x", metavar="VALUES", help=f"feed comma-separated VALUES, or a file NAME.npy (default: {rows.DEFAULT})")
    add("--feed", metavar="NAME=VALUES", action="append", default=[], help="feed a further input; repeatable")
    add("--stdin", action="store_true", help="read rows from standard input and print one result per row")
    add("--batch", metavar="N", type=command_line.count, help="run N rows of --stdin at once (default: 4096 numbers)")
    add("--save", metavar="FILE.npy", help="write the result with its shape to FILE.npy, print nothing")
    add("--checked", metavar="FILE", default=digests.CHECKED, help="look up the model's digests in FILE")
    add("--trust", action="store_true", help="load a model that is not in the list: one you made yourself")
    return parser.parse_consumer()


def main() -> None:
    flags = parse_arguments()
    model = find_model(flags)
    loaded = load_graph(model)
    arrays = feed(loaded, model, flags)
    (stream_results if flags.stdin else print_results)(loaded, model, arrays, flags)


if __name__ == "__main__":
    command_line.run(main)
