"""Freezes the classifier: variables become constants, and operations that the output does not need are dropped.

    python cookbook/freezemodel_save.py

Reads   results/graph.ckpt (checkpoint_save.py)
Writes  results/frozen_model.pb, and its digest to frozen_graphs/SHA256SUMS
"""

import argparse
from pathlib import Path

import artefacts
import checkpoint
import classifier
from model_import_export import command_line, model_file, tensors
from model_import_export.digests import write_whole
from model_import_export.graph_mode import tf

import numpy as np


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument(
        "--checkpoint", metavar="PREFIX", default=artefacts.CHECKPOINT, help="checkpoint prefix or folder"
    )
    parser.add_argument(
        "--output", metavar="NODE", default=classifier.OUTPUT, help="operation to keep, with all that it needs"
    )
    parser.add_argument("--save", metavar="FILE", type=Path, default=artefacts.FROZEN, help="frozen graph to write")
    artefacts.add_trust(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    prefix = checkpoint.find_prefix(artefacts.need(flags.checkpoint))
    meta_graph = checkpoint.read_meta_graph(prefix, [flags.output], flags.trust)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        saver = tf.train.import_meta_graph(meta_graph, clear_devices=True)
        names = [operation.name for operation in graph.get_operations()]
        if flags.output not in names:
            nearest = command_line.nearest(flags.output, names)
            raise ValueError(f"no such node: {flags.output} in {prefix}.meta (nearest: {', '.join(nearest)})")
        saver.restore(session, prefix)
        frozen = tf.graph_util.convert_variables_to_constants(session, meta_graph.graph_def, [flags.output])
        # Feeds the same numbers to every placeholder that the output depends on, here and in the frozen graph.
        feed = {}
        for node in frozen.node:
            if node.op == "Placeholder":
                tensor = graph.get_tensor_by_name(f"{node.name}:0")
                dims = [2 if dim < 0 else dim for dim in tensors.shape_of(tensor) or [1]]
                feed[tensor.name] = np.resize(classifier.EXAMPLES, dims).astype(tensor.dtype.as_numpy_dtype)
        expected = session.run(f"{flags.output}:0", feed)
    write_whole(flags.save, frozen.SerializeToString(deterministic=True))

    written = model_file.read_frozen_graph(str(flags.save))
    variables = sum(node.op == "VariableV2" for node in meta_graph.graph_def.node)
    print(f"before: {len(meta_graph.graph_def.node)} nodes, {variables} variables, {artefacts.size_of(prefix)} bytes")
    print(f"after:  {len(written.node)} nodes, {artefacts.size_of(str(flags.save))} bytes: {flags.save}")
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(written, name="")
        results = session.run(f"{flags.output}:0", feed)
    if not np.array_equal(results, expected):
        raise ValueError(f"not equal to the results of {prefix}: {flags.save}")
    print(f"{flags.output} gives {results.tolist()}, as the checkpoint does")
    artefacts.admit(str(flags.save), flags.checked)


if __name__ == "__main__":
    command_line.run(main)
