"""The gate's rules that look only at the graph: constants, attributes, edges, functions, operations.

They use only TensorFlow's protocol buffers and its list of operations, because importing a graph can be enough to
crash the process.
"""

import functools
import itertools
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from model_import_export import ModelError
from model_import_export.graph_mode import tf
from model_import_export.operations import ATTRIBUTES, BRANCHES, CALLS, ELEMENTS, OF_FUNCTIONS

MAX_NODES = 20_000
MAX_INPUTS = 1_000  # of one node
MAX_EDGES = 100_000
MAX_CHAIN = 1_000
MAX_CALLS = 50  # levels of functions that call functions
MAX_WINDOW = 1_024  # a stride, dilation, padding or side of a window
MAX_SPLAT = 1 << 20  # elements of a constant that the file does not list one by one
MAX_ELEMENTS = 16 << 20  # elements of one operation's output
MAX_RANK = 254  # TensorFlow crashes with more dimensions
MAX_TEXT = 64 << 10  # bytes of a string attribute
INDEX = re.compile("[0-9]{1,9}")  # the number of an operation's output
BACK = ("NextIteration", "RefNextIteration")  # the back edges of a loop


class Node(NamedTuple):
    """A node of a graph or of a function's body."""

    name: str
    proto: Any  # NodeDef
    inputs: list[tuple[str, int]]  # the node or argument, and the number of its output
    controls: list[str]


class Body(NamedTuple):
    """A graph or a function's body, with its nodes in topological order."""

    where: str  # for errors: empty, or ` of function f`
    nodes: dict[str, Node]
    arguments: list[str] = []
    results: list[tuple[str, int]] = []


class Step(NamedTuple):
    """A node to run, with functions inlined. A source is the number of a step and of its output.

    The inputs of a branch (`If`) are the outputs of its two functions, then the condition. The back edge of a loop is
    an input from a later step.
    """

    proto: Any
    label: str
    inputs: list[tuple[int, int]]
    tensor: str = ""  # the name of a fed tensor, which has no proto


def operation_name(tensor: str) -> str:
    """The operation's name in a tensor's name (`x:0`), an operation's name (`x`) or a control input (`^x`)."""
    return tensor.removeprefix("^").partition(":")[0]


def tensor_name(name: str) -> str:
    """The full name of a tensor: `x` becomes `x:0`."""
    return "{}:{}".format(*split(name))


def split(tensor: str) -> tuple[str, int]:
    """Splits the name of a tensor or operation into the operation's name and the output's number."""
    name, _, index = tensor.partition(":")
    return name, int(index) if INDEX.fullmatch(index) else 0


def read_bodies(graph_def: Any) -> dict[str, Body]:
    """Checks the rules that every node must meet, whether or not it is ever run.

    Returns:
        The graph under the empty name, and its functions under their names.

    Raises:
        ModelError: names the node or attribute at fault.
    """
    functions = {function.signature.name: function for function in graph_def.library.function}
    count = len(graph_def.node) + sum(len(function.node_def) for function in functions.values())
    if not 1 <= count <= MAX_NODES:
        raise ModelError(f"refused graph: it has {count} nodes (1 to {MAX_NODES} are accepted)")
    if graph_def.versions.producer < 0:
        raise ModelError(f"refused graph: its version is {graph_def.versions.producer}")
    if "" in functions:
        raise ModelError("refused graph: a function has no name")
    if len(functions) != len(graph_def.library.function):
        raise ModelError("refused graph: two functions have one name")
    definitions = {name: function.signature for name, function in functions.items()}
    bodies = {"": _read_body("", graph_def.node, definitions, graph_def.versions.producer)}
    for name, function in functions.items():
        where = f" of function {name}"
        arguments = [argument.name for argument in function.signature.input_arg]
        body = _read_body(where, function.node_def, definitions, graph_def.versions.producer, arguments)
        results = [function.ret.get(argument.name, "") for argument in function.signature.output_arg]
        found = [_source(result, body.nodes, arguments, definitions) for result in results]
        if None in found:
            raise ModelError(f"refused graph: a result{where} is not in it")
        bodies[name] = body._replace(results=found)
    strange = [
        (key, f"node {node.name}{body.where}")
        for body in bodies.values()
        for node in body.nodes.values()
        for key, value in node.proto.attr.items()
        if key.startswith("_") and not _is_borne(key, value)
    ]
    for name, function in functions.items():
        for attributes in (function.attr, *(argument.attr for argument in function.arg_attr.values())):
            strange += [
                (key, f"function {name}")
                for key, value in attributes.items()
                if key not in OF_FUNCTIONS and not _is_borne(key, value)
            ]
    if strange:
        raise ModelError(
            f"refused graph: attributes that the runtime may not bear: {count_up(strange)} "
            "(python model_freeze.py leaves them out)"
        )
    if sum(len(node.proto.input) for body in bodies.values() for node in body.nodes.values()) > MAX_EDGES:
        raise ModelError(f"refused graph: its nodes have more than {MAX_EDGES} inputs together")
    _check_calls(bodies)
    return bodies


