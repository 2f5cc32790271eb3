"""The gate: what it refuses and with which message, what it accepts, what it lists, and what it writes."""

import hashlib
import math
import multiprocessing
import os
import re
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import bad_models
from conftest import ROOT, USER, run_command, run_program
from model_import_export import ModelError, digests, graph_check, model_file, tensors
from model_import_export.graph_mode import new_saved_model, tf
from model_import_export.graph_rules import read_bodies
from model_import_export.operations import CALCULATION, CALLS, START, VARIABLES

import numpy as np
import pytest

ALLOW = "--allow-op {0} accepts them; python model_freeze.py keeps only what an output needs"


def graph_of(build: Callable[[], Any]) -> Any:
    """A graph's protocol buffer."""
    with tf.Graph().as_default() as graph:
        build()
    return graph.as_graph_def()


def node_of(graph_def: Any, name: str) -> Any:
    """The NodeDef with that name."""
    return next(node for node in graph_def.node if node.name == name)


def said(graph_def: Any, *allowed: str) -> str:
    """What the rules say about a frozen graph, without a trial; empty if they accept it."""
    try:
        graph_check.check_graph(graph_def, frozenset(allowed))
    except ModelError as error:
        return str(error)
    return ""


def sizes_said(build: Callable[[Any], Any], shape: list[int | None] | None = None, dtype: str = "float64") -> str:
    """What the rules say about `build(x)`."""
    return said(graph_of(lambda: build(tf.placeholder(dtype, shape or [None, None], name="x"))))


def judged(path: Path, **settings: Any) -> str:
    """What the gate says about a file or folder; empty if it accepts it."""
    try:
        graph_check.judge(str(path), **settings)
    except (ModelError, OSError) as error:
        return str(error)
    return ""


def write(path: Path, graph_def: Any) -> Path:
    path.write_bytes(graph_def.SerializeToString())
    return path


# ----- the graph alone


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


def test_what_only_calculates_is_accepted() -> None:
    assert said(bad_models.line()) == ""
    older = bad_models.line()
    node_of(older, "linear_regression/add").op = "Add"  # as TensorFlow 1.x wrote it
    assert said(older) == ""


def test_all_operations_that_are_refused_are_named_at_once() -> None:
    graph_def = bad_models.line()
    for name, op in (("a", "WriteFile"), ("b", "ReadFile"), ("c", "WriteFile"), ("d", "WriteFile")):
        graph_def.node.add(name=name, op=op, input=["slope"] * (2 if op == "WriteFile" else 1))
    flags = ALLOW.format("WriteFile --allow-op ReadFile")
    assert said(graph_def) == (
        f"operations not allowed: WriteFile 3 times, first in node a; ReadFile in node b ({flags})"
    )


@pytest.mark.parametrize("op", ["WriteFile", "ReadFile", "PyFunc", "NoSuchOperation", "SaveV2", "AdjustHue", ""])
def test_operations_not_on_the_list(op: str) -> None:
    graph_def = bad_models.line()
    graph_def.node.add(name="bad", op=op)
    assert re.match(r"(operations not allowed: \w+ in|refused graph:) node bad ", said(graph_def))


def test_the_list_has_nothing_that_reads_writes_loops_or_calls_out() -> None:
    """According to TensorFlow's own registry: which operations are stateful, take functions, or concern files."""
    from tensorflow.python.framework import op_def_registry

    definitions = {name: op_def_registry.get(name) for name in CALCULATION | VARIABLES | START}
    assert [name for name, definition in definitions.items() if definition is None] == []
    stateful = {name for name in CALCULATION if definitions[name].is_stateful}
    tables = {name for name in stateful if "Table" in name}
    random = {"RandomStandardNormal", "RandomUniform", "TruncatedNormal"}
    assert stateful - tables - random == {"Assert", "CheckNumerics", "If", "StatefulPartitionedCall"}
    functional = {name for name in definitions if any("func" in attr.type for attr in definitions[name].attr)}
    assert functional == CALLS | {"If", "StatelessIf"}
    files = {name for name in CALCULATION | VARIABLES if "ile" in name and name not in ("Tile",)}
    assert files == set(), "only the start of a SavedModel reads files"


def test_size_of_the_graph() -> None:
    many = tf.GraphDef()
    assert said(many) == "refused graph: it has 0 nodes (1 to 20000 are accepted)"
    many.node.extend(tf.NodeDef(name=f"n{i}", op="NoOp") for i in range(20_000))
    read_bodies(many)
    many.node.add(name="one more", op="NoOp")
    assert said(many) == "refused graph: it has 20001 nodes (1 to 20000 are accepted)"


def test_chains_and_cycles() -> None:
    def chain(length: int) -> Any:
        graph_def = graph_of(lambda: tf.placeholder("float32", [1], name="n1"))
        for i in range(2, length + 1):
            # A control input counts like a tensor.
            node = graph_def.node.add(
                name=f"n{i}", op="Identity", input=["n1", f"^n{i - 1}"] if i % 2 else [f"n{i - 1}"]
            )
            node.attr["T"].type = 1
        return graph_def

    assert said(chain(1000)) == ""
    assert said(chain(1001)) == "refused graph: a chain of more than 1000 nodes leads to node n1001"
    cycle = chain(5)
    node_of(cycle, "n2").input[0] = "n4:0"
    assert said(cycle) == "refused graph: node n2 depends on a cycle"
    itself = bad_models.line()
    node_of(itself, "linear_regression/mul").input[1] = "linear_regression/mul"
    assert said(itself) == "refused graph: node linear_regression/mul depends on a cycle"


def test_names_and_edges() -> None:
    twice = bad_models.line()
    twice.node.add(name="slope", op="NoOp")
    assert said(twice) == "refused graph: two nodes are named slope"
    for name in ("elsewhere:1", "slope:one", f"slope:{'1' * 5000}", "slope:-1", ""):
        nowhere = bad_models.line()
        node_of(nowhere, "linear_regression/add").input[0] = name
        assert said(nowhere) == f"refused graph: the input {name} of node linear_regression/add is not in it"
    second = bad_models.line()
    node_of(second, "linear_regression/add").input[0] = "slope:1"
    assert said(second) == "refused graph: node slope has no output 1"
    wide = bad_models.line()
    wide.node.add(name="sum", op="AddN", input=["slope"] * 1001)
    assert said(wide) == "refused graph: node sum has more than 1000 inputs"
    group = bad_models.line()
    group.node.add(name="init", op="NoOp", input=["^slope"] * 100_001)
    assert said(group) == "refused graph: its nodes have more than 100000 inputs together"


