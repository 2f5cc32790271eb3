"""Makes models that no consumer may run, crash on or hang on.

    python tests/bad_models.py FOLDER

Most have an input `inputs/x_sample` and an output `linear_regression/add`, so that they are refused only for what else
they do.
"""

import argparse
import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from model_import_export.graph_mode import new_saved_model, tf

import numpy as np

# What `make` writes in addition to the graphs below and `make_saved_models`.
FILES = "empty truncated random text two_forms hidden_attribute flipped sparse empty_nodes folder fifo".split()
SAVED_MODELS = (
    "reads_passwd reads_zero reads_fifo reads_another reads_at_start reads_parsed restores_when_used restores_at_start "
    "long_entry heavy_start footer entry_size string_length other_shape filled link_to_file link_to_folder "
    "fifo_fingerprint fifo_saved_model_debug_info fifo_variables"
).split()
WRITTEN = "written"  # the file that a graph would write in the current folder


def line() -> Any:
    """A frozen graph: y = 1.5x - 3, with the contract's names."""
    with tf.Graph().as_default() as graph:
        build_line()
    return graph.as_graph_def()


def build_line() -> tuple[Any, Any]:
    """Builds that graph in the default graph. Returns the placeholder and the output."""
    x = tf.placeholder(tf.float64, [None, None], name="inputs/x_sample")
    y = tf.multiply(x, tf.constant(1.5, tf.float64, name="slope"), name="linear_regression/mul")
    return x, tf.add(y, tf.constant(-3, tf.float64, name="intercept"), name="linear_regression/add")


def graph_with(build: Callable[[Any, Any], object]) -> Any:
    """The line, plus what `build` makes of x and y in the same graph."""
    with tf.Graph().as_default() as graph:
        build(*build_line())
    return graph.as_graph_def()


def output_of(build: Callable[[Any], Any]) -> Any:
    """A graph whose output is what `build` makes of x."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float64, [None, None], name="inputs/x_sample")
        tf.identity(build(x), name="linear_regression/add")
    return graph.as_graph_def()


def recursive() -> Any:
    """A function that calls itself; TensorFlow's shape inference follows it until the stack overflows."""
    graph_def = line()
    function = graph_def.library.function.add()
    function.signature.name = "f"
    function.signature.input_arg.add(name="x", type=tf.float64.as_datatype_enum)
    function.signature.output_arg.add(name="y", type=tf.float64.as_datatype_enum)
    function.node_def.add(name="again", op="f", input=["x"])
    function.ret["y"] = "again:y:0"
    graph_def.node.add(name="call", op="f", input=["linear_regression/add"])
    return graph_def


def mistyped() -> Any:
    """A Const whose tensor has another type than it declares."""
    graph_def = line()
    tensor = next(node for node in graph_def.node if node.name == "slope").attr["value"].tensor
    tensor.CopyFrom(tf.make_tensor_proto(1.5, tf.float32))
    return graph_def


def huge_constant() -> Any:
    """A Const of 10^12 elements; the file holds only one."""
    graph_def = line()
    shape = next(node for node in graph_def.node if node.name == "slope").attr["value"].tensor.tensor_shape
    for _ in range(2):
        shape.dim.add(size=10**6)
    return graph_def


def cycle() -> Any:
    """Two nodes that wait for each other."""
    graph_def = line()
    next(node for node in graph_def.node if node.name == "linear_regression/mul").input[1] = "linear_regression/add"
    return graph_def


def unknown_operation() -> Any:
    """An operation that TensorFlow does not have."""
    graph_def = line()
    graph_def.node.add(name="unknown", op="NoSuchOperation")
    return graph_def


def nothing_but(name: str, inputs: int) -> Any:
    """A graph with one more node, of that operation, which takes that many strings."""
    graph_def = graph_with(lambda *_: [tf.constant(WRITTEN, name=f"text{i}") for i in range(inputs)])
    graph_def.node.add(name="bad", op=name, input=[f"text{i}" for i in range(inputs)])
    next(node for node in graph_def.node if node.name == "linear_regression/add").input.append("^bad")
    return graph_def


def chain(x: Any) -> Any:
    for _ in range(5000):
        x = -x
    return x