def _is_borne(name: str, value: Any) -> bool:
    if name == "_class":
        return value == type(value)(list={"s": [text for text in value.list.s if text.startswith(b"loc:@")]})
    return name in ATTRIBUTES or (name.startswith("_Xla") and not value.b)


def count_up(found: Iterable[tuple[str, str]]) -> str:
    """Summarizes pairs of a kind and a node: each kind, how often it occurs, and its first node."""
    kinds: dict[str, list[str]] = {}
    for kind, node in found:
        kinds.setdefault(kind, []).append(node)
    return "; ".join(
        f"{kind} in {nodes[0]}" if len(nodes) == 1 else f"{kind} {len(nodes)} times, first in {nodes[0]}"
        for kind, nodes in kinds.items()
    )


def _read_body(
    where: str, protos: Sequence[Any], functions: Mapping[str, Any], producer: int, arguments: Sequence[str] = ()
) -> Body:
    nodes: dict[str, Node] = {}
    by_name = {proto.name: proto for proto in protos}
    if len(by_name) < len(protos):
        names = [proto.name for proto in protos]
        twice = next(name for name in names if names.count(name) > 1)
        raise ModelError(f"refused graph: two nodes{where} are named {twice}")
    for proto in protos:
        _check_node(proto, functions, where)
        inputs, controls = [], []
        for name in proto.input:
            if name.startswith("^"):
                source = name[1:] if name[1:] in by_name or name[1:] in arguments else None
                controls.append(source)
            else:
                source = _source(name, by_name, arguments, functions)
                inputs.append(source)
            if source is None:
                raise ModelError(f"refused graph: the input {name} of node {proto.name}{where} is not in it")
        nodes[proto.name] = Node(proto.name, proto, inputs, controls)
    return Body(where, _in_order(nodes, where), list(arguments))


def _source(
    name: str, nodes: Mapping[str, Any], arguments: Sequence[str], functions: Mapping[str, Any]
) -> tuple[str, int] | None:
    """Resolves an input's name: `node:output` in a graph, `node:list:output` or an argument in a function."""
    parts = name.split(":")
    if parts[0] in arguments and len(parts) == 1:
        return parts[0], 0
    node = nodes.get(parts[0])
    if node is None or len(parts) > 3 or len(parts) > 1 and not INDEX.fullmatch(parts[-1]):
        return None
    if len(parts) < 3:
        return split(name)
    position = 0
    proto = getattr(node, "proto", node)
    for argument in getattr(definition_of(proto, functions), "output_arg", ()):
        if argument.name == parts[1]:
            return parts[0], position + int(parts[2])
        position += _width(argument, proto)
    return None


