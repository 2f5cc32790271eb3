"""The checks that a graph passes before TensorFlow runs it: what each refuses, in which words."""

import hashlib
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model_import_export import graph_check, model_file, rows
from model_import_export import ModelError
from model_import_export.graph_mode import tf


def line(dtype: str = "float64") -> Any:
    """A frozen graph: y = 1.5x - 3, named as the contract names it."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(dtype, [None, None], name="inputs/x_sample")
        y = tf.multiply(x, tf.constant(1.5, dtype, name="slope"), name="linear_regression/mul")
        tf.add(y, tf.constant(-3, dtype, name="intercept"), name="linear_regression/add")
    return graph.as_graph_def()


def node_of(graph_def: Any, name: str) -> Any:
    """The NodeDef of that name."""
    return next(node for node in graph_def.node if node.name == name)


def refusal(graph_def: Any, operations: frozenset = graph_check.OPERATIONS) -> str:
    """What check 3 says of a graph; empty where it accepts it."""
    try:
        graph_check.check_graph(graph_def, operations)
    except ModelError as error:
        return str(error)
    return ""


def constant(dtype: int, shape: list[int], **fields: Any) -> Any:
    """A graph of one Const whose tensor has these fields."""
    graph_def = tf.GraphDef()
    node = graph_def.node.add(name="c", op="Const")
    node.attr["dtype"].type = dtype
    tensor = node.attr["value"].tensor
    tensor.dtype = fields.pop("tensor_dtype", dtype)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    for field, value in fields.items():
        if isinstance(value, list):
            getattr(tensor, field).extend(value)
        else:
            setattr(tensor, field, value)
    return graph_def


def test_accepts_what_only_calculates() -> None:
    assert refusal(line()) == ""
    assert refusal(line("float32")) == ""
    older = line()
    node_of(older, "linear_regression/add").op = "Add"  # as TensorFlow 1.x wrote it
    assert refusal(older) == ""


@pytest.mark.parametrize(
    "op", ["WriteFile", "ReadFile", "PyFunc", "While", "Fill", "Range", "Tile", "SaveV2", "f1", ""]
)
def test_refuses_operations_by_name(op: str) -> None:
    graph_def = line()
    graph_def.node.add(name="bad", op=op)
    said = f"operation not allowed: {op} in node bad (--allow-op {op} accepts it, --trust accepts all)"
    assert refusal(graph_def) == said
    assert refusal(graph_def, graph_check.OPERATIONS.union([op])) == ""


def test_the_list_has_nothing_that_reads_writes_loops_or_calls() -> None:
    """By TensorFlow's own register: no stateful operation but none, no function, no string or resource in or out."""
    from tensorflow.python.framework import op_def_registry

    for name in graph_check.OPERATIONS:
        definition = op_def_registry.get(name)
        assert definition is not None, f"{name} is no operation of TensorFlow"
        assert not definition.is_stateful, name
        assert not any(attr.type in ("func", "list(func)") for attr in definition.attr), name
        assert not any(arg.type in (tf.string, tf.resource, tf.variant) for arg in definition.input_arg), name


def test_size_of_the_graph() -> None:
    assert refusal(tf.GraphDef()) == "refused graph: it has 0 nodes (1 to 20000 are accepted)"
    many = tf.GraphDef()
    for i in range(20_000):
        many.node.add(name=f"n{i}", op="NoOp")
    assert refusal(many) == ""
    many.node.add(name="one more", op="NoOp")
    assert refusal(many) == "refused graph: it has 20001 nodes (1 to 20000 are accepted)"


def test_function_library() -> None:
    graph_def = line()
    graph_def.library.function.add().signature.name = "f"
    assert refusal(graph_def).startswith("refused graph: it has a function library")
    assert "--trust" in refusal(graph_def)


