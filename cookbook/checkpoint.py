"""Reads checkpoints for the recipes: the graph after the gate has judged it, variables once they are known to fit."""

from collections.abc import Mapping, Sequence
from typing import Any

from model_import_export import graph_check, model_file, tensors
from model_import_export.graph_mode import tf
from model_import_export.graph_rules import operation_name

# Operations that the training of the classifier needs in addition.
TRAINING = "ApplyAdagrad ReluGrad StatelessRandomGetKeyCounter StatelessRandomUniformV2".split()


def read_meta_graph(prefix: str, outputs: Sequence[str] = (), trust: bool = False) -> Any:
    """Reads a `.meta`: the graph, its Saver and its collections. The gate judges it first, unless it is trusted.

    Args:
        outputs: the nodes or tensors to calculate (default: those in the collection `y_calc`).

    Raises:
        ModelError: it is not a MetaGraphDef, or the gate refuses it.
    """
    if not trust:
        graph_check.judge(prefix, tensors.Names(outputs=outputs), TRAINING)
    return model_file.read_meta_graph(prefix)


def find_prefix(path: str) -> str:
    """The prefix of the newest complete checkpoint in a folder, or the prefix itself if `path` is one."""
    return model_file.newest_complete(path)


def check_variables(prefix: str, variables: Mapping[str, Any]) -> None:
    """Compares variables with the checkpoint's entries of the same names, before anything is restored.

    TensorFlow itself silently restores a resource variable to a value of another shape.

    Args:
        variables: the `tf.Variable`s by their names in the checkpoint.

    Raises:
        ValueError: the checkpoint lacks a name, or a dtype or shape differs; the message shows both.
    """
    reader = tf.train.load_checkpoint(prefix)
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    for name, variable in variables.items():
        if name not in shapes:
            raise ValueError(f"no such variable: {name} in {prefix} (it has: {', '.join(sorted(shapes))})")
        there, here = (dtypes[name].name, shapes[name]), (variable.dtype.base_dtype.name, variable.shape.as_list())
        if there != here:
            raise ValueError(
                f"not the same variable: {name} is {here[0]} {here[1]}, in {prefix} it is {there[0]} {there[1]}"
            )


def restore(session: Any, prefix: str, variables: Mapping[str, Any]) -> None:
    """Checks variables with `check_variables`, then restores them from the names that `variables` maps to them."""
    check_variables(prefix, variables)
    tf.train.Saver(dict(variables)).restore(session, prefix)


def values(prefix: str) -> dict[str, Any]:
    """All tensors of a checkpoint as arrays, by name."""
    reader = tf.train.load_checkpoint(prefix)
    return {name: tensors.as_array(reader.get_tensor(name)) for name in sorted(reader.get_variable_to_shape_map())}


def without_training(meta_graph: Any, outputs: list[str]) -> Any:
    """The part of a MetaGraphDef that these outputs need, with its variables and their initializers.

    Other collections are dropped. So is the SaverDef, which makes `import_meta_graph` create a Saver over the variables
    that are left.
    """
    from tensorflow.core.framework import variable_pb2

    part = tf.MetaGraphDef(meta_info_def=meta_graph.meta_info_def)
    used = {node.name for node in tf.graph_util.extract_sub_graph(meta_graph.graph_def, outputs).node}
    wanted = set(outputs)
    for collection in ("variables", "trainable_variables"):
        for packed in meta_graph.collection_def[collection].bytes_list.value:
            variable = variable_pb2.VariableDef.FromString(packed)
            if operation_name(variable.variable_name) in used:
                part.collection_def[collection].bytes_list.value.append(packed)
                names = variable.variable_name, variable.initializer_name, variable.snapshot_name
                wanted |= {operation_name(name) for name in names}
    part.graph_def.CopyFrom(tf.graph_util.extract_sub_graph(meta_graph.graph_def, sorted(wanted)))
    return part
