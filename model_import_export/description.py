"""Describes a model in lines to print: its kind, version, signatures, inputs and outputs."""

from collections.abc import Iterable, Iterator
from typing import Any

from model_import_export import model_file, tensors
from model_import_export.graph_mode import tf
from model_import_export.graph_rules import MAX_NODES, definition_of, dtype_name, operation_name, output_count
from model_import_export.rows import show_shape

VARIABLE_NODES = ("Variable", "VariableV2", "VarHandleOp")
CHANGES = ("Assign", "Apply", "ResourceApply", "Scatter", "Sparse", "ResourceSparse")  # variables: prefixes of types
NO_RESULTS = ("Save", "Restore", "NoOp", "Const", "Placeholder", "MergeV2", "IsVariableInitialized", "VarIsInitialized")


def describe(path: str, shapes: bool = True, graph: Any = None) -> list[str]:
    """The lines that describe a model.

    Args:
        shapes: whether TensorFlow imports a graph to infer the types and shapes of its tensors.
        graph: the graph at `path`, if it has already been imported.

    Raises:
        ModelError: the model does not parse.
        OSError: a file cannot be read.
    """
    kind = model_file.kind_of(path)
    if kind == model_file.SAVED_MODEL:
        return _saved_model(path, model_file.read_saved_model(path))
    if kind == model_file.CHECKPOINT:
        path = model_file.newest_complete(path)
        meta_graph = model_file.read_meta_graph(path)
        version = meta_graph.meta_info_def.tensorflow_version
        return _graph(path, kind, meta_graph.graph_def, version, shapes, graph, meta_graph)
    graph_def = model_file.read_frozen_graph(path)
    variables = any(node.op in VARIABLE_NODES for node in graph_def.node)
    return _graph(path, "GraphDef with variables" if variables else kind, graph_def, "", shapes, graph)


def _head(path: str, kind: str, operations: int, producer: int, version: str) -> str:
    if not version and producer == tf.version.GRAPH_DEF_VERSION:
        version = tf.__version__
    written = f"written by TensorFlow {version} (producer {producer})" if version else f"producer {producer}"
    return f"{path}: {kind}, {operations} operations, {written}"


def _saved_model(path: str, saved_model: Any) -> list[str]:
    lines = []
    for meta_graph in saved_model.meta_graphs:
        info, graph_def = meta_graph.meta_info_def, meta_graph.graph_def
        if not lines:
            count = sum(len(each.graph_def.node) for each in saved_model.meta_graphs)
            lines.append(_head(path, "SavedModel", count, graph_def.versions.producer, info.tensorflow_version))
        signatures = tensors.signatures(meta_graph)
        for name, signature in signatures.items():
            lines.append(f"signature {name} (tag {','.join(info.tags)})")
            for kind, keys in (("input ", signature.inputs), ("output", signature.outputs)):
                lines += [f"  {kind} {key} {_of_info(keys[key])}" for key in sorted(keys)]
        if not signatures:
            lines += [f"no signature (tag {','.join(info.tags)})"]
    return lines


def _of_info(info: Any) -> str:
    dims = None if info.tensor_shape.unknown_rank or not info.HasField("tensor_shape") else info.tensor_shape.dim
    return f"{dtype_name(info.dtype)} {show_shape(dims and [dim.size for dim in dims] if dims else dims)}"


def _graph(
    path: str, kind: str, graph_def: Any, version: str, shapes: bool, graph: Any, meta_graph: Any = None
) -> list[str]:
    head = _head(path, kind, len(graph_def.node), graph_def.versions.producer, version)
    if len(graph_def.node) > MAX_NODES:
        return [f"{head}: more than are listed"]
    if not shapes:
        return [head, *ends(graph_def.node)]
    if graph is None:
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(graph_def, name="")
    return [head, *of_graph(graph, meta_graph)]


def of_graph(graph: Any, trained: Any = None) -> list[str]:
    """The lines for the inputs and outputs of an imported graph.

    Args:
        trained: the MetaGraphDef of a graph that was saved while it was trained. The Saver's own inputs are left out,
            and the outputs are those that somebody may ask for.
    """
    ends = tensors.ends_of(graph)
    defaults = [op.outputs[0].name for op in graph.get_operations() if op.type == "PlaceholderWithDefault"]
    outputs = list(ends.outputs.values())
    if trained:
        scope = trained.saver_def.filename_tensor_name.rpartition("/")[0]
        defaults = [name for name in defaults if not scope or not name.startswith(f"{scope}/")]
        wanted = [f"{name}:0" for name in ends_to_ask_for(trained.graph_def, trained.saver_def)]
        outputs = list(dict.fromkeys([*model_file.collection(trained, "y_calc"), *wanted]))
    lines = [f"input  {_of_tensor(graph, name)}" for name in ends.inputs.values()]
    lines += [f"input  {_of_tensor(graph, name)} (has a default)" for name in defaults]
    return lines + [f"output {_of_tensor(graph, name)}" for name in outputs]


def _of_tensor(graph: Any, name: str) -> str:
    tensor = graph.get_tensor_by_name(name)
    shape = show_shape(tensors.shape_of(tensor))
    return f"{name.removesuffix(':0')} {tensor.dtype.base_dtype.name} {shape}"


def ends_to_ask_for(graph_def: Any, saver: Any) -> list[str]:
    """The operations whose outputs nothing uses, except those of training, summaries, variables and a SaverDef."""
    variables = {node.name for node in graph_def.node if node.op in VARIABLE_NODES}
    saved = operation_name(saver.save_tensor_name) if saver else ""
    nodes = [
        node
        for node in graph_def.node
        if not node.op.startswith((*CHANGES, *NO_RESULTS))
        and not node.op.endswith("Summary")
        and "/gradients/" not in f"/{node.name}"
        and not (node.op in ("Identity", "ReadVariableOp") and operation_name(node.input[0]) in variables)
    ]
    changing = [node for node in graph_def.node if node.op.startswith(CHANGES)]
    used = {operation_name(name) for node in [*nodes, *changing] for name in node.input if not name.startswith("^")}
    return [
        node.name
        for node in nodes
        if node.name not in used | variables | {saved}
        and not node.name.endswith(("/switch_t", "/switch_f"))  # of `tf.cond`
        and (not definition_of(node) or output_count(node) > 0)
    ]


def ends(nodes: Iterable[Any]) -> Iterator[str]:
    """The lines for a graph that is not imported: only names."""
    used = {operation_name(name) for node in nodes for name in node.input if not name.startswith("^")}
    for node in nodes:
        if node.op in ("Placeholder", "PlaceholderV2", "PlaceholderWithDefault"):
            yield f"input  {node.name}"
    for node in nodes:
        if node.name not in used and node.op not in ("Placeholder", "PlaceholderV2", "Const", "NoOp"):
            count = output_count(node) if definition_of(node) else 1  # 1 if TensorFlow does not know it
            yield from (f"output {node.name}{f':{i}' if i else ''}" for i in range(min(count, 100)))