def test_chains_and_cycles() -> None:
    def chain(length: int) -> Any:
        graph_def = tf.GraphDef()
        graph_def.node.add(name="n1", op="Placeholder")
        for i in range(2, length + 1):
            # A control input counts like a tensor.
            graph_def.node.add(name=f"n{i}", op="Identity", input=[f"n{i - 1}" if i % 2 else f"^n{i - 1}"])
        return graph_def

    assert refusal(chain(1000)) == ""
    assert refusal(chain(1001)) == "refused graph: a chain of more than 1000 nodes leads to node n1001"
    assert refusal(chain(5000)) == "refused graph: a chain of more than 1000 nodes leads to node n1001"
    cycle = chain(5)
    node_of(cycle, "n3").input.append("n4:0")
    assert refusal(cycle) == "refused graph: node n3 depends on a cycle"
    itself = line()
    node_of(itself, "linear_regression/mul").input[1] = "linear_regression/mul"
    assert refusal(itself) == "refused graph: node linear_regression/mul depends on a cycle"


def test_names_in_the_graph() -> None:
    twice = line()
    twice.node.add(name="slope", op="NoOp")
    assert refusal(twice) == "refused graph: two nodes are named slope"
    nowhere = line()
    node_of(nowhere, "linear_regression/add").input[0] = "elsewhere:1"
    assert refusal(nowhere) == "refused graph: the input elsewhere:1 of node linear_regression/add is not in it"


def test_constant_of_another_type_than_it_declares() -> None:
    graph_def = constant(1, [], tensor_dtype=2, double_val=[1.0])
    assert refusal(graph_def) == "refused graph: Const c holds float64, its dtype is float32"
    assert refusal(constant(1, [], tensor_dtype=999)) == (
        "refused graph: Const c holds the unknown type 999, its dtype is float32"
    )
    no_value = tf.GraphDef()
    no_value.node.add(name="c", op="Const").attr["dtype"].type = 1
    assert refusal(no_value).startswith("refused graph: Const c holds ")


@pytest.mark.parametrize("dtype", [8, 20, 21, 101, 0])  # complex64, resource, variant, a reference, none
def test_constant_of_a_type_that_is_no_number(dtype: int) -> None:
    assert re.fullmatch(r"refused graph: Const c is of type .+", refusal(constant(dtype, [])))


@pytest.mark.parametrize(
    ("shape", "fields", "said"),
    [
        ([2, 3], {"float_val": [1.0] * 6}, ""),
        ([2, 3], {"float_val": [1.0]}, ""),  # the last is repeated
        ([2, 3], {}, ""),
        ([2, 3], {"tensor_content": bytes(24)}, ""),
        ([1024, 1024], {"float_val": [1.0]}, ""),
        ([1024, 1025], {"float_val": [1.0]}, "holds 1 of 1049600 elements"),
        ([10**6, 10**6], {"float_val": [1.0]}, "holds 1 of 1000000000000 elements"),
        ([2**62, 2**62], {}, f"holds 0 of {2**124} elements"),
        ([2], {"float_val": [1.0] * 3}, "holds 3 of 2 elements"),
        ([2, 0], {"float_val": [1.0]}, "holds 1 of 0 elements"),
        ([2, 3], {"tensor_content": bytes(20)}, "holds 20 bytes for 6 elements"),
        ([2, 3], {"tensor_content": bytes(23)}, "holds 23 bytes for 6 elements"),
        ([-1], {"float_val": [1.0]}, "has no definite shape"),
    ],
)
def test_constant_declares_what_the_file_holds(shape: list[int], fields: dict, said: str) -> None:
    assert refusal(constant(1, shape, **fields)) == (said and f"refused graph: Const c {said}")


def test_constant_of_unknown_rank() -> None:
    graph_def = constant(1, [])
    graph_def.node[0].attr["value"].tensor.tensor_shape.unknown_rank = True
    assert refusal(graph_def) == "refused graph: Const c has no definite shape"


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_constant_that_is_not_finite(bad: float) -> None:
    said = "refused graph: Const c holds a value that is not finite"
    halves = struct.unpack("<H", struct.pack("<e", bad))[0], struct.unpack("<I", struct.pack("<f", bad))[0] >> 16
    assert refusal(constant(1, [2], float_val=[1.0, bad])) == said
    assert refusal(constant(2, [2], double_val=[1.0, bad])) == said
    assert refusal(constant(1, [2], tensor_content=struct.pack("<2f", 1.0, bad))) == said
    assert refusal(constant(2, [2], tensor_content=struct.pack("<2d", 1.0, bad))) == said
    for number, bits in zip((19, 14), halves, strict=True):  # half, bfloat16
        assert refusal(constant(number, [1], half_val=[bits])) == said
        assert refusal(constant(number, [1], tensor_content=struct.pack("<H", bits))) == said
        assert refusal(constant(number, [1], half_val=[0x3C00])) == ""
    assert refusal(constant(2, [2], double_val=[1.7e308, -5e-324])) == ""