def test_a_node_has_the_inputs_and_attributes_of_its_operation() -> None:
    def changed(change: Callable[[Any], object]) -> str:
        graph_def = bad_models.line()
        change(node_of(graph_def, "linear_regression/add"))
        return said(graph_def)

    add = "node linear_regression/add"
    assert changed(lambda node: node.input.append("slope")) == f"refused graph: {add} has 3 inputs, AddV2 takes 2"
    assert changed(lambda node: node.attr["N"].CopyFrom(node.attr["T"])) == (
        f"refused graph: AddV2 has no attribute N: {add}"
    )
    assert changed(lambda node: node.attr.clear()) == f"refused graph: {add} has no attribute T, which AddV2 needs"

    def of_type(number: int) -> str:
        return changed(lambda node: setattr(node.attr["T"], "type", number))

    assert of_type(0) == f"refused graph: T of {add} is the unknown type 0"
    assert of_type(999) == f"refused graph: T of {add} is the unknown type 999"

    def told(node: Any) -> None:
        node.attr["T"].placeholder = "T"

    assert changed(told) == f"refused graph: T of {add} is what only a call would tell"
    for name in ("_execution_count", "_swap_to_host", "_forward_input", "_scoped_allocator", "_anything"):
        assert changed(lambda node, name=name: setattr(node.attr[name], "i", 0)) == (
            f"refused graph: attributes that the runtime may not bear: {name} in {add} "
            "(python model_freeze.py leaves them out)"
        )
    assert changed(lambda node: node.attr["_output_shapes"].list.shape.add()) == ""
    assert changed(lambda node: node.attr["_class"].list.s.append(b"loc:@slope")) == ""
    assert "_class in node" in changed(lambda node: setattr(node.attr["_class"], "b", True))
    assert "_class in node" in changed(lambda node: node.attr["_class"].list.i.append(1))


@pytest.mark.parametrize("name", ["strides", "dilations", "explicit_paddings"])
def test_windows(name: str) -> None:
    def window(size: int) -> str:
        graph_def = graph_of(
            lambda: tf.nn.conv2d(tf.placeholder("float32", [1, 9, 9, 1]), tf.ones([2, 2, 1, 1]), 1, "SAME", name="w")
        )
        node_of(graph_def, "w").attr[name].list.i[:] = [1, size, 1, 1]
        return said(graph_def)

    assert "are not all" not in window(1024)
    for size in (1025, 2**32, -1):
        assert window(size) == f"refused graph: {name} of node w are not all from 0 to 1024"


@pytest.mark.parametrize(
    ("shape", "fields", "fault"),
    [
        ([2, 3], {"float_val": [1.0] * 6}, ""),
        ([2, 3], {"float_val": [1.0]}, ""),  # the last one is repeated
        ([2, 3], {}, ""),
        ([2, 3], {"tensor_content": bytes(24)}, ""),
        ([2], {"float_val": [math.inf, math.nan]}, ""),
        ([1024, 1024], {"float_val": [1.0]}, ""),
        ([1024, 1025], {"float_val": [1.0]}, "holds 1 of 1049600 elements"),
        ([10**6, 10**6], {"float_val": [1.0]}, "holds 1 of 1000000000000 elements"),
        ([0, 2**62], {}, f"has a dimension of {2**62}"),
        ([2], {"float_val": [1.0] * 3}, "holds 3 of 2 elements"),
        ([2, 0], {"float_val": [1.0]}, "holds 1 of 0 elements"),
        ([2, 3], {"tensor_content": bytes(20)}, "holds 20 bytes for 6 elements"),
        ([-1], {"float_val": [1.0]}, "has no definite shape"),
        ([1] * 255, {"float_val": [1.0]}, "has 255 dimensions (at most 254)"),
    ],
)
def test_a_constant_holds_what_it_declares(shape: list[int], fields: dict, fault: str) -> None:
    assert said(constant(1, shape, **fields)) == (fault and f"refused graph: Const c {fault}")


def test_types_of_constants() -> None:
    assert said(constant(1, [], tensor_dtype=2, double_val=[1.0])) == (
        "refused graph: Const c holds float64, its dtype is float32"
    )
    unknown_rank = constant(1, [])
    unknown_rank.node[0].attr["value"].tensor.tensor_shape.unknown_rank = True
    assert said(unknown_rank) == "refused graph: Const c has no definite shape"
    for dtype in (8, 20, 21, 101):  # complex64, resource, variant, a reference
        assert re.fullmatch(r"refused graph: Const c is of type \w+", said(constant(dtype, [])))
    assert said(constant(7, [2], string_val=[b"a", b"b"])) == ""
    assert said(constant(7, [1000], string_val=[b"a" * 1000])) == "refused graph: Const c holds 1 of 1000 elements"


# ----- functions


def called(body: Callable[[Any], None]) -> Any:
    """The line, plus a call of a function `f` of one float64, which `body` fills."""
    graph_def = bad_models.line()
    function = graph_def.library.function.add()
    function.signature.name = "f"
    function.signature.input_arg.add(name="x", type=tf.float64.as_datatype_enum)
    function.signature.output_arg.add(name="y", type=tf.float64.as_datatype_enum)
    body(function)
    graph_def.node.add(name="call", op="f", input=["linear_regression/add"])
    return graph_def


def test_functions_are_judged_as_they_are_called() -> None:
    def negative(function: Any) -> None:
        function.node_def.add(name="minus", op="Neg", input=["x"]).attr["T"].type = tf.float64.as_datatype_enum
        function.ret["y"] = "minus:y:0"

    assert said(called(negative)) == ""

    def reads(function: Any) -> None:
        function.node_def.add(name="read", op="ReadFile", input=["x"])
        function.ret["y"] = "read:contents:0"

    words = f"operations not allowed: ReadFile in node read of function f ({ALLOW.format('ReadFile')})"
    assert said(called(reads)) == words
    not_called = called(reads)
    del not_called.node[-1]
    assert said(not_called) == words

    def lost(function: Any) -> None:
        function.ret["y"] = "minus:y:0"

    assert said(called(lost)) == "refused graph: a result of function f is not in it"
    absent = bad_models.line()
    call = absent.node.add(name="call", op="PartitionedCall")
    call.attr["Tin"].list.SetInParent()
    call.attr["Tout"].list.SetInParent()
    call.attr["f"].func.name = "f"
    assert said(absent) == "refused graph: node call calls a function that is not in it"
    twice = called(negative)
    twice.library.function.add().CopyFrom(twice.library.function[0])
    assert said(twice) == "refused graph: two functions have one name"


