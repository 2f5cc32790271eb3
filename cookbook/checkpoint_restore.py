"""Restores the classifier from its checkpoint alone, predicts, and resumes training where it stopped.

    python cookbook/checkpoint_restore.py

Reads results/graph.ckpt (checkpoint_save.py), both graph and values.
"""

import argparse
from typing import Any

import artefacts
import checkpoint
import classifier
from model_import_export import command_line
from model_import_export.graph_mode import tf

# With one thread the order of additions, and therefore the last bit, is always the same.
CONFIG = {"inter_op_parallelism_threads": -1, "intra_op_parallelism_threads": 1}


def find_tensors(meta_graph: Any, path: str) -> tuple[Any, Any, Any, Any]:
    """Finds placeholders, predictions and the training operation through the collections that the producer filled."""
    found = []
    for name, count in (("inputs", 2), ("y_calc", 1), ("train_op", 1)):
        elements = tf.get_collection(name)
        if len(elements) < count:
            present = ", ".join(sorted(meta_graph.collection_def))
            raise ValueError(f"no collection {name} with {count} elements: {path} (its collections: {present})")
        found += elements[:count]
    return tuple(found)


def train_on(meta_graph: Any, prefix: str, restored: bool, until: int) -> tuple[dict[str, Any], int]:
    """Trains up to a step, from the checkpoint or from the beginning. Returns all variables and the first step."""
    with tf.Graph().as_default():
        saver = tf.train.import_meta_graph(meta_graph, clear_devices=True)
        inputs, labels, predictions, train_op = find_tensors(meta_graph, prefix)
        variables = {variable.op.name: variable for variable in tf.global_variables()}
        with tf.Session(config=tf.ConfigProto(**CONFIG)) as session:
            if restored:
                checkpoint.check_variables(prefix, variables)
                saver.restore(session, prefix)
                examples = session.run(predictions, {inputs: classifier.EXAMPLES})
                print(f"{classifier.EXAMPLES.tolist()} gives {examples.tolist()}")
            else:
                session.run(tf.global_variables_initializer())
            start = int(session.run(tf.train.get_global_step()))
            classifier.train(session, train_op, inputs, labels, range(start, until))
            return session.run(variables), start


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument(
        "--checkpoint", metavar="PREFIX", default=artefacts.CHECKPOINT, help="checkpoint prefix or folder"
    )
    parser.add_argument("--until", metavar="STEP", type=int, default=1500, help="step at which training ends")
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    prefix = checkpoint.find_prefix(artefacts.need(flags.checkpoint))
    meta_graph = checkpoint.read_meta_graph(prefix)
    for name, value in checkpoint.values(prefix).items():
        print(f"tensor {name} {value.dtype} {list(value.shape)}")
    operations = meta_graph.graph_def.node
    print(f"{len(operations)} operations, from {operations[0].name} to {operations[-1].name}")

    resumed, start = train_on(meta_graph, prefix, True, flags.until)
    print(f"trained from step {start} to {resumed['global_step']}")
    uninterrupted, _ = train_on(meta_graph, prefix, False, flags.until)
    different = [name for name in resumed if resumed[name].tobytes() != uninterrupted[name].tobytes()]
    if different:
        raise ValueError(f"not equal to an uninterrupted training: {', '.join(different)}")
    print(f"{len(resumed)} variables, including the optimizer's, equal those of an uninterrupted training to the bit")


if __name__ == "__main__":
    command_line.run(main)
