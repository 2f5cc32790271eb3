"""Restores two models into one session, first the obvious way, which mixes them up, then each under its own scope.

    python cookbook/checkpoint_multiple_models.py

Reads   results/graph.ckpt (checkpoint_save.py)
Writes  results/opposite.ckpt.*, the same classifier with its last layer negated, so that it predicts the opposite
"""

import argparse
from typing import Any

import artefacts
import checkpoint
import classifier
from model_import_export import command_line
from model_import_export.graph_mode import tf


def save_opposite(meta_graph: Any, prefix: str, opposite: str) -> None:
    """Makes the second model, with the same architecture and names but other values."""
    with tf.Graph().as_default(), tf.Session() as session:
        saver = tf.train.import_meta_graph(meta_graph, clear_devices=True)
        saver.restore(session, prefix)
        layer = [v for v in tf.trainable_variables() if v.op.name.startswith("output/")]
        session.run([tf.assign(variable, -variable) for variable in layer])
        saver.save(session, opposite, latest_filename="checkpoint_opposite")


def import_both(meta_graph: Any, prefixes: list[str]) -> list[Any]:
    """The obvious way. The second import's operations are renamed (`hidden/kernel_1`), but its Saver still refers to
    the first model: it overwrites the first model's variables and leaves the second's uninitialized."""
    with tf.Graph().as_default() as graph, tf.Session() as session:
        for prefix in prefixes:
            tf.train.import_meta_graph(meta_graph, clear_devices=True).restore(session, prefix)
        answers = []
        for suffix in ("", "_1"):
            inputs, predictions = (
                graph.get_tensor_by_name(f"{name}{suffix}:0") for name in (classifier.INPUT, classifier.OUTPUT)
            )
            try:
                answers.append(session.run(predictions, {inputs: classifier.EXAMPLES}).tolist())
            except tf.errors.FailedPreconditionError as error:
                answers.append(command_line.one_line(error))
        return answers


def build_both(prefixes: list[str]) -> list[Any]:
    """Builds each model under its own variable scope and restores it with a Saver over that scope's variables."""
    with tf.Graph().as_default(), tf.Session() as session:
        models = []
        for number, prefix in enumerate(prefixes):
            scope = f"model_{number}"
            with tf.variable_scope(scope):
                models.append(classifier.build_graph(training=False))
            variables = tf.get_collection(tf.GraphKeys.GLOBAL_VARIABLES, scope=f"{scope}/")
            checkpoint.restore(session, prefix, {v.op.name.removeprefix(f"{scope}/"): v for v in variables})
        return [session.run(model.predictions, {model.inputs: classifier.EXAMPLES}).tolist() for model in models]


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument(
        "--checkpoint", metavar="PREFIX", default=artefacts.CHECKPOINT, help="checkpoint prefix or folder"
    )
    parser.add_argument("--save", metavar="PREFIX", default="results/opposite.ckpt", help="second checkpoint, to write")
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    prefix = checkpoint.find_prefix(artefacts.need(flags.checkpoint))
    meta_graph = checkpoint.read_meta_graph(prefix)
    save_opposite(meta_graph, prefix, flags.save)
    prefixes = [prefix, flags.save]
    for way, answers in (
        ("imported one after the other", import_both(meta_graph, prefixes)),
        ("each under its own scope", build_both(prefixes)),
    ):
        print(f"{way}:")
        for path, answer in zip(prefixes, answers, strict=True):
            print(f"  {path} says {answer}")
    first, second = answers
    if second != [[not value] for [value] in first]:
        raise ValueError(f"not the opposite: {first} and {second}")


if __name__ == "__main__":
    command_line.run(main)