# ----- sizes


def test_outputs_that_are_too_large() -> None:
    most = "elements (at most 16777216)"
    # An open dimension would hide this; a feed's own shape shows it.
    assert sizes_said(lambda x: tf.pad(x, [[0, 10**9], [0, 0]], name="y")) == (
        f"refused graph: the output of node y has 1000000001 {most}"
    )
    assert sizes_said(lambda x: tf.matmul(x, x, transpose_a=True)) == "", "[4096, 4096] for a full batch"
    assert most in sizes_said(lambda x: tf.matmul(tf.concat([x, x], 1), tf.concat([x, x], 1), transpose_a=True))
    assert "has 255 dimensions (at most 254)" in sizes_said(lambda x: tf.reshape(x, [1] * 255))
    together = "its outputs have 73.* elements together"
    many = sizes_said(lambda x: tf.add_n([tf.fill([1024, 1024], x[0, 0] + i) for i in range(70)]))
    assert re.search(together, many)
    huge = graph_of(lambda: tf.reduce_sum(tf.placeholder("float32", [None, 1 << 62, 4]), [1, 2]))
    assert said(huge) == f"refused graph: a tensor of it is [1, {1 << 62}, 4], which is too large"
    empty = graph_of(lambda: tf.placeholder("float32", [0, 1 << 40, 3]))
    assert said(empty) == f"refused graph: a tensor of it is [0, {1 << 40}, 3], which is too large"


def test_what_would_take_minutes() -> None:
    for build in (bad_models.window, bad_models.convolution):
        assert re.fullmatch(r"refused graph: with node \w+ it calculates \d+ products and sums .+", sizes_said(build))
    product = "refused graph: with node MatMul_4 it calculates 343597383680 products and sums (at most 274877906944)"

    def products(x: Any) -> Any:
        square = tf.ones([4096, 4096]) * tf.cast(x[0, 0], tf.float32)
        for _ in range(6):
            square = tf.matmul(square, square)
        return square

    assert sizes_said(products) == product


@pytest.mark.parametrize(
    "build",
    [
        lambda x: tf.fill(tf.cast(x[0], tf.int32), 1.0, name="y"),
        lambda x: tf.range(tf.cast(x[0, 0], tf.int32), name="y"),
        lambda x: tf.one_hot([1], tf.cast(x[0, 0], tf.int32), name="y"),
        lambda x: tf.nn.top_k([1.0, 2.0], tf.cast(x[0, 0], tf.int32), name="y"),
        lambda x: tf.dynamic_stitch([tf.cast(x[0], tf.int32)], [x[0]], name="y"),
        lambda x: tf.unsorted_segment_sum(x[0], [0], tf.cast(x[0, 0], tf.int32), name="y"),
        lambda x: tf.tile(x, tf.cast(x[0], tf.int32), name="y"),
        lambda x: tf.reshape(x, tf.cast(tf.tile(x[0, :1], [3]), tf.int32), name="y"),
        lambda x: tf.broadcast_to(x, tf.cast(x[0], tf.int32), name="y"),
        lambda x: tf.image.resize_bilinear(tf.ones([1, 2, 2, 1]), tf.cast(tf.tile(x[0, :1], [2]), tf.int32), name="y"),
        lambda x: tf.random_uniform(tf.cast(x[0], tf.int32)),
        lambda x: tf.linspace(0.0, 1.0, tf.cast(x[0, 0], tf.int32), name="y"),
    ],
)
def test_sizes_that_depend_on_values_of_the_feed(build: Callable[[Any], Any]) -> None:
    assert re.fullmatch(r"refused graph: the output of node .+ has no definite shape", sizes_said(build))


def test_sizes_that_depend_on_the_shape_of_the_feed() -> None:
    """They are as large as what is fed, as in every `Flatten`."""
    assert sizes_said(lambda x: tf.reshape(x, tf.stack([tf.shape(x)[0], 4])), [None, 2, 2]) == ""
    assert sizes_said(lambda x: tf.zeros_like(x) + tf.fill(tf.shape(x), tf.constant(1.0, tf.float64))) == ""
    assert "elements (at most" in sizes_said(lambda x: tf.fill(tf.shape(x) * 4096, 1.0))
    assert "elements (at most" in sizes_said(bad_models.between_rows), "zero for one number and for 4,096"


def test_lengths_of_strings() -> None:
    fault = r"refused graph: the output of node \w+ has strings of more than 67108864 bytes"
    for build in (
        bad_models.doubled_string,
        bad_models.long_default,
        lambda x: tf.as_string(x, width=1 << 20),
        lambda x: tf.tile(tf.reshape(tf.constant("a" * (1 << 20)), [1, 1]), [1, 100]) + tf.as_string(x),
    ):
        assert re.fullmatch(fault, sizes_said(build))
    assert sizes_said(lambda x: tf.string_join([x, "!"]), [None], "string") == ""


def test_open_dimensions_are_guessed() -> None:
    """A dimension or rank that the model takes in only one size is found in TensorFlow's error."""
    assert sizes_said(lambda x: tf.matmul(x, tf.ones([77, 2], tf.float64)), [None, None]) == ""
    assert sizes_said(lambda x: tf.nn.bias_add(x, tf.ones([5], tf.float64)), [None, None, None, None]) == ""
    unknown = graph_of(lambda: tf.matmul(tf.placeholder("float64", name="x"), tf.ones([784, 10], tf.float64)))
    assert said(unknown) == ""
    several = graph_of(lambda: tf.add(tf.placeholder("float64", name="x"), tf.placeholder("float64", name="y")))
    assert said(several) == ""
    none = graph_of(lambda: tf.matmul(tf.placeholder("float64", [2, 3]), tf.placeholder("float64", [None, 2])))
    node_of(none, "Placeholder_1").attr["shape"].shape.dim[0].size = 4
    assert said(none).startswith("refused graph: no feed was found that fits it (MatMul: Dimensions must be equal, but")


