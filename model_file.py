"""Reads a model's files: a frozen graph, a SavedModel, or the newest complete checkpoint of a folder.

What is read has passed checks 1 to 3 of `graph_check`, so that TensorFlow may have it.

A checkpoint is complete when its `.meta`, its `.index` and all its `.data` files are there. `Saver.save` writes the
state file (`checkpoint`) before the `.meta`: a process killed in between leaves one that points at an incomplete one.
"""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import command_line
import graph_check
from graph_check import ModelError
from graph_mode import new_saved_model, tf

FROZEN_GRAPH, SAVED_MODEL, CHECKPOINT = "frozen graph", "SavedModel", "checkpoint"
# The names under which a folder can hold a SavedModel, in the order in which the loader looks for them.
SAVED_MODEL_FILES = ("saved_model.cpb", "saved_model.pb", "saved_model.pbtxt")
FILE_OF_CHECKPOINT = re.compile(r"(.+)\.(?:meta|index|data-\d{5}-of-\d{5})")
STATE_LINE = re.compile(rb'^(?:all_)?model_checkpoint_paths?: "(.*)"$', re.MULTILINE)


class Model(NamedTuple):
    """A model whose files were read and checked."""

    kind: str
    path: str  # the frozen graph, the SavedModel's folder or the checkpoint's prefix
    proto: Any  # the GraphDef of a frozen graph, the MetaGraphDef of the others
    input: str  # the tensor or operation to feed
    output: str  # the tensor or operation to fetch
    keys: Mapping[str, str] = {}  # of a SavedModel, the signature's input keys and their tensor names

    @property
    def graph_def(self) -> Any:
        """The GraphDef, of whichever kind the model is."""
        return self.proto if self.kind == FROZEN_GRAPH else self.proto.graph_def


def kind_of(path: str) -> str:
    """Tells of which kind the model at a path is.

    Raises:
        ModelError: there is nothing.
    """
    if any(os.path.exists(os.path.join(path, name)) for name in SAVED_MODEL_FILES):
        return SAVED_MODEL
    if os.path.isdir(path) or os.path.exists(f"{path}.index") or os.path.exists(f"{path}.meta"):
        return CHECKPOINT
    if not os.path.exists(path):
        step = "./freeze_graph_linear_regression.sh" if path.endswith(".pb") else "python model_producer.py"
        raise ModelError(f"no model: {path} (run {step} first, or give --model)")
    return CHECKPOINT if FILE_OF_CHECKPOINT.fullmatch(path) else FROZEN_GRAPH


def read_frozen_graph(path: str, source: str, target: str, allow: Collection[str] = (), trust: bool = False) -> Model:
    """Reads a frozen graph. Raises ModelError where it is refused, OSError where it cannot be read."""
    if os.path.basename(path) in SAVED_MODEL_FILES:
        raise ModelError(f"not a GraphDef: {path}: it is a SavedModel (give its folder)")
    graph_def = graph_check.parse(tf.GraphDef(), graph_check.read_file(path, trust), path)
    if not trust:
        graph_check.check_graph(graph_def, graph_check.OPERATIONS.union(allow))
    return Model(FROZEN_GRAPH, path, graph_def, source, target)


def read_meta_graph(folder: str, tags: Collection[str], allow: Collection[str] = (), trust: bool = False) -> Any:
    """Reads from a SavedModel's folder the MetaGraphDef that the loader would load for just these tags.

    Raises:
        ModelError: it is refused; or it has no such tags, and then those that it has are listed.
        OSError: a file cannot be read.
    """
    path = next((p for name in SAVED_MODEL_FILES if os.path.exists(p := os.path.join(folder, name))), None)
    if path is None:
        raise ModelError(f"not a SavedModel: {folder} (it holds no saved_model.pb and no saved_model.pbtxt)")
    if path.endswith(".cpb"):
        raise ModelError(f"not a usable model file: {path} is a SavedModel in chunks, which nothing here checks")
    saved_model = graph_check.parse(new_saved_model(), graph_check.read_file(path, trust), path)
    by_tags = {frozenset(graph.meta_info_def.tags): graph for graph in reversed(saved_model.meta_graphs)}
    meta_graph = by_tags.get(frozenset(tags))
    if meta_graph is None:
        present = "; ".join(",".join(graph.meta_info_def.tags) for graph in saved_model.meta_graphs)
        raise ModelError(f"no such tag: {','.join(tags)} (the model has: {present})")
    if not trust:
        graph_check.check_graph(meta_graph.graph_def, graph_check.SAVED_MODEL_OPERATIONS.union(allow))
        graph_check.check_loading(meta_graph, folder)
    return meta_graph


