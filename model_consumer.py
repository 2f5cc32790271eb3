"""Loads a trained model and calculates with it: y = slope * x + intercept, or what a model of your own does.

    python model_consumer.py

Reads a checkpoint (default: the newest in saved_model/), a frozen graph or the folder of a SavedModel.
"""

import argparse
import sys
from typing import Any

import numpy as np

import command_line
import graph_check
import model_file
import rows
from graph_mode import tf
from model_file import Model

INPUT, OUTPUT = "inputs/x_sample", "linear_regression/add"


def check_model(flags: argparse.Namespace) -> Model:
    """Reads the model and checks it, before TensorFlow runs any of it."""
    names, checks = (flags.input, flags.output), (flags.allow_op, flags.trust)
    kind = model_file.kind_of(flags.model)
    if kind == model_file.SAVED_MODEL:
        return model_file.read_saved_model(flags.model, flags.tag.split(","), flags.signature, *names, *checks)
    if kind == model_file.CHECKPOINT:
        return model_file.read_checkpoint(flags.model, *names, *checks)
    return model_file.read_frozen_graph(flags.model, names[0] or INPUT, names[1] or OUTPUT, *checks)


def feed(model: Model, flags: argparse.Namespace) -> dict[str, np.ndarray]:
    """Turns the numbers of the command line into arrays of the placeholders' types and shapes.

    Returns:
        From the names of the placeholders to their arrays; the input's is a row of zeros where --stdin will bring it.
    """
    texts = [(model.input, flags.x, "--x")]
    texts += [(model.keys.get(name, name), text, f"--feed {name}") for name, text in flags.feed]
    arrays: dict[str, np.ndarray] = {}
    for name, text, flag in texts:
        node = graph_check.find_placeholder(model.graph_def, name)
        dims, dtype = graph_check.placeholder_dims(node), graph_check.dtype_of(node)
        if node.name in arrays:
            raise ValueError(f"fed twice: {node.name} in {flag}")
        if flags.stdin and name == model.input:
            arrays[node.name] = np.zeros(rows.row_shape(dims), dtype)
        else:
            numbers = rows.parse_numbers(text, dtype, f" in {flag}")
            arrays[node.name] = numbers.reshape(rows.feed_shape(dims, len(numbers), node.name))
    graph_check.check_output(model.graph_def, model.output, arrays)
    return arrays


def load_graph(model: Model) -> Any:
    """Loads the graph, and the values of its variables if it has some, into a session."""
    graph = tf.Graph()
    # All operations run in this thread: a small graph is faster so, and the same numbers give the same bits (the
    # threads of TensorFlow's pool flush subnormal numbers to zero).
    config = tf.ConfigProto(inter_op_parallelism_threads=-1, intra_op_parallelism_threads=1, allow_soft_placement=True)
    session = tf.Session(graph=graph, config=config)
    try:
        with graph.as_default():
            if model.kind == model_file.FROZEN_GRAPH:
                tf.import_graph_def(model.proto, name="")
            elif model.kind == model_file.SAVED_MODEL:
                tf.saved_model.loader.load(session, model.proto.meta_info_def.tags, model.path)
            else:
                saver = tf.train.import_meta_graph(model.proto)
                saver.restore(session, model.path)
    except Exception as error:
        raise ValueError(f"cannot load: {model.path}: {command_line.one_line(error)}") from error
    return session


def run(session: Any, model: Model, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Feeds the placeholders and fetches the output."""
    output = model.output if ":" in model.output else f"{model.output}:0"
    try:
        return session.run(output, {f"{name}:0": array for name, array in arrays.items()})
    except tf.errors.OpError as error:
        raise ValueError(f"cannot calculate: {output}: {command_line.one_line(error)}") from error


def print_results(session: Any, model: Model, arrays: dict[str, np.ndarray]) -> None:
    """Prints the results of --x, and of a checkpoint the collection in which the inputs were found."""
    results = run(session, model, arrays)
    if model.kind == model_file.CHECKPOINT and (inputs := session.graph.get_collection("inputs")):
        print(inputs)
    rows.write_results(sys.stdout, results)


def stream_results(session: Any, model: Model, arrays: dict[str, np.ndarray], batch: int) -> None:
    """Reads the rows of standard input and prints the results of each on a line."""
    name = graph_check.operation_name(model.input)
    row = arrays[name]

    def run_rows(values: np.ndarray) -> np.ndarray:
        shape = row.shape if batch == 1 else (len(values), *row.shape[1:])
        results = run(session, model, arrays | {name: values.reshape(shape)})
        if batch > 1 and results.shape[:1] != (len(values),):
            shape = list(results.shape)
            raise ValueError(f"not a result a row: {model.output} has the shape {shape} for {len(values)} rows")
        return results

    rows.stream(0, sys.stdout, run_rows, row.dtype, name, row.size, batch)


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument(
        "--model",
        metavar="PATH",
        default="saved_model",
        help="a checkpoint (folder or prefix), a frozen graph (.pb) or a SavedModel's folder",
    )
    parser.add_argument(
        "--input",
        metavar="NAME",
        help="operation or tensor, of a SavedModel the signature's key; a checkpoint's collection inputs says it, "
        "else the default is inputs/x_sample",
    )
    parser.add_argument("--output", metavar="NAME", help="likewise; the collection y_calc, else linear_regression/add")
    parser.add_argument("--tag", metavar="NAME", default="serve", help="of a SavedModel")
    parser.add_argument("--signature", metavar="NAME", default="serving_default", help="of a SavedModel")
    numbers = parser.add_mutually_exclusive_group()
    numbers.add_argument("--x", metavar="LIST", default="0,1,-1,2", help="comma-separated numbers")
    numbers.add_argument("--stdin", action="store_true", help="rows of numbers from standard input, a result line each")
    parser.add_argument(
        "--feed",
        metavar="NAME=LIST",
        action="append",
        default=[],
        type=command_line.name_and_value,
        help="a further placeholder; repeatable",
    )
    parser.add_argument(
        "--allow-op", metavar="OP", action="append", default=[], help="accept one more operation type; repeatable"
    )
    parser.add_argument("--trust", action="store_true", help="accept any graph, of a model you made yourself")
    parser.add_argument("--list", action="store_true", help="print what the model has, and stop")
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()

    # The checks come first: importing some graphs is enough to end the process.
    model = check_model(flags)
    if flags.list:
        print("\n".join(model_file.describe(model)))
        return
    arrays = feed(model, flags)
    shapes = {name: array.shape for name, array in arrays.items()}
    if flags.stdin:
        name = graph_check.operation_name(model.input)
        batch = graph_check.rows_a_run(model.graph_def, name, shapes, model.output, flags.trust)
    else:
        graph_check.check_shapes(model.graph_def, shapes, model.output, flags.trust)

    with load_graph(model) as session:
        if flags.stdin:
            stream_results(session, model, arrays, batch)
        else:
            print_results(session, model, arrays)


if __name__ == "__main__":
    command_line.run(main)