def test_graphs_of_the_first_versions() -> None:
    """Some of their operations no longer exist, and `[]` means any shape."""
    double = graph_of(lambda: tf.multiply(tf.placeholder("float64", name="x"), 2.0, name="y"))
    for producer in (0, 21):
        double.versions.producer = producer
        node_of(double, "x").attr["shape"].shape.Clear()
        assert said(double) == ""
    top = graph_of(lambda: tf.placeholder("float32", [2, 3], name="x"))
    top.versions.producer = 6
    node = top.node.add(name="y", op="TopK", input=["x"])
    node.attr["k"].i, node.attr["T"].type = 2, 1
    assert said(top) == ""
    top.versions.producer = 7
    assert "Op TopK is not available in GraphDef version 7" in said(top)
    top.versions.producer = -1
    assert said(top) == "refused graph: its version is -1"


def test_inputs_that_cannot_be_fed() -> None:
    deep = graph_of(lambda: tf.placeholder("float32", [1] * 65, name="x"))
    assert said(deep) == "refused graph: the input x has more than 64 dimensions"
    complex_one = graph_of(lambda: tf.math.real(tf.placeholder("complex64", [1], name="x")))
    assert said(complex_one, "Real") == "refused graph: the input x is of type complex64, which cannot be fed"


def test_operations_that_are_allowed_may_have_any_size() -> None:
    where = graph_of(lambda: tf.reduce_sum(tf.where(tf.greater(tf.placeholder("float64", [None]), 0.0)), name="y"))
    assert said(where) == f"operations not allowed: Where in node Where ({ALLOW.format('Where')})"
    assert said(where, "Where") == ""


