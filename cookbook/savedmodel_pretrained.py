"""Loads any SavedModel by tags and signature, feeds it and prints the outputs.

    python cookbook/savedmodel_pretrained.py
    python cookbook/savedmodel_pretrained.py --model pretrainedresnet/1 --feed input=image.npy --trust

Reads results/tfckptmodel (savedmodel_from_checkpoint.py).
"""

import argparse
from typing import Any

import numpy as np

import artefacts
import command_line
import model_file
import rows
import savedmodel
from graph_mode import tf


def make_feed(key: str, info: Any, texts: dict[str, str]) -> np.ndarray:
    """The array for a key of the signature: from numbers, from an .npy file, or ones where nothing is given.

    Raises:
        ValueError: it does not fit the dtype or the shape that the signature says.
    """
    dtype, dims = tf.as_dtype(info.dtype).as_numpy_dtype, [dim.size for dim in info.tensor_shape.dim]
    text = texts.get(key)
    if dtype is object and (text is None or not text.endswith(".npy")):
        return np.array([text or ""], object)
    if text is None:
        return np.ones([max(dim, 1) for dim in dims], dtype)
    if text.endswith(".npy"):
        array = np.load(artefacts.need(text), allow_pickle=False)
        if array.dtype != dtype:
            raise ValueError(f"not of the dtype {np.dtype(dtype).name}: {text} is {array.dtype.name}")
        fits = info.tensor_shape.unknown_rank or len(dims) == array.ndim
        if not fits or any(dim not in (-1, size) for dim, size in zip(dims, array.shape, strict=False)):
            raise ValueError(f"not of the shape {dims}: {text} has {list(array.shape)} ({key})")
        return array
    kind = np.dtype(dtype if np.issubdtype(dtype, np.floating) else np.float64)
    numbers = rows.parse_numbers(text, kind, f" in --feed {key}")
    if np.any(numbers != numbers.astype(dtype)):
        raise ValueError(f"not of the dtype {np.dtype(dtype).name}: {text} in --feed {key}")
    known = None if info.tensor_shape.unknown_rank else dims
    return numbers.astype(dtype).reshape(rows.feed_shape(known, len(numbers), key))


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--model", metavar="DIR", default="results/tfckptmodel", help="a SavedModel's folder")
    parser.add_argument("--tag", metavar="NAMES", default="serve", help="comma-separated")
    parser.add_argument("--signature", metavar="NAME", default="serving_default", help="which to use")
    parser.add_argument(
        "--feed",
        metavar="KEY=LIST",
        action="append",
        default=[],
        type=command_line.name_and_value,
        help="numbers, or an .npy file; ones for a key that is not given; repeatable",
    )
    artefacts.add_check_flags(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    artefacts.need(flags.model)
    texts = dict(flags.feed)
    with tf.Session(graph=tf.Graph()) as session:
        meta_graph = savedmodel.load(session, flags.model, flags.tag.split(","), flags.allow_op, flags.trust)
        signature = model_file.find_signature(meta_graph, flags.signature)
        unknown = sorted(set(texts) - set(signature.inputs))
        if unknown:
            present = ", ".join(sorted(signature.inputs))
            raise ValueError(f"no such input: {unknown[0]} (the model has: {present})")
        feed = {key: make_feed(key, info, texts) for key, info in signature.inputs.items()}
        for key, info in sorted(signature.inputs.items()):
            print(f"input {key} = {info.name} {feed[key].dtype} {list(feed[key].shape)}")
        results = savedmodel.calculate(session, meta_graph, flags.signature, feed)
        for key, value in sorted(results.items()):
            print(f"output {key} = {signature.outputs[key].name} {value.dtype} {list(value.shape)}")
            print(np.array2string(value, threshold=20))


if __name__ == "__main__":
    command_line.run(main)
