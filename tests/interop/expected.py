"""Runs the exports with TensorFlow, so that other programs can be compared with it: .cache/expected.npz.

Keys are MODEL/x and MODEL/y; MODEL is a frozen graph or the folder of a SavedModel.
"""

import os

from model_import_export import command_line, model_file
from model_import_export.graph_mode import tf

import numpy as np

MODELS = {
    "frozen_graphs/frozen_linear_regression.pb": ("inputs/x_sample", "linear_regression/add"),
    "results/frozen_model.pb": ("Placeholder/inputs_placeholder", "Accuracy/predictions"),
    "results/frozen_keras_model.pb": ("input0", "output0"),
    "exports/linear_regression/1": ("x", "y"),
    "exports/classifier/1": ("inputs_1", "output1"),
    "exports/half_plus_two/1": ("x", "y"),
    "results/frozensavedmodel": ("inputs", "outputs"),
}


def main() -> None:
    random, arrays = np.random.default_rng(0), {}
    for path, (source, target) in MODELS.items():
        with tf.Session(graph=tf.Graph()) as session, session.graph.as_default():
            if path.endswith(".pb"):
                tf.import_graph_def(model_file.read_frozen_graph(path), name="")
                source, target = f"{source}:0", f"{target}:0"
            else:
                signature = tf.saved_model.loader.load(session, ["serve"], path).signature_def["serving_default"]
                source, target = signature.inputs[source].name, signature.outputs[target].name
            tensor = session.graph.get_tensor_by_name(source)
            # Sums around 47.5 for the classifier.
            x = random.uniform(0, 9.5, [100, 10][: tensor.shape.rank]).astype(tensor.dtype.as_numpy_dtype)
            arrays[f"{path}/x"], arrays[f"{path}/y"] = x, session.run(target, {source: x})
    os.makedirs(".cache", exist_ok=True)
    np.savez(".cache/expected.npz", **arrays)


if __name__ == "__main__":
    command_line.run(main)
