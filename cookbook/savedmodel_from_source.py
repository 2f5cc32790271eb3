"""Saves a model as a SavedModel in the program that builds it. The model is y = x / 2 + 2.

    python cookbook/savedmodel_from_source.py

Writes exports/half_plus_two/1
"""

import argparse

import artefacts
import savedmodel
from model_import_export import command_line
from model_import_export.graph_mode import tf

import numpy as np


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--save", metavar="DIR", default="exports/half_plus_two/1", help="SavedModel folder to write")
    artefacts.add_checked(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    numbers = np.array([0.0, 1.0, 2.0])
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float64, [None], name="x")
        a = tf.get_variable("a", initializer=tf.constant(0.5, tf.float64))
        b = tf.get_variable("b", initializer=tf.constant(2.0, tf.float64))
        y = tf.add(a * x, b, name="y")
        session.run(tf.global_variables_initializer())
        with savedmodel.new_folder(flags.save) as folder:
            # One MetaGraphDef with the tag `serve` and the signature `serving_default`.
            tf.saved_model.simple_save(session, folder, inputs={"x": x}, outputs={"y": y})
        expected = session.run(y, {x: numbers})

    print(f"{flags.save}:")
    savedmodel.print_files(flags.save)
    with tf.Session(graph=tf.Graph()) as session:
        meta_graph = savedmodel.load(session, flags.save, ["serve"])
        results = savedmodel.calculate(session, meta_graph, "serving_default", {"x": numbers})
    if not np.array_equal(results["y"], expected):
        raise ValueError(f"not equal to the results of the source: {flags.save}")
    print(f"x = {numbers.tolist()} gives y = {results['y'].tolist()}, as the source does")
    artefacts.admit(flags.save, flags.checked)


if __name__ == "__main__":
    command_line.run(main)
