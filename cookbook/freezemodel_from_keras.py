"""Freezes a Keras model (.h5 or .keras) for inference, with chosen names for its inputs and outputs.

    python cookbook/freezemodel_from_keras.py

Reads   results/keras_model.h5. Without --model it first trains that file, a small network with two outputs, and saves
        the same network as results/keras_model.keras
Writes  results/frozen_keras_model.pb, and its digest to frozen_graphs/SHA256SUMS

Keras 3 has no `get_session` and no `set_learning_phase`. Instead, a `tf.function` calls the model with
`training=False`, so that Dropout does nothing and BatchNormalization uses the learned mean and variance.
"""

import argparse
import importlib
import os
import re
import sys
from pathlib import Path
from typing import Any

import artefacts
from keras_network import Scale, make_model
from model_import_export import command_line, model_file
from model_import_export.digests import write_whole
from model_import_export.freezing import as_keras_takes
from model_import_export.graph_mode import import_tensorflow

import numpy as np


def load_model(path: str, custom: list[str]) -> Any:
    """Loads a Keras model. `custom` lists the classes that it needs in addition to Keras's own, as `module:Class`."""
    import keras

    classes = {"Scale": Scale()}
    sys.path.insert(0, os.getcwd())
    for text in custom:
        module, _, name = text.partition(":")
        try:
            classes[name] = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"no such class: {text} ({error}; expected MODULE:CLASS)") from None
    try:
        # A .keras file with a Lambda layer contains Python code, which safe mode refuses.
        return keras.models.load_model(path, custom_objects=classes, compile=False, safe_mode=True)
    except Exception as error:
        raise ValueError(f"cannot load: {path}: {command_line.one_line(error)}") from error


def freeze(model: Any) -> Any:
    """Returns a GraphDef with placeholders `input0`, `input1`, ... and outputs `output0`, `output1`, ..."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    inputs = [tf.TensorSpec(x.shape, x.dtype, f"input{i}") for i, x in enumerate(model.inputs)]

    @tf.function(input_signature=inputs)
    def infer(*tensors: Any) -> list[Any]:
        outputs = model(as_keras_takes(model, tensors), training=False)
        return [tf.identity(output, f"output{i}") for i, output in enumerate(tf.nest.flatten(outputs))]

    graph = convert_variables_to_constants_v2(infer.get_concrete_function()).graph
    # Drops the function's own results, which follow the outputs and are all called `Identity`.
    outputs = [operation.name for operation in graph.get_operations() if re.fullmatch(r"output\d+", operation.name)]
    return tf.compat.v1.graph_util.extract_sub_graph(graph.as_graph_def(), outputs)


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--model", metavar="FILE", help=f".h5 or .keras file (default: train {artefacts.KERAS})")
    parser.add_argument(
        "--custom", metavar="MODULE:CLASS", action="append", default=[], help="class that the model needs; repeatable"
    )
    saved = Path("results/frozen_keras_model.pb")
    parser.add_argument("--save", metavar="FILE", type=Path, default=saved, help="frozen graph to write")
    artefacts.add_checked(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    path = artefacts.need(flags.model) if flags.model else artefacts.KERAS
    tf = import_tensorflow()
    if not flags.model:
        make_model([artefacts.KERAS, artefacts.KERAS.replace(".h5", ".keras")])
    model = load_model(path, flags.custom)
    graph_def = freeze(model)
    left = [node.name for node in graph_def.node if node.op in ("VarHandleOp", "ReadVariableOp")]
    if left:
        raise ValueError(f"not frozen: {left[0]} in {path} is still a variable")
    write_whole(flags.save, graph_def.SerializeToString(deterministic=True))
    normal = np.random.default_rng(0).normal
    arrays = [normal(size=[dim or 4 for dim in x.shape]).astype(x.dtype) for x in model.inputs]
    expected = [np.asarray(y) for y in tf.nest.flatten(model.predict_on_batch(as_keras_takes(model, arrays)))]
    written = model_file.read_frozen_graph(str(flags.save))
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(written, name="")
        feed = {f"input{i}:0": array for i, array in enumerate(arrays)}
        results = session.run([f"output{i}:0" for i in range(len(expected))], feed)
    print(f"{path}: {len(model.layers)} layers, {model.count_params()} numbers")
    print(f"{flags.save}: {len(written.node)} nodes, {flags.save.stat().st_size} bytes")
    for i, (result, prediction) in enumerate(zip(results, expected, strict=True)):
        if not np.allclose(result, prediction, rtol=1e-6, atol=1e-6 * np.abs(prediction).max()):
            raise ValueError(f"not equal to Keras's own prediction: output{i} of {flags.save}")
        print(f"output{i} {result.dtype} {list(result.shape)} equals Keras's own prediction to 1e-6")
    artefacts.admit(str(flags.save), flags.checked)


if __name__ == "__main__":
    command_line.run(main)
