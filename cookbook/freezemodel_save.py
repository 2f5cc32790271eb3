"""Freezes the classifier: its variables become constants, and what does not lead to the output is left out.

    python cookbook/freezemodel_save.py

Reads   results/graph.ckpt (checkpoint_save.py)
Writes  results/frozen_model.pb, and its digest into results/SHA256SUMS
"""

import argparse
from pathlib import Path

import numpy as np

import artefacts
import checkpoint
import classifier
import command_line
import graph_check
from graph_mode import tf
from whole_file import write_with_digest


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--checkpoint", metavar="PREFIX", default=artefacts.CHECKPOINT, help="or its folder")
    parser.add_argument("--output", metavar="NODE", default=classifier.OUTPUT, help="what is wanted of the graph")
    parser.add_argument("--frozen", metavar="FILE", type=Path, default=artefacts.FROZEN, help="to write")
    artefacts.add_check_flags(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    prefix = checkpoint.find_prefix(artefacts.need(flags.checkpoint))
    meta_graph = checkpoint.read_meta_graph(f"{prefix}.meta", flags.allow_op, flags.trust)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        saver = tf.train.import_meta_graph(meta_graph, clear_devices=True)
        names = [operation.name for operation in graph.get_operations()]
        if flags.output not in names:
            nearest = graph_check.nearest(flags.output, names)
            raise ValueError(f"no such node: {flags.output} in {prefix}.meta (the nearest: {', '.join(nearest)})")
        saver.restore(session, prefix)
        frozen = tf.graph_util.convert_variables_to_constants(session, meta_graph.graph_def, [flags.output])
        # The same numbers into all placeholders that the output depends on, here and in the frozen graph.
        feed = {
            f"{node.name}:0": np.resize(classifier.EXAMPLES, [d if d > 0 else 2 for d in dims]).astype(dtype)
            for node in frozen.node
            if node.op == "Placeholder"
            for dims, dtype in [(graph_check.placeholder_dims(node) or [1], graph_check.dtype_of(node))]
        }
        expected = session.run(f"{flags.output}:0", feed)
    write_with_digest(flags.frozen, frozen.SerializeToString(deterministic=True))

    written = graph_check.parse(tf.GraphDef(), graph_check.read_file(str(flags.frozen)), str(flags.frozen))
    variables = sum(node.op == "VariableV2" for node in meta_graph.graph_def.node)
    print(f"before: {len(meta_graph.graph_def.node)} nodes, {variables} variables, {artefacts.size_of(prefix)} bytes")
    print(f"after:  {len(written.node)} nodes, {artefacts.size_of(str(flags.frozen))} bytes: {flags.frozen}")
    with tf.Session(graph=graph_check.import_graph(written)) as session:
        results = session.run(f"{flags.output}:0", feed)
    if not np.array_equal(results, expected):
        raise ValueError(f"not the results of {prefix}: {flags.frozen}")
    print(f"{flags.output} gives {results.tolist()}, as the checkpoint does")


if __name__ == "__main__":
    command_line.run(main)
