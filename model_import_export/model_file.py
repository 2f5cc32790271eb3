"""Finds and reads a model's files: a frozen graph, a SavedModel, or the newest complete checkpoint in a folder.

A checkpoint is complete when its `.meta`, its `.index` and all its `.data` files exist; one of version 1 is a single
file next to its `.meta`. `Saver.save` writes the state file (`checkpoint`) before the `.meta`, so a process killed in
between leaves a state file that points to an incomplete checkpoint.
"""

import contextlib
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from model_import_export import ModelError, command_line
from model_import_export.graph_mode import new_saved_model, tf
from model_import_export.tensors import Names

FROZEN_GRAPH, SAVED_MODEL, CHECKPOINT = "frozen graph", "SavedModel", "checkpoint"
# The file names of a SavedModel, in the order in which the loader looks for them.
SAVED_MODEL_FILES = ("saved_model.cpb", "saved_model.pb", "saved_model.pbtxt")
KERAS_FILES = (".keras", ".h5", ".hdf5")
FILE_OF_CHECKPOINT = re.compile(r"(.+)\.(?:meta|index|data-\d{5}-of-\d{5})")
# How a protocol buffer in text form begins: with comments, or a field's name.
TEXT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:#[^\n]*\s+)*[a-z_]+\s*[:{<]")
MAX_BYTES = 1 << 30
SHARD = re.compile(r"(.+)\.data-(\d{5})-of-(\d{5})")


class Model(NamedTuple):
    """A model that TensorFlow may load."""

    kind: str
    path: str  # the frozen graph, the SavedModel's folder or the checkpoint's prefix
    names: Names = Names()
    meta_graph: Any = None  # for a checkpoint


