"""Converts a frozen graph to ONNX, for runtimes in C#, JavaScript, C++ and on mobile devices, and compares the results.

    .cache/tf2onnx/bin/python cookbook/freezemodel_to_onnx.py

Reads   frozen_graphs/cnn.pb and results/images.npy (make models)
Writes  results/cnn.onnx, and TensorFlow's results for the images as results/cnn.npy (for freezemodel_onnx.mjs)

It runs in its own environment (make .cache/tf2onnx/complete), so that the project itself does not need tf2onnx.
"""

import argparse
import logging
from pathlib import Path
from typing import Any, NamedTuple

import artefacts
from model_import_export import command_line, model_file, rows, tensors
from model_import_export.digests import write_whole
from model_import_export.graph_mode import quiet_log, session_config, tf

import numpy as np

TOLERANCE = 1e-5


class Calculated(NamedTuple):
    """The names of a graph's input and output, a sample, and TensorFlow's results for it."""

    input: str
    output: str
    x: np.ndarray
    y: np.ndarray


def calculate(graph_def: Any, images: str) -> Calculated:
    """Runs the graph in TensorFlow on the array in a `.npy` file. Raises ValueError if it does not fit the input."""
    with tf.Graph().as_default() as graph, tf.Session(config=session_config()) as session:
        tf.import_graph_def(graph_def, name="")
        ends = tensors.ends_of(graph)
        source, target = ends.find_input(None), ends.find_output(None)
        x = rows.load_array(tensors.placeholder_of(source), images)
        return Calculated(source.name, target.name, x, session.run(target, {source: x}))


def convert(graph_def: Any, source: str, target: str) -> bytes:
    """Returns the model in ONNX format. Raises ValueError if ONNX lacks one of its operations."""
    with quiet_log():
        import onnx
        import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)  # it only logs an operation that ONNX lacks
    try:
        model, _ = tf2onnx.convert.from_graph_def(graph_def, input_names=[source], output_names=[target])
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"cannot convert: {command_line.one_line(error)}") from error
    if lacking := sorted({node.op_type for node in model.graph.node if not onnx.defs.has(node.op_type, node.domain)}):
        raise ValueError(f"cannot convert: ONNX has no {', '.join(lacking)}")
    return model.SerializeToString()


def run(model: bytes, x: np.ndarray) -> np.ndarray:
    """Runs a model in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--model", metavar="FILE", default=artefacts.CNN, help="frozen graph to convert")
    parser.add_argument("--images", metavar="FILE.npy", default=artefacts.IMAGES, help="sample of its inputs")
    parser.add_argument("--save", metavar="FILE", type=Path, default="results/cnn.onnx", help="model to write")
    artefacts.add_trust(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    graph_def = model_file.read_frozen_graph(artefacts.need_checked(flags.model, flags))
    expected = calculate(graph_def, artefacts.need(flags.images))
    model = convert(graph_def, expected.input, expected.output)
    write_whole(flags.save, model)
    rows.save_array(str(flags.save.with_suffix(".npy")), expected.y)
    difference = float(np.abs(run(model, expected.x) - expected.y).max())
    print(f"{flags.model}: {graph_def.ByteSize()} bytes; {flags.save}: {len(model)} bytes")
    if not difference <= TOLERANCE:  # also true for NaN
        raise ValueError(f"not equal to the results of {flags.model}: {flags.save} differs by {difference}")
    print(f"ONNX Runtime gives TensorFlow's results to {TOLERANCE}: classes {expected.y.argmax(1).tolist()}")


if __name__ == "__main__":
    command_line.run(main)