# ----- files


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all models of `bad_models`."""
    folder = tmp_path_factory.mktemp("hostile")
    other = folder / "other" / "model.ckpt"
    other.parent.mkdir()
    with tf.Graph().as_default(), tf.Session() as session:
        with tf.variable_scope("model_variables"):
            tf.get_variable("slope", initializer=tf.constant(7.0, tf.float64))
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(other))
    bad_models.make(folder / "graphs")
    (folder / "saved_models").mkdir()
    bad_models.make_saved_models(folder / "saved_models", str(other))
    return folder


RESTORING = r"operations not allowed: RestoreV2 in node RestoreV2 \(.*"
READING = r"operations not allowed: InitializeTableFromTextFileV2 in node \w+ \(.*"
NOT_REGULAR = r"not a usable model file: \S+ is not a regular file"
WORDS = {
    "reads_passwd": READING, "reads_zero": READING, "reads_fifo": READING, "reads_another": READING,
    "reads_parsed": READING, "restores_when_used": RESTORING, "restores_at_start": RESTORING,
    "reads_at_start": r"refused graph: node \w+ reads a file that is not an asset of the model",
    "long_entry": r"refused graph: the output of node LookupTableFindV2 has strings of more than 67108864 bytes",
    "heavy_start": r"refused graph: with node MatMul_4 it calculates \d+ products and sums .*",
    "footer": r"not a usable checkpoint: \S+: a block of 4611686018427387904 bytes at \d+ is not in it",
    "entry_size": r"not a usable checkpoint: \S+: v ends beyond \S+",
    "string_length": r"not a usable checkpoint: \S+: v has strings of 1152921504606846976 bytes in 17",
    "other_shape": r"refused graph: the variable v is \(1, 1\), its value in the checkpoint \(40000, 1\)",
    "filled": r"refused graph: the output of node Fill has no definite shape",
    "link_to_file": NOT_REGULAR, "link_to_folder": NOT_REGULAR, "fifo_fingerprint": NOT_REGULAR,
    "fifo_saved_model_debug_info": NOT_REGULAR, "fifo_variables": NOT_REGULAR,
    "recursive_function": r"refused graph: function f calls itself, or more than 50 others deep",
    "doubling_calls": r"refused graph: with its functions written out it has more than 20000 calls",
    "swapped_function": r"refused graph: attributes that the runtime may not bear: .*api_implements .*",
    "told_by_the_call": r"refused graph: value of node c of function f is what only a call would tell",
    "labelled_twice": r"refused graph: with its functions written out two nodes are named call/c",
    "size_of_either": r"refused graph: the output of node Fill has no definite shape",
    "size_of_a_branch": r"refused graph: the output of node Fill has no definite shape",
    "hidden_attribute": r"refused graph: \S+ has fields that TensorFlow \S+ does not know .*",
    "two_forms": r"refused graph: \S+ has fields that TensorFlow \S+ does not know .*",
    "split_sizes": r"refused graph: \S+ ends the process \(SIGABRT\) when it is judged",
    "counted_inputs": r"refused graph: node AddN has 2 inputs, AddN takes 2147483647",
    "many_dimensions": r"refused graph: Const Reshape/shape has 1048577 dimensions \(at most 254\)",
    "empty_nodes": r"refused graph: it has 8388608 nodes \(1 to 20000 are accepted\)",
    "sparse": r"not a usable model file: \S+ is larger than 1024 MiB",
    "empty": r"not a usable model file: \S+ is empty",
    "fifo": NOT_REGULAR,
}  # fmt: skip
NAMES = [*bad_models.GRAPHS, *bad_models.FILES, *bad_models.SAVED_MODELS]


def path_of(hostile: Path, name: str) -> Path:
    return hostile / "saved_models" / name if name in bad_models.SAVED_MODELS else hostile / "graphs" / f"{name}.pb"


@pytest.mark.parametrize("name", NAMES)
def test_hostile_models_are_refused(hostile: Path, name: str) -> None:
    words = judged(path_of(hostile, name))
    assert "\n" not in words
    assert re.fullmatch(
        WORDS.get(name, r"(refused graph|operations not allowed|not a \w+|Permission denied): .+"), words
    )
    assert not re.search(r"Traceback|\w+Error: ", words)


def test_every_kind_of_hostile_model_is_there(hostile: Path) -> None:
    made = {path.stem for path in (hostile / "graphs").iterdir()}
    made |= {path.name for path in (hostile / "saved_models").iterdir()} - {".large", "pipe"}
    assert made == set(NAMES)
    assert WORDS.keys() <= made


def test_hostile_models_are_listed(hostile: Path) -> None:
    """Everything that parses is listed, without TensorFlow if it would reject the model or crash."""
    for name in ("unknown_operation", "write_file", "recursive_function", "while_loop", "mistyped", "split_sizes"):
        lines = graph_check.describe(str(path_of(hostile, name)))
        assert lines[0].startswith(f"{path_of(hostile, name)}: frozen graph, ")
        assert any(line.startswith("output ") for line in lines), name
    for name in ("reads_passwd", "heavy_start", "footer", "fifo_variables"):
        lines = graph_check.describe(str(path_of(hostile, name)))
        assert lines[-2] == "  input  x float64 [?, ?]"
        assert lines[-1].startswith("  output y float64 ")
    assert graph_check.describe(str(path_of(hostile, "empty_nodes")))[0].endswith(": more than are listed")


def test_every_length_and_every_byte() -> None:
    """A truncated or changed file is refused with a message, or parsed; nothing else happens."""
    data = bad_models.line().SerializeToString()
    changed = [data[:length] for length in range(len(data))]
    changed += [data[:i] + bytes([data[i] ^ mask]) + data[i + 1 :] for i in range(len(data)) for mask in (1, 16, 255)]
    accepted = 0
    for candidate in changed:
        try:
            words = said(model_file.parse(tf.GraphDef(), candidate, "model.pb"))
        except ModelError as error:
            words = str(error)
        assert "Error: " not in words
        accepted += not words
    assert 0 < accepted < len(changed) / 2, "most changes are seen; a digest sees them all"


def test_text_and_binary() -> None:
    """A file is binary if it parses as binary, even if it begins like text."""
    graph_def = graph_of(lambda: tf.placeholder("float32", [1], name="x" * 58))
    data = graph_def.SerializeToString()
    assert model_file.TEXT.match(data)
    assert model_file.parse(tf.GraphDef(), data, "model.pb") == graph_def
    assert model_file.parse(tf.GraphDef(), str(graph_def).encode(), "model.pb") == graph_def
    operations = [node.op for node in model_file.parse(tf.GraphDef(), bad_models.two_forms(), "model.pb").node]
    assert operations == ["Const", "WriteFile"]
    deep = b"library { function { attr { key: 'a' value { " + b"func { attr { key: 'a' value { " * 3000
    with pytest.raises(ModelError, match="not a GraphDef: model.pb: "):
        model_file.parse(tf.GraphDef(), deep, "model.pb")


# ----- what is accepted


def saved(folder: Path, build: Callable[[], tuple[dict, dict]], **settings: Any) -> Path:
    """A TensorFlow 1 SavedModel with one signature."""
    with tf.Graph().as_default(), tf.Session() as session:
        inputs, outputs = build()
        session.run([tf.global_variables_initializer(), tf.tables_initializer()])
        builder = tf.saved_model.builder.SavedModelBuilder(str(folder))
        signature = {"serving_default": tf.saved_model.predict_signature_def(inputs, outputs)}
        builder.add_meta_graph_and_variables(session, ["serve"], signature, main_op=tf.tables_initializer(), **settings)
        builder.save()
    return folder


def x_of(shape: list[int | None] | None = None, dtype: str = "float64") -> Any:
    return tf.placeholder(dtype, shape, name="x")


FROZEN: dict[str, Callable[[], Any]] = {
    "batch_normalization": lambda: tf.nn.fused_batch_norm(
        x_of([1, 1, 1, 1], "float32"), [1.0], [0.0], mean=[0.0], variance=[1.0], is_training=False
    ),
    "flatten": lambda: (lambda x: tf.reshape(x, tf.stack([tf.shape(x)[0], 4])))(x_of([None, 2, 2])),
    "infinity": lambda: tf.minimum(x_of([None]), np.inf),
    "split": lambda: tf.split(x_of([None, 2]), 2, axis=1),
    "on_gpu": lambda: tf.Graph.device(tf.get_default_graph(), "/device:GPU:0").__enter__() or tf.negative(x_of([None])),
    "switched": lambda: tf.cond(tf.placeholder_with_default(False, []), lambda: x_of([2]) * 2.0, lambda: x_of([2])),
    "strings": lambda: tf.strings.lower(tf.string_join([x_of([None], "string"), "!"])),
    "image": lambda: tf.nn.lrn(tf.image.resize_bilinear(x_of([None, 8, 8, 3], "float32"), [4, 4])),
    "attention": lambda: tf.nn.softmax(tf.einsum("bij,bkj->bik", *[x_of([None, 4, 3], "float32")] * 2)),
    "ranked": lambda: tf.one_hot(tf.nn.top_k(x_of([None, 5]), 2).indices, 5),
    "padded_batch": lambda: tf.pad(x_of([None, 2]), [[0, 1], [0, 0]]),
}  # fmt: skip


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_graphs_that_are_accepted(tmp_path: Path, name: str) -> None:
    assert judged(write(tmp_path / "model.pb", graph_of(FROZEN[name]))) == ""


def test_further_outputs_have_names(tmp_path: Path) -> None:
    graph_def = graph_of(lambda: tf.split(x_of([None, 2]), 2, axis=1, name="y"))
    lines = graph_check.judge(str(write(tmp_path / "model.pb", graph_def))).lines
    assert lines[1:] == ["input  x float64 [?, 2]", "output y float64 [?, 1]", "output y:1 float64 [?, 1]"]


def parsed() -> tuple[dict, dict]:
    example = tf.placeholder(tf.string, [None], name="example")
    x = tf.io.parse_example(example, {"x": tf.FixedLenFeature([1], tf.float32)})["x"]
    return {"x": x}, {"y": x * 2.0}


def defaulted() -> tuple[dict, dict]:
    x = tf.placeholder_with_default(np.array([3.0]), [None], name="in")
    return {"x": x}, {"y": x * 2.0}


def with_savers() -> tuple[dict, dict]:
    """The user had a Saver too. It restores from another file, but nothing runs it."""
    v = tf.get_variable("v", initializer=tf.constant(2.0, tf.float64))
    tf.train.Saver([v])
    x = x_of([None])
    return {"x": x}, {"y": x * v}


def with_training() -> tuple[dict, dict]:
    v = tf.get_variable("v", initializer=tf.constant(2.0))
    x = x_of([None], "float32")
    tf.train.AdamOptimizer().minimize(tf.reduce_sum((x * v - 1) ** 2))
    tf.summary.scalar("v", v)
    return {"x": x}, {"y": x * v}


def looked_up() -> tuple[dict, dict]:
    keys = tf.lookup.KeyValueTensorInitializer(["a", "b"], np.array([1, 2], np.int64))
    x = x_of([None], "string")
    return {"x": x}, {"y": tf.lookup.StaticHashTable(keys, -1).lookup(x)}


@pytest.mark.parametrize("build", [parsed, defaulted, with_savers, with_training, looked_up])
def test_saved_models_that_are_accepted(tmp_path: Path, build: Callable[[], tuple[dict, dict]]) -> None:
    assert judged(saved(tmp_path / "model", build)) == ""


def test_a_signature_may_leave_shapes_out(tmp_path: Path) -> None:
    model = saved(tmp_path / "model", lambda: ({"x": x_of([None])}, {"p": x_of([None]) * 0.5, "q": x_of([]) + 0.5}))

    def no_shapes(meta_graph: Any) -> None:
        signature = meta_graph.signature_def["serving_default"]
        for info in (*signature.inputs.values(), *signature.outputs.values()):
            info.ClearField("tensor_shape")

    bad_models.change(model, no_shapes)
    lines = graph_check.judge(str(model)).lines
    assert lines[-3:] == ["  input  x float64 ?", "  output p float64 ?", "  output q float64 ?"]


def test_signatures_of_any_name_are_judged(tmp_path: Path) -> None:
    """Except those of the start, which the loader runs, and of training, which nobody asks for."""
    model = saved(tmp_path / "model", lambda: ({"x": x_of([None])}, {"y": tf.where(tf.greater(x_of([None]), 0.0))}))
    assert "operations not allowed: Where in node Where (" in judged(model)

    def rename(name: str) -> Callable[[Any], None]:
        def change(meta_graph: Any) -> None:
            (key,) = [key for key in meta_graph.signature_def if key != "__saved_model_init_op"]
            meta_graph.signature_def[name].CopyFrom(meta_graph.signature_def[key])
            del meta_graph.signature_def[key]

        return change

    bad_models.change(model, rename("__hidden"))
    assert "operations not allowed: Where in node Where (" in judged(model)
    bad_models.change(model, rename("__saved_model_train_op"))
    assert judged(model) == ""


def test_an_asset_is_read_at_the_start_alone(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("a\nb\n")

    def build() -> tuple[dict, dict]:
        index = tf.lookup.TextFileIndex
        words = tf.lookup.TextFileInitializer(
            str(tmp_path / "words.txt"), tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER
        )
        x = x_of([None], "string")
        return {"x": x}, {"y": tf.lookup.StaticHashTable(words, -1).lookup(x)}

    with tf.Graph().as_default():
        model = tmp_path / "model"
        with tf.Session() as session:
            inputs, outputs = build()
            session.run(tf.tables_initializer())
            builder = tf.saved_model.builder.SavedModelBuilder(str(model))
            builder.add_meta_graph_and_variables(
                session, ["serve"], {"serving_default": tf.saved_model.predict_signature_def(inputs, outputs)},
                assets_collection=tf.get_collection(tf.GraphKeys.ASSET_FILEPATHS), main_op=tf.tables_initializer(),
            )  # fmt: skip
            builder.save()
    assert judged(model) == ""
    (model / "assets" / "words.txt").unlink()
    assert judged(model) == "refused graph: its asset words.txt is not a file of the model"


def checkpoint(folder: Path) -> str:
    """A checkpoint without collections, of a model with training and summaries around it."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = x_of([None, 2], "float32")
        w = tf.get_variable("w", initializer=[[1.0], [2.0]])
        y = tf.matmul(x, w, name="y")
        tf.multiply(y, 2.0, name="z")
        loss = tf.reduce_mean((y + tf.random_uniform([1]) - tf.placeholder("float32", [None, 1], name="label")) ** 2)
        tf.train.AdamOptimizer().minimize(loss)
        tf.summary.histogram("loss", loss)
        session.run(tf.global_variables_initializer())
        return tf.train.Saver().save(session, str(folder / "model.ckpt"))