def files_of(path: str) -> list[str]:
    """A model's files: all files in a SavedModel's folder, the file itself, or those with a checkpoint's prefix."""
    if os.path.isdir(path):
        return [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    folder, name = os.path.split(path)
    beside = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
    parts = (FILE_OF_CHECKPOINT.fullmatch(each) for each in beside)
    found = [os.path.join(folder, part[0]) for part in parts if part and part[1] == name]
    if found and f"{path}.meta" not in found and (text := graph_beside(path)):
        found.append(text)
    return found + [path] * os.path.isfile(path)


def read_file(path: str) -> bytes:
    """Reads a model's file. Raises ModelError if it is empty, too large or not a regular file; or OSError."""
    data = read_regular(path, MAX_BYTES)
    if not data:
        raise ModelError(f"not a usable model file: {path} is empty")
    return data


def read_regular(path: str, limit: int = 1 << 20) -> bytes:
    """Reads a regular file of at most `limit` bytes; a FIFO would block forever. Raises ModelError or OSError."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"not a usable model file: {path} is not a regular file")
    if status.st_size > limit:
        raise ModelError(f"not a usable model file: {path} is larger than {limit >> 20} MiB")
    with open(path, "rb") as file:
        return file.read()


def parse(message: Any, data: bytes, path: str, text: bool | None = None) -> Any:
    """Parses `data` into a protocol buffer: a GraphDef, MetaGraphDef or SavedModel.

    Args:
        text: whether `data` is in text form. By default it is binary if it parses as binary, as consumers that read
            only binary take it: a file can be crafted to be one graph as binary and another as text.

    Raises:
        ModelError: `data` is not such a protocol buffer.
    """
    from google.protobuf import message as protobuf
    from google.protobuf import text_format

    try:
        if text is None and TEXT.match(data):
            with contextlib.suppress(protobuf.DecodeError):
                message.ParseFromString(data)
                return message
            message.Clear()
            text = True
        if text:
            text_format.Parse(data, message)
        else:
            message.ParseFromString(data)
    except (protobuf.DecodeError, text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"not a {message.DESCRIPTOR.name}: {path}: {error}") from None
    return message


def kind_of(path: str) -> str:
    """The kind of the model at a path.

    Raises:
        ModelError: there is no model, or it must be frozen first.
    """
    if any(os.path.exists(os.path.join(path, name)) for name in SAVED_MODEL_FILES):
        return SAVED_MODEL
    if os.path.isdir(path) or os.path.exists(f"{path}.index") or os.path.exists(f"{path}.meta"):
        return CHECKPOINT
    if not os.path.exists(path):
        step = "./freeze_graph_linear_regression.sh" if path.endswith(".pb") else "python model_producer.py"
        raise ModelError(f"no model: {path} (run {step} first, or give --model)")
    if path.endswith(KERAS_FILES):
        raise ModelError(f"not a frozen graph or SavedModel: {path} (a Keras file; freeze it with model_freeze.py)")
    if os.path.basename(path) in SAVED_MODEL_FILES:
        raise ModelError(f"not a frozen graph: {path} is a file of a SavedModel (give its folder)")
    is_checkpoint = FILE_OF_CHECKPOINT.fullmatch(path) or os.path.basename(path) == "checkpoint"
    return CHECKPOINT if is_checkpoint else FROZEN_GRAPH


def require_graph(path: str) -> str:
    """The kind of a model that must be a frozen graph or a SavedModel: only `model_consumer.py` takes checkpoints.

    Raises:
        ModelError: there is no model, or it is a checkpoint.
    """
    kind = kind_of(path)
    if kind == CHECKPOINT:
        if os.path.isdir(path) and not any(_prefixes(path)) and not os.path.exists(os.path.join(path, "checkpoint")):
            raise ModelError(f"not a usable model file: {path} is not a regular file")
        raise ModelError(
            f"not a frozen graph or SavedModel: {path} "
            "(it holds Saver checkpoints; freeze it with python model_freeze.py)"
        )
    return kind


def read_frozen_graph(path: str) -> Any:
    """Reads a GraphDef, and clears the devices of the machine that wrote it. Raises ModelError or OSError."""
    graph_def = parse(tf.GraphDef(), read_file(path), path)
    for node in graph_def.node:
        node.device = ""
    return graph_def


def read_saved_model(folder: str) -> Any:
    """Reads the SavedModel protocol buffer in a folder. Raises ModelError or OSError."""
    path = next((p for name in SAVED_MODEL_FILES if os.path.exists(p := os.path.join(folder, name))), None)
    if path is None:
        raise ModelError(f"not a SavedModel: {folder} (it holds no saved_model.pb and no saved_model.pbtxt)")
    if path.endswith(".cpb"):
        raise ModelError(f"not a usable model file: {path} is a SavedModel in chunks, which nothing here checks")
    return parse(new_saved_model(), read_file(path), path, path.endswith(".pbtxt"))  # as TensorFlow's loader does


def find_meta_graph(saved_model: Any, tags: Iterable[str]) -> Any:
    """The MetaGraphDef that the loader loads for exactly these tags. Raises ModelError that lists the existing tags."""
    wanted = frozenset(tags)
    for meta_graph in saved_model.meta_graphs:
        if frozenset(meta_graph.meta_info_def.tags) == wanted:
            return meta_graph
    present = "; ".join(",".join(meta_graph.meta_info_def.tags) for meta_graph in saved_model.meta_graphs)
    raise ModelError(f"no such tag: {','.join(tags)} (the model has: {present})")


def read_meta_graph(prefix: str) -> Any:
    """Reads a checkpoint's `.meta`, or the graph next to it. Raises ModelError or OSError."""
    if not os.path.exists(f"{prefix}.meta") and (text := graph_beside(prefix)):
        return with_saver(parse(tf.GraphDef(), read_file(text), text))
    meta_graph = parse(tf.MetaGraphDef(), read_file(f"{prefix}.meta"), f"{prefix}.meta")
    meta_graph.DiscardUnknownFields()  # TensorFlow's own parser may see more in them
    return meta_graph


def with_saver(graph_def: Any) -> Any:
    """Wraps a graph in a MetaGraphDef, with operations that restore its variables by name."""
    meta_graph = tf.MetaGraphDef(graph_def=graph_def)
    nodes = meta_graph.graph_def.node
    variables = [node for node in nodes if node.op in ("Variable", "VariableV2")]
    if any(node.op == "VarHandleOp" for node in nodes):
        raise ModelError(
            "not a graph that says how its variables are restored: it has resource variables (give the .meta)"
        )

    def add(op: str, name: str, *inputs: str) -> Any:
        return nodes.add(op=op, name=f"model_import_export/{name}", input=inputs)

    for name, value in (
        ("file", b""),
        ("names", [v.name.encode() for v in variables]),
        ("parts", [b""] * len(variables)),
    ):
        node = add("Const", name)
        node.attr["dtype"].type = tf.string.as_datatype_enum
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value, tf.string))
    prefix = "model_import_export/"
    restore = add("RestoreV2", "restore", f"{prefix}file", f"{prefix}names", f"{prefix}parts")
    restore.attr["dtypes"].list.type.extend(variable.attr["dtype"].type for variable in variables)
    done = add("NoOp", "restore_all")
    for i, variable in enumerate(variables):
        assign = add("Assign", f"assign_{i}", variable.name, f"{prefix}restore:{i}" if i else f"{prefix}restore")
        assign.attr["T"].type = variable.attr["dtype"].type
        assign.attr["validate_shape"].b = assign.attr["use_locking"].b = True
        done.input.append(f"^{assign.name}")
    saver = meta_graph.saver_def
    saver.filename_tensor_name, saver.save_tensor_name = f"{prefix}file:0", f"{prefix}file:0"
    saver.restore_op_name, saver.version = done.name, tf.train.SaverDef.V2
    return meta_graph