def definition_of(proto: Any, functions: Mapping[str, Any] = {}) -> Any:
    """A node's OpDef, or the signature of the function that its `op` names; None if there is neither."""
    from tensorflow.python.framework import op_def_registry

    return functions.get(proto.op) or op_def_registry.get(proto.op)


def _width(argument: Any, proto: Any) -> int:
    """How many tensors an argument of an OpDef stands for in a node."""
    if argument.number_attr:
        return proto.attr[argument.number_attr].i if argument.number_attr in proto.attr else 1
    if argument.type_list_attr:
        return len(proto.attr[argument.type_list_attr].list.type) if argument.type_list_attr in proto.attr else 0
    return 1


def output_count(proto: Any) -> int:
    """How many outputs a node of a registered operation has."""
    return sum(_width(argument, proto) for argument in getattr(definition_of(proto), "output_arg", ()))


def output_dtype(proto: Any, index: int) -> str:
    """The dtype name of a node's output; empty if it has no such output."""
    types: list[int] = []
    for argument in definition_of(proto).output_arg:
        if argument.type_list_attr:
            types += proto.attr[argument.type_list_attr].list.type
        else:
            types += [argument.type or proto.attr[argument.type_attr].type] * _width(argument, proto)
    return dtype_name(types[index] % 100) if index < len(types) else ""


def _check_node(proto: Any, functions: Mapping[str, Any], where: str) -> None:
    """Checks that a node has the inputs and attributes that its operation declares, and that their sizes are sane."""
    name = f"{proto.name}{where}"
    if not proto.op:
        raise ModelError(f"refused graph: node {name} has no operation")
    data = sum(not source.startswith("^") for source in proto.input)
    if data > MAX_INPUTS:
        raise ModelError(f"refused graph: node {name} has more than {MAX_INPUTS} inputs")
    for key, value in proto.attr.items():
        kind = value.WhichOneof("value")
        sizes = value.list.i if kind == "list" else [value.i] if kind == "i" else []
        if key in ("strides", "dilations", "ksize", "explicit_paddings", "rates", "ksizes", "block_size") and any(
            not 0 <= size <= MAX_WINDOW for size in sizes
        ):
            raise ModelError(f"refused graph: {key} of node {name} are not all from 0 to {MAX_WINDOW}")
        types = value.list.type if kind == "list" else [value.type] if kind == "type" else []
        if unknown := next((name for name in map(dtype_name, types) if name.startswith("the unknown")), None):
            raise ModelError(f"refused graph: {key} of node {name} is {unknown}")
        if kind == "placeholder" or value.func.attr or any(function.attr for function in value.list.func):
            raise ModelError(f"refused graph: {key} of node {name} is what only a call would tell")
        shapes = value.list.shape if kind == "list" else [value.shape] if kind == "shape" else []
        if key.startswith("_") and key != "_output_shapes":
            continue
        if any(len(shape.dim) > MAX_RANK or any(dim.size < -1 for dim in shape.dim) for shape in shapes):
            raise ModelError(f"refused graph: {key} of node {name} has more than {MAX_RANK} dimensions, or odd ones")
        if kind == "s" and len(value.s) > MAX_TEXT:
            raise ModelError(f"refused graph: {key} of node {name} is a text of {len(value.s)} bytes")
        if kind == "tensor" and not (proto.op == "Const" and key == "value"):
            check_tensor(value.tensor, f"{key} of node {name}")
    if proto.op == "Const":
        if proto.attr["value"].tensor.dtype != proto.attr["dtype"].type:  # would abort the process
            raise ModelError(
                f"refused graph: Const {name} holds {dtype_name(proto.attr['value'].tensor.dtype)}, "
                f"its dtype is {dtype_name(proto.attr['dtype'].type)}"
            )
        check_tensor(proto.attr["value"].tensor, f"Const {name}")
    definition = definition_of(proto, functions)
    if definition is None:
        return
    for attribute in definition.attr:
        if attribute.name not in proto.attr and not attribute.HasField("default_value"):
            raise ModelError(f"refused graph: node {name} has no attribute {attribute.name}, which {proto.op} needs")
    expected = sum(_width(argument, proto) for argument in definition.input_arg)
    if data != expected:
        raise ModelError(f"refused graph: node {name} has {data} inputs, {proto.op} takes {expected}")
    if sum(max(0, _width(argument, proto)) for argument in definition.output_arg) > MAX_INPUTS:
        raise ModelError(f"refused graph: node {name} has more than {MAX_INPUTS} outputs")
    declared = {attribute.name for attribute in definition.attr}
    for key in proto.attr:
        if key not in declared and not key.startswith("_") and proto.op not in functions:
            raise ModelError(f"refused graph: {proto.op} has no attribute {key}: node {name}")