def loop(x: Any) -> Any:
    tf.disable_control_flow_v2()
    return tf.while_loop(lambda y: tf.reduce_all(y < y + 1), lambda y: y, [x])


def splats(x: Any) -> Any:
    column, row = (tf.constant(1.0, tf.float64, shape) for shape in ([16384, 1], [1, 16384]))
    return x + tf.reduce_sum(tf.multiply(column, row, name="broadcast"))


def with_attribute(name: str, operation: str = "AddV2", **value: Any) -> Callable[[], Any]:
    """The line, one of whose nodes has an attribute that no operation declares but the runtime knows."""

    def build() -> Any:
        graph_def = line()
        attribute = next(node for node in graph_def.node if node.op == operation).attr[name]
        for field, content in value.items():
            if isinstance(content, list):
                attribute.list.i.extend(content)
            else:
                setattr(attribute, field, content)
        return graph_def

    return build


def forwarded() -> Any:
    """`Less`, told to write its bools into the memory of its input's floats."""
    graph_def = output_of(lambda x: tf.cast(x < 1.0, tf.float64))
    next(node for node in graph_def.node if node.op == "Less").attr["_forward_input"].list.i.extend([0, 0])
    return graph_def


def overflowing() -> Any:
    """Two empty constants with a dimension of 2^62 each: their broadcast overflows."""
    graph_def = output_of(lambda x: x + tf.reduce_sum(tf.zeros([5, 1, 0], tf.float64) - tf.zeros([1, 0], tf.float64)))
    for node in graph_def.node:
        if node.op == "Const" and [dim.size for dim in node.attr["value"].tensor.tensor_shape.dim] == [1, 0]:
            node.attr["value"].tensor.tensor_shape.dim[0].size = 1 << 62
    return graph_def


def empty_softmax() -> Any:
    """The softmax of an empty tensor that is 2^80 wide."""
    graph_def = output_of(lambda x: x + tf.cast(tf.reduce_sum(tf.nn.softmax(tf.zeros([0, 2, 2]))), tf.float64))
    for node in graph_def.node:
        if node.op == "Const" and [dim.size for dim in node.attr["value"].tensor.tensor_shape.dim] == [0, 2, 2]:
            for dim in node.attr["value"].tensor.tensor_shape.dim[1:]:
                dim.size = 1 << 40
    return graph_def


def counted_inputs() -> Any:
    """AddN of two inputs that says it has 2^31 - 1."""
    graph_def = output_of(lambda x: tf.add_n([x, x]))
    next(node for node in graph_def.node if node.op == "AddN").attr["N"].i = (1 << 31) - 1
    return graph_def


def many_dimensions() -> Any:
    """A hundred Reshapes by an empty constant that has a million dimensions."""
    graph_def = output_of(lambda x: sum(tf.reshape(x, [1, 1]) for _ in range(100)))
    for node in graph_def.node:
        if node.op == "Const" and node.attr["dtype"].type == tf.int32.as_datatype_enum:
            for _ in range(1 << 20):
                node.attr["value"].tensor.tensor_shape.dim.add(size=0)
            break
    return graph_def


def doubled_string(x: Any) -> Any:
    text = tf.as_string(tf.reduce_sum(x))
    for _ in range(40):
        text = text + text
    return x + tf.cast(tf.strings.length(text), tf.float64)


def shape_of_a_fill() -> Any:
    """A shape that is calculated from 10^12 ones while the graph is imported."""
    graph_def = output_of(lambda x: tf.reshape(x, [tf.cast(tf.reduce_prod(tf.fill([2, 3], 1)), tf.int32), -1]) + 0.0)
    for node in graph_def.node:
        if node.op == "Const" and node.attr["value"].tensor == tf.make_tensor_proto([2, 3]):
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto([10**6, 10**6]))
    return graph_def


def window(x: Any) -> Any:
    image = tf.cast(tf.reshape(tf.tile(x[:1, :1], [1024, 1024]), [1, 1024, 1024, 1]), tf.float32)
    return x + tf.cast(tf.reduce_sum(tf.nn.max_pool(image, [1, 1000, 1000, 1], [1, 1, 1, 1], "SAME")), tf.float64)


