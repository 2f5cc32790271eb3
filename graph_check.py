"""The checks that a graph passes before TensorFlow runs it.

A graph is a program: one that holds `WriteFile` writes files, one of 660 bytes can ask for terabytes or loop for ever,
and some abort the process, which no `except` catches. So a model's file is looked at before TensorFlow imports it.
`trust` skips what a model of one's own making does not need: the size limit, check 3 and check 6.

The order and the words are the same in every language.
"""

import hashlib
import math
import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graph_mode import tf

MAX_BYTES = 256 << 20
MAX_NODES = 20_000
MAX_INPUTS = 1_000  # of one node
MAX_EDGES = 100_000
MAX_CHAIN = 1_000
MAX_WINDOW = 1_024  # a stride, dilation, padding or side of a window
MAX_SPLAT = 1 << 20  # elements of a constant that the file does not hold one by one
MAX_ELEMENTS = 16 << 20  # elements of one operation's output
MAX_TOTAL = 64 << 20  # elements of all of them
MAX_RANK = 254  # with more dimensions TensorFlow ends the process
MAX_BATCH = 4_096  # numbers of --stdin in one run

# Pure calculation: nothing here reads, writes, loops, calls, or allocates what a number in the graph says.
OPERATIONS = frozenset(
    """
    Placeholder Const Identity NoOp
    Abs Acos Acosh Add AddN AddV2 Asin Asinh Atan Atan2 Atanh Ceil Cos Cosh Div DivNoNan Erf Erfc Exp Expm1 Floor
    FloorDiv FloorMod Inv IsFinite IsInf IsNan Log Log1p Maximum Minimum Mod Mul MulNoNan Neg OnesLike Pow RealDiv
    Reciprocal Rint Round Rsqrt Select SelectV2 Sign Sin Sinh Sqrt Square SquaredDifference Sub Tan TruncateDiv
    TruncateMod Xdivy Xlogy ZerosLike
    Equal Greater GreaterEqual Less LessEqual LogicalAnd LogicalNot LogicalOr NotEqual
    MatMul BiasAdd
    Elu LeakyRelu LogSoftmax Relu Relu6 Selu Sigmoid Softmax Softplus Softsign Tanh
    All Any ArgMax ArgMin Max Mean Min Prod Sum
    Cast ConcatV2 ExpandDims Pad Reshape Squeeze
    Conv2D Conv3D DepthwiseConv2dNative AvgPool AvgPool3D MaxPool MaxPool3D
    FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3
    """.split()
)
# What a SavedModel needs besides: variables, saving and restoring them, parsing tf.Example, lookup tables.
SAVED_MODEL_OPERATIONS = OPERATIONS.union(
    """
    Assign AssignVariableOp ReadVariableOp VarHandleOp VarIsInitializedOp Variable VariableV2
    MergeV2Checkpoints Pack PlaceholderWithDefault RestoreV2 SaveV2 ShardedFilename StaticRegexFullMatch StringJoin
    ParseExample ParseExampleV2
    HashTable HashTableV2 InitializeTable InitializeTableFromTextFile InitializeTableFromTextFileV2 InitializeTableV2
    LookupTableFind LookupTableFindV2 LookupTableSize LookupTableSizeV2
    """.split()
)
# What the producer's graph needs besides, which stands whole in the .meta of a checkpoint.
CHECKPOINT_OPERATIONS = OPERATIONS.union(
    """
    ApplyAdagrad Assign BroadcastGradientArgs Fill HistogramSummary MergeSummary PlaceholderWithDefault RestoreV2
    SaveV2 ScalarSummary Shape Tile VariableV2
    """.split()
)
# The inputs that say a shape or an axis. They must be constants, so that sizes are known before anything runs.
SHAPE_INPUT = dict.fromkeys(
    ("All", "Any", "ArgMax", "ArgMin", "ExpandDims", "Max", "Mean", "Min", "Pad", "Prod", "Reshape", "Sum"), 1
) | {"ConcatV2": -1}
# The dtypes that a constant may have, and the field of a TensorProto that holds its elements where they do not stand as
# bytes in tensor_content.
ELEMENTS = {
    "float32": "float_val", "float64": "double_val", "float16": "half_val", "bfloat16": "half_val",
    "int8": "int_val", "int16": "int_val", "int32": "int_val", "int64": "int64_val",
    "uint8": "int_val", "uint16": "int_val", "uint32": "uint32_val", "uint64": "uint64_val",
    "bool": "bool_val", "string": "string_val",
}  # fmt: skip