@functools.cache
def dtype_name(number: int) -> str:
    """TensorFlow's name for a DataType number."""
    try:
        return tf.as_dtype(number).name
    except TypeError:
        return f"the unknown type {number}"


def check_tensor(tensor: Any, name: str) -> None:
    """Checks that a TensorProto holds what it declares. Raises ModelError."""
    dims, dtype = tensor.tensor_shape.dim, dtype_name(tensor.dtype)
    if dtype not in ELEMENTS:
        raise ModelError(f"refused graph: {name} is of type {dtype}")
    if tensor.tensor_shape.unknown_rank or any(dim.size < 0 for dim in dims):
        raise ModelError(f"refused graph: {name} has no definite shape")
    if len(dims) > MAX_RANK:
        raise ModelError(f"refused graph: {name} has {len(dims)} dimensions (at most {MAX_RANK})")
    if any(dim.size > MAX_ELEMENTS << 4 for dim in dims):
        raise ModelError(f"refused graph: {name} has a dimension of {max(dim.size for dim in dims)}")
    declared = math.prod(dim.size for dim in dims)
    elements, content = getattr(tensor, ELEMENTS[dtype]), tensor.tensor_content
    if content and (dtype == "string" or len(content) != declared * tf.as_dtype(dtype).size):
        raise ModelError(f"refused graph: {name} holds {len(content)} bytes for {declared} elements")
    # If a file holds fewer elements than the shape needs, TensorFlow repeats the last one.
    most = MAX_SPLAT if dtype != "string" else len(elements)
    if not content and (len(elements) > declared or len(elements) < declared > most):
        raise ModelError(f"refused graph: {name} holds {len(elements)} of {declared} elements")


def _in_order(nodes: dict[str, Node], where: str) -> dict[str, Node]:
    """Sorts the nodes topologically. Raises ModelError for a cycle or a long chain: TensorFlow recurses along some."""
    users: dict[str, list[str]] = {name: [] for name in nodes}
    waiting = dict.fromkeys(nodes, 0)
    length = dict.fromkeys(nodes, 1)
    for node in nodes.values():
        for source in [name for name, _ in node.inputs] + node.controls:
            if source in nodes and nodes[source].proto.op not in BACK:
                users[source].append(node.name)
                waiting[node.name] += 1
    ready = [name for name, inputs in waiting.items() if not inputs]
    for name in ready:  # grows as nodes become ready
        if length[name] > MAX_CHAIN:
            raise ModelError(f"refused graph: a chain of more than {MAX_CHAIN} nodes leads to node {name}{where}")
        for user in users[name]:
            length[user] = max(length[user], length[name] + 1)
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    if len(ready) < len(nodes):
        first = next(name for name, inputs in waiting.items() if inputs)
        raise ModelError(f"refused graph: node {first}{where} depends on a cycle")
    return {name: nodes[name] for name in ready}


def called(proto: Any, bodies: Mapping[str, Body]) -> list[str]:
    """The functions that a node names, as its operation or in its attributes."""
    names = [proto.op] if proto.op in bodies else []
    for value in proto.attr.values():
        names += [value.func.name] if value.HasField("func") else [each.name for each in value.list.func]
    return names


