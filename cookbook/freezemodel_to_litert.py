"""Converts frozen graphs to LiteRT (formerly TensorFlow Lite), for mobile and embedded devices, and compares results.

    python cookbook/freezemodel_to_litert.py

Reads   results/frozen_model.pb (freezemodel_save.py), frozen_graphs/cnn.pb and results/images.npy (the main page), or
        --model and --images
Writes  results/classifier.tflite, results/line.tflite, results/cnn.tflite, cnn_dynamic.tflite and cnn_int8.tflite
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import artefacts
import classifier
from model_import_export import command_line, model_file, tensors
from model_import_export.digests import write_whole
from model_import_export.graph_mode import session_config, tf, without_log_noise

TOLERANCE = 1e-5


class Frozen:
    """A frozen graph with one input and one output of float32."""

    def __init__(self, graph_def: Any, path: str) -> None:
        """Loads it into a session. Raises ValueError where it calculates in float64."""
        self.graph_def = graph_def
        self.session = tf.Session(graph=tf.Graph(), config=session_config())
        with self.session.graph.as_default():
            tf.import_graph_def(self.graph_def, name="")
        ends = tensors.ends_of(self.session.graph)
        self.input, self.output = ends.find_input(None), ends.find_output(None)
        if self.input.dtype != tf.float32:
            raise ValueError(
                f"not float32: {path} takes {self.input.dtype.name}, for which LiteRT has no operations "
                "(as_float32 in this recipe shows the cast)"
            )

    def run(self, x: np.ndarray) -> np.ndarray:
        """Calculates the output for an array."""
        return self.session.run(self.output, {self.input: x})

    def convert(self, configure: Callable[[Any], None] = lambda _: None) -> bytes:
        """Returns the model in LiteRT's format; `configure` sets what the converter has to do besides."""
        converter = tf.lite.TFLiteConverter.from_session(self.session, [self.input], [self.output])
        configure(converter)
        return converter.convert()


def read(path: str) -> Frozen:
    """Reads a frozen graph."""
    return Frozen(model_file.read_frozen_graph(path), path)


def as_float32(graph_def: Any) -> Any:
    """The same graph in float32: types, and the values of constants. It calculates with seven digits, not sixteen."""
    result = tf.GraphDef.FromString(graph_def.SerializeToString())
    for node in result.node:
        for value in node.attr.values():
            if value.type == tf.float64.as_datatype_enum:
                value.type = tf.float32.as_datatype_enum
        if node.op == "Const" and node.attr["value"].tensor.dtype == tf.float64.as_datatype_enum:
            array = tf.make_ndarray(node.attr["value"].tensor).astype(np.float32)
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))
    return result


def interpret(model: bytes, x: np.ndarray) -> np.ndarray:
    """Runs a model in LiteRT's interpreter, row by row: its shapes are those that it was converted with."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model)
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(source["index"], [1, *x.shape[1:]])
    interpreter.allocate_tensors()
    results = []
    for row in x:
        interpreter.set_tensor(source["index"], row[np.newaxis])
        interpreter.invoke()
        results.append(interpreter.get_tensor(target["index"])[0])
    return np.array(results)


def quantize_weights(converter: Any) -> None:
    """Dynamic range: the weights are stored in 8 bits, the calculation is in float32."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def quantize_all(images: np.ndarray) -> Callable[[Any], None]:
    """Full integer: the calculation is in 8 bits too; the images show the converter the ranges of all tensors."""

    def configure(converter: Any) -> None:
        quantize_weights(converter)

        def sample() -> Iterator[list[np.ndarray]]:
            for image in images:
                yield [image[np.newaxis]]

        converter.representative_dataset = sample
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]

    return configure


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--model", metavar="FILE", default="frozen_graphs/cnn.pb", help="frozen graph of float32")
    parser.add_argument("--images", metavar="FILE.npy", default="results/images.npy", help="sample of its inputs")
    parser.add_argument("--save", metavar="FILE", type=Path, default="results/cnn.tflite", help="model to write")
    artefacts.add_trust(parser)
    return parser.parse_args()


def convert_classifier(flags: argparse.Namespace) -> None:
    """A graph of float32 as it is."""
    sums = read(artefacts.need_checked(artefacts.FROZEN, flags))
    converted = sums.convert()
    write_whole(Path("results/classifier.tflite"), converted)
    if not np.array_equal(interpret(converted, classifier.EXAMPLES), sums.run(classifier.EXAMPLES)):
        raise ValueError("not the results of the frozen classifier: results/classifier.tflite")
    print(f"results/classifier.tflite: {interpret(converted, classifier.EXAMPLES).tolist()}, as the frozen graph")


def convert_line(flags: argparse.Namespace) -> None:
    """A graph of float64, which has to be cast."""
    graph_def = model_file.read_frozen_graph(artefacts.need_checked(artefacts.REGRESSION, flags))
    x = np.array([[0.0, 1.0, -1.0, 2.0]])
    with tf.Graph().as_default() as graph, tf.Session(config=session_config()) as session:
        tf.import_graph_def(graph_def, name="")
        ends = tensors.ends_of(graph)
        expected = session.run(ends.find_output(None), {ends.find_input(None): x})
    converted = Frozen(as_float32(graph_def), artefacts.REGRESSION).convert()
    write_whole(Path("results/line.tflite"), converted)
    if np.abs(interpret(converted, x.astype(np.float32)) - expected).max() > 1e-6:
        raise ValueError(f"not the results of {artefacts.REGRESSION} to 1e-6: results/line.tflite")
    print("results/line.tflite: the regression in float32, to 1e-6")


def convert_cnn(cnn: Frozen, flags: argparse.Namespace) -> None:
    """A convolutional network in float32 and quantized, as a table."""
    images = np.load(artefacts.need(flags.images), allow_pickle=False)
    expected = cnn.run(images)
    print(f"{'format':<16}{'bytes':>8}{'largest difference':>20}{'same class':>12}")
    print(f"{'frozen graph':<16}{cnn.graph_def.ByteSize():>8}")
    for name, suffix, configure in (
        ("float32", "", lambda _: None),
        ("dynamic range", "_dynamic", quantize_weights),
        ("int8", "_int8", quantize_all(images)),
    ):
        converted = cnn.convert(configure)
        write_whole(flags.save.with_stem(flags.save.stem + suffix), converted)
        results = interpret(converted, images)
        difference = float(np.abs(results - expected).max())
        same = int((results.argmax(axis=-1) == expected.argmax(axis=-1)).sum())
        print(f"{name:<16}{len(converted):>8}{difference:>20.0e}{f'{same} of {len(images)}':>12}")
        if name == "float32" and difference > TOLERANCE:
            raise ValueError(f"not the results of {flags.model}: {flags.save} differs by {difference}")


def main() -> None:
    flags = parse_arguments()
    with without_log_noise():
        cnn = read(artefacts.need_checked(flags.model, flags))
        convert_classifier(flags)
        convert_line(flags)
        convert_cnn(cnn, flags)


if __name__ == "__main__":
    command_line.run(main)