class ModelError(ValueError):
    """A model that is refused; its text names the fault, the file or node, and what to do."""


def read_file(path: str, trust: bool = False) -> bytes:
    """Reads a model's file: checks 1 (regular, not empty, not too large) and 2 (its digest, where one is kept).

    Raises:
        ModelError: the file is refused.
        OSError: it cannot be read.
    """
    data = read_regular(path, None if trust else MAX_BYTES, " (--trust lifts the limit)")
    if not data:
        raise ModelError(f"not a usable model file: {path} is empty")
    listed = listed_digest(path)
    if listed and listed != hashlib.sha256(data).hexdigest():
        raise ModelError(f"digest mismatch: {path} is not the file that SHA256SUMS lists (freeze it again)")
    return data


def read_regular(path: str, limit: int | None = 1 << 20, hint: str = "") -> bytes:
    """Reads a regular file of at most `limit` bytes: a FIFO would wait for ever. Raises ModelError or OSError."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ModelError(f"not a usable model file: {path} is not a regular file")
    if limit is not None and status.st_size > limit:
        raise ModelError(f"not a usable model file: {path} is larger than {limit >> 20} MiB{hint}")
    with open(path, "rb") as file:
        return file.read()


def listed_digest(path: str) -> str | None:
    """The SHA-256 digest that the `SHA256SUMS` beside a file lists for it, in hexadecimal; None where it lists none."""
    folder, name = os.path.split(path)
    sums = os.path.join(folder, "SHA256SUMS")
    if not os.path.exists(sums):
        return None
    lines = os.fsdecode(read_regular(sums)).split("\n")
    matches = (re.fullmatch(r"([0-9a-fA-F]{64}) [ *](.+)", line) for line in lines)
    return next((match[1].lower() for match in matches if match and match[2] == name), None)


def parse(message: Any, data: bytes, path: str) -> Any:
    """Parses `data` into the protocol buffer `message`: a GraphDef, MetaGraphDef or SavedModel, binary or `.pbtxt`.

    Raises:
        ModelError: it is not one.
    """
    from google.protobuf import message as protobuf
    from google.protobuf import text_format

    try:
        if path.endswith(".pbtxt"):
            text_format.Parse(data, message)
        else:
            message.ParseFromString(data)
    except (protobuf.DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
        raise ModelError(f"not a {message.DESCRIPTOR.name}: {path}: {error}") from None
    return message


def check_graph(graph_def: Any, operations: Collection[str]) -> None:
    """Check 3: a GraphDef of a sane size that holds nothing but `operations`, without loops, with sound constants.

    Raises:
        ModelError: it names the operation or the node at fault.
    """
    nodes = graph_def.node
    if not 1 <= len(nodes) <= MAX_NODES:
        raise ModelError(f"refused graph: it has {len(nodes)} nodes (1 to {MAX_NODES} are accepted)")
    if graph_def.library.ByteSize():
        raise ModelError(
            "refused graph: it has a function library, as all that tf.saved_model.save writes have "
            "(--trust accepts it, for a model you made yourself)"
        )
    for node in nodes:
        if node.op not in operations:
            raise ModelError(
                f"operation not allowed: {node.op} in node {node.name} "
                f"(--allow-op {node.op} accepts it, --trust accepts all)"
            )
        if node.op in OPERATIONS and sum(not name.startswith("^") for name in node.input) > MAX_INPUTS:
            raise ModelError(f"refused graph: node {node.name} has more than {MAX_INPUTS} inputs")
        for name in ("strides", "dilations", "ksize", "explicit_paddings"):
            if name in node.attr and any(not 0 <= size <= MAX_WINDOW for size in node.attr[name].list.i):
                raise ModelError(f"refused graph: {name} of node {node.name} are not all from 0 to {MAX_WINDOW}")
        if node.op == "Const":
            _check_constant(node)
    if sum(len(node.input) for node in nodes) > MAX_EDGES:
        raise ModelError(f"refused graph: its nodes have more than {MAX_EDGES} inputs together")
    _check_edges(nodes)


def check_loading(meta_graph: Any, folder: str) -> None:
    """Check 3 for what loading runs: it writes nothing, restores from the model's own files, reads its own assets.

    Args:
        folder: of a SavedModel; its assets stand there.

    Raises:
        ModelError: it names the node or the file at fault.
    """
    saver = meta_graph.saver_def
    roots = [saver.restore_op_name]
    roots += collection(meta_graph, "saved_model_main_op") + collection(meta_graph, "legacy_init_op")
    if "__saved_model_init_op" in meta_graph.signature_def:
        roots += [tensor.name for tensor in meta_graph.signature_def["__saved_model_init_op"].outputs.values()]
    for node in _upstream(meta_graph.graph_def, roots):
        _refuse_writing(node)
    assets = {operation_name(asset.tensor_info.name): asset.filename for asset in _assets(meta_graph)}
    for node in meta_graph.graph_def.node:
        source = operation_name(node.input[0 if node.op == "RestoreV2" else 1]) if len(node.input) > 1 else ""
        if node.op == "RestoreV2" and source != operation_name(saver.filename_tensor_name):
            raise ModelError(f"refused graph: node {node.name} restores from a file that is not the model's")
        if node.op.startswith("InitializeTableFromTextFile"):
            if source not in assets or os.path.basename(assets[source]) != assets[source]:
                raise ModelError(f"refused graph: node {node.name} reads a file that is not an asset of the model")
            read_regular(os.path.join(folder, "assets", assets[source]), MAX_BYTES)


def _assets(meta_graph: Any) -> Iterator[Any]:
    """The AssetFileDefs, which TensorFlow 1.x's builder writes into a collection instead of the field made for them."""
    yield from meta_graph.asset_file_def
    if "saved_model_assets" in meta_graph.collection_def:
        for packed in meta_graph.collection_def["saved_model_assets"].any_list.value:
            asset = tf.MetaGraphDef().asset_file_def.add()
            if packed.Unpack(asset):
                yield asset