@pytest.mark.parametrize("shape", [[], [None], [None, 3], [2, None], None])
def test_shape_of_a_placeholder(shape: list[int | None] | None) -> None:
    with tf.Graph().as_default() as graph:
        tf.placeholder(tf.float32, shape, name="x")
    node = graph_check.find_placeholder(graph.as_graph_def(), "x")
    assert graph_check.placeholder_dims(node) == (shape and [-1 if dim is None else dim for dim in shape])
    assert graph_check.dtype_of(node) == "float32"


def test_names_of_input_and_output() -> None:
    graph_def = line()
    for name in ("inputs/x_sample", "inputs/x_sample:0"):
        assert graph_check.find_placeholder(graph_def, name).name == "inputs/x_sample"
    for name in ("inputs/x_sample:1", "slope", "", "x"):
        with pytest.raises(ModelError) as error:
            graph_check.find_placeholder(graph_def, name)
        assert str(error.value) == f"no such input: {name} (the model has: inputs/x_sample)"
    graph_check.check_output(graph_def, "linear_regression/add", ["inputs/x_sample"])
    with pytest.raises(ModelError) as error:
        graph_check.check_output(graph_def, "linear_regresion/add:0", ["inputs/x_sample"])
    assert str(error.value) == (
        "no such output: linear_regresion/add:0 (the nearest: linear_regression/add, linear_regression/mul, "
        "inputs/x_sample)"
    )
    with pytest.raises(ModelError, match=re.escape("no such output: slope:1 (slope has 1)")):
        graph_check.check_shapes(graph_def, {}, "slope:1")
    with pytest.raises(
        ModelError, match=r"no value for the placeholder: inputs/x_sample \(give --feed inputs/x_sample="
    ):
        graph_check.check_output(graph_def, "linear_regression/add", [])
    node_of(graph_def, "inputs/x_sample").attr["dtype"].type = 3
    with pytest.raises(ModelError, match="inputs/x_sample is of type int32, not float64 or float32"):
        graph_check.find_placeholder(graph_def, "inputs/x_sample")


def shapes(build: Callable[[Any], Any], feed: list[int], shape: list[int | None] | None = None) -> str:
    """What check 6 says of a graph `y = build(x)` when x has the shape `feed`."""
    with tf.Graph().as_default() as graph:
        tf.identity(build(tf.placeholder(tf.float64, shape or [None, None], name="x")), name="y")
    assert refusal(graph.as_graph_def()) == ""
    try:
        graph_check.check_shapes(graph.as_graph_def(), {"x": feed}, "y")
    except ModelError as error:
        return str(error)
    return ""


def test_outputs_that_are_too_large() -> None:
    column, row = tf.float64.as_numpy_dtype(1), 16384

    def splat(x: Any) -> Any:
        del x
        graph = tf.get_default_graph()
        ones = [tf.constant(column, shape=shape) for shape in ([row, 1], [1, row + 1])]
        assert len(graph.as_graph_def().SerializeToString()) < 1000
        return tf.multiply(*ones, name="broadcast")

    assert (
        shapes(splat, [1, 1]) == "refused graph: the output of node broadcast has 268451840 elements (at most 16777216)"
    )
    # What an open dimension would hide shows with the feed's own shape.
    pad = shapes(lambda x: tf.pad(x, [[0, 10**9], [0, 0]]), [1, 1])
    assert pad == "refused graph: the output of node Pad has 1000000001 elements (at most 16777216)"

    def double(x: Any) -> Any:
        for _ in range(30):
            x = tf.concat([x, x], 0)
        return x

    assert "elements (at most 16777216)" in shapes(double, [1, 1])
    assert shapes(lambda x: x * x, [1, 4096]) == ""
    assert shapes(lambda x: tf.matmul(x, x, transpose_a=True), [1, 4096]) == ""
    assert "elements (at most 16777216)" in shapes(lambda x: tf.matmul(x, x, transpose_a=True), [1, 4097])


