"""Makes models that no consumer may crash over, hang over or run.

    python tests/bad_models.py FOLDER

Most have an input `inputs/x_sample` and an output `linear_regression/add`, so that it is what they do besides that has
them refused.
"""

import argparse
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from graph_mode import tf

WRITTEN = "written"  # the file that a graph would write, in the folder where it is run


def line() -> Any:
    """A frozen graph: y = 1.5x - 3, named as the contract names it."""
    with tf.Graph().as_default() as graph:
        build_line()
    return graph.as_graph_def()


def build_line() -> tuple[Any, Any]:
    """Builds that into the default graph. Returns the placeholder and the output."""
    x = tf.placeholder(tf.float64, [None, None], name="inputs/x_sample")
    y = tf.multiply(x, tf.constant(1.5, tf.float64, name="slope"), name="linear_regression/mul")
    return x, tf.add(y, tf.constant(-3, tf.float64, name="intercept"), name="linear_regression/add")


def graph_with(build: Callable[[Any, Any], object]) -> Any:
    """The line, and in the same graph what `build` makes of x and y."""
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
    """A function that calls itself; TensorFlow's shape inference follows it until the stack ends."""
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
    """A Const whose tensor is of another type than it declares."""
    graph_def = line()
    next(node for node in graph_def.node if node.name == "slope").attr["dtype"].type = 1
    return graph_def


def huge_constant() -> Any:
    """A Const of 10^12 elements, of which the file holds one."""
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
    """An operation that no TensorFlow has."""
    graph_def = line()
    graph_def.node.add(name="unknown", op="NoSuchOperation")
    return graph_def


def nothing_but(name: str, inputs: int) -> Any:
    """A graph with one node more, of that operation, which takes as many strings."""
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


def with_function(x: Any) -> Any:
    from tensorflow.python.framework import function

    return function.Defun(tf.float64, func_name="double")(lambda y: 2 * y)(x)


GRAPHS: dict[str, Callable[[], Any]] = {
    "unknown_operation": unknown_operation,
    "write_file": lambda: nothing_but("WriteFile", 2),
    "read_file": lambda: nothing_but("ReadFile", 1),
    "py_func": lambda: output_of(lambda x: tf.reshape(tf.py_func(lambda y: y, [x], tf.float64), [-1, 1])),
    "function_library": lambda: output_of(with_function),
    "recursive_function": recursive,
    "while_loop": lambda: output_of(loop),
    "huge_constant": huge_constant,
    "huge_fill": lambda: output_of(lambda x: x + tf.reduce_sum(tf.fill([10**6, 10**6], tf.constant(1.0, tf.float64)))),
    "splats": lambda: output_of(splats),
    "mistyped": mistyped,
    "chain": lambda: output_of(chain),
    "cycle": cycle,
    "no_nodes_but_versions": lambda: tf.GraphDef(versions={"producer": 1}),
}


def make(folder: Path) -> list[Path]:
    """Makes them all. Returns their paths."""
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
    add("flipped", bytes([good[0] ^ 128]) + good[1:])
    with open(add("sparse", b""), "wb") as file:
        file.truncate(3 << 30)
    digest = folder / "digest"
    digest.mkdir(exist_ok=True)
    (digest / "SHA256SUMS").write_text(f"{'0' * 64}  model.pb\n")
    paths.append(digest / "model.pb")
    paths[-1].write_bytes(good)
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