def _refuse_writing(node: Any) -> None:
    if node.op in ("SaveV2", "MergeV2Checkpoints"):
        raise ModelError(f"refused graph: node {node.name} would write a file when the model is used")


def collection(meta_graph: Any, name: str) -> list[str]:
    """The names of the tensors and operations in a collection of a MetaGraphDef; none where it is not there."""
    # Asking a protocol buffer's map for a key would add it.
    return list(meta_graph.collection_def[name].node_list.value) if name in meta_graph.collection_def else []


def _upstream(graph_def: Any, names: Iterable[str], fed: Iterable[str] = ()) -> Iterator[Any]:
    """The nodes that these operations or tensors depend on, themselves included, up to those that are fed."""
    nodes = {node.name: node for node in graph_def.node}
    seen, todo = set(fed), list(map(operation_name, names))
    while todo:
        node = nodes.get(name := todo.pop())
        if node and name not in seen:
            seen.add(name)
            todo.extend(map(operation_name, node.input))
            yield node


def _check_constant(node: Any) -> None:
    tensor, dims = node.attr["value"].tensor, node.attr["value"].tensor.tensor_shape.dim
    if tensor.dtype != node.attr["dtype"].type:  # aborts the process
        raise ModelError(
            f"refused graph: Const {node.name} holds {_dtype_name(tensor.dtype)}, "
            f"its dtype is {_dtype_name(node.attr['dtype'].type)}"
        )
    dtype = _dtype_name(tensor.dtype)
    if dtype not in ELEMENTS:
        raise ModelError(f"refused graph: Const {node.name} is of type {dtype}")
    if tensor.tensor_shape.unknown_rank or any(dim.size < 0 for dim in dims):
        raise ModelError(f"refused graph: Const {node.name} has no definite shape")
    if len(dims) > MAX_RANK:
        raise ModelError(f"refused graph: Const {node.name} has {len(dims)} dimensions (at most {MAX_RANK})")
    declared = math.prod(dim.size for dim in dims)
    elements, content = getattr(tensor, ELEMENTS[dtype]), tensor.tensor_content
    if content and (dtype == "string" or len(content) != declared * tf.as_dtype(dtype).size):
        raise ModelError(f"refused graph: Const {node.name} holds {len(content)} bytes for {declared} elements")
    # Where a file holds fewer elements than the shape asks for, TensorFlow repeats the last.
    most = MAX_SPLAT if dtype != "string" else len(elements)
    if not content and (len(elements) > declared or len(elements) < declared > most):
        raise ModelError(f"refused graph: Const {node.name} holds {len(elements)} of {declared} elements")
    if tf.as_dtype(dtype).is_floating:
        if ELEMENTS[dtype] == "half_val":
            bits = np.frombuffer(content, np.uint16) if content else np.array(elements)
            exponent = 0x7C00 if dtype == "float16" else 0x7F80
            finite = np.all(bits.astype(np.int64) & exponent != exponent)
        else:
            values = np.frombuffer(content, dtype) if content else np.array(elements)
            finite = np.isfinite(values).all()
        if not finite:
            raise ModelError(f"refused graph: Const {node.name} holds a value that is not finite")