def test_shapes_that_only_running_would_tell() -> None:
    def said(build: Callable[[Any], Any], *allowed: str) -> str:
        with tf.Graph().as_default() as graph:
            tf.identity(build(tf.placeholder(tf.float64, [None, None], name="x")), name="y")
        return refusal(graph.as_graph_def(), graph_check.OPERATIONS.union(allowed))

    computed = r"refused graph: node \w+ takes a shape or an axis from node \w+, no Const"
    assert re.fullmatch(computed, said(lambda x: tf.reshape(x, tf.cast(tf.reduce_sum(x, 1), tf.int32))))
    assert re.fullmatch(computed, said(lambda x: tf.pad(x, tf.cast(x, tf.int32))))
    assert re.fullmatch(computed, said(lambda x: tf.expand_dims(x, tf.cast(tf.reduce_sum(x), tf.int32))))
    assert said(lambda x: tf.reshape(x, [-1, 2])) == ""
    # A shape taken from another tensor, as a layer that flattens does, is for those who allow the operations.
    assert said(lambda x: tf.reshape(x, tf.shape(x)), "Shape") == ""
    dynamic = shapes_with(lambda x: tf.reshape(x, tf.cast(tf.range(x[0, 0]), tf.int32)))
    assert dynamic == "refused graph: the output of node range has no definite shape"


def shapes_with(build: Callable[[Any], Any]) -> str:
    """What check 6 says of a graph with operations that check 3 does not know."""
    with tf.Graph().as_default() as graph:
        tf.identity(build(tf.placeholder(tf.float64, [None, None], name="x")), name="y")
    with pytest.raises(ModelError) as error:
        graph_check.check_shapes(graph.as_graph_def(), {"x": [1, 1]}, "y")
    return str(error.value)


def test_more_dimensions_than_tensorflow_bears() -> None:
    """255 of them end the process: in a constant, by Reshape, by one ExpandDims after the other."""

    def deeper(x: Any) -> Any:
        for _ in range(253):
            x = tf.expand_dims(x, 0)
        return x

    said = "has 255 dimensions (at most 254)"
    assert said in shapes(lambda x: tf.reshape(x, [1] * 255), [1, 1])
    assert said in shapes(deeper, [1, 1])
    assert refusal(constant(1, [1] * 255)) == "refused graph: Const c has 255 dimensions (at most 254)"


def test_outputs_that_are_too_large_together() -> None:
    def many(x: Any) -> Any:
        return tf.add_n([tf.constant(float(i), tf.float64, [1024, 1024]) for i in range(70)]) * x[:1, :1]

    with tf.Graph().as_default() as graph:
        tf.identity(many(tf.placeholder(tf.float64, [None, None], name="x")), name="y")
    with pytest.raises(ModelError, match=r"refused graph: its outputs have \d+ elements together \(at most 67108864\)"):
        graph_check.check_shapes(graph.as_graph_def(), {"x": [1, 1]}, "y")


def test_inputs_and_windows() -> None:
    wide = line()
    wide.node.add(name="sum", op="AddN", input=["slope"] * 1001)
    assert refusal(wide) == "refused graph: node sum has more than 1000 inputs"
    group = line()
    group.node.add(name="init", op="NoOp", input=["^slope"] * 100_001)
    assert refusal(group) == "refused graph: its nodes have more than 100000 inputs together"
    for name in ("strides", "ksize", "dilations", "explicit_paddings"):
        for size, said in ((1024, ""), (1025, "not"), (2**32, "not"), (-1, "not")):
            window = line()
            window.node.add(name="w", op="Conv2D").attr[name].list.i.extend([1, size])
            expected = f"refused graph: {name} of node w are not all from 0 to 1024" if said else ""
            assert refusal(window) == expected


def test_repeated_string() -> None:
    assert refusal(constant(7, [2], string_val=[b"a", b"b"])) == ""
    assert refusal(constant(7, [1000], string_val=[b"a" * 1000])) == "refused graph: Const c holds 1 of 1000 elements"