def convolution(x: Any) -> Any:
    image = tf.cast(tf.reshape(tf.tile(x[:1, :1], [1024, 1024]), [1, 1024, 1024, 1]), tf.float32)
    kernel = tf.ones([1000, 1000, 1, 1])
    return x + tf.cast(tf.reduce_sum(tf.nn.conv2d(image, kernel, [1, 1, 1, 1], "SAME")), tf.float64)


def swapped_function() -> Any:
    """A function that nothing calls, which TensorFlow's optimizer substitutes for the one that is called."""
    from tensorflow.python.framework import function

    @function.Defun(tf.float64, func_name="called")
    def called(x: Any) -> Any:
        return x + 1.0

    @function.Defun(tf.float64, func_name="hidden")
    def hidden(x: Any) -> Any:
        with tf.control_dependencies([tf.raw_ops.WriteFile(filename=WRITTEN, contents="")]):
            return x + 2.0

    def build(x: Any) -> Any:
        for each in (called, hidden):
            each.add_to_graph(tf.get_default_graph())
        return tf.raw_ops.PartitionedCall(args=[x * 2.0], Tout=[tf.float64], f=called)[0] * 3.0

    graph_def = output_of(build)
    for each in graph_def.library.function:
        each.attr["api_implements"].s = b"the same"
        each.attr["api_preferred_device"].s = b"CPU" if each.signature.name == "hidden" else b"GPU"
    return graph_def


def labelled_twice() -> Any:
    """A constant in a function, and one outside it with the name that the first gets when the function is inlined."""
    from tensorflow.python.framework import function

    @function.Defun(tf.float64, func_name="f")
    def inner(x: Any) -> Any:
        return x + tf.fill(tf.constant([10**9], name="c"), tf.constant(1.0, tf.float64))[0]

    def build(x: Any) -> Any:
        small = tf.fill(tf.constant([2], name="call/c"), tf.constant(1.0, tf.float64))
        return inner(x, name="call") + small[0]

    return output_of(build)


def doubling_calls() -> Any:
    """Forty functions, each of which calls the next one twice."""
    graph_def = line()
    double = tf.float64.as_datatype_enum
    for i in range(40):
        function = graph_def.library.function.add()
        function.signature.name = f"f{i}"
        function.signature.input_arg.add(name="x", type=double)
        function.signature.output_arg.add(name="y", type=double)
        if i < 39:
            function.node_def.add(name="a", op=f"f{i + 1}", input=["x"])
            function.node_def.add(name="b", op=f"f{i + 1}", input=["a:y:0"])
        function.ret["y"] = "b:y:0" if i < 39 else "x"
    graph_def.node.add(name="call", op="f0", input=["linear_regression/add"])
    return graph_def


def told_by_the_call() -> Any:
    """A function whose constant is set by its caller."""
    graph_def = line()
    function = graph_def.library.function.add()
    function.signature.name = "f"
    function.signature.output_arg.add(name="y", type=tf.float64.as_datatype_enum)
    function.signature.attr.add(name="content", type="tensor")
    node = function.node_def.add(name="c", op="Const")
    node.attr["dtype"].type = tf.float64.as_datatype_enum
    node.attr["value"].placeholder = "content"
    function.ret["y"] = "c:output:0"
    graph_def.node.add(name="call", op="f").attr["content"].tensor.CopyFrom(tf.make_tensor_proto(1.0, tf.float64))
    return graph_def


def filled(size: Any) -> Any:
    """The first of `size` ones."""
    return tf.fill([tf.cast(size, tf.int32)], tf.constant(1.0, tf.float64))[0]


def size_of_either(x: Any) -> Any:
    tf.disable_control_flow_v2()
    return x + filled(tf.cond(x[0, 0] > 0.7, lambda: tf.constant(10**9), lambda: tf.constant(1)))


def size_of_a_branch(x: Any) -> Any:
    tf.enable_control_flow_v2()
    pair = tf.cond(x[0, 0] > 0.7, lambda: (1, tf.constant(10**9)), lambda: (1, tf.constant(1)))
    tf.disable_control_flow_v2()
    return x + filled(pair[1])


def between_rows(x: Any) -> Any:
    """A number of ones that follows a parabola, zero for one number and for 4,096."""
    count = tf.size(x)
    return x + tf.reduce_sum(tf.fill([(count - 1) * (4096 - count) * 500], tf.constant(1.0, tf.float64)))