def find_signature(meta_graph: Any, name: str) -> Any:
    """The SignatureDef of a name. Raises ModelError where there is none; it lists those there are."""
    if name not in meta_graph.signature_def:
        present = ", ".join(sorted(meta_graph.signature_def)) or "none"
        raise ModelError(f"no such signature: {name} (the model has: {present})")
    return meta_graph.signature_def[name]


def read_saved_model(
    folder: str,
    tags: Collection[str],
    signature: str,
    source: str | None = None,
    target: str | None = None,
    allow: Collection[str] = (),
    trust: bool = False,
) -> Model:
    """Reads a SavedModel with one signature of it.

    Args:
        source, target: keys of the signature's inputs and outputs; None takes the only one.

    Raises:
        ModelError: it is refused; or it has no such tags, signature or key, and then those that it has are listed.
        OSError: a file cannot be read.
    """
    meta_graph = read_meta_graph(folder, tags, allow, trust)
    signature_def = find_signature(meta_graph, signature)
    inputs, outputs = signature_def.inputs, signature_def.outputs
    keys = {key: inputs[key].name for key in inputs}
    return Model(
        SAVED_MODEL, folder, meta_graph, _find(inputs, source, "input"), _find(outputs, target, "output"), keys
    )


def _find(keys: Mapping[str, Any], key: str | None, kind: str) -> str:
    if key is None and len(keys) == 1:
        key = next(iter(keys))
    if key is None or key not in keys:
        raise ModelError(
            f"no such {kind}: {key or '(none given)'} (the model has: {', '.join(sorted(keys)) or 'none'})"
        )
    return keys[key].name


def read_checkpoint(
    path: str,
    source: str | None = None,
    target: str | None = None,
    allow: Collection[str] = (),
    trust: bool = False,
) -> Model:
    """Reads the `.meta` of a checkpoint: of a prefix, or of the newest complete one in a folder.

    Args:
        source, target: None takes the first tensor in the collection `inputs` and in `y_calc`.

    Raises:
        ModelError: there is no complete checkpoint, or it is refused, or it has no such collection.
        OSError: a file cannot be read.
    """
    prefix = newest_complete(path)
    meta_path = f"{prefix}.meta"
    meta_graph = graph_check.parse(tf.MetaGraphDef(), graph_check.read_file(meta_path, trust), meta_path)
    if not trust:
        graph_check.check_graph(meta_graph.graph_def, graph_check.CHECKPOINT_OPERATIONS.union(allow))
        graph_check.check_loading(meta_graph, os.path.dirname(prefix))
    found = []
    for collection, flag, name in (("inputs", "--input", source), ("y_calc", "--output", target)):
        names = [name] if name else graph_check.collection(meta_graph, collection)
        if not names:
            present = ", ".join(sorted(meta_graph.collection_def)) or "none"
            raise ModelError(f"no collection {collection}: {meta_path} (it has: {present}; give {flag})")
        found.append(names[0])
    return Model(CHECKPOINT, prefix, meta_graph, *found)


