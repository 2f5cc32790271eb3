"""Prints the operations, variables, collections and signatures of a .meta file, and writes its graph as text.

    python cookbook/inspect_model.py

Reads   results/graph.ckpt.meta (checkpoint_save.py)
Writes  results/train.pbtxt
"""

import argparse
from collections import Counter
from pathlib import Path

import artefacts
import checkpoint
from model_import_export import command_line, model_file
from model_import_export.digests import write_whole
from model_import_export.graph_mode import tf


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument(
        "--model", metavar="FILE.meta", default=f"{artefacts.CHECKPOINT}.meta", help="MetaGraphDef to inspect"
    )
    parser.add_argument(
        "--save", metavar="FILE", type=Path, default="results/train.pbtxt", help="graph as text, to write"
    )
    parser.add_argument("--all", action="store_true", help="print every operation instead of counting types")
    artefacts.add_trust(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    if not artefacts.need(flags.model).endswith(".meta"):
        raise ValueError(f"not a .meta file: {flags.model} (a Saver writes one with each checkpoint)")
    meta_graph = checkpoint.read_meta_graph(flags.model.removesuffix(".meta"), trust=flags.trust)
    write_whole(flags.save, str(meta_graph.graph_def))
    with tf.Graph().as_default() as graph:
        tf.train.import_meta_graph(meta_graph)
        operations = graph.get_operations()
        print(f"written by TensorFlow {meta_graph.meta_info_def.tensorflow_version}")
        print(f"operations: {len(operations)}")
        if flags.all:
            print("\n".join(f"  {operation.name} ({operation.type})" for operation in operations))
        else:
            types = Counter(operation.type for operation in operations)
            print("  " + ", ".join(f"{count} {name}" for name, count in types.most_common(8)) + ", ...")
        for kind, variables in (("", tf.global_variables()), ("trainable ", tf.trainable_variables())):
            print(f"{kind}variables: {len(variables)}")
            for variable in variables:
                print(f"  {variable.op.name} {variable.dtype.base_dtype.name} {variable.shape}")
        print("collections:")
        for name in sorted(graph.get_all_collection_keys()):
            print(f"  {name}: {len(graph.get_collection(name))}")
        print(f"signatures: {', '.join(sorted(meta_graph.signature_def)) or 'none (a SavedModel has them)'}")

    written = model_file.parse(tf.GraphDef(), flags.save.read_bytes(), str(flags.save))
    if written != meta_graph.graph_def:
        raise ValueError(f"not equal to the graph of {flags.model}: {flags.save}")
    print(f"{flags.save} is the same graph")


if __name__ == "__main__":
    command_line.run(main)
