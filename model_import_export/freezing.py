"""Freezes any TensorFlow model into one small graph: what its outputs need, functions inlined, variables as constants.

It works on the steps of `graph_rules.write_out`. It drops what serves only training: branches that a known condition
never takes, placeholders with defaults, and whatever changes variables. All of this runs in the process of a `trial`,
which also runs the original model and compares the results.
"""

import itertools
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from model_import_export import ModelError, graph_check, model_file, rows, tensors, trial, variables_file
from model_import_export.command_line import nearest, one_line
from model_import_export.description import VARIABLE_NODES, ends_to_ask_for
from model_import_export.graph_mode import session_config, tf
from model_import_export.graph_rules import (
    Step,
    Written,
    called,
    check_operations,
    follow,
    operation_name,
    read_bodies,
    tensor_name,
    write_out,
)
from model_import_export.operations import BRANCHES, CALCULATION, CALLS, VARIABLES
from model_import_export.sizes import Sizes, find_feeds

import numpy as np

PASSING = ("Identity", "Snapshot", "RefIdentity")
RANDOM = ("RandomStandardNormal", "RandomUniform", "TruncatedNormal")
OF_TRAINING = re.compile(r"train|phase|learning", re.IGNORECASE)  # is_training, phase_train, keras_learning_phase
NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.\-/]")
PLAIN = {"RefSwitch": "Switch", "RefMerge": "Merge"}
TABLE_LIMIT = 4_096  # entries
MAX_GRAPH = 2 << 30  # bytes: the limit of a protocol buffer
TOLERANCE = 1e-5  # relative

Source = tuple[int, int]


class Wish(NamedTuple):
    """What the user asks for."""

    names: tensors.Names
    inputs: Sequence[str] = ()  # any other input that the outputs need becomes a constant
    feed: Sequence[tuple[str, str]] = ()  # the values of those constants
    allow: frozenset[str] = frozenset()
    trust: bool = False


class Original(NamedTuple):
    """A model as read."""

    graph_def: Any
    inputs: dict[str, str]  # from names in the frozen graph to tensors
    outputs: dict[str, str]
    meta_graph: Any = None
    expected: Any = None  # for a Keras file: a function from arrays by input to its results
    keys: Mapping[str, str] = {}  # from the keys of a signature's inputs to tensors


def freeze(path: str, wish: Wish) -> tuple[bytes, list[str]]:
    """Freezes a model.

    Args:
        path: a frozen graph or other GraphDef, a SavedModel's folder, a checkpoint's prefix, or a Keras file.

    Returns:
        The serialized GraphDef, and lines that say what was done.

    Raises:
        ModelError: the model is refused, or cannot be frozen.
        OSError: a file cannot be read.
    """
    original = _read(path, wish)
    bodies = read_bodies(original.graph_def)
    written = write_out(bodies, original.outputs.values(), original.inputs.values())
    original, constants = _choose_inputs(original, wish, written)
    plan = Plan(write_out(bodies, original.outputs.values(), [*original.inputs.values(), *constants]), constants)
    variables = [
        step.label for step in map(plan.steps.__getitem__, plan.kept) if step.proto and step.proto.op in VARIABLE_NODES
    ]
    if variables and original.meta_graph is None:
        raise ModelError(
            f"not frozen: {path} has variables, and no values for them: {', '.join(variables[:20])} "
            "(give the checkpoint's folder, prefix or .meta)"
        )
    if not wish.trust:
        check_operations([plan.steps[i] for i in plan.kept], CALCULATION | VARIABLES | wish.allow, bodies, False)
    with tf.Session(graph=tf.Graph(), config=session_config()) as session:
        with session.graph.as_default(), model_file.explaining(path, wish.names.tag):
            _load(session, path, original, bodies, wish)
        if any(step.proto and _is_loop(step.proto) for step in (plan.steps[i] for i in plan.kept)):
            graph_def = _convert(session, original)
        else:
            graph_def = Builder(plan, original, session).build()
        given = {tensor_name(original.keys.get(name, name)) for name, _ in wish.feed}
        off = [operation_name(tensor) for tensor in constants if tensor not in given]
        lines = [f"training is off: {name} = false (--feed {name}=true turns it on)" for name in off]
        lines.append(_prove(graph_def, original, constants, session, wish.allow))
        return graph_def.SerializeToString(deterministic=True), lines