def long_default(x: Any) -> Any:
    table = tf.raw_ops.MutableHashTableV2(key_dtype=tf.int64, value_dtype=tf.string)
    found = tf.raw_ops.LookupTableFindV2(table_handle=table, keys=tf.cast(x, tf.int64), default_value="a" * (4 << 20))
    return x + tf.cast(tf.strings.length(found), tf.float64)


def cropped(x: Any) -> Any:
    """A box that is too high for a float: its pixels are read from somewhere in memory."""
    box = tf.cast(x[0, 0], tf.float32) * [[0.0, 0.0, 3e38, 0.0]]
    pixels = tf.image.crop_and_resize(tf.ones([1, 6, 6, 4]), box, [0], [3, 3], "nearest")
    return x + tf.cast(tf.reduce_sum(pixels), tf.float64)


def hue(x: Any) -> Any:
    """A hue that is turned by the fed value, one step at a time."""
    return x + tf.cast(tf.reduce_sum(tf.image.adjust_hue(tf.ones([1, 1, 3]), tf.cast(x[0, 0], tf.float32))), tf.float64)


def split_sizes() -> Any:
    """SplitV whose sizes are a matrix: shape inference crashes."""
    graph_def = output_of(lambda x: tf.split(tf.tile(x[:1, :1], [3, 1]), [1, 2])[0])
    split = next(node for node in graph_def.node if node.op == "SplitV")
    sizes = next(node for node in graph_def.node if node.name == split.input[1])
    sizes.attr["value"].tensor.CopyFrom(tf.make_tensor_proto([[1, 2], [1, 2]], tf.int32))
    return graph_def


def hidden_attribute() -> bytes:
    """The line, with an attribute that crashes TensorFlow and that only TensorFlow's parser sees, not Python's.

    It is in an entry with a field that the entry's type does not declare.
    """
    graph_def = line()
    node = next(node for node in graph_def.node if node.op == "AddV2")
    name = b"_execution_count"
    value = b"\x18" + b"\xff" * 9 + b"\x01"  # i: -1
    entry = b"\x0a" + bytes([len(name)]) + name + b"\x12" + bytes([len(value)]) + value + b"\x18\x01"
    data = node.SerializeToString() + b"\x2a" + bytes([len(entry)]) + entry
    graph_def.node.remove(node)
    return graph_def.SerializeToString() + b"\x0a" + varint(len(data)) + data


def two_forms() -> bytes:
    """A file that is one graph as binary, which writes a file, and another as text, which does nothing.

    As text, the whole first graph is a comment. To make that work, a newline that begins a name is written as a
    two-byte number, and those two bytes are part of characters.
    """

    def field(tag: int, payload: bytes) -> bytes:
        start = b"\t#......\xc2\x8a\0" if tag == 0x0A else bytes([tag])  # an eight-byte field, then 10 in two bytes
        return start + bytes([len(payload)]) + payload

    def attribute(name: bytes, value: bytes) -> bytes:
        return field(0x2A, field(0x0A, name) + field(0x12, value))

    tensor = b"\x08\x07" + field(0x12, b"") + field(0x42, WRITTEN.encode())
    text = attribute(b"dtype", b"\x30\x07") + attribute(b"value", field(0x42, tensor))
    data = field(0x0A, field(0x0A, b"c") + field(0x12, b"Const") + text)
    data += field(0x0A, field(0x0A, b"w") + field(0x12, b"WriteFile") + field(0x1A, b"c") + field(0x1A, b"c"))
    return data + field(0x7A, b'\nnode { name: "y" op: "NoOp" }\n')


