"""Converts frozen graphs to LiteRT (formerly TensorFlow Lite) and runs them in its interpreter."""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from model_import_export import command_line, model_file, tensors
from model_import_export.graph_mode import session_config, tf

import numpy as np


class Frozen:
    """A frozen graph in a session. It has one input, of float32, and one output."""

    def __init__(self, graph_def: Any, path: str) -> None:
        """Loads the graph. Raises ValueError if its input is not float32; `path` is for the message."""
        self.graph_def, self.path = graph_def, path
        self.session = tf.Session(graph=tf.Graph(), config=session_config())
        with self.session.graph.as_default():
            tf.import_graph_def(graph_def, name="")
        ends = tensors.ends_of(self.session.graph)
        self.input, self.output = ends.find_input(None), ends.find_output(None)
        if self.input.dtype != tf.float32:
            raise ValueError(
                f"not float32: {path} takes {self.input.dtype.name}, which LiteRT cannot calculate with "
                "(as_float32 in cookbook/litert.py shows the cast)"
            )

    def run(self, x: np.ndarray) -> np.ndarray:
        """Calculates the output for an array in TensorFlow."""
        return self.session.run(self.output, {self.input: x})

    def convert(self, configure: Callable[[Any], None] = lambda _: None) -> bytes:
        """Returns the model in LiteRT's format. `configure` can set options of the converter.

        Raises:
            ValueError: LiteRT lacks one of its operations.
        """
        converter = tf.lite.TFLiteConverter.from_session(self.session, [self.input], [self.output])
        configure(converter)
        try:
            with silent():
                return converter.convert()
        except Exception as error:  # its type has no public name
            lacking = sorted(set(re.findall(r"'tf\.(\w+)' op is neither", str(error))))
            reason = f"LiteRT has no {', '.join(lacking)}" if lacking else command_line.one_line(error)
            raise ValueError(f"cannot convert: {self.path}: {reason}") from error


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Discards standard error: the converter prints a page there about errors that it also raises."""
    sys.stderr.flush()
    terminal, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)

    def interrupted() -> str:
        os.dup2(terminal, 2)
        return "the conversion was not finished"

    command_line.leaves.append(interrupted)
    try:
        yield
    finally:
        command_line.leaves.remove(interrupted)
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nothing)


def read(path: str) -> Frozen:
    """Reads a frozen graph from a file."""
    return Frozen(model_file.read_frozen_graph(path), path)


def as_float32(graph_def: Any) -> Any:
    """Casts a float64 graph to float32, types and constants. Results then have 7 correct digits instead of 16."""
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
    """Runs a model in LiteRT's interpreter, one row at a time: a converted model has fixed shapes."""
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
    """Dynamic range: stores the weights in 8 bits and calculates in float32."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def quantize_all(images: np.ndarray) -> Callable[[Any], None]:
    """Full integer: calculates in 8 bits too. The images show the converter the range of every tensor."""

    def configure(converter: Any) -> None:
        quantize_weights(converter)

        def sample() -> Iterator[list[np.ndarray]]:
            for image in images:
                yield [image[np.newaxis]]

        converter.representative_dataset = sample
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]

    return configure