def test_a_checkpoint_is_judged_for_what_is_asked_of_it(tmp_path: Path) -> None:
    prefix = checkpoint(tmp_path)
    for names in (("y", "x"), ("w", None), ("y", "MatMul_not_there"), ("z", "y")):
        words = judged(prefix, names=tensors.Names(names[1], [names[0]]))
        expected = "no such input: MatMul_not_there (" if names[1] == "MatMul_not_there" else ""
        assert words.startswith(expected) and bool(words) == bool(expected), words
    assert judged(prefix, names=tensors.Names(None, ["nothing"])).startswith("no such output: nothing (")
    training = judged(prefix, names=tensors.Names(None, ["Adam"]))
    assert "ApplyAdam in node Adam/update_w/ApplyAdam" in training
    assert graph_check.describe(str(tmp_path))[0].startswith(f"{prefix}: checkpoint, ")


def test_allowing_a_loop_does_not_allow_what_is_in_it(tmp_path: Path) -> None:
    def build() -> tuple[dict, dict]:
        def body(y: Any) -> Any:
            with tf.control_dependencies([tf.raw_ops.WriteFile(filename=bad_models.WRITTEN, contents="")]):
                return y + 1.0

        x = x_of([])
        tf.enable_control_flow_v2()
        y = tf.while_loop(lambda y: y < 3.0, body, [x])
        tf.disable_control_flow_v2()
        return {"x": x}, {"y": y}

    words = judged(saved(tmp_path / "model", build), allow=["While"])
    assert re.match(r"operations not allowed: WriteFile in node \S*WriteFile of function while_body_\d+ \(", words)


# ----- variables


def test_entries_that_a_search_would_find_otherwise(tmp_path: Path) -> None:
    """TensorFlow searches for a key from the restarts on, and takes the first match."""
    from tensorflow.core.protobuf import tensor_bundle_pb2

    model = bad_models.export(tmp_path / "model", bad_models.times_variable)
    index = model / "variables" / "variables.index"
    assert judged(model) == ""
    entry = tensor_bundle_pb2.BundleEntryProto(dtype=2, size=8, crc32c=bad_models.crc32c(struct.pack("<d", 1.0)))
    entry.shape.dim.add(size=1)
    entry.shape.dim.add(size=1)
    bad_models.write_index(model, entry)
    assert judged(model) == ""
    good = index.read_bytes()
    # A block ends with its restarts and their number: here the first restart begins the search elsewhere.
    restart = struct.pack("<II", 0, 1)
    index.write_bytes(good.replace(restart, struct.pack("<II", 3, 1), 1))
    assert judged(model) == f"not a usable checkpoint: {index}: a search would begin within an entry"
    bad_models.write_index(model, entry, entry)
    assert judged(model) == f"not a usable checkpoint: {index}: its keys are not in order"
    bad_models.write_index(model)
    assert judged(model) == "not a usable checkpoint: Key v not found in checkpoint, which node save/RestoreV2 restores"


