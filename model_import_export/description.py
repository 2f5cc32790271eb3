"""Describes a model in lines to print: its kind, version, signatures, inputs and outputs."""

from collections.abc import Iterable, Iterator
from typing import Any

from model_import_export import model_file, tensors
from model_import_export.graph_mode import tf
from model_import_export.graph_rules import MAX_NODES, definition_of, dtype_name, operation_name, output_count
from model_import_export.rows import show_shape


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
        return _graph(path, kind, meta_graph.graph_def, meta_graph.meta_info_def.tensorflow_version, shapes, graph)
    graph_def = model_file.read_frozen_graph(path)
    variables = any(node.op in ("Variable", "VariableV2", "VarHandleOp") for node in graph_def.node)
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
        for name, signature in sorted(meta_graph.signature_def.items()):
            if name.startswith("__"):
                continue
            lines.append(f"signature {name} (tag {','.join(info.tags)})")
            for kind, keys in (("input ", signature.inputs), ("output", signature.outputs)):
                lines += [f"  {kind} {key} {_of_info(keys[key])}" for key in sorted(keys)]
        if not any(not name.startswith("__") for name in meta_graph.signature_def):
            lines += [f"no signature (tag {','.join(info.tags)})"]
    return lines


def _of_info(info: Any) -> str:
    dims = None if info.tensor_shape.unknown_rank or not info.HasField("tensor_shape") else info.tensor_shape.dim
    return f"{dtype_name(info.dtype)} {show_shape(dims and [dim.size for dim in dims] if dims else dims)}"


def _graph(path: str, kind: str, graph_def: Any, version: str, shapes: bool, graph: Any) -> list[str]:
    head = _head(path, kind, len(graph_def.node), graph_def.versions.producer, version)
    if len(graph_def.node) > MAX_NODES:
        return [f"{head}: more than are listed"]
    if not shapes:
        return [head, *ends(graph_def.node)]
    if graph is None:
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(graph_def, name="")
    return [head, *of_graph(graph)]


def of_graph(graph: Any) -> list[str]:
    """The lines for the inputs and outputs of an imported graph."""
    ends = tensors.ends_of(graph)
    defaults = [op.outputs[0].name for op in graph.get_operations() if op.type == "PlaceholderWithDefault"]
    lines = [f"input  {_of_tensor(graph, name)}" for name in ends.inputs.values()]
    lines += [f"input  {_of_tensor(graph, name)} (has a default)" for name in defaults]
    return lines + [f"output {_of_tensor(graph, name)}" for name in ends.outputs.values()]


def _of_tensor(graph: Any, name: str) -> str:
    tensor = graph.get_tensor_by_name(name)
    shape = show_shape(tensors.shape_of(tensor))
    return f"{name.removesuffix(':0')} {tensor.dtype.base_dtype.name} {shape}"


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
