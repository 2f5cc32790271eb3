"""What recipes need of a checkpoint before TensorFlow may have it: a graph that was checked, variables that fit."""

from collections.abc import Mapping, Sequence
from typing import Any

from model_import_export import graph_check, model_file, tensors
from model_import_export.graph_mode import tf
from model_import_export.graph_rules import operation_name

# What the training of the classifier takes besides.
TRAINING = "ApplyAdagrad ReluGrad StatelessRandomGetKeyCounter StatelessRandomUniformV2".split()


def read_meta_graph(prefix: str, outputs: Sequence[str] = (), trust: bool = False) -> Any:
    """Reads a `.meta`: the graph, its Saver and collections. The gate judges it first, unless it is trusted.

    Args:
        outputs: the nodes or tensors that will be asked for; none are those of the collection `y_calc`.

    Raises:
        ModelError: it is no MetaGraphDef, or is refused.
    """
    if not trust:
        graph_check.judge(prefix, tensors.Names(outputs=outputs), TRAINING)
    return model_file.read_meta_graph(prefix)


def find_prefix(path: str) -> str:
    """The prefix of the newest complete checkpoint in a folder; of a prefix itself."""
    return model_file.newest_complete(path)


def check_variables(prefix: str, variables: Mapping[str, Any]) -> None:
    """Compares variables with what a checkpoint has under their names, before any is restored.

    TensorFlow itself sets a resource variable to a value of another shape in silence.

    Args:
        variables: from the names in the checkpoint to the `tf.Variable`s.

    Raises:
        ValueError: a name is not in the checkpoint, or dtype or shape differ; it says what is there.
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
    """Restores variables under these names, after `check_variables`."""
    check_variables(prefix, variables)
    tf.train.Saver(dict(variables)).restore(session, prefix)


def values(prefix: str) -> dict[str, Any]:
    """All tensors of a checkpoint by name, as arrays."""
    reader = tf.train.load_checkpoint(prefix)
    return {name: reader.get_tensor(name) for name in sorted(reader.get_variable_to_shape_map())}


def without_training(meta_graph: Any, outputs: list[str]) -> Any:
    """The part of a MetaGraphDef that leads to these operations, with the variables in it and their initializers.

    It has no SaverDef, so `import_meta_graph` makes a Saver over those variables. Other collections are left out.
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