def newest_complete(path: str) -> str:
    """The prefix of the newest complete checkpoint, such as `saved_model/linear_regression.ckpt-1900`.

    A newer one that is not complete is passed over with a line on standard error.

    Args:
        path: a folder with a state file, or a prefix.

    Raises:
        ModelError: there is none, or `path` is a single file of one.
        OSError: the state file cannot be read.
    """
    if not os.path.isdir(path):
        if file := FILE_OF_CHECKPOINT.fullmatch(path):
            raise ModelError(f"not a checkpoint: {path} is one file of it (give the prefix {file[1]})")
        if missing := missing_file(path):
            raise ModelError(f"incomplete checkpoint: {path} has no {missing} file (give another one, or the folder)")
        return path
    incomplete = []
    for prefix in _listed(path):
        missing = missing_file(prefix)
        if not missing:
            for older in incomplete:
                command_line.warn(f"incomplete checkpoint: {older} (using {prefix})")
            return prefix
        incomplete.append(f"{prefix} has no {missing} file")
    raise ModelError(f"no complete checkpoint: {path} (run python model_producer.py first)")


def _listed(folder: str) -> Iterator[str]:
    """The prefixes that a folder's state file lists, newest first."""
    from google.protobuf.text_encoding import CUnescape

    state = os.path.join(folder, "checkpoint")
    listed = STATE_LINE.findall(graph_check.read_regular(state)) if os.path.exists(state) else []
    for text in dict.fromkeys(listed[:1] + listed[:0:-1]):
        try:
            name = os.fsdecode(CUnescape(text.decode("ascii")))
        except ValueError:  # not what TensorFlow writes
            continue
        # TensorFlow's default is absolute paths, and the folder may have been moved since: its own files come first.
        here, there = os.path.join(folder, os.path.basename(name)), os.path.join(folder, name)
        yield there if missing_file(here) and not missing_file(there) else here


def missing_file(prefix: str) -> str | None:
    """The ending of a file that a checkpoint lacks (`.data`, `.index`, `.meta`); None where it is complete."""
    folder, name = os.path.split(prefix)
    shard = re.compile(rf"{re.escape(name)}\.data-(\d{{5}})-of-(\d{{5}})")
    files = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
    shards = [match for file in files if (match := shard.fullmatch(file))]
    if (
        not shards
        or len(shards) != int(shards[0][2])
        or not all(os.path.isfile(f"{folder or '.'}/{s[0]}") for s in shards)
    ):
        return ".data"
    return next((ending for ending in (".index", ".meta") if not os.path.isfile(prefix + ending)), None)


def describe(model: Model) -> list[str]:
    """The lines of --list: placeholders, outputs or signatures, operations, versions."""
    graph = graph_check.import_graph(model.graph_def)
    lines = []
    for operation in graph.get_operations():
        if operation.type == "Placeholder":
            lines.append(f"placeholder: {_tensor(operation.outputs[0])}")
    for operation in graph.get_operations():
        ends = operation.outputs and not any(tensor.consumers() for tensor in operation.outputs)
        if model.kind == FROZEN_GRAPH and ends and operation.type not in ("Placeholder", "Const"):
            lines += [f"output: {_tensor(tensor)}" for tensor in operation.outputs]
    if model.kind == SAVED_MODEL:
        for name, signature in sorted(model.proto.signature_def.items()):
            lines.append(f"signature: {name}")
            for kind, keys in (("input", signature.inputs), ("output", signature.outputs)):
                lines += [
                    f"  {kind}: {key} = {_tensor(graph.get_tensor_by_name(keys[key].name))}" for key in sorted(keys)
                ]
    if model.kind == CHECKPOINT:
        lines.append(f"output: {_tensor(graph.get_tensor_by_name(model.output))}")
    return [
        *lines,
        f"operations: {len(graph.get_operations())}",
        f"producer version: {model.graph_def.versions.producer}",
        f"TensorFlow version: {tf.__version__}",
    ]


def _tensor(tensor: Any) -> str:
    return f"{tensor.op.name} {tensor.dtype.name} {'?' if tensor.shape.rank is None else _dims(tensor.shape)}"


def _dims(shape: Any) -> str:
    return f"[{', '.join('?' if dim is None else str(dim) for dim in shape.as_list())}]"
