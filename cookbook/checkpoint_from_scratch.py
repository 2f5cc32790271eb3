"""Rebuilds the classifier from its source for inference only, without the .meta, and restores the weights into it.

    python cookbook/checkpoint_from_scratch.py

Reads results/graph.ckpt (checkpoint_save.py).
"""

import argparse

import artefacts
import checkpoint
import classifier
from model_import_export import command_line
from model_import_export.graph_mode import tf

import numpy as np


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument(
        "--checkpoint", metavar="PREFIX", default=artefacts.CHECKPOINT, help="checkpoint prefix or folder"
    )
    parser.add_argument(
        "--hidden", metavar="N", type=int, default=classifier.HIDDEN, help="number of units in the hidden layer"
    )
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    prefix = checkpoint.find_prefix(artefacts.need(flags.checkpoint))
    rows = np.concatenate([classifier.EXAMPLES, classifier.draw_batch(1_000_000)[0]])

    # A checkpoint knows only names: these are resource variables, the saved ones were reference variables.
    with tf.Graph().as_default() as graph, tf.Session() as session:
        model = classifier.build_graph(training=False, hidden=flags.hidden, use_resource=True)
        checkpoint.restore(session, prefix, {v.op.name: v for v in tf.global_variables()})
        predictions = session.run(model.predictions, {model.inputs: rows})
        rebuilt = graph.as_graph_def()

    meta_graph = checkpoint.read_meta_graph(prefix)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.import_meta_graph(meta_graph, clear_devices=True).restore(session, prefix)
        imported = session.run(f"{classifier.OUTPUT}:0", {f"{classifier.INPUT}:0": rows})

    for name, graph_def in (("imported from the .meta", meta_graph.graph_def), ("rebuilt from source", rebuilt)):
        print(f"{name}: {len(graph_def.node)} nodes, {graph_def.ByteSize()} bytes")
    if not np.array_equal(predictions, imported):
        raise ValueError(f"not the predictions of the imported graph: {prefix}")
    print(f"{predictions[:2].tolist()}, and equal to the imported graph on {len(rows)} rows")


if __name__ == "__main__":
    command_line.run(main)