def _dtype_name(number: int) -> str:
    try:
        return tf.as_dtype(number).name
    except TypeError:
        return f"the unknown type {number}"


def _check_edges(nodes: Sequence[Any]) -> None:
    """Inputs that are there, shapes from constants, no cycle, no chain: TensorFlow walks some paths by recursion."""
    position: dict[str, int] = {}
    for i, node in enumerate(nodes):
        if position.setdefault(node.name, i) != i:
            raise ModelError(f"refused graph: two nodes are named {node.name}")
    users: list[list[int]] = [[] for _ in nodes]
    for i, node in enumerate(nodes):
        for name in node.input:
            source = position.get(operation_name(name))
            if source is None:
                raise ModelError(f"refused graph: the input {name} of node {node.name} is not in it")
            users[source].append(i)
        shape = SHAPE_INPUT.get(node.op)
        data = [name for name in node.input if not name.startswith("^")]
        if shape is not None and len(data) > 1:
            source = nodes[position[operation_name(data[shape])]]
            if source.op in SAVED_MODEL_OPERATIONS and source.op != "Const":
                raise ModelError(
                    f"refused graph: node {node.name} takes a shape or an axis from node {source.name}, no Const"
                )
    waiting = [len(node.input) for node in nodes]
    length = [1] * len(nodes)
    ready = [i for i, inputs in enumerate(waiting) if not inputs]
    for i in ready:  # grows as nodes come free: a topological order
        if length[i] > MAX_CHAIN:
            raise ModelError(f"refused graph: a chain of more than {MAX_CHAIN} nodes leads to node {nodes[i].name}")
        for user in users[i]:
            length[user] = max(length[user], length[i] + 1)
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    for i, inputs in enumerate(waiting):
        if inputs:
            raise ModelError(f"refused graph: node {nodes[i].name} depends on a cycle")


def operation_name(tensor: str) -> str:
    """The operation's name in the name of a tensor (`x:0`), of an operation (`x`) or of a control input (`^x`)."""
    return tensor.removeprefix("^").partition(":")[0]


def find_placeholder(graph_def: Any, name: str) -> Any:
    """Check 4, the input: the NodeDef of the placeholder of that operation or tensor name, float64 or float32.

    Raises:
        ModelError: there is none; it lists those there are.
    """
    placeholders = {node.name: node for node in graph_def.node if node.op == "Placeholder"}
    node = placeholders.get(name.removesuffix(":0"))
    if node is None:
        raise ModelError(f"no such input: {name} (the model has: {', '.join(placeholders) or 'none'})")
    dtype = _dtype_name(node.attr["dtype"].type)
    if dtype not in ("float64", "float32"):
        raise ModelError(f"refused graph: the placeholder {node.name} is of type {dtype}, not float64 or float32")
    return node


def check_output(graph_def: Any, name: str, fed: Iterable[str]) -> None:
    """Check 4, the output: an operation of that name is there, and all that it depends on is fed, and saves nothing.

    Args:
        fed: the names of the placeholders that are fed.

    Raises:
        ModelError: it names the nearest operations, or the placeholder that lacks a value.
    """
    names = [node.name for node in graph_def.node]
    wanted = operation_name(name)
    if wanted not in names:
        raise ModelError(f"no such output: {name} (the nearest: {', '.join(nearest(wanted, names))})")
    for node in _upstream(graph_def, [name], fed):
        _refuse_writing(node)
        if node.op == "Placeholder":
            raise ModelError(f"no value for the placeholder: {node.name} (give --feed {node.name}=...)")


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """The three of `names` that have the longest beginning and end in common with `name`."""

    def common(other: str) -> int:
        ends = os.path.commonprefix([name[::-1], other[::-1]])
        return -len(os.path.commonprefix([name, other])) - len(ends)

    return sorted(names, key=common)[:3]