def complete_names(names: Names, meta_graph: Any) -> Names:
    """Fills in a missing input or output: the first tensor of the collections `inputs` and `y_calc`."""
    inputs, outputs = (collection(meta_graph, name)[:1] for name in ("inputs", "y_calc"))
    return names._replace(input=names.input or "".join(inputs) or None, outputs=names.outputs or outputs)


def collection(meta_graph: Any, name: str) -> list[str]:
    """The names of the tensors and operations in a collection of a MetaGraphDef; none if it does not exist."""
    # Looking up a missing key in a protocol buffer's map would add it.
    return list(meta_graph.collection_def[name].node_list.value) if name in meta_graph.collection_def else []


@contextlib.contextmanager
def explaining(path: str, tag: str = "") -> Iterator[None]:
    """Turns TensorFlow's errors while it loads a model into a ModelError: one line that names the model."""
    try:
        yield
    except ModelError:
        raise
    except (ValueError, RuntimeError, TypeError, KeyError, IndexError, tf.errors.OpError) as error:
        if "MetaGraphDef associated with tags" in str(error):
            raise ModelError(f"no such tag: {tag} (python model_check.py --list {path} shows those it has)") from None
        raise ModelError(f"cannot load: {path}: {command_line.one_line(error)}") from error


def newest_complete(path: str) -> str:
    """The prefix of the newest complete checkpoint, such as `saved_model/linear_regression.ckpt-1900`.

    A newer checkpoint that is incomplete is skipped, with a line on standard error.

    Args:
        path: a folder with a state file, or a prefix.

    Raises:
        ModelError: there is no complete checkpoint, or `path` is a single file of one.
        OSError: the state file cannot be read.
    """
    if not os.path.isdir(path):
        if os.path.basename(path) == "checkpoint":
            raise ModelError(f"not a checkpoint: {path} only says which is the newest (give its folder)")
        if file := FILE_OF_CHECKPOINT.fullmatch(path):
            raise ModelError(f"not a checkpoint: {path} is one file of it (give the prefix {file[1]})")
        if not files_of(path):
            raise ModelError(f"no checkpoint: {path} (run python model_producer.py first, or name another)")
        if missing := missing_file(path):
            raise ModelError(_incomplete(path, missing))
        return _nameable(path)
    incomplete = []
    for prefix in _listed(path):
        missing = missing_file(prefix)
        if not missing:
            for older in incomplete:
                command_line.warn(f"incomplete checkpoint: {older} (using {prefix})")
            return _nameable(prefix)
        incomplete.append(f"{prefix} has no {missing} file")
    if len(incomplete) == 1 and is_object_based(prefix):
        raise ModelError(_incomplete(prefix, ".meta"))
    there = ", ".join(sorted(prefix for prefix in _prefixes(path) if not missing_file(prefix)))
    if there and not os.path.exists(os.path.join(path, "checkpoint")):
        raise ModelError(f"no file checkpoint: {path} does not say which is the newest (give one of: {there})")
    hint = f"give one of: {there}" if there else "run python model_producer.py first"
    raise ModelError(f"no complete checkpoint: {path} ({hint})")


def _incomplete(prefix: str, missing: str) -> str:
    if missing == ".meta" and is_object_based(prefix):
        return (
            f"not a checkpoint of TensorFlow 1: {prefix} is an object-based one of TensorFlow 2, which has no graph "
            "(save the model with model.export() or tf.saved_model.save())"
        )
    return f"incomplete checkpoint: {prefix} has no {missing} file (give another one, or the folder)"


def is_object_based(prefix: str) -> bool:
    """Whether a checkpoint was written by `tf.train.Checkpoint`, whose values belong to Python objects."""
    with contextlib.suppress(OSError), open(f"{prefix}.index", "rb") as file:
        return b"_CHECKPOINTABLE_OBJECT_GRAPH" in file.read(1 << 24)
    return False


