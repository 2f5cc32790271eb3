"""Builds SavedModels with everything they can hold: several graphs with tags, three kinds of signatures, an asset.

    python cookbook/savedmodel_builder.py

Writes  results/vocabulary.txt
        exp_model/1   binary (saved_model.pb), its table of words initialized by legacy_init_op
        exp_model/2   text (saved_model.pbtxt), its table initialized by main_op

The model is y = x / 2 + 2. It classifies a y of 3 or more as "high", any other as "low".
"""

import argparse
import os
from pathlib import Path
from typing import Any

import artefacts
import savedmodel
from model_import_export import command_line, model_file
from model_import_export.digests import write_whole
from model_import_export.graph_mode import tf

import numpy as np

VOCABULARY, WORDS = "results/vocabulary.txt", ("low", "high")


def build_graph(vocabulary: str, training: bool) -> dict[str, Any]:
    """Builds the model in the default graph. Returns its signatures by name; a training graph has none."""
    x = tf.placeholder(tf.float32, [None, 1], name="input")
    a, b = (tf.get_variable(name, initializer=tf.constant(value)) for name, value in (("a", 0.5), ("b", 2.0)))
    y = tf.add(a * x, b, name="output")
    if training:
        tf.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(y**2))
        return {}
    # Regress and classify take serialized tf.Examples, like TensorFlow Serving's methods of the same names.
    examples = tf.placeholder(tf.string, [None], name="examples")
    parsed = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})
    regressed = a * parsed["x"] + b
    # The file becomes an asset: the builder copies it into the SavedModel, and the loader feeds its path.
    lines = tf.lookup.TextFileIndex
    initializer = tf.lookup.TextFileInitializer(vocabulary, tf.int64, lines.LINE_NUMBER, tf.string, lines.WHOLE_LINE)
    table = tf.lookup.StaticHashTable(initializer, "?")
    words = table.lookup(tf.cast(regressed >= 3, tf.int64))
    make = tf.saved_model.signature_def_utils
    return {
        "prediction": tf.saved_model.predict_signature_def({"input": x}, {"output": y}),
        "regression": make.regression_signature_def(examples, regressed),
        "classification": make.classification_signature_def(examples, words, regressed),
    }


def build(folder: str, vocabulary: str, as_text: bool, init: str) -> None:
    """Writes three MetaGraphDefs. The first is saved with the variables, and the others share them by name."""
    builder = tf.saved_model.builder.SavedModelBuilder(folder)
    for tags in (["serve"], ["train"], ["serve", "gpu"]):
        with tf.Graph().as_default(), tf.Session() as session:
            signatures = build_graph(vocabulary, training=tags == ["train"])
            more = {init: tf.tables_initializer()} if signatures else {}
            assets = tf.get_collection(tf.GraphKeys.ASSET_FILEPATHS)
            if tags == ["serve"]:
                session.run(tf.global_variables_initializer())
                builder.add_meta_graph_and_variables(session, tags, signatures, assets, **more)
            else:
                builder.add_meta_graph(tags, signatures, assets, **more)
    builder.save(as_text)


def example(x: float) -> bytes:
    """A serialized tf.Example with the feature `x`."""
    return tf.train.Example(
        features=tf.train.Features(feature={"x": tf.train.Feature(float_list=tf.train.FloatList(value=[x]))})
    ).SerializeToString()


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--save", metavar="DIR", default="exp_model", help="folder for versions 1 and 2, to write")
    artefacts.add_checked(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    write_whole(Path(VOCABULARY), "".join(f"{word}\n" for word in WORDS))
    for version, as_text, init in (("1", False, "legacy_init_op"), ("2", True, "main_op")):
        path = os.path.join(flags.save, version)
        with savedmodel.new_folder(path) as folder:
            build(folder, VOCABULARY, as_text, init)
        print(f"{path}:")
        savedmodel.print_files(path)

        for tags in (["serve"], ["train"], ["serve", "gpu"]):
            names = sorted(model_file.find_meta_graph(model_file.read_saved_model(path), tags).signature_def)
            print(f"  {'+'.join(tags)}: {', '.join(names) or 'no signature'}")
        with tf.Session(graph=tf.Graph()) as session:
            meta_graph = savedmodel.load(session, path, ["serve"])
            x = np.array([[1.0], [2.0]], np.float32)
            results = savedmodel.calculate(session, meta_graph, "prediction", {"input": x})
            print(f"  prediction: {x.tolist()} gives {results['output'].tolist()}")
            examples = {"inputs": [example(value) for value in x.ravel().tolist()]}
            regressed = savedmodel.calculate(session, meta_graph, "regression", examples)["outputs"]
            classified = savedmodel.calculate(session, meta_graph, "classification", examples)
            print(f"  classification: {[row[0].decode() for row in classified['classes']]}")
        if not np.array_equal(results["output"], x / 2 + 2) or not np.array_equal(regressed, results["output"]):
            raise ValueError(f"not x / 2 + 2: {path}")
        artefacts.admit(path, flags.checked)


if __name__ == "__main__":
    command_line.run(main)
