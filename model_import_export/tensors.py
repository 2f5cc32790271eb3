"""Finds tensors of a loaded graph by the names that users give: operations, tensors, or a signature's keys."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from model_import_export import ModelError, command_line
from model_import_export.graph_mode import tf
from model_import_export.rows import Placeholder, numpy_type

import numpy as np

INPUT, OUTPUT = "inputs/x_sample", "linear_regression/add"  # the contract's names
SHOWN = 20  # names in an error


class Names(NamedTuple):
    """What the command line says about a model's inputs and outputs."""

    input: str | None = None
    outputs: Sequence[str] = ()
    tag: str = "serve"
    signature: str = "serving_default"

    @property
    def wanted(self) -> Sequence[str]:
        """The outputs; one empty name if none is given."""
        return self.outputs or [""]


class Ends(NamedTuple):
    """What a loaded graph offers: the names of its inputs and outputs, each with the name of its tensor."""

    graph: Any  # tf.Graph
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    only: bool = False  # whether these are a signature's keys, and no other tensor can be used

    def find_input(self, name: str | None) -> Any:
        """The tensor to feed: the named one, otherwise the only input, otherwise the one that the contract names.

        Raises:
            ModelError: it does not exist; the error lists the inputs.
        """
        name = name or (next(iter(self.inputs)) if len(self.inputs) == 1 else INPUT)
        tensor = self._find(self.inputs, name)
        if tensor is None:
            raise ModelError(no_input(name, self.inputs))
        return tensor

    def find_output(self, name: str | None) -> Any:
        """The tensor to fetch: the named one, otherwise the only output, otherwise the one that the contract names.

        Raises:
            ModelError: it does not exist; the error lists the outputs. ValueError: its type cannot be printed.
        """
        name = name or (next(iter(self.outputs)) if len(self.outputs) == 1 else OUTPUT)
        tensor = self._find(self.outputs, name)
        if tensor is None and self.only:
            raise ModelError(f"no such output: {name} (the model has: {_some(self.outputs)})")
        if tensor is None:
            names = [operation.name for operation in self.graph.get_operations() if operation.outputs]
            raise ModelError(no_output(name, self.outputs, names))
        numpy_type(tensor.dtype.base_dtype.name)
        return tensor

    def _find(self, offered: Mapping[str, str], name: str) -> Any:
        if self.only and name not in offered:
            return None
        try:
            return self.graph.get_tensor_by_name(offered.get(name) or (name if ":" in name else f"{name}:0"))
        except (KeyError, ValueError):
            return None


def ends_of(graph: Any) -> Ends:
    """A graph's placeholders, and the outputs of operations whose outputs nothing uses."""
    inputs, outputs = {}, {}
    for operation in graph.get_operations():
        if operation.type == "Placeholder":
            inputs[operation.name] = operation.outputs[0].name
        elif operation.type != "Const" and not any(tensor.consumers() for tensor in operation.outputs):
            # A batch normalization's other outputs are for training.
            for tensor in operation.outputs[: 1 if operation.type.startswith("FusedBatchNorm") else None]:
                outputs[tensor.name.removesuffix(":0")] = tensor.name
    return Ends(graph, inputs, outputs)


def signatures(meta_graph: Any) -> dict[str, Any]:
    """The signatures that a user can name, sorted, without those of the loader (`__saved_model_init_op`)."""
    return {name: each for name, each in sorted(meta_graph.signature_def.items()) if not name.startswith("__")}


def keys_of(graph: Any, meta_graph: Any, signature: str) -> Ends:
    """A signature's keys. Raises ModelError if the signature does not exist; the error lists those that do."""
    if signature not in meta_graph.signature_def:
        present = ", ".join(signatures(meta_graph)) or "none"
        raise ModelError(f"no such signature: {signature} (the model has: {present})")
    found = meta_graph.signature_def[signature]
    inputs, outputs = ({key: keys[key].name for key in sorted(keys)} for keys in (found.inputs, found.outputs))
    return Ends(graph, inputs, outputs, only=True)


def no_input(name: str, inputs: Iterable[str]) -> str:
    """The error for an input that a graph does not have."""
    return f"no such input: {name} (the model has: {_some(inputs)})"


def no_output(name: str, ends: Iterable[str], names: Iterable[str]) -> str:
    """The error for an output that a graph does not have: what the graph ends in, and the nearest names."""
    close = ", ".join(command_line.nearest(name.partition(":")[0], names)) or "none"
    return f"no such output: {name} (the model ends in: {_some(ends)}; nearest: {close})"


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:SHOWN] + ["..."] * (len(listed) > SHOWN)) or "none"


def placeholder_of(tensor: Any) -> Placeholder:
    """What can be fed to a tensor. Raises ValueError if its type cannot be fed."""
    dtype = tensor.dtype.base_dtype.name
    numpy_type(dtype)
    return Placeholder(tensor.name.removesuffix(":0"), dtype, shape_of(tensor))


def shape_of(tensor: Any) -> tuple[int, ...] | None:
    """A tensor's static shape, with -1 for an open dimension; None if the rank is unknown."""
    return None if tensor.shape.rank is None else tuple(-1 if dim is None else dim for dim in tensor.shape.as_list())


def as_array(result: Any) -> np.ndarray:
    """A result of `Session.run` as an array: a scalar string arrives as `bytes`."""
    return np.array(result, object) if isinstance(result, bytes) else np.asarray(result)


@contextlib.contextmanager
def explaining(outputs: Sequence[Any]) -> Iterator[None]:
    """Turns TensorFlow's errors while it runs a graph into a ValueError: one line that names the output."""
    try:
        yield
    except tf.errors.OpError as error:
        if unfed := re.search(r"You must feed a value for placeholder tensor '([^']+)'", str(error)):
            name = unfed[1]
            raise ValueError(f"no value for the placeholder: {name} (give --feed {name}=...)") from None
        names = ", ".join(tensor.name for tensor in outputs)
        raise ValueError(f"cannot calculate: {names}: {command_line.one_line(error)}") from error
