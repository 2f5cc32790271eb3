"""Makes one small frozen graph of any TensorFlow model, which Python, Go and Java run.

    python model_freeze.py --model results/cnn.keras --save frozen_graphs/cnn.pb
    python model_freeze.py --model results/mlp --input x --output y \\
      --feed keep_prob=1 --save frozen_graphs/mlp.pb

Reads   a checkpoint (folder, prefix or .meta), a SavedModel folder, a GraphDef (binary or text) or a Keras file
Writes  the frozen graph, and its digest into frozen_graphs/SHA256SUMS
"""

import argparse
import os
from pathlib import Path

from model_import_export import command_line, digests, freezing, graph_check, model_file, trial
from model_import_export.tensors import Names


def find_model(path: str) -> str:
    """The path to read: for a checkpoint, the prefix of the newest complete one."""
    if path.endswith(model_file.KERAS_FILES) and os.path.isfile(path):
        return path
    path = path.removesuffix(".meta") if os.path.isfile(path) and path.endswith(".meta") else path
    return model_file.newest_complete(path) if model_file.kind_of(path) == model_file.CHECKPOINT else path


def freeze(path: str, flags: argparse.Namespace) -> tuple[bytes, list[str]]:
    """Freezes the model in a separate process, which may read only the model's files and those of --feed."""
    names = Names(None, flags.output, flags.tag, flags.signature)
    wish = freezing.Wish(names, flags.input, flags.feed, frozenset(flags.allow_op), flags.trust)
    arrays = [text for _, text in flags.feed if text.endswith(".npy")]
    return trial.run(path, freezing.freeze, path, wish, seconds=flags.seconds, beside=arrays)


def save(graph_def: bytes, flags: argparse.Namespace) -> list[str]:
    """Writes the frozen graph after checking it; if it is refused, nothing is written."""
    partial = flags.save.with_name(f".{flags.save.name}.partial")
    try:
        digests.write_whole(partial, graph_def)
        lines = graph_check.judge(str(partial), allow=flags.allow_op).lines
    except ValueError as error:
        raise ValueError(str(error).replace(str(partial), str(flags.save))) from None
    finally:
        partial.unlink(missing_ok=True)
    digests.write_whole(flags.save, graph_def)
    digests.add(flags.checked, [(str(flags.save), digests.digest(str(flags.save)))])
    what = f"accepted with {', '.join(flags.allow_op)}" if flags.allow_op else "pure calculation"
    lines = [line.replace(str(partial), str(flags.save)) for line in lines]
    return [*lines, f"{what}; its digest is in {flags.checked}"]


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--model", metavar="PATH", default="saved_model", help="freeze the model PATH")
    add(
        "--input",
        metavar="NAME",
        action="append",
        default=[],
        help="keep NAME as an input: an operation, tensor or signature key (default: all the outputs need); repeatable",
    )
    add(
        "--output",
        metavar="NAME",
        action="append",
        default=[],
        help="make NAME an output (default: the outputs of the signature, or the only one); repeatable",
    )
    add(
        "--feed",
        metavar="NAME=VALUES",
        action="append",
        type=command_line.name_and_value,
        default=[],
        help="make the placeholder NAME a constant: values or FILE.npy; repeatable",
    )
    add("--tag", metavar="NAME", default="serve", help="read the graph of a SavedModel that has the tag NAME")
    add("--signature", metavar="NAME", default="serving_default", help="use the signature NAME of a SavedModel")
    add("--save", metavar="FILE", type=Path, default="frozen_graphs/model.pb", help="write the frozen graph to FILE")
    add("--checked", metavar="FILE", default=digests.CHECKED, help="add the digest to the list FILE")
    add("--allow-op", metavar="OP", action="append", default=[], help="also accept the operation OP; repeatable")
    add(
        "--trust",
        action="store_true",
        help="freeze a model you made yourself without judging it first; the result is judged",
    )
    add(
        "--seconds",
        metavar="N",
        type=command_line.count,
        default=120,
        help="end freezing after N seconds of processor time",
    )
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    digests.check_replaceable(flags.save)
    path = find_model(flags.model)
    graph_def, lines = freeze(path, flags)
    checked = save(graph_def, flags)
    before = sum(map(os.path.getsize, model_file.files_of(path)))
    print(f"{path}: {before} bytes; {flags.save}: {len(graph_def)} bytes")
    print("\n".join([*lines, *checked]))


if __name__ == "__main__":
    command_line.run(main)