def dtype_of(node: Any) -> np.dtype:
    """A placeholder's type."""
    return np.dtype(_dtype_name(node.attr["dtype"].type))


def placeholder_dims(node: Any) -> list[int] | None:
    """A placeholder's static shape, -1 where a dimension is open; None where the rank is."""
    if "shape" not in node.attr or node.attr["shape"].shape.unknown_rank:
        return None
    return [max(-1, dim.size) for dim in node.attr["shape"].shape.dim]


def check_shapes(graph_def: Any, shapes: Mapping[str, Sequence[int]], output: str, trust: bool = False) -> Any:
    """Check 6: with these shapes in the placeholders, no output has more than 16 Mi elements, nor all 64 Mi together.

    TensorFlow's own shape inference says so, in a graph that nothing runs. With the feed's shape in the placeholder it
    sees also what depends on the feed, which an open dimension would hide.

    Args:
        shapes: from the names of the placeholders that are fed to the shapes of their feeds.
        output: the operation or tensor that will be fetched.

    Returns:
        The output's `tf.TensorShape`.

    Raises:
        ModelError: an output is too large, the fetched one is no number, or TensorFlow does not take the graph.
    """
    probe = tf.GraphDef()
    probe.CopyFrom(graph_def)
    for node in probe.node:
        if node.name in shapes:
            node.attr["shape"].shape.CopyFrom(tf.TensorShape(shapes[node.name]).as_proto())
    graph = import_graph(probe)
    if not trust:
        _check_sizes(graph, {node.name for node in _upstream(probe, [output])})
    operation, index = graph.get_operation_by_name(operation_name(output)), output.partition(":")[2] or "0"
    if not index.isdecimal() or int(index) >= len(operation.outputs):
        raise ModelError(f"no such output: {output} ({operation.name} has {len(operation.outputs)})")
    tensor = operation.outputs[int(index)]
    if tensor.dtype.name not in ("float64", "float32", "bool") and not tensor.dtype.is_integer:
        raise ModelError(f"refused graph: the output {output} is of type {tensor.dtype.name}, not of numbers or bool")
    return tensor.shape


def _check_sizes(graph: Any, used: Collection[str]) -> None:
    total = 0
    for operation in graph.get_operations():
        output = f"refused graph: the output of node {operation.name}"
        for tensor in operation.outputs:
            elements = tensor.shape.num_elements()
            if elements is None and operation.name in used:
                raise ModelError(f"{output} has no definite shape")
            if (elements or 0) > MAX_ELEMENTS:
                raise ModelError(f"{output} has {elements} elements (at most {MAX_ELEMENTS})")
            if (tensor.shape.rank or 0) > MAX_RANK:
                raise ModelError(f"{output} has {tensor.shape.rank} dimensions (at most {MAX_RANK})")
            if elements and operation.name in used:
                total += elements
    if total > MAX_TOTAL:
        raise ModelError(f"refused graph: its outputs have {total} elements together (at most {MAX_TOTAL})")


def rows_a_run(graph_def: Any, name: str, shapes: Mapping[str, Sequence[int]], output: str, trust: bool = False) -> int:
    """Check 6 for `--stdin`. Returns how many rows go into one run, 4,096 numbers together at most.

    It is one where the first dimension of the placeholder or of the output does not count rows.
    """
    one = check_shapes(graph_def, shapes, output, trust)
    dims = placeholder_dims(next(node for node in graph_def.node if node.name == name))
    batch = MAX_BATCH // math.prod(shapes[name])
    if batch < 2 or (dims is not None and dims[:1] != [-1]):
        return 1
    many = check_shapes(graph_def, {**shapes, name: [batch, *shapes[name][1:]]}, output, trust)
    if one.rank is None or many.rank is None:
        return batch
    return batch if (one.as_list()[:1], many.as_list()[:1]) in (([1], [batch]), ([None], [None])) else 1


def import_graph(graph_def: Any) -> Any:
    """Imports a GraphDef into a `tf.Graph` of its own. Raises ModelError where TensorFlow does not take it."""
    graph = tf.Graph()
    try:
        with graph.as_default():
            tf.import_graph_def(graph_def, name="")
    except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        raise ModelError(f"refused graph: {error}") from None
    return graph