def _check_calls(bodies: Mapping[str, Body]) -> None:
    """Raises ModelError if a function calls itself, directly or indirectly, or if calls nest too deeply."""
    depth: dict[str, int] = {}
    calls = {name: {f for node in body.nodes.values() for f in called(node.proto, bodies)} & bodies.keys()
             for name, body in bodies.items()}  # fmt: skip
    todo = dict(calls)
    for level in range(MAX_CALLS):
        done = [name for name, wanted in todo.items() if wanted <= depth.keys()]
        for name in done:
            depth[name] = level
            del todo[name]
    if todo:
        name = next(filter(None, todo), "")
        raise ModelError(f"refused graph: function {name} calls itself, or more than {MAX_CALLS} others deep")


class Written(NamedTuple):
    """A graph with functions inlined: its steps, inputs first, and the sources of the tensors that were asked for."""

    steps: list[Step]
    sources: dict[str, tuple[int, int]]


def write_out(bodies: Mapping[str, Body], wanted: Iterable[str], fed: Collection[str] = ()) -> Written:
    """Lists the steps that lead to the wanted operations or tensors, with the functions that they call inlined.

    Args:
        fed: tensors that are fed, so nothing upstream of them is run.

    Raises:
        ModelError: there are too many steps, or a name is not in the graph.
    """
    steps: list[Step] = []
    labels: dict[str, Any] = {}
    calls = itertools.count(1)
    graph, wanted, cut = bodies[""], list(wanted), dict.fromkeys(map(split, fed))
    needed = _upstream(graph, wanted, cut)

    def add(step: Step) -> int:
        if step.proto and labels.setdefault(step.label, step.proto) is not step.proto:
            raise ModelError(f"refused graph: with its functions written out two nodes are named {step.label}")
        steps.append(step)
        if len(steps) > MAX_NODES:
            raise ModelError(f"refused graph: with its functions written out it has more than {MAX_NODES} nodes")
        return len(steps) - 1

    def emit(body: Body, outputs: dict[str, Any], results: Iterable[tuple[str, int]], path: str) -> list[Any]:
        """Adds the steps of a body, whose arguments are in `outputs`. Returns the sources of the results."""
        if next(calls) > MAX_NODES:  # functions may hold nothing but calls
            raise ModelError(f"refused graph: with its functions written out it has more than {MAX_NODES} calls")
        back: list[tuple[int, int, str, int]] = []  # of loops: a step, the input's number, and its source

        def source(name: str, index: int) -> tuple[int, int] | None:
            if body is graph and (name, index) in cut:
                return outputs[f"{name}:{index}"][0]
            found = outputs.get(name)  # None for the back edge of a loop
            if isinstance(found, list) and index >= len(found):
                raise ModelError(f"refused graph: {name}{body.where} has no output {index}")
            return (found, index) if isinstance(found, int) else found and found[index]

        for node in body.nodes.values():
            if body is graph and node.name not in needed:
                continue
            proto, label, names = node.proto, f"{path}{node.name}", called(node.proto, bodies)
            inputs = [source(name, index) for name, index in node.inputs]
            if proto.op in bodies or proto.op in CALLS:
                if not names or names[0] not in bodies:
                    raise ModelError(f"refused graph: node {label} calls a function that is not in it")
                callee = bodies[names[0]]
                arguments = {name: [given] for name, given in zip(callee.arguments, inputs, strict=False)}
                outputs[node.name] = emit(callee, arguments, callee.results, f"{label}/")
            elif proto.op in BRANCHES:
                branches = [proto.attr[key].func.name for key in ("then_branch", "else_branch")]
                if not bodies.keys() >= set(branches) or len({len(bodies[name].results) for name in branches}) > 1:
                    raise ModelError(f"refused graph: node {label} has no two branches with the same outputs")
                both = []
                for name in branches:
                    arguments = {a: [given] for a, given in zip(bodies[name].arguments, inputs[1:], strict=False)}
                    both.append(emit(bodies[name], arguments, bodies[name].results, f"{label}/{name}/"))
                pairs = zip(*both, strict=True)
                outputs[node.name] = [(add(Step(proto, label, [*pair, inputs[0]])), 0) for pair in pairs]
            else:
                outputs[node.name] = add(Step(proto, label, inputs))
                back.extend((len(steps) - 1, i, *node.inputs[i]) for i, given in enumerate(inputs) if given is None)
        while back:
            number, i, name, index = back.pop()
            steps[number].inputs[i] = source(name, index)
        return [source(name, index) for name, index in results]

    for name, index in cut:
        proto = graph.nodes[name].proto if name in graph.nodes else None
        if not proto or index >= (len(bodies[proto.op].results) if proto.op in bodies else output_count(proto)):
            raise ModelError(f"refused graph: {name}:{index}, which is fed, is not in it")
    given = {f"{name}:{index}": [(add(Step(None, name, [], f"{name}:{index}")), 0)] for name, index in cut}
    sources = emit(graph, given, map(split, wanted), "")
    return Written(steps, dict(zip(wanted, sources, strict=True)))