GRAPHS: dict[str, Callable[[], Any]] = {
    "unknown_operation": unknown_operation,
    "write_file": lambda: nothing_but("WriteFile", 2),
    "read_file": lambda: nothing_but("ReadFile", 1),
    "py_func": lambda: output_of(lambda x: tf.reshape(tf.py_func(lambda y: y, [x], tf.float64), [-1, 1])),
    "recursive_function": recursive,
    "while_loop": lambda: output_of(loop),
    "huge_constant": huge_constant,
    "huge_fill": lambda: output_of(lambda x: x + tf.reduce_sum(tf.fill([10**6, 10**6], tf.constant(1.0, tf.float64)))),
    "splats": lambda: output_of(splats),
    "mistyped": mistyped,
    "chain": lambda: output_of(chain),
    "cycle": cycle,
    "no_nodes_but_versions": lambda: tf.GraphDef(versions={"producer": 1}),
    "execution_count": with_attribute("_execution_count", i=-1),
    "swap_to_host": with_attribute("_swap_to_host", i=0),
    "scoped_allocator": with_attribute("_scoped_allocator", list=[0, 5]),
    "forward_input": forwarded,
    "overflowing": overflowing,
    "empty_softmax": empty_softmax,
    "counted_inputs": counted_inputs,
    "many_dimensions": many_dimensions,
    "doubled_string": lambda: output_of(doubled_string),
    "shape_of_a_fill": shape_of_a_fill,
    "window": lambda: output_of(window),
    "convolution": lambda: output_of(convolution),
    "swapped_function": swapped_function,
    "labelled_twice": labelled_twice,
    "doubling_calls": doubling_calls,
    "told_by_the_call": told_by_the_call,
    "size_of_the_feed": lambda: output_of(lambda x: x + filled(x[0, 0] * 1e9)),
    "size_of_either": lambda: output_of(size_of_either),
    "size_of_a_branch": lambda: output_of(size_of_a_branch),
    "stitched": lambda: graph_with(lambda x, _: tf.dynamic_stitch([tf.cast(x[0] * 1e9, tf.int32)], [x[0]])),
    "between_rows": lambda: output_of(between_rows),
    "long_default": lambda: output_of(long_default),
    "wide_text": lambda: output_of(
        lambda x: x + tf.cast(tf.strings.length(tf.as_string(x, width=1 << 28)), tf.float64)
    ),
    "series": lambda: output_of(lambda x: tf.zeta(tf.constant(3.0, tf.float64), x)),
    "cropped": lambda: output_of(cropped),
    "hue": lambda: output_of(hue),
    "split_sizes": split_sizes,
}


def export(folder: Path, build: Callable[[Any], Any], **settings: Any) -> Path:
    """A SavedModel whose output `y` is what `build` makes of x; `settings` are functions of its other results."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float64, [None, None], name="inputs/x_sample")
        y, *made = build(x)
        session.run(tf.global_variables_initializer())
        builder = tf.saved_model.builder.SavedModelBuilder(str(folder))
        signature = tf.saved_model.predict_signature_def({"x": x}, {"y": tf.identity(y, name="linear_regression/add")})
        more = {name: setting(*made) for name, setting in settings.items()}
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, **more)
        builder.save()
    return folder


def change(folder: Path, edit: Callable[[Any], None]) -> Path:
    """Changes the MetaGraphDef of a SavedModel."""
    path = folder / "saved_model.pb"
    saved_model = new_saved_model()
    saved_model.ParseFromString(path.read_bytes())
    edit(saved_model.meta_graphs[0])
    path.write_bytes(saved_model.SerializeToString())
    return folder


def times_variable(x: Any, value: Any = ((1.0,),)) -> Any:
    """x times the sum of a variable `v`."""
    v = tf.get_variable("v", initializer=tf.constant(value, tf.float64), use_resource=True)
    return (x * tf.reduce_sum(v),)


def times_text(x: Any) -> Any:
    """x times the length of a variable `v`."""
    v = tf.get_variable("v", initializer=tf.constant("a"), use_resource=True)
    return (x * tf.cast(tf.strings.length(v), tf.float64),)


def plus_table(x: Any, filename: Any, when_used: bool = True, asset_text: str = "v.txt") -> Any:
    """x plus the size of a table that is read from a file, each time it is used or only at the start."""
    asset = tf.constant(asset_text, name="asset")
    handle = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
    init = tf.raw_ops.InitializeTableFromTextFileV2(
        table_handle=handle, filename=asset if filename is None else filename, key_index=-2, value_index=-1
    )
    with tf.control_dependencies([init] if when_used else []):
        return x + tf.cast(tf.raw_ops.LookupTableSizeV2(table_handle=handle), tf.float64), init


def declare_asset(folder: Path, tensor: str = "asset:0") -> Path:
    """Makes a SavedModel declare that a tensor is its asset v.txt."""
    (folder / "assets").mkdir()
    (folder / "assets" / "v.txt").write_text("a\nb\n")

    def edit(meta_graph: Any) -> None:
        asset = meta_graph.asset_file_def.add(filename="v.txt")
        asset.tensor_info.name = tensor

    return change(folder, edit)


def reads_at_start(x: Any) -> Any:
    return plus_table(x, tf.constant("/etc/passwd"), False)


def long_entry(x: Any) -> Any:
    """x plus the lengths of a table's entries, one of which has eight million characters."""
    table = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.string)
    values = tf.constant(["a", "a" * (8 << 20)])
    start = tf.raw_ops.LookupTableImportV2(table_handle=table, keys=tf.constant(["0", "1"]), values=values)
    keys = tf.as_string(tf.cast(x, tf.int32))
    found = tf.raw_ops.LookupTableFindV2(table_handle=table, keys=keys, default_value="")
    return x + tf.cast(tf.strings.length(found), tf.float64), start