@pytest.mark.parametrize("name", ["variables.index", "variables.data-00000-of-00001"])
def test_files_of_variables_that_are_cut(tmp_path: Path, name: str) -> None:
    model = bad_models.export(tmp_path / "model", bad_models.times_variable)
    data = (model / "variables" / name).read_bytes()
    for length in (0, len(data) // 2, len(data) - 1):
        (model / "variables" / name).write_bytes(data[:length])
        assert re.match(r"not a usable checkpoint: |cannot load: ", judged(model)), length
    (model / "variables" / name).unlink()
    assert judged(model) != ""


def test_a_checkpoint_is_listed_without_what_trains_and_saves_it(tmp_path: Path) -> None:
    """Of the ends of its graph only those are listed that somebody may ask for."""
    with tf.Graph().as_default(), tf.Session() as session:
        x, flag = tf.placeholder(tf.float32, [None, 2], "x"), tf.placeholder(tf.bool, [], "flag")
        w = tf.get_variable("w", initializer=[1.0, 2.0], use_resource=False)
        y = tf.cond(flag, lambda: x * w, lambda: x, name="choose")
        tf.identity(y, "y")
        loss = tf.reduce_sum(y, name="loss")
        tf.summary.scalar("seen", loss)
        tf.train.AdagradOptimizer(0.1).minimize(loss)
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, str(tmp_path / "model"))
    lines = graph_check.describe(str(tmp_path))
    assert lines[1:] == [
        "input  x float32 [?, 2]",
        "input  flag bool []",
        "output y float32 [?, 2]",
        "output loss float32 []",
    ]


# ----- the list of digests


def test_names_in_the_list(tmp_path: Path) -> None:
    """`sha256sum -c` reads all possible file names, from the list's folder."""
    folder = tmp_path / "of models"
    (folder / "lists").mkdir(parents=True)
    checked = folder / "lists" / "SHA256SUMS"
    names = ["plain.pb", "back\\slash.pb", "new\nline.pb", "carriage\rreturn.pb", " spaces ", "*star", "ä.pb", "-x"]
    for name in names:
        (folder / name).write_text(name)
    files = [str(folder / name) for name in names]
    digests.add(str(checked), [(file, digests.digest(file)) for file in files])
    digests.add(str(checked), [(file, digests.digest(file)) for file in files[1:4]])
    done = subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=checked.parent, capture_output=True, text=True)
    assert (done.returncode, done.stdout.count(": OK"), done.stderr) == (0, len(names), "")
    assert digests.listed(str(checked)) == {hashlib.sha256(name.encode()).hexdigest() for name in names}
    (folder / names[1]).write_text("changed")
    with pytest.raises(ModelError, match="^not checked: "):
        digests.require_checked(files[1], str(checked))
    digests.require_checked(files[2], str(checked))


def test_names_in_the_list_are_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    model = write(tmp_path / "model.pb", bad_models.line())
    for folder, path, checked in (
        (tmp_path, "model.pb", "frozen_graphs/SHA256SUMS"),
        (tmp_path / "here", "../model.pb", "../frozen_graphs/SHA256SUMS"),
        (tmp_path / "here", str(model), str(tmp_path / "frozen_graphs" / "SHA256SUMS")),
    ):
        done = run_program("model_check.py", path, "--checked", checked, folder=folder)
        assert (done.status, done.err) == (0, "")
        assert done.out.splitlines()[-1] == f"pure calculation; its digest is in {checked}"
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    assert (tmp_path / "frozen_graphs" / "SHA256SUMS").read_text() == f"{digest}  ../model.pb\n"


def _add_many(checked: str, files: list[str], barrier: Any) -> None:
    barrier.wait()
    for file in files:
        digests.add(checked, [(file, digests.digest(file))])


