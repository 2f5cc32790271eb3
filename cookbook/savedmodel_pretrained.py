"""Loads any SavedModel by tags and signature, feeds it, and prints its outputs.

    python cookbook/savedmodel_pretrained.py
    python cookbook/savedmodel_pretrained.py --model pretrainedresnet/1 \\
      --feed input=image.npy

Reads results/tfckptmodel (savedmodel_from_checkpoint.py).
"""

import argparse
from typing import Any

import artefacts
import savedmodel
from model_import_export import command_line, rows, tensors
from model_import_export.graph_mode import tf

import numpy as np


def make_feed(key: str, info: Any, texts: dict[str, str]) -> np.ndarray:
    """Returns the array for a key of the signature: from values, from a .npy file, or ones if neither is given.

    Raises:
        ValueError: it does not fit the dtype or shape in the signature.
    """
    known = info.HasField("tensor_shape") and not info.tensor_shape.unknown_rank
    dims = tuple(dim.size for dim in info.tensor_shape.dim) if known else None
    placeholder = rows.Placeholder(key, tf.as_dtype(info.dtype).name, dims)
    if key in texts:
        return rows.make_feed(placeholder, texts[key], f"--feed {key}")
    ones = "" if placeholder.dtype == "string" else 1
    return np.full([max(dim, 1) for dim in dims or ()], ones, rows.numpy_type(placeholder.dtype))


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--model", metavar="DIR", default="results/tfckptmodel", help="SavedModel folder to load")
    parser.add_argument("--tag", metavar="NAMES", default="serve", help="comma-separated tags of the graph to load")
    parser.add_argument("--signature", metavar="NAME", default="serving_default", help="signature to call")
    parser.add_argument(
        "--feed",
        metavar="KEY=VALUES",
        action="append",
        default=[],
        type=command_line.name_and_value,
        help="values or .npy file for an input (default: ones); repeatable",
    )
    artefacts.add_trust(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    artefacts.need_checked(flags.model, flags)
    texts = dict(flags.feed)
    with tf.Session(graph=tf.Graph()) as session:
        meta_graph = savedmodel.load(session, flags.model, flags.tag.split(","))
        tensors.keys_of(session.graph, meta_graph, flags.signature)
        signature = meta_graph.signature_def[flags.signature]
        unknown = sorted(set(texts) - set(signature.inputs))
        if unknown:
            present = ", ".join(sorted(signature.inputs))
            raise ValueError(f"no such input: {unknown[0]} (the model has: {present})")
        feed = {key: make_feed(key, info, texts) for key, info in signature.inputs.items()}
        for key, info in sorted(signature.inputs.items()):
            print(f"input {key} = {info.name} {tf.as_dtype(info.dtype).name} {list(feed[key].shape)}")
        results = savedmodel.calculate(session, meta_graph, flags.signature, feed)
        for key, value in sorted(results.items()):
            info = signature.outputs[key]
            print(f"output {key} = {info.name} {tf.as_dtype(info.dtype).name} {list(value.shape)}")
            print(np.array2string(value, threshold=20))


if __name__ == "__main__":
    command_line.run(main)
