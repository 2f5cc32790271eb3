"""Trains the classifier and saves it as a checkpoint.

    python cookbook/checkpoint_save.py

Writes results/graph.ckpt.*, results/checkpoint, and results/graph.ckpt.meta.json (the MetaGraphDef as JSON)
"""

import argparse
import os
from pathlib import Path
from typing import Any

import artefacts
import checkpoint
import classifier
from model_import_export import command_line
from model_import_export.digests import write_whole
from model_import_export.graph_mode import tf

PARTS = {
    "checkpoint": "which checkpoint in the folder is the newest",
    ".data": "the values of the variables",
    ".index": "their names, dtypes, shapes and offsets in .data",
    ".json": "the .meta as JSON",
    ".meta": "the graph, the collections and the saver (MetaGraphDef)",
}


def print_saver(when: str, saver: Any) -> None:
    """Prints what a Saver created at this point exports and covers."""
    meta_graph = saver.export_meta_graph()
    print(
        f"a Saver created {when} the training operations: .meta of {meta_graph.ByteSize()} bytes, "
        f"{len(meta_graph.graph_def.node)} nodes, {len(tf.global_variables())} variables"
    )


def choose_device(operation: Any) -> str:
    """Places the output layer and its slots on a second device."""
    return "/cpu:1" if operation.name.startswith("output/") else "/cpu:0"


def remove_earlier(prefix: Path) -> None:
    """Removes an older checkpoint of this prefix: shards of both together would look incomplete."""
    for path in prefix.parent.glob(f"{prefix.name}.*"):
        path.unlink()


def print_files(prefix: Path) -> None:
    """Prints the files of the checkpoint with their sizes."""
    for path in [prefix.with_name("checkpoint"), *sorted(prefix.parent.glob(f"{prefix.name}.*"))]:
        part = next(text for part, text in PARTS.items() if part in path.name.removeprefix(prefix.stem))
        print(f"{path.name:32} {path.stat().st_size:6} bytes  {part}")


def check_saved(session: Any, prefix: Path) -> int:
    """Compares every tensor of the checkpoint with its variable. Returns their number."""
    saved = checkpoint.values(str(prefix))
    for name, value in saved.items():
        if value.tobytes() != session.run(f"{name}:0").tobytes():
            raise ValueError(f"not equal to the variable: {name} in {prefix}")
    return len(saved)


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument(
        "--checkpoint", metavar="PREFIX", type=Path, default=artefacts.CHECKPOINT, help="prefix to write"
    )
    parser.add_argument("--steps", metavar="N", type=int, default=1000, help="number of training steps")
    parser.add_argument(
        "--sharded", action="store_true", help="write one .data file per device (here two virtual CPUs)"
    )
    parser.add_argument(
        "--no-meta-graph", action="store_true", help="write values only, as for one of many checkpoints"
    )
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    prefix = flags.checkpoint
    # A Saver covers the variables that exist when it is created, and exports the graph as it is at that moment.
    with tf.Graph().as_default():
        classifier.build_graph(training=True)
        print_saver("before", tf.train.Saver())
    with tf.Graph().as_default(), tf.device(choose_device if flags.sharded else None):
        model = classifier.build_graph(training=True)
        train_op = classifier.build_training(model)
        saver = tf.train.Saver(sharded=flags.sharded, save_relative_paths=True)
        print_saver("after", saver)

        config = tf.ConfigProto(device_count={"CPU": 2}, inter_op_parallelism_threads=-1)
        with tf.Session(config=config) as session:
            session.run(tf.global_variables_initializer())
            classifier.train(session, train_op, model.inputs, model.labels, range(flags.steps))
            os.makedirs(prefix.parent, exist_ok=True)
            remove_earlier(prefix)
            saver.save(session, str(prefix), write_meta_graph=not flags.no_meta_graph)
            if not flags.no_meta_graph:
                from google.protobuf import json_format

                meta_graph = checkpoint.read_meta_graph(str(prefix), trust=True)
                write_whole(Path(f"{prefix}.meta.json"), json_format.MessageToJson(meta_graph))
            print_files(prefix)
            print(f"{check_saved(session, prefix)} tensors read back, equal to the variables")
            print(session.run(model.predictions, {model.inputs: classifier.EXAMPLES}).tolist())


if __name__ == "__main__":
    command_line.run(main)
