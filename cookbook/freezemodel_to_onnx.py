"""Converts a frozen graph to ONNX, for runtimes in C#, JavaScript, C++ and on mobile devices, and compares results.

    .cache/tf2onnx/bin/python cookbook/freezemodel_to_onnx.py

Reads   frozen_graphs/cnn.pb and results/images.npy (the main page), or --model and --images
Writes  results/cnn.onnx

Its environment is its own (make .cache/tf2onnx/complete): tf2onnx does not go with the protobuf of TensorFlow 2.21.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import artefacts
from model_import_export import command_line, model_file, tensors
from model_import_export.digests import write_whole
from model_import_export.graph_mode import quiet_log, session_config, tf

TOLERANCE = 1e-5


def calculate(graph_def: Any, x: np.ndarray) -> tuple[str, str, np.ndarray]:
    """What TensorFlow says: the names of input and output, and the results."""
    with tf.Graph().as_default() as graph, tf.Session(config=session_config()) as session:
        tf.import_graph_def(graph_def, name="")
        ends = tensors.ends_of(graph)
        source, target = ends.find_input(None), ends.find_output(None)
        if source.dtype.as_numpy_dtype != x.dtype:
            raise ValueError(f"not the type of {source.op.name}: images of {x.dtype} for {source.dtype.name}")
        return source.name, target.name, session.run(target, {source: x})


def convert(graph_def: Any, source: str, target: str) -> bytes:
    """Returns the model in ONNX's format. Raises ValueError for an operation that ONNX does not have."""
    with quiet_log():
        import tf2onnx

    try:
        model, _ = tf2onnx.convert.from_graph_def(graph_def, input_names=[source], output_names=[target])
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"cannot convert: {command_line.one_line(error)}") from error
    return model.SerializeToString()


def run(model: bytes, x: np.ndarray) -> np.ndarray:
    """Runs a model in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--model", metavar="FILE", default="frozen_graphs/cnn.pb", help="frozen graph to convert")
    parser.add_argument("--images", metavar="FILE.npy", default="results/images.npy", help="sample of its inputs")
    parser.add_argument("--save", metavar="FILE", type=Path, default="results/cnn.onnx", help="model to write")
    artefacts.add_trust(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    graph_def = model_file.read_frozen_graph(artefacts.need_checked(flags.model, flags))
    images = np.load(artefacts.need(flags.images), allow_pickle=False)
    source, target, expected = calculate(graph_def, images)
    model = convert(graph_def, source, target)
    write_whole(flags.save, model)
    difference = float(np.abs(run(model, images) - expected).max())
    print(f"{flags.model}: {graph_def.ByteSize()} bytes; {flags.save}: {len(model)} bytes")
    if difference > TOLERANCE:
        raise ValueError(f"not the results of {flags.model}: {flags.save} differs by {difference}")
    print(f"ONNX Runtime gives TensorFlow's results to {TOLERANCE}; classes {expected.argmax(1).tolist()}")


if __name__ == "__main__":
    command_line.run(main)