def _read(path: str, wish: Wish) -> Original:
    """Parses a model and finds the inputs and outputs that are asked for."""
    if path.endswith(model_file.KERAS_FILES):
        return _read_keras(path)
    kind = model_file.kind_of(path)
    if kind == model_file.SAVED_MODEL:
        meta_graph = model_file.find_meta_graph(model_file.read_saved_model(path), wish.names.tag.split(","))
        graph_def = _clean(meta_graph.graph_def)
        keys = tensors.keys_of(None, meta_graph, wish.names.signature)
        outputs = {name: keys.outputs.get(name, name) for name in wish.names.outputs} or dict(keys.outputs)
        nodes = {node.name for node in graph_def.node}
        if unknown := [name for name, tensor in outputs.items() if operation_name(tensor) not in nodes]:
            raise ModelError(f"no such output: {unknown[0]} (the model has: {', '.join(keys.outputs)})")
        inputs = {name: keys.inputs.get(name, name) for name in wish.inputs} or dict(keys.inputs)
        return _named(Original(graph_def, inputs, outputs, meta_graph, keys=keys.inputs))
    if kind == model_file.CHECKPOINT:
        meta_graph = model_file.read_meta_graph(path)
        graph_def = _clean(meta_graph.graph_def)
        names = wish.names.outputs or model_file.collection(meta_graph, "y_calc")[:1]
    else:
        meta_graph, graph_def = None, _clean(model_file.read_frozen_graph(path))
        names = wish.names.outputs
    if not names:
        ends = ends_to_ask_for(graph_def, meta_graph.saver_def if meta_graph else None)
        if len(ends) != 1 or any("Apply" in node.op for node in graph_def.node):  # if it is trained, that is the loss
            shown = ", ".join(ends[:20]) or "none"
            raise ModelError(f"not one output: {path} ends in {shown}{', ...' if ends[20:] else ''} (give --output)")
        names = ends
    inputs, outputs = ({name.removesuffix(":0"): name for name in each} for each in (wish.inputs, names))
    return _named(Original(graph_def, inputs, outputs, meta_graph))


def _clean(graph_def: Any) -> Any:
    """Clears the devices of the machine that wrote the graph, and fields and attributes that nothing declares."""
    graph_def.DiscardUnknownFields()
    for function in graph_def.library.function:
        function.attr.clear()
        function.arg_attr.clear()
    for nodes in (graph_def.node, *(function.node_def for function in graph_def.library.function)):
        for node in nodes:
            node.device = ""
            for name in [name for name in node.attr if name.startswith("_")]:
                del node.attr[name]
    return graph_def


def _named(original: Original) -> Original:
    """Makes the names of inputs and outputs valid and unique, and checks that their tensors exist.

    Raises:
        ModelError: a tensor is not in the graph; the error lists the nearest names.
    """
    nodes = [node.name for node in original.graph_def.node]
    present, taken = set(nodes), set()
    found: list[dict[str, str]] = []
    for kind, names in (("input", original.inputs), ("output", original.outputs)):
        found.append({})
        for key, tensor in names.items():
            if operation_name(tensor) not in present:
                close = ", ".join(nearest(operation_name(tensor), [*original.keys, *nodes]))
                raise ModelError(f"no such {kind}: {tensor} (nearest: {close})")
            plain = NOT_IN_NAMES.sub("_", key).lstrip("_-/") or kind
            if plain not in taken or found[0].get(plain) != tensor_name(tensor):
                plain = unused(plain, taken)
            taken.add(plain)
            found[-1][plain] = tensor_name(tensor)
    return original._replace(inputs=found[0], outputs=found[1])