def test_two_at_once_lose_nothing(tmp_path: Path) -> None:
    files = [str(tmp_path / f"{i}.pb") for i in range(60)]
    for file in files:
        Path(file).write_text(file)
    checked = str(tmp_path / "new" / "folder" / "SHA256SUMS")
    context = multiprocessing.get_context("forkserver")
    barrier = context.Barrier(3)
    workers = [context.Process(target=_add_many, args=(checked, files[i::3], barrier)) for i in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert digests.listed(checked) == {digests.digest(file) for file in files}
    assert len(Path(checked).read_text().splitlines()) == 60
    assert os.listdir(Path(checked).parent) == ["SHA256SUMS"]


def test_a_model_that_changes_while_it_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write(tmp_path / "model.pb", bad_models.line())
    judge = graph_check.judge

    def judge_and_change(path: str, **settings: Any) -> Any:
        verdict = judge(path, **settings)
        with open(path, "ab") as file:
            file.write(b"\0")
        return verdict

    monkeypatch.setattr(graph_check, "judge", judge_and_change)
    checked = tmp_path / "SHA256SUMS"
    with pytest.raises(ModelError) as error:
        graph_check.admit(str(model), str(checked))
    assert str(error.value) == f"changed while it was checked: {model} (check it again)"
    assert not checked.exists()


# ----- the program


def test_checking_a_frozen_graph_and_a_saved_model(tmp_path: Path) -> None:
    write(tmp_path / "line.pb", bad_models.line())
    done = run_program("model_check.py", "line.pb", folder=tmp_path)
    assert done == (
        0,
        f"line.pb: frozen graph, 5 operations, written by TensorFlow {tf.__version__} "
        f"(producer {tf.version.GRAPH_DEF_VERSION})\n"
        "input  inputs/x_sample float64 [?, ?]\n"
        "output linear_regression/add float64 [?, ?]\n"
        "pure calculation; its digest is in frozen_graphs/SHA256SUMS\n",
        "",
    )
    first = (tmp_path / "frozen_graphs" / "SHA256SUMS").read_text()
    bad_models.export(tmp_path / "saved", bad_models.times_variable)
    done = run_program("model_check.py", "saved", folder=tmp_path)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[1:] == [
        "signature serving_default (tag serve)",
        "  input  x float64 [?, ?]",
        "  output y float64 [?, ?]",
        "pure calculation; the digests of its 3 files are in frozen_graphs/SHA256SUMS",
    ]
    listed = (tmp_path / "frozen_graphs" / "SHA256SUMS").read_text()
    assert listed.startswith(first), "the entries of other files stay"
    assert run_command("sha256sum -c SHA256SUMS", tmp_path / "frozen_graphs").out.count(": OK") == 4


def test_allowing_operations(tmp_path: Path) -> None:
    graph_def = graph_of(lambda: tf.reduce_sum(tf.where(tf.greater(x_of([None]), 0.0)), name="y"))
    write(tmp_path / "model.pb", graph_def)
    refused = run_program("model_check.py", "model.pb", folder=tmp_path)
    words = f"operations not allowed: Where in node Where ({ALLOW.format('Where')})"
    assert refused == (1, "", f"model_check.py: {words}\n")
    assert not (tmp_path / "frozen_graphs").exists()
    accepted = run_program("model_check.py", "model.pb", "--allow-op", "Where", folder=tmp_path)
    assert accepted.out.splitlines()[-1] == "accepted with Where; its digest is in frozen_graphs/SHA256SUMS"


def test_listing(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        x = x_of([None])
        predict = tf.saved_model.predict_signature_def
        signatures = {"serving_default": predict({"x": x}, {"y": x * 2.0}), "two": predict({"x": x}, {"p": x, "q": -x})}
        builder = tf.saved_model.builder.SavedModelBuilder(str(tmp_path / "saved"))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.add_meta_graph(["serve", "gpu"], {})
        builder.save()
    listed = run_program("model_check.py", "--list", "saved", folder=tmp_path)
    assert (listed.status, listed.err) == (0, "")
    assert listed.out.splitlines()[1:] == [
        "signature serving_default (tag serve)",
        "  input  x float64 [?]",
        "  output y float64 [?]",
        "signature two (tag serve)",
        "  input  x float64 [?]",
        "  output p float64 [?]",
        "  output q float64 [?]",
        "no signature (tag serve,gpu)",
    ]
    unknown = bad_models.line()
    unknown.node.add(name="strange", op="NoSuchOperation", input=["linear_regression/add"])
    write(tmp_path / "unknown.pb", unknown)
    assert graph_check.describe(str(tmp_path / "unknown.pb"))[1:] == ["input  inputs/x_sample", "output strange"]
    odd = bad_models.export(tmp_path / "odd", bad_models.times_variable)
    bad_models.change(
        odd, lambda meta_graph: setattr(meta_graph.signature_def["serving_default"].inputs["x"], "dtype", 0)
    )
    assert "  input  x the unknown type 0 [?, ?]" in graph_check.describe(str(odd))
    (tmp_path / "text").mkdir()
    saved_model = new_saved_model()
    saved_model.ParseFromString((tmp_path / "saved" / "saved_model.pb").read_bytes())
    (tmp_path / "text" / "saved_model.pbtxt").write_text(str(saved_model))
    assert graph_check.describe(str(tmp_path / "text"))[1:] == listed.out.splitlines()[1:]


# ----- what takes long


@pytest.mark.slow
def test_twenty_thousand_nodes(tmp_path: Path) -> None:
    """A model of that size is judged within ten seconds of processor time, not counting the start of the process."""

    def build() -> None:
        x = x_of([None, 4], "float32")
        ends = []
        for i in range(24):
            y = x
            for j in range(400):
                y = y * (1.0 + i + j)
            ends.append(y)
        tf.add_n(ends, name="y")

    graph_def = graph_of(build)
    assert 19_000 < len(graph_def.node) <= 20_000
    path = write(tmp_path / "model.pb", graph_def)
    assert judged(write(tmp_path / "small.pb", bad_models.line())) == ""  # starts the judging process
    code = (
        "import sys, time, resource; from model_import_export import trial, graph_check; trial.start(); "
        "trial.run = lambda path, work, *a, **k: work(*a); began = time.process_time(); "
        "graph_check.judge(sys.argv[1]); print(time.process_time() - began)"
    )
    done = run_command(f'{sys.executable} -c "{code}" {path}', ROOT)
    print(f"judged in {done.out.strip()} s of processor time")
    assert float(done.out) < 10


def _memory(session: int) -> int:
    """The bytes of the largest process in a session."""
    largest = 0
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                if os.getsid(int(entry)) == session:
                    with open(f"/proc/{entry}/statm") as file:
                        largest = max(largest, int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
            except (OSError, ValueError, IndexError):
                continue
    return largest


@pytest.mark.slow
def test_the_program_refuses_hostile_models(hostile: Path, tmp_path: Path) -> None:
    """In one line, within 30 seconds and 2 GiB, and without reading or writing anything."""

    def check(name: str) -> tuple[str, float, int]:
        folder = tmp_path / name
        folder.mkdir()
        command = [sys.executable, str(ROOT / "model_check.py"), str(path_of(hostile, name))]
        began, peak = time.monotonic(), 0
        with open(folder / "out", "w+") as out, open(folder / "err", "w+") as err:
            process = subprocess.Popen(
                command, cwd=folder, stdout=out, stderr=err, stdin=subprocess.DEVNULL, env=USER, start_new_session=True
            )
            while process.poll() is None:
                peak = max(peak, _memory(process.pid))
                time.sleep(0.02)
        seconds = time.monotonic() - began
        error = (folder / "err").read_text()
        assert (process.returncode, (folder / "out").read_text()) == (1, ""), name
        assert error.startswith("model_check.py: ") and error.count("\n") == 1, (name, error)
        assert sorted(os.listdir(folder)) == ["err", "out"], "nothing was written"
        return name, seconds, peak

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(check, NAMES))
    slowest, largest = max(results, key=lambda each: each[1]), max(results, key=lambda each: each[2])
    print(f"slowest: {slowest[0]} in {slowest[1]:.1f} s; largest: {largest[0]} in {largest[2] >> 20} MiB")
    assert slowest[1] < 30, slowest
    assert largest[2] < 2 << 30, largest


@pytest.mark.slow
def test_what_the_gate_accepts_of_random_graphs_runs() -> None:
    done = run_command(f"{sys.executable} {ROOT}/tests/fuzz_graphs.py --graphs 150 --seed 20", timeout=600)
    assert (done.status, done.err) == (0, ""), done.out
    assert " 0 findings" in done.out