def test_rows_in_one_run() -> None:
    def rows_of(build: Callable[[Any], Any], shape: list[int | None], row: list[int]) -> int:
        with tf.Graph().as_default() as graph:
            tf.identity(build(tf.placeholder(tf.float64, shape, name="x")), name="y")
        return graph_check.rows_a_run(graph.as_graph_def(), "x", {"x": row}, "y")

    assert rows_of(lambda x: x + 1, [None, None], [1, 1]) == 4096
    assert rows_of(lambda x: x + 1, [None, 10], [1, 10]) == 409
    assert rows_of(lambda x: x + 1, [None, 5000], [1, 5000]) == 1
    assert rows_of(lambda x: x + 1, [], []) == 1
    assert rows_of(lambda x: x + 1, [1, None], [1, 1]) == 1
    assert rows_of(lambda x: tf.reduce_sum(x, 1), [None, None], [1, 1]) == 4096
    assert rows_of(tf.reduce_sum, [None, None], [1, 1]) == 1, "a result for the batch is none a row"
    assert rows_of(lambda x: tf.reduce_sum(x, 0), [None, 3], [1, 3]) == 1


def test_files(tmp_path: Path) -> None:
    model = tmp_path / "model.pb"
    data = line().SerializeToString()

    def said(path: Path = model, trust: bool = False) -> str:
        try:
            return model_file.read_frozen_graph(str(path), "x", "y", (), trust).kind
        except ModelError as error:
            return str(error).replace(str(tmp_path), "DIR")

    model.write_bytes(data)
    assert said() == "frozen graph"
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(f"{'0' * 64}  other.pb\n{hashlib.sha256(data).hexdigest()}  model.pb\n")
    assert said() == "frozen graph"
    for i in range(0, len(data), 7):
        model.write_bytes(data[:i] + bytes([data[i] ^ 4]) + data[i + 1 :])
        assert said() == "digest mismatch: DIR/model.pb is not the file that SHA256SUMS lists (freeze it again)"
    sums.write_text(f"{hashlib.sha256(data).hexdigest().upper()} *model.pb\n")
    assert said().startswith("digest mismatch")
    assert said(trust=True).startswith("digest mismatch"), "trust in its maker is not trust in a broken copy"
    sums.unlink()
    model.write_bytes(data[: len(data) // 2])
    assert re.fullmatch(r"not a GraphDef: DIR/model\.pb: .+", said())
    model.write_bytes(b"")
    assert said() == "not a usable model file: DIR/model.pb is empty"
    with open(model, "wb") as file:
        file.truncate(3 << 30)  # sparse
    assert said() == "not a usable model file: DIR/model.pb is larger than 256 MiB (--trust lifts the limit)"
    model.unlink()
    os.mkfifo(model)
    assert said() == "not a usable model file: DIR/model.pb is not a regular file"
    assert said(tmp_path) == "not a usable model file: DIR is not a regular file"
    (tmp_path / "saved_model.pb").write_bytes(b"x")
    assert said(tmp_path / "saved_model.pb").startswith("not a GraphDef: DIR/saved_model.pb: it is a SavedModel")


def test_every_length_and_every_byte() -> None:
    """A cut or changed file is refused or parsed; nothing else comes out of the checks than an error with words."""
    data = line().SerializeToString()
    changed = [data[:length] for length in range(len(data))]
    changed += [
        data[:i] + bytes([data[i] ^ mask]) + data[i + 1 :] for i in range(len(data)) for mask in (1, 2, 16, 128, 255)
    ]
    accepted = 0
    for candidate in changed:
        try:
            graph_def = graph_check.parse(tf.GraphDef(), candidate, "model.pb")
            graph_check.check_graph(graph_def, graph_check.OPERATIONS)
            node = graph_check.find_placeholder(graph_def, "inputs/x_sample")
            fed = {"inputs/x_sample": rows.feed_shape(graph_check.placeholder_dims(node), 4, node.name)}
            graph_check.check_output(graph_def, "linear_regression/add", fed)
            graph_check.check_shapes(graph_def, fed, "linear_regression/add")
        except ValueError as error:
            assert str(error)  # noqa: PT017
        else:
            accepted += 1
    assert 0 < accepted < len(changed) / 2, "most changes are seen; a digest sees them all"