def unused(name: str, taken: Collection[str]) -> str:
    """The name, with a number appended if it is taken."""
    numbered = (f"{name}_{i}" for i in itertools.count(1))
    return next(each for each in itertools.chain([name], numbered) if each not in taken)


def as_keras_takes(model: Any, values: Sequence[Any]) -> Any:
    """Arranges values (in the order of `model.inputs`) as the Keras model takes them: alone, in a list or in a dict."""
    import keras

    by_name = {x.name: value for x, value in zip(model.inputs, values, strict=True)}
    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(lambda x: by_name[x.name], structure)


def _read_keras(path: str) -> Original:
    """Loads a Keras file and freezes it for inference with TensorFlow's own converter."""
    os.environ["KERAS_HOME"] = "/nonexistent"  # Keras's settings file is not part of the model
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras
    import tensorflow
    from tensorflow.python.eager import context
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    keys: list[str] = []

    def infer(*given: Any) -> list[Any]:
        found = model(as_keras_takes(model, given), training=False)
        keys.extend(sorted(found) if isinstance(found, dict) else [])
        return [tensorflow.identity(y, f"output_{i}") for i, y in enumerate(tensorflow.nest.flatten(found))]

    try:
        # A file with a Lambda layer holds Python code: safe mode refuses it.
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        names = [x.name for x in model.inputs]
        specs = [tensorflow.TensorSpec(x.shape, x.dtype, x.name) for x in model.inputs]
        infer = tensorflow.function(infer, input_signature=specs)
        frozen = convert_variables_to_constants_v2(infer.get_concrete_function(), lower_control_flow=False)
        graph_def = frozen.graph.as_graph_def()
        if any(
            "dtype" in node.attr and node.attr["dtype"].type == tf.resource.as_datatype_enum for node in graph_def.node
        ):
            raise ModelError("it has lookup tables")
    except Exception as error:
        hint = "model.export('FOLDER') in Python makes a SavedModel, which can be frozen"
        raise ModelError(f"cannot load: {path}: {one_line(error)} ({hint})") from None
    present = {node.name for node in graph_def.node}
    outputs = [name for i in range(len(present)) if (name := f"output_{i}") in present]

    def expected(arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        with context.eager_mode():
            given = [tensorflow.constant(arrays[name]) for name in names]
            return [y.numpy() for y in tensorflow.nest.flatten(infer(*given))]

    placeholders = [node.name for node in graph_def.node if node.op == "Placeholder"]
    inputs = {name: tensor_name(name) for name in placeholders}
    named = dict(zip(keys or outputs, map(tensor_name, outputs), strict=True))
    return _named(Original(_clean(graph_def), inputs, named, None, expected))


def _choose_inputs(original: Original, wish: Wish, written: Written) -> tuple[Original, dict[str, np.ndarray]]:
    """Decides which tensors stay inputs, and the values of those that become constants.

    Conditions whose names suggest training are false, unless they are fed or kept as inputs.
    """
    reached = {
        f"{step.label}:0": step.proto
        for step in written.steps
        if step.proto and step.proto.op in ("Placeholder", "PlaceholderV2")
    }
    constants: dict[str, np.ndarray] = {}
    for name, text in wish.feed:
        tensor = original.inputs.get(name) or tensor_name(original.keys.get(name, name))
        proto = next((node for node in original.graph_def.node if node.name == operation_name(tensor)), None)
        if proto is None or "dtype" not in proto.attr:
            there = (
                ", ".join(original.keys or {**original.inputs, **dict.fromkeys(map(operation_name, reached))}) or "none"
            )
            raise ModelError(f"no such input: {name} in --feed (the model has: {there})")
        placeholder = graph_check.placeholder_of_node(proto, 99)
        try:
            constants[tensor] = rows.make_feed(placeholder, text, f"--feed {name}")
        except ValueError as error:
            raise ModelError(str(error)) from None
    chosen = {name: tensor for name, tensor in original.inputs.items() if tensor not in constants}
    for tensor in _conditions(written) - set(chosen.values()) - constants.keys():
        if OF_TRAINING.search(tensor):
            constants[tensor] = np.array(False)
    left = [tensor for tensor in reached if tensor not in constants and tensor not in chosen.values()]
    if wish.inputs and left:
        name = operation_name(left[0])
        plan = Plan(written, constants)
        if any(plan.steps[i].label == name for i in plan.kept):
            name = next((key for key, tensor in original.keys.items() if tensor_name(tensor) == left[0]), name)
            raise ModelError(
                f"no value for the placeholder: {name} (--input {name} keeps it, --feed {name}=... makes it a constant)"
            )
    if not wish.inputs:
        chosen |= {operation_name(tensor): tensor for tensor in left}
    return original._replace(inputs=chosen), constants


def _conditions(written: Written) -> set[str]:
    """The placeholders without a default that decide conditions."""
    found = set()
    for step in written.steps:
        if step.proto and step.proto.op in ("Switch", "RefSwitch", *BRANCHES):
            todo = [step.inputs[-1]]
            while todo:
                for source, _ in follow(written.steps, todo.pop()):
                    if source.proto and source.proto.op == "LogicalNot":
                        todo += source.inputs
                    elif source.proto and source.proto.op.startswith("Placeholder") and not source.inputs:
                        found.add(f"{source.label}:0")
    return found


class Plan:
    """Which steps are kept, and where each input really comes from once conditions are known."""

    def __init__(self, written: Written, constants: Mapping[str, np.ndarray]) -> None:
        """Makes the plan. `constants` holds the values of known tensors."""
        self.steps, self.constants = written.steps, constants
        self.passed: dict[Source, Source | None] = {}  # None: never calculated
        for number, step in enumerate(self.steps):
            if step.proto:
                self._decide(number, step)
        self.outputs = {name: self.at(source) for name, source in written.sources.items()}
        self.kept = self._reach(source for source in self.outputs.values() if source)

    def at(self, source: Source) -> Source | None:
        """Where a source really comes from; None if it is never calculated."""
        seen: Source | None = source
        while seen is not None and seen in self.passed:
            seen = self.passed[seen]
        return seen

    def _decide(self, number: int, step: Step) -> None:
        op = step.proto.op
        inputs = [self.at(source) for source in step.inputs if source[0] < number]
        if op in ("Merge", "RefMerge"):
            alive = [source for source in inputs if source]
            if len(alive) == 1 == len(inputs) - inputs.count(None) and len(inputs) == len(step.inputs):
                self.passed[number, 0] = alive[0]
        elif None in inputs and op not in BRANCHES:
            self.passed.update(((number, i), None) for i in range(max(2, len(step.inputs))))
        elif op in ("Switch", "RefSwitch") and (known := self.value(inputs[1])) is not None:
            self.passed[number, int(known)], self.passed[number, 1 - int(known)] = inputs[0], None
        elif op in BRANCHES and (known := self.value(inputs[2])) is not None:
            self.passed[number, 0] = inputs[0 if known else 1]
        elif op in (*PASSING, "PlaceholderWithDefault") and op != "Identity":
            self.passed[number, 0] = inputs[0]
        elif op == "IdentityN":
            self.passed.update(((number, i), source) for i, source in enumerate(inputs))

    def value(self, source: Source | None) -> bool | None:
        """The value of a condition; None if it is not known."""
        source = source and self.at(source)
        if source is None:
            return None
        step = self.steps[source[0]]
        if step.tensor or f"{step.label}:0" in self.constants:
            known = self.constants.get(step.tensor or f"{step.label}:0")
            return None if known is None else bool(known)
        if step.proto.op == "Const" and step.proto.attr["dtype"].type == tf.bool.as_datatype_enum:
            found = tf.make_ndarray(step.proto.attr["value"].tensor)
            return bool(found) if found.size == 1 else None
        if step.proto.op == "Identity":
            return self.value(step.inputs[0])
        if step.proto.op == "LogicalNot":
            inner = self.value(step.inputs[0])
            return None if inner is None else not inner
        return None

    def needs(self, number: int) -> list[Source]:
        """The sources that a step needs in the frozen graph."""
        step = self.steps[number]
        if step.proto is None or step.proto.op in (*VARIABLE_NODES, "VarIsInitializedOp", "IsVariableInitialized"):
            return []
        sources = step.inputs
        if step.proto.op.startswith("LookupTable"):
            sources = sources[1:]
        return [found for source in sources if (found := self.at(source))]

    def _reach(self, sources: Iterable[Source]) -> list[int]:
        found: set[int] = set()
        todo = [number for number, _ in sources]
        while todo:
            number = todo.pop()
            if number not in found:
                found.add(number)
                todo += [each for each, _ in self.needs(number)]
        return sorted(found)


def _load(session: Any, path: str, original: Original, bodies: Any, wish: Wish) -> None:
    """Loads the original model, after checking what loading runs."""
    if original.meta_graph is None:
        trial.stage("imported")
        tf.import_graph_def(original.graph_def, name="")
        return
    is_folder = os.path.isdir(path)
    prefix = os.path.join(path, "variables", "variables") if is_folder else path
    has_values = not is_folder or os.path.exists(f"{prefix}.index")
    if not wish.trust:
        entries = variables_file.read_entries(prefix) if has_values else {}
        graph_check.check_start(original.meta_graph, bodies, entries, path if is_folder else "", wish.allow)
    trial.stage("loaded")
    saver = tf.train.import_meta_graph(original.meta_graph, clear_devices=True)
    if has_values and saver:
        saver.restore(session, prefix)
    if not is_folder:
        session.run(graph_check.table_initializers(original.meta_graph))
    else:
        assets = graph_check.find_assets(original.meta_graph, path)
        for root in graph_check.start_operations(original.meta_graph):
            session.run(operation_name(root), assets)


class Builder:
    """Writes the nodes of the frozen graph."""

    def __init__(self, plan: Plan, original: Original, session: Any) -> None:
        """Names the steps that are kept; inputs and outputs get the names that were asked for."""
        self.plan, self.original, self.session = plan, original, session
        self.graph_def = tf.GraphDef()
        self.graph_def.versions.producer = original.graph_def.versions.producer
        inputs = {tensor: name for name, tensor in original.inputs.items()}
        taken = {*original.inputs, *original.outputs}
        self.names: dict[int, str] = {}
        for number in plan.kept:
            step = plan.steps[number]
            name = inputs.get(step.tensor) or step.label
            direct = original.outputs.get(name) and plan.outputs[original.outputs[name]] == (number, 0)
            if step.tensor not in inputs and not direct:
                name = unused(name, taken)
            taken.add(name)
            self.names[number] = name
        self.values = self._read_variables()

    def _read_variables(self) -> dict[int, np.ndarray]:
        graph, fetched = self.session.graph, {}
        with graph.as_default():
            for number in self.plan.kept:
                step = self.plan.steps[number]
                if step.proto and step.proto.op in VARIABLE_NODES:
                    tensor = graph.get_tensor_by_name(f"{step.label}:0")
                    if step.proto.op == "VarHandleOp":
                        dtype = tf.as_dtype(step.proto.attr["dtype"].type)
                        tensor = tf.raw_ops.ReadVariableOp(resource=tensor, dtype=dtype)
                    fetched[number] = tensor
        try:
            values = {number: tensors.as_array(value) for number, value in self.session.run(fetched).items()}
        except tf.errors.OpError as error:
            raise ModelError(f"not frozen: a variable has no value: {one_line(error)}") from None
        if (size := sum(value.nbytes for value in values.values())) >= MAX_GRAPH:
            raise ModelError(f"not frozen: the variables have {size >> 20} MiB (a graph holds {MAX_GRAPH >> 20})")
        return values

    def build(self) -> Any:
        """Returns the GraphDef. Raises ModelError if a node cannot be frozen."""
        for number in self.plan.kept:
            step = self.plan.steps[number]
            if step.proto is None or step.tensor:
                self._fed(number, step)
            else:
                SPECIAL.get(step.proto.op, Builder._copy)(self, number, step)
        for name, tensor in self.original.outputs.items():
            source = self.plan.outputs[tensor]
            if source is None:
                raise ModelError(f"not frozen: {tensor} is never calculated")
            if self.names.get(source[0]) != name:
                self._add("Identity", name, [self._name(source)], T=self._dtype(tensor))
        last = list(self.original.outputs)  # the order in which they are listed
        nodes = sorted(self.graph_def.node, key=lambda node: last.index(node.name) if node.name in last else -1)
        return tf.GraphDef(node=nodes, versions=self.graph_def.versions)

    def _dtype(self, tensor: str) -> Any:
        return self.session.graph.get_tensor_by_name(tensor).dtype.base_dtype

    def _name(self, source: Source | None) -> str:
        number, index = self.plan.at(source)
        return f"{self.names[number]}:{index}" if index else self.names[number]

    def _inputs(self, step: Step) -> list[str]:
        return [self._name(source) for source in step.inputs]

    def _add(self, op: str, name: str, inputs: Sequence[str] = (), **attributes: Any) -> str:
        node = self.graph_def.node.add(op=op, name=name, input=inputs)
        for key, value in attributes.items():
            if isinstance(value, np.ndarray):
                node.attr[key].tensor.CopyFrom(tf.make_tensor_proto(value))
            elif isinstance(value, tf.DType):
                node.attr[key].type = value.base_dtype.as_datatype_enum
            else:
                node.attr[key].CopyFrom(value)
        return name

    def _constant(self, name: str, value: np.ndarray) -> str:
        proto = tf.make_tensor_proto(value)
        return self._add("Const", name, dtype=tf.as_dtype(proto.dtype), value=tf.make_ndarray(proto))

    def _fed(self, number: int, step: Step) -> None:
        if step.tensor in self.plan.constants:
            self._constant(self.names[number], self.plan.constants[step.tensor])
            return
        tensor = self.session.graph.get_tensor_by_name(step.tensor)
        self._add("Placeholder", self.names[number], dtype=tensor.dtype)
        self.graph_def.node[-1].attr["shape"].shape.CopyFrom(tensor.shape.as_proto())

    def _copy(self, number: int, step: Step) -> None:
        if step.proto.op in VARIABLES:
            raise ModelError(f"not frozen: {step.proto.op} in node {step.label} changes a variable")
        if step.proto.op.startswith("Placeholder") or called(step.proto, {}):
            raise ModelError(f"not frozen: {step.proto.op} in node {step.label} (--feed or --input says what it is)")
        node = self.graph_def.node.add()
        node.CopyFrom(step.proto)
        node.op, node.name = PLAIN.get(node.op, node.op), self.names[number]
        del node.input[:]
        node.input.extend(self._inputs(step))

    def _variable(self, number: int, step: Step) -> None:
        self._constant(self.names[number], self.values[number])

    def _read(self, number: int, step: Step) -> None:
        self._add("Identity", self.names[number], self._inputs(step), T=tf.as_dtype(step.proto.attr["dtype"].type))

    def _initialized(self, number: int, step: Step) -> None:
        self._constant(self.names[number], np.array(True))

    def _gather(self, number: int, step: Step) -> None:
        name, attr = self.names[number], step.proto.attr
        axis = self._constant(f"{name}/axis", np.array(0, np.int32))
        types = {"Tparams": attr["dtype"], "Tindices": attr["Tindices"], "batch_dims": attr["batch_dims"]}
        self._add("GatherV2", name, [*self._inputs(step), axis], Taxis=tf.int32, **types)

    def _branch(self, number: int, step: Step) -> None:
        then, otherwise, condition = self._inputs(step)
        dtype = self._dtype_of(step.inputs[0])
        self._add("SelectV2", self.names[number], [condition, then, otherwise], T=dtype)

    def _dtype_of(self, source: Source) -> Any:
        step = self.plan.steps[self.plan.at(source)[0]]
        for key in ("T", "dtype", "DstT", "output_type", "out_type", "Tparams"):
            if step.proto and key in step.proto.attr:
                return tf.as_dtype(step.proto.attr[key].type)
        return self._dtype(step.tensor)

    def _table(self, number: int, step: Step) -> None:
        """Writes a table lookup as a comparison with all of the table's keys."""
        name = self.names[number]
        table = next(iter(follow(self.plan.steps, step.inputs[0])))[0]
        with self.session.graph.as_default():
            handle = self.session.graph.get_tensor_by_name(f"{table.label}:0")
            types = {"Tkeys": tf.as_dtype(table.proto.attr["key_dtype"].type),
                     "Tvalues": tf.as_dtype(table.proto.attr["value_dtype"].type)}  # fmt: skip
            export = tf.raw_ops.LookupTableExportV2 if handle.dtype == tf.resource else tf.raw_ops.LookupTableExport
            keys, values = self.session.run(export(table_handle=handle, **types))
        if step.proto.op.startswith("LookupTableSize"):
            self._constant(name, np.array(len(keys), np.int64))
            return
        if not 0 < len(keys) <= TABLE_LIMIT:
            raise ModelError(
                f"not frozen: the table {table.label} has {len(keys)} entries (1 to {TABLE_LIMIT} can be constants; "
                "a SavedModel keeps tables: python model_check.py)"
            )
        order = np.argsort(keys, kind="stable")
        last = self._constant(f"{name}/last", np.array(-1, np.int32))
        given, default = (self._name(source) for source in step.inputs[1:])
        wide = self._add("ExpandDims", f"{name}/wide", [given, last], T=types["Tkeys"], Tdim=tf.int32)
        known = self._constant(f"{name}/keys", keys[order])
        equal = self._add("Equal", f"{name}/equal", [wide, known], T=types["Tkeys"])
        found = self._add("Any", f"{name}/found", [equal, last], Tidx=tf.int32)
        number_of = self._add("Cast", f"{name}/numbers", [equal], SrcT=tf.bool, DstT=tf.int32)
        first = self._add("ArgMax", f"{name}/first", [number_of, last], T=tf.int32, Tidx=tf.int32, output_type=tf.int64)
        results = self._constant(f"{name}/values", values[order])
        axis = self._constant(f"{name}/axis", np.array(0, np.int32))
        value = self._add("GatherV2", f"{name}/value", [results, first, axis],
                          Tparams=types["Tvalues"], Tindices=tf.int64, Taxis=tf.int32)  # fmt: skip
        self._add("SelectV2", name, [found, value, default], T=types["Tvalues"])


def _is_loop(proto: Any) -> bool:
    """Whether a node belongs to a loop, or calls a function that cannot be inlined."""
    return proto.op in ("Enter", "RefEnter") or (proto.op not in (*BRANCHES, *CALLS) and bool(called(proto, {})))


def _convert(session: Any, original: Original) -> Any:
    """Freezes a graph with loops. They need control edges and functions, which TensorFlow's own freezing keeps."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_from_session_graph

    names = [operation_name(tensor) for tensor in original.outputs.values()]
    graph_def = convert_variables_to_constants_from_session_graph(session, session.graph.as_graph_def(), names)
    for name, tensor in original.outputs.items():
        if name not in names:
            node = graph_def.node.add(op="Identity", name=name, input=[tensor])
            node.attr["T"].type = session.graph.get_tensor_by_name(tensor).dtype.base_dtype.as_datatype_enum
    present = {node.name for node in graph_def.node}
    for name, tensor in list(original.inputs.items()):
        old = operation_name(tensor)
        if name != old and name not in present and old not in original.outputs:
            _rename(graph_def, old, name)
        elif name != old:
            original.inputs[old] = original.inputs.pop(name)
    functions = {function.signature.name: function for function in graph_def.library.function}
    needed: dict[str, Any] = {}
    todo = list(graph_def.node)
    while todo:
        for name in called(todo.pop(), functions):
            if name in functions and name not in needed:
                needed[name] = functions[name]
                todo += functions[name].node_def
    return _clean(tf.GraphDef(node=graph_def.node, library={"function": needed.values()}, versions=graph_def.versions))


def _rename(graph_def: Any, old: str, new: str) -> None:
    for node in graph_def.node:
        node.name = new if node.name == old else node.name
        for i, name in enumerate(node.input):
            if operation_name(name) == old:
                node.input[i] = name.replace(old, new, 1)


SPECIAL: dict[str, Callable[[Builder, int, Step], None]] = {
    **dict.fromkeys(VARIABLE_NODES, Builder._variable),
    **dict.fromkeys(BRANCHES, Builder._branch),
    **dict.fromkeys(("VarIsInitializedOp", "IsVariableInitialized"), Builder._initialized),
    **dict.fromkeys(("LookupTableFind", "LookupTableFindV2", "LookupTableSize", "LookupTableSizeV2"), Builder._table),
    "ReadVariableOp": Builder._read,
    "ResourceGather": Builder._gather,
}


def _prove(
    graph_def: Any, original: Original, constants: Mapping[str, np.ndarray], session: Any, allow: frozenset[str]
) -> str:
    """Runs the frozen graph and the original model on the same small input. Returns a line that says how they compare.

    Raises:
        ModelError: the results differ.
    """
    bodies = read_bodies(graph_def)
    graph_check.check_kinds(bodies, allow, advise=False)  # before the sizes, which a loop hides
    inputs = graph_check.placeholders_of(bodies[""], graph_def.versions.producer)
    feed = find_feeds(
        Sizes(graph_def.versions.producer, allow - CALCULATION), write_out(bodies, original.outputs), inputs
    )[0]
    random = np.random.default_rng(0)
    arrays = {}
    for name, shape in feed.shapes.items():
        kind = rows.numpy_type(inputs[name].dtype)
        is_float = kind.kind in "fV"
        # A scalar float is often a keep probability: with 1, nothing is dropped.
        drawn = random.uniform(size=shape).astype(kind) if is_float and shape else np.full(shape, int(is_float), kind)
        arrays[operation_name(name)] = np.full(shape, b"", object) if inputs[name].dtype == "string" else drawn
    names = list(original.outputs)
    trial.stage("calculated")
    with tf.Session(graph=tf.Graph(), config=session_config()) as frozen:
        with frozen.graph.as_default():
            tf.import_graph_def(graph_def, name="")
        try:
            results = frozen.run([tensor_name(name) for name in names], {tensor_name(n): a for n, a in arrays.items()})
            if original.expected:
                expected = original.expected(arrays)
            else:
                given = {original.inputs[name]: array for name, array in arrays.items()}
                expected = session.run(list(original.outputs.values()), given | dict(constants))
        except tf.errors.OpError as error:
            return f"not compared with the source, which does not take made-up values: {one_line(error)}"
    most = 0.0
    for name, result, wanted in zip(names, map(np.asarray, results), map(np.asarray, expected), strict=True):
        if result.dtype.kind in "OSUb":
            same, difference = np.array_equal(result, wanted), 0.0
        else:
            difference = np.max(np.abs(result.astype(float) - wanted.astype(float)), initial=0.0)
            same = result.shape == wanted.shape and np.allclose(
                result.astype(float), wanted.astype(float), TOLERANCE, TOLERANCE, equal_nan=True
            )
        if not same and any(node.op in RANDOM for node in graph_def.node):
            return f"not compared with the source: {name} depends on random numbers"
        if not same:
            raise ModelError(f"not frozen: {name} differs from the source by {difference} on the same input")
        most = max(most, float(difference))
    return f"equal to the source on a small input (largest difference {most:.2g})"