def parsed_name(x: Any) -> Any:
    """A table read from the second of two file names that are parsed from an example."""
    example = tf.train.Example()
    for name, text in (("a", b"v.txt"), ("b", b"/etc/passwd")):
        example.features.feature[name].bytes_list.value.append(text)
    feature = tf.io.FixedLenFeature([], tf.string)
    parsed = tf.io.parse_example([example.SerializeToString()], {"a": feature, "b": feature})
    return plus_table(x, tf.reshape(parsed["b"], []))


def restored(x: Any, other: str, at_start: bool) -> Any:
    """x times a variable that is restored from another checkpoint."""
    v = tf.get_variable("v", initializer=tf.constant(1.0, tf.float64), use_resource=False)
    names = {"tensor_names": ["model_variables/slope"], "shape_and_slices": [""], "dtypes": [tf.float64]}
    assigned = tf.assign(v, tf.reshape(tf.raw_ops.RestoreV2(prefix=other, **names)[0], []))
    return x * (v if at_start else assigned), assigned


def heavy(x: Any) -> Any:
    """Sixty products of large matrices, to be run at the start."""
    product = tf.ones([4096, 4096])
    for _ in range(60):
        product = tf.matmul(product, product)
    return x + 1.0, product


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum, masked as TensorFlow stores it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(value: int) -> bytes:
    """A number as protocol buffers and tables encode it."""
    text = b""
    while value > 127:
        text += bytes([value & 127 | 128])
        value >>= 7
    return text + bytes([value])


def write_index(folder: Path, *entries: Any, block_size: int = 0) -> Path:
    """Rewrites the variables.index of a SavedModel, with these BundleEntryProtos for `v`."""
    from tensorflow.core.framework import versions_pb2
    from tensorflow.core.protobuf import tensor_bundle_pb2

    header = tensor_bundle_pb2.BundleHeaderProto(num_shards=1, version=versions_pb2.VersionDef(producer=1))
    data = b""

    def block(*items: tuple[bytes, bytes]) -> bytes:
        nonlocal data
        text = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in items)
        text += struct.pack("<II", 0, 1)
        handle = varint(len(data)) + varint(len(text))
        data += text + b"\0" + struct.pack("<I", crc32c(text + b"\0"))
        return handle

    values = block((b"", header.SerializeToString()), *((b"v", entry.SerializeToString()) for entry in entries))
    handles = block() + block((b"v", values))
    if block_size:
        handles = handles[:-1] + varint(block_size)
    data += handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    (folder / "variables" / "variables.index").write_bytes(data)
    return folder