def _nameable(prefix: str) -> str:
    """Returns the prefix. Raises ModelError if TensorFlow, which reads it as a pattern, would not find it."""
    if odd := [character for character in prefix if character in "*?[\\"]:
        raise ModelError(f"not a path that TensorFlow restores from: {prefix} has {odd[0]} in it (rename it)")
    return prefix


def _prefixes(folder: str) -> Iterator[str]:
    """The prefixes of the checkpoints in a folder, complete or not."""
    found = {name.rpartition(".")[0] for name in os.listdir(folder) if name.endswith((".meta", ".index"))}
    return (os.path.join(folder, name) for name in found)


def _listed(folder: str) -> Iterator[str]:
    """The prefixes that a folder's state file lists, newest first."""
    state = os.path.join(folder, "checkpoint")
    if not os.path.exists(state):
        return
    names = parse_state(read_regular(state), state)
    for name in dict.fromkeys(names[:1] + names[:0:-1]):
        # TensorFlow writes absolute paths by default, and the folder may have moved since, so its own files come first.
        here, there = os.path.join(folder, os.path.basename(name)), os.path.join(folder, name)
        yield there if missing_file(here) and not missing_file(there) else here


def parse_state(data: bytes, path: str) -> list[str]:
    """The paths in a state file: the newest first, then all as listed. Raises ModelError.

    The file is a CheckpointState in text form. Its type is declared here because TensorFlow's takes seconds to import.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

    file = descriptor_pb2.FileDescriptorProto(name="checkpoint_state", package="model_import_export")
    message = file.message_type.add(name="CheckpointState")
    kinds = descriptor_pb2.FieldDescriptorProto
    for number, (name, kind, label) in enumerate(
        (
            ("model_checkpoint_path", kinds.TYPE_BYTES, kinds.LABEL_OPTIONAL),
            ("all_model_checkpoint_paths", kinds.TYPE_BYTES, kinds.LABEL_REPEATED),
            ("all_model_checkpoint_timestamps", kinds.TYPE_DOUBLE, kinds.LABEL_REPEATED),
            ("last_preserved_timestamp", kinds.TYPE_DOUBLE, kinds.LABEL_OPTIONAL),
        ),
        1,
    ):
        message.field.add(name=name, number=number, type=kind, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    state = message_factory.GetMessageClass(pool.FindMessageTypeByName("model_import_export.CheckpointState"))()
    try:
        text_format.Parse(data, state, allow_unknown_field=True)
    except (text_format.ParseError, UnicodeDecodeError):
        raise ModelError(f"not a checkpoint's state file: {path} (give the prefix of a checkpoint)") from None
    newest = [state.model_checkpoint_path] if state.model_checkpoint_path else []
    return list(map(os.fsdecode, [*newest, *state.all_model_checkpoint_paths]))


def missing_file(prefix: str) -> str | None:
    """The ending of a file that a checkpoint lacks (`.index`, `.meta`, a shard); None if it is complete."""
    folder, name = os.path.split(prefix)
    if os.path.isfile(prefix) and not os.path.exists(f"{prefix}.index"):  # version 1
        return None if os.path.isfile(f"{prefix}.meta") else ".meta"
    files = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
    shards = [match for file in files if (match := SHARD.fullmatch(file)) and match[1] == name]
    if not shards:
        return ".data"
    for i in range(int(shards[0][3])):
        shard = f".data-{i:05}-of-{shards[0][3]}"
        if not os.path.isfile(prefix + shard):
            return shard
    if not os.path.isfile(f"{prefix}.index"):
        return ".index"
    return None if os.path.isfile(f"{prefix}.meta") or graph_beside(prefix) else ".meta"


def graph_beside(prefix: str) -> str | None:
    """The text GraphDef next to a checkpoint without a `.meta`: of the same name, `graph.pbtxt`, or the only one."""
    folder = os.path.dirname(prefix) or "."
    texts = [name for name in os.listdir(folder) if name.endswith((".pbtxt", ".pb.txt"))]
    for name in (f"{os.path.basename(prefix)}.pbtxt", "graph.pbtxt", *(texts if len(texts) == 1 else [])):
        if name in texts and not is_object_based(prefix):
            return os.path.join(folder, name)
    return None


if __name__ == "__main__":  # python -m model_import_export.model_file PATH, for the freeze script
    sys.argv[0] = os.environ.get("PROGRAM", "model_file")
    command_line.run(lambda: print(newest_complete(sys.argv[1])))
