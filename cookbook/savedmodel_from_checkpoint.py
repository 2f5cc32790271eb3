"""Turns a checkpoint into a SavedModel that has only what the outputs need, so no training operations.

    python cookbook/savedmodel_from_checkpoint.py
    python cookbook/savedmodel_from_checkpoint.py --checkpoint saved_model \\
      --input x=inputs/x_sample --output y=linear_regression/add \\
      --save exports/linear_regression/1

Reads   results/graph.ckpt (checkpoint_save.py)
Writes  results/tfckptmodel
"""

import argparse
from typing import Any

import artefacts
import checkpoint
import classifier
import savedmodel
from model_import_export import command_line, tensors
from model_import_export.graph_mode import tf
from model_import_export.graph_rules import operation_name

import numpy as np


def check_nodes(meta_graph: Any, names: list[str], prefix: str) -> list[str]:
    """Returns the nodes of these tensors. Raises ValueError if the graph lacks one; it lists the nearest names."""
    nodes = [operation_name(name) for name in names]
    present = [node.name for node in meta_graph.graph_def.node]
    for name in nodes:
        if name not in present:
            nearest = ", ".join(command_line.nearest(name, present))
            raise ValueError(f"no such node: {name} in {prefix}.meta (nearest: {nearest})")
    return nodes


def find_tensors(graph: Any, names: dict[str, str]) -> dict[str, Any]:
    """Returns the tensors of a signature by key."""
    return {key: graph.get_tensor_by_name(name if ":" in name else f"{name}:0") for key, name in names.items()}


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument(
        "--checkpoint", metavar="PREFIX", default=artefacts.CHECKPOINT, help="checkpoint prefix or folder"
    )
    for flag, key in (("--input", "inputs_1"), ("--output", "output1")):
        default = f"{key}={classifier.INPUT if flag == '--input' else classifier.OUTPUT}"
        parser.add_argument(
            flag,
            metavar="KEY=NODE",
            action="append",
            type=command_line.name_and_value,
            help=f"{flag[2:]} of the signature; repeatable (default: {default})",
        )
    parser.add_argument("--save", metavar="DIR", default="results/tfckptmodel", help="SavedModel folder to write")
    parser.add_argument("--whole", action="store_true", help="keep the training operations")
    artefacts.add_trust(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    prefix = checkpoint.find_prefix(artefacts.need(flags.checkpoint))
    sources = dict(flags.input or [("inputs_1", classifier.INPUT)])
    targets = dict(flags.output or [("output1", classifier.OUTPUT)])
    meta_graph = checkpoint.read_meta_graph(prefix, list(targets.values()), flags.trust)
    nodes = check_nodes(meta_graph, [*sources.values(), *targets.values()], prefix)
    if not flags.whole:
        meta_graph = checkpoint.without_training(meta_graph, nodes)
    with tf.Graph().as_default() as graph, tf.Session() as session:
        # The builder is given the saver that restored the variables. Its own would cover every variable of the graph,
        # and fail on an optimizer slot that is not in the checkpoint and that nothing has initialized.
        saver = tf.train.import_meta_graph(meta_graph, clear_devices=True)
        inputs, outputs = find_tensors(graph, sources), find_tensors(graph, targets)
        saver.restore(session, prefix)
        # A row of 0 to 9 fits both models here; for any other model it is resized to its placeholders.
        feed = {}
        for key, tensor in inputs.items():
            dims = [dim if dim > 0 else 10 if i else 1 for i, dim in enumerate(tensors.shape_of(tensor) or [])]
            feed[key] = np.resize(np.arange(10), dims).astype(tensor.dtype.as_numpy_dtype)
        try:
            expected = session.run(outputs, {inputs[key]: value for key, value in feed.items()})
        except tf.errors.InvalidArgumentError as error:
            words = f"{command_line.one_line(error)} (freeze it with model_freeze.py, then savedmodel_from_frozen.py)"
            raise ValueError(f"cannot calculate: {', '.join(outputs)}: {words}") from None
        signature = tf.saved_model.predict_signature_def(inputs, outputs)
        with savedmodel.new_folder(flags.save) as folder:
            builder = tf.saved_model.builder.SavedModelBuilder(folder)
            builder.add_meta_graph_and_variables(
                session, ["serve"], {"serving_default": signature}, saver=saver, strip_default_attrs=True
            )
            builder.save()
        print(f"{prefix}: {len(graph.get_operations())} operations")

    print(f"{flags.save}:")
    savedmodel.print_files(flags.save)
    with tf.Session(graph=tf.Graph()) as session:
        meta_graph = savedmodel.load(session, flags.save, ["serve"])
        results = savedmodel.calculate(session, meta_graph, "serving_default", feed)
    for key, value in results.items():
        if not np.array_equal(value, expected[key]):
            raise ValueError(f"not equal to the results of {prefix}: {key} of {flags.save}")
        print(f"{key} = {value.tolist()}, as from the checkpoint")
    artefacts.admit(flags.save, flags.checked)


if __name__ == "__main__":
    command_line.run(main)