def _upstream(graph: Body, roots: Iterable[str], cut: Collection[tuple[str, int]]) -> set[str]:
    """The nodes that these operations or tensors depend on, themselves included, up to tensors that are fed."""
    found: set[str] = set()
    todo = [split(root) for root in roots]
    while todo:
        name, index = todo.pop()
        if (name, index) in cut or name in found:
            continue
        if name not in graph.nodes:
            raise ModelError(f"refused graph: {name} is not in it")
        found.add(name)
        todo += graph.nodes[name].inputs + [(control, -1) for control in graph.nodes[name].controls]
    return found


def check_operations(
    steps: Iterable[Step], allowed: Collection[str], bodies: Mapping[str, Body], advise: bool = True
) -> None:
    """Checks that every step's operation is allowed, and those of the functions that it calls without being inlined.

    Raises:
        ModelError: names all operations that are not allowed.
    """
    protos = [(step.proto, f"node {step.label}") for step in steps if step.proto]
    todo = [name for proto, _ in protos if proto.op not in (*CALLS, *BRANCHES) for name in called(proto, bodies)]
    seen: set[str] = set()
    while todo:
        if (name := todo.pop()) in bodies and name not in seen:
            seen.add(name)
            for node in bodies[name].nodes.values():
                protos.append((node.proto, f"node {node.name}{bodies[name].where}"))
                todo += called(node.proto, bodies)
    strange = [(proto.op, where) for proto, where in protos if proto.op not in allowed and proto.op not in bodies]
    strange = list(dict.fromkeys(strange))
    if strange:
        flags = " ".join(f"--allow-op {name}" for name in dict.fromkeys(name for name, _ in strange))
        raise ModelError(
            f"operations not allowed: {count_up(strange)} ({flags} accepts them"
            f"{'; python model_freeze.py keeps only what an output needs' if advise else ''})"
        )


def follow(steps: Sequence[Step], source: tuple[int, int]) -> Iterator[tuple[Step, int]]:
    """Yields the step and output that a source stands for, past steps that only pass it on; both sides of a branch."""
    todo, seen = [source], set()
    while todo:
        number, index = todo.pop()
        if (number, index) in seen:
            continue
        seen.add((number, index))
        step = steps[number]
        op = step.proto.op if step.proto else ""
        if op == "IdentityN":
            todo.append(step.inputs[index])
        elif op in ("Identity", "Switch", "Merge", *BRANCHES):
            todo += step.inputs[: 1 if op in ("Identity", "Switch") else 2]
        else:
            yield step, index