def make_saved_models(folder: Path, other: str) -> list[Path]:
    """Writes SavedModels that use others' files, do much at the start, or whose files make false claims.

    Args:
        other: the prefix of a checkpoint of the regression.
    """
    from tensorflow.core.protobuf import tensor_bundle_pb2

    def entry(size: int = 8, dtype: int = 2, dims: tuple[int, ...] = (1, 1)) -> Any:
        proto = tensor_bundle_pb2.BundleEntryProto(dtype=dtype, size=size)
        for dim in dims:
            proto.shape.dim.add(size=dim)
        return proto

    def plain(name: str) -> Path:
        return export(folder / name, times_variable)

    made = [
        declare_asset(export(folder / "reads_passwd", lambda x: plus_table(x, None, asset_text="/etc/passwd"))),
        declare_asset(export(folder / "reads_zero", lambda x: plus_table(x, None, asset_text="/dev/zero"))),
        declare_asset(export(folder / "reads_fifo", lambda x: plus_table(x, None, asset_text=str(folder / "pipe")))),
        declare_asset(export(folder / "reads_another", lambda x: plus_table(x, tf.constant("/etc/passwd")))),
        declare_asset(export(folder / "reads_at_start", reads_at_start, main_op=tf.group)),
        declare_asset(export(folder / "reads_parsed", parsed_name), "ParseExample/ParseExampleV2:0"),
        export(folder / "restores_when_used", lambda x: restored(x, other, False)),
        export(folder / "restores_at_start", lambda x: restored(x, other, True), main_op=tf.group),
        export(folder / "long_entry", long_entry, main_op=tf.group),
        export(folder / "heavy_start", heavy, main_op=lambda product: tf.group(product)),
        write_index(plain("footer"), entry(), block_size=1 << 62),
        write_index(plain("entry_size"), entry(1 << 40, dims=(1 << 37,))),
        write_index(export(folder / "string_length", times_text), entry(17, tf.string.as_datatype_enum, ())),
    ]
    os.mkfifo(folder / "pipe")
    shard = made[-1] / "variables" / "variables.data-00000-of-00001"
    shard.write_bytes(varint(1 << 60) + struct.pack("<I", crc32c(struct.pack("<Q", 1 << 60))) + b"text")
    large = export(folder / ".large", lambda x: times_variable(x, np.ones([40000, 1])))
    made.append(plain("other_shape"))
    shutil.rmtree(made[-1] / "variables")
    shutil.copytree(large / "variables", made[-1] / "variables")

    def filled_by_variable(x: Any) -> Any:
        v = tf.get_variable("v", initializer=tf.constant([10**5, 10**5]), use_resource=True)
        return (x + tf.reduce_sum(tf.fill(v, tf.constant(1.0, tf.float64))),)

    made.append(export(folder / "filled", filled_by_variable))
    for name, kind in (("link_to_file", "v.txt"), ("link_to_folder", "")):
        path = declare_asset(export(folder / name, lambda x: plus_table(x, None, False), main_op=tf.group))
        if kind:
            (path / "assets" / kind).unlink()
            (path / "assets" / kind).symlink_to("/etc/passwd")
        else:
            shutil.rmtree(path / "assets")
            (path / "assets").symlink_to("/etc")
        made.append(path)
    for name in ("fingerprint.pb", "debug/saved_model_debug_info.pb", "variables/variables.index"):
        path = plain(f"fifo_{Path(name).stem}")
        (path / name).unlink(missing_ok=True)
        (path / name).parent.mkdir(exist_ok=True)
        os.mkfifo(path / name)
        made.append(path)
    return made


def make(folder: Path) -> list[Path]:
    """Writes all models. Returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    good = line().SerializeToString()
    paths = []

    def add(name: str, data: bytes) -> Path:
        paths.append(folder / f"{name}.pb")
        paths[-1].write_bytes(data)
        return paths[-1]

    for name, build in GRAPHS.items():
        add(name, build().SerializeToString())
    add("empty", b"")
    add("truncated", good[: len(good) // 2])
    add("random", random.Random(1).randbytes(1000))
    add("text", b"This is not a graph.\n")
    add("two_forms", two_forms())
    add("hidden_attribute", hidden_attribute())
    add("flipped", bytes([good[0] ^ 128]) + good[1:])
    with open(add("sparse", b""), "wb") as file:
        file.truncate(3 << 30)
    add("empty_nodes", b"\n\0" * (8 << 20))
    for kind, create in (("folder", os.mkdir), ("fifo", os.mkfifo)):
        paths.append(folder / f"{kind}.pb")
        if not paths[-1].exists():
            create(paths[-1])
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    print("\n".join(map(str, make(parser.parse_args().folder))))


if __name__ == "__main__":
    main()
