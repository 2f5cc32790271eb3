"""Builds the classifier anew for inference alone, without the .meta, and restores the weights into it.

    python cookbook/checkpoint_from_scratch.py

Reads results/graph.ckpt (checkpoint_save.py).
"""

import argparse

import numpy as np

import artefacts
import checkpoint
import classifier
from model_import_export import command_line
from model_import_export.graph_mode import tf


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--checkpoint", metavar="PREFIX", default=artefacts.CHECKPOINT, help="or its folder")
    parser.add_argument("--hidden", metavar="N", type=int, default=classifier.HIDDEN, help="units of the hidden layer")
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    prefix = checkpoint.find_prefix(artefacts.need(flags.checkpoint))
    rows = np.concatenate([classifier.EXAMPLES, classifier.draw_batch(1_000_000)[0]])

    # Names are all that a checkpoint knows: these are resource variables, the saved ones were reference variables.
    with tf.Graph().as_default() as graph, tf.Session() as session:
        model = classifier.build_graph(training=False, hidden=flags.hidden, use_resource=True)
        checkpoint.restore(session, prefix, {v.op.name: v for v in tf.global_variables()})
        anew = session.run(model.predictions, {model.inputs: rows})
        built = graph.as_graph_def()

    meta_graph = checkpoint.read_meta_graph(prefix)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.train.import_meta_graph(meta_graph, clear_devices=True).restore(session, prefix)
        imported = session.run(f"{classifier.OUTPUT}:0", {f"{classifier.INPUT}:0": rows})

    for name, graph_def in (("imported from the .meta", meta_graph.graph_def), ("built anew", built)):
        print(f"{name}: {len(graph_def.node)} nodes, {graph_def.ByteSize()} bytes")
    if not np.array_equal(anew, imported):
        raise ValueError(f"not the predictions of the imported graph: {prefix}")
    print(f"{anew[:2].tolist()}, and as the imported graph on {len(rows)} rows")


if __name__ == "__main__":
    command_line.run(main)
