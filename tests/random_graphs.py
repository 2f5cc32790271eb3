"""Draws random graphs: an operation with plausible inputs and attributes, and changes of all kinds.

Everything is drawn from one seed. `fuzz_graphs.py` has the gate judge the graphs.
"""

import ast
import contextlib
import itertools
import math
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model_import_export.graph_mode import new_saved_model, tf
from model_import_export.operations import ATTRIBUTES, BRANCHES, CALCULATION, CALLS, ELEMENTS, START, VARIABLES
from model_import_export.rows import numpy_type

import numpy as np

TYPES = [1, 2, 3, 4, 5, 6, 7, 9, 10, 14, 17, 19, 22, 23]  # as DataType numbers
INTEGERS = [0, 1, -1, 2, 3, 5, 7, -2, 255, 1024, -1024, 65_536, 10**6, 2**31 - 1, -(2**31), 2**40, 2**62, 2**63 - 1]
INTEGERS += [-(2**63)]
FLOATS = [0.0, -0.0, 0.5, 1.0, -1.0, 2.0, 3.0, -1e9, -1e9 - 0.5, -1e15 - 0.5, 1e6, 1e30, -1e30, 1e-30, 3e38]
FLOATS += [math.inf, -math.inf, math.nan]
STRINGS = [b"", b"a", b"-1", b"1e999", b"nan", b"  7 ", b"\xff\0", b"0x10", b"a" * 300, b"/etc/passwd", b"1" * 20]
SIZES = [0, 1, 1, 2, 2, 3, 4, 5, 8, 16, 33, 100, 1000, 4096, 70_000, 1 << 20, 1 << 31, 1 << 40, 1 << 62, -1, -2]
SHAPES = [(), (3,), (2, 3), (2, 1, 3), (0,), (1,), (4, 4)]
EQUATIONS = """ij,jk->ik bij,bjk->bik i,i-> ii->i ii ij->ji ...j,jk->...k i,j->ij ij,ij-> abcd,abcd-> -> ,->
a...a->... ijk-> ij,jk iii->i ...-> i...->...i ab,cd->abcd a,,b->ab""".split()
WORDS = "NCHW NHWC VALID SAME EXPLICIT NCHW_VECT_C NDHWC UTF8_CHAR (a+)+$ \\C{1000} IGNORE".split() + EQUATIONS
INTERNAL = (
    """_execution_count _swap_to_host _forward_input _scoped_allocator _kernel _xla _noinline _XlaMustCompile _ctx _Send
_tpu_replicate""".split()
    + sorted(ATTRIBUTES)
)
# Operations that TensorFlow supports only in graphs of its first versions.
OLD = {"TopK": 6, "PlaceholderV2": 22}
# What an operation's definition does not say about its inputs and attributes. A tuple is the shape of a tensor; a list
# or a number is the value of a constant.
DRAFTS = """
MatMul | (2, 3), (3, 4)
BatchMatMul BatchMatMulV2 BatchMatMulV3 | (2, 2, 3), (2, 3, 4)
BiasAdd BiasAddV1 FakeQuantWithMinMaxVarsPerChannel | (2, 3), (3,), (3,)
Cross SoftmaxCrossEntropyWithLogits | (2, 3), (2, 3)
All Any EuclideanNorm Max Mean Min Prod Sum ArgMax ArgMin Cumsum Cumprod ExpandDims | (2, 3), 1
InTopK | (2, 3), (2,) | {"k": 1}
InTopKV2 | (2, 3), (2,), 1
TopK | (2, 3), | {"k": 2}
TopKV2 | (2, 3), 2
UnsortedSegmentMax UnsortedSegmentMin UnsortedSegmentProd UnsortedSegmentSum | (3, 2), (3,), 4
BatchToSpace | (4, 2, 2, 1), [[0, 0], [0, 0]] | {"block_size": 2}
BatchToSpaceND | (4, 2, 2, 1), [2, 2], [[0, 0], [0, 0]]
SpaceToBatch | (1, 4, 4, 1), [[0, 0], [0, 0]] | {"block_size": 2}
SpaceToBatchND | (1, 4, 4, 1), [2, 2], [[0, 0], [0, 0]]
DepthToSpace | (1, 2, 2, 4), | {"block_size": 2}
SpaceToDepth | (1, 4, 4, 1), | {"block_size": 2}
BroadcastArgs BroadcastGradientArgs | [2, 1], [1, 3]
BroadcastTo | (1, 3), [2, 3]
Bucketize | (2, 3), | {"boundaries": [0.0, 1.0, 2.0]}
Concat | 0, (2, 3), (2, 3)
ConcatV2 | (2, 3), (2, 3), 0
DiagPart MatrixDiagPart | (3, 3),
Diag | (3,),
DynamicStitch | [0, 2], [1, 3], (2, 2), (2, 2)
ExtractImagePatches | (1, 6, 6, 4), | {"ksizes": [1, 2, 2, 1], "strides": [1, 1, 1, 1], "rates": [1, 1, 1, 1]}
Fill | [2, 3], ()
Gather | (4, 2), (3,)
GatherV2 | (4, 2), (3,), 0
GatherNd | (4, 2), (3, 1)
InvertPermutation | [1, 0, 2],
LinSpace | (), (), 5
MatrixBandPart | (3, 3), 1, 1
MatrixSetDiag | (3, 3), (3,)
MirrorPad | (3, 3), [[1, 1], [0, 1]]
Pad | (2, 3), [[1, 1], [0, 1]]
PadV2 | (2, 3), [[1, 1], [0, 1]], ()
OneHot | (3,), 4, (), ()
ParallelConcat | (1, 3), (1, 3) | {"shape": (2, 3)}
Range | 0, 5, 1
Reshape | (2, 3), [3, -1]
Reverse | (2, 3), [True, False]
ReverseV2 | (2, 3), [1]
ReverseSequence | (2, 3), [1, 2] | {"seq_dim": 1}
Roll | (4, 3), [1], [0]
ScatterNd | (3, 1), (3, 2), [4, 2]
TensorScatterUpdate | (4, 2), (3, 1), (3, 2)
Slice | (3, 4), [0, 1], [2, -1]
Split | 0, (4, 2) | {"num_split": 2}
SplitV | (4, 2), [1, 3], 0 | {"num_split": 2}
Squeeze | (1, 3, 1),
StridedSlice | (4, 4), [0, 1], [3, 4], [1, 2]
Tile | (2, 3), [1, 2]
Transpose ConjugateTranspose | (2, 3), [1, 0]
Unpack | (2, 3), | {"num": 2}
AvgPool MaxPool MaxPoolWithArgmax | (1, 6, 6, 4), | {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1]}
AvgPool3D MaxPool3D | (1, 4, 4, 4, 2), | {"ksize": [1, 2, 2, 2, 1], "strides": [1, 2, 2, 2, 1]}
MaxPoolV2 | (1, 6, 6, 4), [1, 2, 2, 1], [1, 1, 1, 1]
Conv2D DepthwiseConv2dNative | (1, 6, 6, 4), (3, 3, 4, 2) | {"strides": [1, 1, 1, 1], "padding": b"SAME"}
Dilation2D | (1, 6, 6, 4), (3, 3, 4) | {"strides": [1, 1, 1, 1], "rates": [1, 1, 1, 1]}
Conv2DBackpropInput | [1, 6, 6, 4], (3, 3, 4, 2), (1, 6, 6, 2) | {"strides": [1, 1, 1, 1], "padding": b"SAME"}
Conv3D | (1, 4, 4, 4, 2), (2, 2, 2, 2, 3) | {"strides": [1, 1, 1, 1, 1]}
Conv3DBackpropInputV2 | [1, 4, 4, 4, 2], (2, 2, 2, 2, 3), (1, 4, 4, 4, 3) | {"strides": [1, 1, 1, 1, 1], \
"padding": b"SAME"}
FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 | (1, 6, 6, 4), (4,), (4,), (4,), (4,) | {"is_training": False}
LRN | (1, 6, 6, 4),
FakeQuantWithMinMaxVars | (2, 3), (), ()
AdjustContrastv2 AdjustSaturation | (1, 4, 4, 3), ()
HSVToRGB RGBToHSV | (2, 4, 3),
ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor | (1, 6, 6, 4), [3, 9]
RandomStandardNormal RandomUniform TruncatedNormal | [2, 3],
SparseSoftmaxCrossEntropyWithLogits | (2, 3), (2,)
Softmax LogSoftmax | (2, 3),
DenseToDenseSetOperation | (2, 3), (2, 2) | {"set_operation": b"union"}
StaticRegexFullMatch | (3,), | {"pattern": b"a*"}
ParseExample | (2,), [], "s", "d", (3,) | {"Nsparse": 1, "Ndense": 1, "sparse_types": [9], "Tdense": [1], \
"dense_shapes": [(3,)]}
ParseExampleV2 | (2,), [], ["s"], ["d"], ["r"], (3,) | {"num_sparse": 1, "sparse_types": [9], \
"ragged_value_types": [1], "ragged_split_types": [9], "Tdense": [1], "dense_shapes": [(3,)]}
ParseSingleExample | (), (3,) | {"num_sparse": 1, "sparse_keys": [b"s"], "sparse_types": [9], "dense_keys": [b"d"], \
"Tdense": [1], "dense_shapes": [(3,)]}
Switch | (2, 3), ()
EnsureShape | (2, 3), | {"shape": (2, 3)}
PlaceholderWithDefault | [[1.0, 2.0]], | {"shape": (None, 2)}
StringToHashBucketStrong | (3,), | {"num_buckets": 10, "key": [1, 2]}
StringToHashBucketFast | (3,), | {"num_buckets": 10}
Select | (2, 3), (2, 3), (2, 3)
Placeholder | | {"shape": (None, 3)}
PlaceholderV2 | | {"shape": (2, 3)}
"""


def read_drafts() -> dict[str, tuple[list[Any], dict[str, Any]]]:
    """The inputs and attributes of each operation of DRAFTS."""
    drafts = {}
    for line in DRAFTS.replace("\\\n", "").split("\n")[1:-1]:
        names, inputs, attributes = ([part.strip() for part in line.split("|")] + ["{}"])[:3]
        value = list(ast.literal_eval(f"({inputs})") if inputs.endswith(",") else ast.literal_eval(f"[{inputs}]"))
        drafts |= dict.fromkeys(names.split(), (value, ast.literal_eval(attributes)))
    return drafts


READ = read_drafts()


def definition(op: str) -> Any:
    """The OpDef of an operation."""
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(op)


class RandomGraph:
    """One graph and its changes, all drawn from one seed."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.graph_def = tf.GraphDef()
        self.graph_def.versions.producer = tf.version.GRAPH_DEF_VERSION
        self.count = itertools.count()
        self.tensors: list[tuple[str, str]] = []  # name and dtype
        self.touched: list[Any] = []  # nodes of the operations

    # ----- building

    def name(self, kind: str) -> str:
        return f"{kind}{next(self.count)}"

    def values(self, dtype: str, shape: Sequence[int], wild: float = 0.0) -> np.ndarray:
        """An array; each value is extreme with probability `wild`."""
        size = math.prod(shape)
        if dtype == "string":
            flat = [self.random.choice(STRINGS) for _ in range(size)]
            array = np.empty(size, object)
            array[:] = flat
            return array.reshape(shape)
        return fill(self.random, dtype, shape, wild)

    def constant(self, array: np.ndarray, dtype: str) -> str:
        name = self.name("c")
        node = self.graph_def.node.add(op="Const", name=name)
        kind = numpy_type(dtype)
        with np.errstate(all="ignore"):
            if kind.hasobject and not array.dtype.hasobject:
                array = np.frompyfunc(lambda value: str(value).encode(), 1, 1)(array)
            array = np.asarray(array, kind)
        if array.size and self.random.random() < 0.2 and dtype != "string":
            proto = tf.make_tensor_proto(array.flat[:1], tf.as_dtype(dtype), array.shape)
            proto.ClearField(ELEMENTS[dtype])
            proto.tensor_content = array.tobytes()
        else:
            proto = tf.make_tensor_proto(array, tf.as_dtype(dtype), array.shape)
        node.attr["value"].tensor.CopyFrom(proto)
        node.attr["dtype"].type = proto.dtype
        self.tensors.append((name, dtype))
        return name

    def placeholder(self, dtype: str, shape: Sequence[int]) -> str:
        name = self.name("x")
        node = self.graph_def.node.add(op="Placeholder", name=name)
        node.attr["dtype"].type = tf.as_dtype(dtype).as_datatype_enum
        dims = [None if i == 0 and self.random.random() < 0.2 else dim for i, dim in enumerate(shape)]
        if self.random.random() < 0.05:
            node.attr["shape"].shape.unknown_rank = True
        else:
            node.attr["shape"].shape.CopyFrom(tf.TensorShape(dims).as_proto())
        self.tensors.append((name, dtype))
        return name

    def source(self, given: Any, dtype: str) -> str:
        """A tensor: a constant with that value, or with that shape a placeholder, a constant, or another result."""
        if not isinstance(given, tuple):
            return self.constant(np.array(given), dtype)
        draw = self.random.random()
        alike = [name for name, other in self.tensors if other == dtype]
        if draw < 0.07 and alike:
            return self.random.choice(alike)
        if draw < 0.3:
            return self.constant(self.values(dtype, given, 0.1), dtype)
        return self.placeholder(dtype, given)

    def operation(self, op: str) -> Any:
        """Adds an operation with plausible inputs and attributes."""
        op_def = definition(op)
        given, attributes = READ.get(op, ([], {}))
        given = list(given)
        self.graph_def.versions.producer = min(self.graph_def.versions.producer, OLD.get(op, 1 << 20))
        shape = self.random.choice(SHAPES)
        node = tf.NodeDef(op=op, name=self.name(op))
        self._attributes(node, op_def, attributes)
        if op == "Einsum":
            terms = node.attr["equation"].s.decode().partition("->")[0].split(",")
            node.attr["N"].i = len(terms)
            given = [tuple({"i": 2, "j": 3}.get(label, 2) for label in term.replace("...", "k")) for term in terms]
        for argument in op_def.input_arg:
            if argument.number_attr:
                types = [self._type_of(node, argument)] * node.attr[argument.number_attr].i
            elif argument.type_list_attr:
                types = [tf.as_dtype(t).name for t in node.attr[argument.type_list_attr].list.type]
            else:
                types = [self._type_of(node, argument)]
            for dtype in types:
                if dtype in ("resource", "string_ref") or dtype not in ELEMENTS:
                    node.input.append(self.random.choice([name for name, _ in self.tensors] or ["nothing"]))
                else:
                    node.input.append(self.source(given.pop(0) if given else shape, dtype))
        self.graph_def.node.append(node)
        node = self.graph_def.node[-1]
        self.touched.append(node)
        index = 0
        with contextlib.suppress(TypeError, KeyError, IndexError):
            for argument in op_def.output_arg:
                if argument.number_attr or argument.type_list_attr:
                    continue
                self.tensors.append((f"{node.name}:{index}" if index else node.name, self._type_of(node, argument)))
                index += 1
        return node

    def _type_of(self, node: Any, argument: Any) -> str:
        number = node.attr[argument.type_attr].type if argument.type_attr else argument.type
        return tf.as_dtype(number).name

    def _attributes(self, node: Any, op_def: Any, given: dict[str, Any]) -> None:
        for attribute in op_def.attr:
            value = node.attr[attribute.name]
            if attribute.name in given:
                set_value(value, attribute.type, given[attribute.name])
            elif attribute.type == "type":
                allowed = [t for t in attribute.allowed_values.list.type if tf.as_dtype(t).name in ELEMENTS]
                likely = [t for t in (1, 1, 2, 3, 9, 7) if not allowed or t in allowed]
                value.type = self.random.choice(
                    likely if likely and self.random.random() < 0.7 else allowed or [*range(1, 8), 9, 10]
                )
            elif attribute.type == "list(type)":
                value.list.type.extend(self.random.choice([1, 3, 7]) for _ in range(self.random.randint(1, 3)))
            elif attribute.type == "int" and attribute.name in ("N", "num", "num_split"):
                value.i = 2
            elif attribute.name == "equation":
                value.s = self.random.choice(EQUATIONS).encode()
            elif attribute.allowed_values.list.s and self.random.random() < 0.5:
                value.s = self.random.choice(attribute.allowed_values.list.s)
            elif attribute.HasField("default_value"):
                value.CopyFrom(attribute.default_value)
                if attribute.type == "bool" and self.random.random() < 0.3:
                    value.b = not value.b
            elif attribute.type == "shape":
                value.shape.CopyFrom(tf.TensorShape(self.random.choice(SHAPES)).as_proto())
            elif attribute.allowed_values.list.s:
                value.s = attribute.allowed_values.list.s[0]
            else:
                set_value(
                    value,
                    attribute.type,
                    {"int": 1, "float": 1.0, "bool": False, "string": b""}.get(attribute.type, []),
                )

    # ----- changing

    def any_node(self) -> Any:
        nodes = [node for function in self.graph_def.library.function for node in function.node_def]
        if self.touched and self.random.random() < 0.7:
            return self.random.choice(self.touched)
        return self.random.choice([*self.graph_def.node, *nodes])

    def change(self) -> None:
        """Makes one change of any kind."""
        kinds = [self.attribute] * 6 + [self.content] * 5 + [self.edge] * 2 + [self.shape] * 4 + [self.add] * 2
        kinds += [self.internal, self.drop, self.rename, self.versions, self.control, self.odd, self.number_type]
        with contextlib.suppress(ValueError, TypeError, IndexError, OverflowError, MemoryError):
            self.random.choice(kinds)()

    def attribute(self) -> None:
        node = self.any_node()
        if node.attr:
            self.mutate(node.attr[self.random.choice(sorted(node.attr))])

    def mutate(self, value: Any) -> None:
        kind, choose = value.WhichOneof("value"), self.random.choice
        if self.random.random() < 0.02:
            value.placeholder = "T"
            return
        if kind == "i":
            value.i = choose([*INTEGERS, value.i + 1, value.i - 1])
        elif kind == "f":
            value.f = choose(FLOATS)
        elif kind == "b":
            value.b = not value.b
        elif kind == "s":
            value.s = choose([*STRINGS, *map(str.encode, WORDS)])
        elif kind == "type":
            value.type = choose([*range(24), 101, 107, 999])
        elif kind == "shape":
            self.mutate_shape(value.shape)
        elif kind == "func":
            value.func.name = choose([function.signature.name for function in self.graph_def.library.function] or ["f"])
        elif kind == "tensor":
            self.mutate_tensor(value.tensor)
        elif kind == "list" or kind is None:
            self.mutate_list(value)

    def mutate_list(self, value: Any) -> None:
        field = next((f for f in ("i", "f", "b", "s", "type", "shape") if len(getattr(value.list, f))), "i")
        items = getattr(value.list, field)
        choices = {"i": [*INTEGERS, *range(5)], "f": FLOATS, "b": [True, False], "s": STRINGS, "type": range(24)}
        draw = self.random.random()
        if field == "shape":
            if draw < 0.6:
                self.mutate_shape(self.random.choice(items))
            elif draw < 0.8:
                items.add().CopyFrom(items[0])
            else:
                del items[-1]
        elif draw < 0.6 and items:
            items[self.random.randrange(len(items))] = self.random.choice(choices[field])
        elif draw < 0.75:
            items.extend([self.random.choice(choices[field])] * self.random.choice([1, 1, 1, 2, 300]))
        elif draw < 0.9 and items:
            del items[-1]
        else:
            del items[:]

    def mutate_shape(self, shape: Any) -> None:
        draw = self.random.random()
        if draw < 0.6 and shape.dim:
            self.random.choice(shape.dim).size = self.random.choice(SIZES)
        elif draw < 0.75:
            shape.dim.add(size=self.random.choice(SIZES[:12]))
        elif draw < 0.8:
            for _ in range(self.random.choice([7, 8, 9, 250, 260])):
                shape.dim.add(size=1)
        elif draw < 0.95 and shape.dim:
            del shape.dim[self.random.randrange(len(shape.dim))]
        else:
            shape.unknown_rank = not shape.unknown_rank

    def mutate_tensor(self, tensor: Any) -> None:
        draw = self.random.random()
        if draw < 0.1:
            self.mutate_shape(tensor.tensor_shape)
        elif draw < 0.13:
            tensor.dtype = self.random.choice(range(24))
        elif draw < 0.16:
            tensor.tensor_content = self.random.randbytes(self.random.choice([0, 1, 4, 8, 12, 24]))
        else:
            self.new_content(tensor)

    def new_content(self, tensor: Any) -> None:
        """Puts other values into a constant, with its own shape or another."""
        dtype = tf.as_dtype(tensor.dtype).name
        shape = [dim.size for dim in tensor.tensor_shape.dim]
        draw = self.random.random()
        if draw < 0.25:
            shape = list(self.random.choice([*SHAPES, (5,), (2, 2), (3, 2), (1, 1), (1, 4, 4, 1), (2,), (6,)]))
        elif draw < 0.3:  # one value for all elements
            tensor.ClearField("tensor_content")
            for dim in tensor.tensor_shape.dim:
                dim.size = self.random.choice([1, 16, 1000, 1 << 20])
            return
        if math.prod(shape) > 1 << 16:
            return
        array = (
            tf.make_ndarray(tensor) if draw >= 0.3 and self.random.random() < 0.6 else self.values(dtype, shape, 0.3)
        )
        array = array.copy()
        if array.size:
            array.flat[self.random.randrange(array.size)] = self.values(dtype, (1,), 1.0)[0]
        tensor.CopyFrom(tf.make_tensor_proto(array, tf.as_dtype(dtype), array.shape))

    def content(self) -> None:
        constants = [node for node in self.graph_def.node if node.op == "Const"]
        self.new_content(self.random.choice(constants).attr["value"].tensor)

    def shape(self) -> None:
        given = [node for node in self.graph_def.node if node.op == "Placeholder"]
        self.mutate_shape(self.random.choice(given).attr["shape"].shape)

    def number_type(self) -> None:
        """Gives another type to an operation and to all inputs of its type that are constants or placeholders."""
        node = self.any_node()
        key = self.random.choice([key for key, value in node.attr.items() if value.WhichOneof("value") == "type"])
        old, new = node.attr[key].type, self.random.choice(TYPES)
        for each in self.graph_def.node:
            for value in each.attr.values():
                if value.WhichOneof("value") == "type" and value.type == old:
                    value.type = new
                if value.HasField("tensor") and value.tensor.dtype == old:
                    shape = [dim.size for dim in value.tensor.tensor_shape.dim]
                    dtype = tf.as_dtype(new).name
                    value.tensor.CopyFrom(tf.make_tensor_proto(self.values(dtype, shape), tf.as_dtype(dtype), shape))

    def edge(self) -> None:
        node = self.any_node()
        data = [i for i, name in enumerate(node.input) if not name.startswith("^")]
        draw = self.random.random()
        if draw < 0.3 and len(data) > 1:
            a, b = self.random.sample(data, 2)
            node.input[a], node.input[b] = node.input[b], node.input[a]
        elif draw < 0.8 and data:
            name = self.random.choice(self.graph_def.node).name
            node.input[self.random.choice(data)] = f"{name}:{self.random.choice([0, 0, 0, 1, 2, 9, 2**31])}"
        elif draw < 0.9 and data:
            node.input.insert(0, node.input[data[-1]])
        elif data:
            del node.input[data[-1]]

    def control(self) -> None:
        self.any_node().input.append(f"^{self.random.choice(self.graph_def.node).name}")

    def internal(self, attributes: Any = None) -> None:
        """Adds an attribute that no operation declares."""
        value = (self.any_node().attr if attributes is None else attributes)[self.random.choice(INTERNAL)]
        kind = self.random.choice(
            ["int", "bool", "string", "list(int)", "list(string)", "float", "shape", "list(shape)"]
        )
        drawn: dict[str, Any] = {
            "int": self.random.choice(INTEGERS), "bool": True, "string": self.random.choice([*STRINGS, b"loc:@c0"]),
            "list(int)": [0, 5], "list(string)": [b"loc:@x1", b"loc:@nothing"], "float": 1.0, "shape": (1 << 40, 3),
            "list(shape)": [(7,), (1 << 62, 1 << 62)],
        }  # fmt: skip
        set_value(value, kind, drawn[kind])

    def drop(self) -> None:
        node = self.any_node()
        del node.attr[self.random.choice(sorted(node.attr))]

    def rename(self) -> None:
        """Gives a node another operation or another name."""
        if self.random.random() < 0.8:
            self.any_node().op = self.random.choice(sorted(CALCULATION | VARIABLES))
        else:
            self.any_node().name = self.random.choice(["x0", "", "a/b", "_c", "é", "c0"])

    def versions(self) -> None:
        versions = self.graph_def.versions
        if self.random.random() < 0.7:
            versions.producer = self.random.choice([0, 5, 8, 9, 12, 20, 21, 22, 23, 26, 27, 500, 2473, 10**6, -1])
        else:
            versions.min_consumer = self.random.choice([0, 1, 10**6])

    def odd(self) -> None:
        """Changes fields that are hardly ever looked at."""
        node, draw = self.any_node(), self.random.random()
        if draw < 0.3:
            node.device = self.random.choice(
                ["/job:ps/task:0", "/device:GPU:0", "/device:CPU:0", "nonsense", "/job:a/b:c", "/device:XLA_CPU:0"]
            )
        elif draw < 0.6:
            node.experimental_type.type_id = self.random.choice([0, 1, 2, 3, 100, 101, 200, 201, 1000, 1001, 10102])
            node.experimental_type.args.add(type_id=self.random.choice([0, 1, 1000])).s = "T"
        elif draw < 0.8:
            node.experimental_debug_info.original_node_names.extend(["a", ""])
        else:
            for function in self.graph_def.library.function:
                function.control_ret["c"] = self.random.choice(["x", node.name])
                function.resource_arg_unique_id[0] = self.random.choice([0, 7])
                self.internal(function.attr)
                self.internal(function.arg_attr[0].attr)

    def add(self) -> None:
        """Adds one more operation, on the existing nodes."""
        self.operation(self.random.choice(sorted(CALCULATION - CALLS - BRANCHES)))

    # ----- functions

    def call(self) -> None:
        """Moves the operations into a function, and calls it in one of the possible ways."""
        function = self.graph_def.library.function.add()
        function.signature.name = "f"
        inner = list(self.touched)
        names = {node.name for node in inner}
        given = {name: dtype for name, dtype in self.tensors if name.partition(":")[0] not in names}
        arguments: dict[str, str] = {}
        for node in inner:
            copy = function.node_def.add()
            copy.CopyFrom(node)
            for i, name in enumerate(node.input):
                base, _, index = name.partition(":")
                if base in names:
                    output = definition(next(each.op for each in inner if each.name == base)).output_arg
                    number = int(index or 0)
                    copy.input[i] = f"{base}:{output[min(number, len(output) - 1)].name}:0"
                elif name in given:
                    copy.input[i] = arguments.setdefault(name, f"a{len(arguments)}")
        for name, argument in arguments.items():
            function.signature.input_arg.add(name=argument, type=tf.as_dtype(given[name]).as_datatype_enum)
        last = inner[-1]
        output = definition(last.op).output_arg[0]
        dtype = tf.as_dtype(self._type_of(last, output)).as_datatype_enum
        function.signature.output_arg.add(name="y", type=dtype)
        function.ret["y"] = f"{last.name}:{output.name}:0"
        kept = [node for node in self.graph_def.node if node.name not in names]
        copies = [tf.NodeDef.FromString(node.SerializeToString()) for node in kept]
        del self.graph_def.node[:]
        self.graph_def.node.extend(copies)
        kind = self.random.choice(["f", "PartitionedCall", "StatefulPartitionedCall", "StatelessIf", "If"])
        node = self.graph_def.node.add(op=kind, name="call", input=list(arguments))
        if kind != "f":
            node.attr["Tin"].list.type.extend(tf.as_dtype(given[name]).as_datatype_enum for name in arguments)
            node.attr["Tout"].list.type.append(dtype)
        if kind.endswith("Call"):
            node.attr["f"].func.name = "f"
        if kind.endswith("If"):
            node.attr["then_branch"].func.name = node.attr["else_branch"].func.name = "f"
            node.attr["Tcond"].type = tf.bool.as_datatype_enum
            node.input.insert(0, self.source((), "bool"))
            self.graph_def.node.append(tf.NodeDef.FromString(node.SerializeToString()))
            index = next(i for i, each in enumerate(self.graph_def.node) if each.name == "call")
            del self.graph_def.node[index]
        self.touched = [self.graph_def.node[-1], *function.node_def]


def set_value(value: Any, kind: str, given: Any) -> None:
    """Sets an AttrValue."""
    if kind == "shape":
        value.shape.CopyFrom(tf.TensorShape(given).as_proto())
    elif kind == "list(shape)":
        value.list.SetInParent()
        for each in given:
            value.list.shape.add().CopyFrom(tf.TensorShape(each).as_proto())
    elif kind.startswith("list"):
        value.list.SetInParent()
        field = {
            "list(int)": "i",
            "list(float)": "f",
            "list(bool)": "b",
            "list(string)": "s",
            "list(type)": "type",
        }.get(kind)
        if field:
            getattr(value.list, field).extend(given)
    elif kind == "type":
        value.type = given
    elif kind in ("int", "float", "bool", "string"):
        setattr(value, kind[0], given)


def fill(drawn: random.Random, dtype: str, shape: Sequence[int], wild: float) -> np.ndarray:
    """An array of a type; each value is extreme with probability `wild`, otherwise small."""
    generator = np.random.default_rng(drawn.getrandbits(32))
    kind = numpy_type(dtype)
    if kind.hasobject:
        array = np.empty(shape, object)
        array[...] = b""
        for i in range(array.size):
            array.flat[i] = drawn.choice(STRINGS) if i < 1000 else b"1"
        return array
    if kind.kind == "b":
        return generator.random(shape) < 0.5
    with np.errstate(all="ignore"):
        small = generator.integers(0, 4, shape)
        if kind.kind in "iu":
            info = np.iinfo(kind)
            extreme = generator.choice(
                np.array([info.min, info.max, 0, 1, info.max - 1, info.min + 1, info.max // 2, 7], kind), shape
            )
            return np.where(generator.random(shape) < wild, extreme, small.astype(kind)).astype(kind).reshape(shape)
        extreme = generator.choice(np.array(FLOATS), shape)
        return np.where(generator.random(shape) < wild, extreme, small + 0.25).astype(kind).reshape(shape)


# ----- SavedModels


def make_template(folder: str) -> None:
    """Writes a SavedModel with variables of both kinds and tables, one of which is read from an asset."""
    with open(f"{folder}.txt", "w") as file:
        file.write("a\nb\nc\n")
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 4], name="x")
        v = tf.get_variable("v", initializer=np.ones([3, 4], np.float32), use_resource=True)
        w = tf.get_variable("w", initializer=np.arange(5, dtype=np.int32), use_resource=True)
        r = tf.get_variable("r", initializer=np.ones([2, 2]), use_resource=False)
        texts = tf.placeholder(tf.string, [None], name="texts")
        first = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(["a", "b"], np.array([1, 2], np.int64)), -1
        )
        second = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(f"{folder}.txt", tf.string, 0, tf.int64, -1, delimiter=" "), -1
        )
        outputs = {
            "y": tf.identity(tf.reduce_sum(x * v[0], 1), name="y"), "g": tf.gather(v, tf.constant([0, 2]), name="g"),
            "w": tf.identity(w, name="w_out"), "r": tf.identity(r, name="r_out"),
            "first": tf.identity(first.lookup(texts), name="first"),
            "second": tf.identity(second.lookup(texts), name="second"),
        }  # fmt: skip
        session.run([tf.global_variables_initializer(), tf.tables_initializer()])
        builder = tf.saved_model.builder.SavedModelBuilder(folder)
        signature = tf.saved_model.predict_signature_def({"x": x, "texts": texts}, outputs)
        builder.add_meta_graph_and_variables(
            session, ["serve"], {"serving_default": signature}, main_op=tf.tables_initializer(),
            assets_collection=tf.get_collection(tf.GraphKeys.ASSET_FILEPATHS),
        )  # fmt: skip
        builder.save()


def takes_handles(op: str) -> bool:
    """Whether an operation takes or makes a variable or a table, which only SavedModels have."""
    return op in VARIABLES | START or "Table" in op or op.startswith("Ref")


def asset_of(meta_graph: Any) -> Any:
    """The template's AssetFileDef, which is packed in a collection."""
    asset = tf.MetaGraphDef().asset_file_def.add()
    meta_graph.collection_def["saved_model_assets"].any_list.value[0].Unpack(asset)
    return asset


def add_handles(drawn: RandomGraph, op: str, meta_graph: Any) -> None:
    """Adds an operation on a variable or table of the template, where the loader or a signature runs it."""
    choose, nodes, op_def = drawn.random.choice, drawn.graph_def.node, definition(op)
    by_reference = any(argument.is_ref for argument in [*op_def.input_arg, *op_def.output_arg])
    variable, dtype, shape = ("r", 2, (2, 2)) if by_reference else choose([("v", 1, (3, 4)), ("w", 3, (5,))])
    kind = {"v": "float32", "w": "int32", "r": "float64"}[variable]
    table, asset = (
        choose([node for node in nodes if node.op == "HashTableV2"]).name,
        asset_of(meta_graph).tensor_info.name,
    )
    if by_reference and "Table" in op:
        handle = nodes.add(op="HashTable", name="reference_table")
        handle.attr["key_dtype"].type, handle.attr["value_dtype"].type, table = 7, 9, handle.name
        drawn.touched.append(handle)
    checkpoint = meta_graph.saver_def.filename_tensor_name
    types = {"Tin": 7, "Tout": 9, "Tkey": 7, "Tval": 9, "Tindices": 3, "key_dtype": 7, "value_dtype": 9}
    node = tf.NodeDef(op=op, name=drawn.name(op))
    for attribute in op_def.attr:
        value = node.attr[attribute.name]
        if attribute.type == "type":
            value.type = types.get(attribute.name, dtype)
        elif attribute.type == "list(type)":
            value.list.type.append(dtype)
        elif attribute.HasField("default_value"):
            value.CopyFrom(attribute.default_value)
        elif attribute.type == "shape":
            value.shape.CopyFrom(tf.TensorShape(shape).as_proto())
        elif attribute.type == "int":
            value.i = {"key_index": -2, "value_index": -1, "N": 1}.get(attribute.name, 1)
    for argument in op_def.input_arg:
        given: Any = {
            "table_handle": table, "resource": variable, "var": variable, "ref": variable,
            "indices": drawn.source((2,), "int32"),
            "alpha": drawn.source((), kind), "default_value": drawn.source((), "int64"), "filename": asset,
            "prefix": checkpoint, "file_pattern": checkpoint, "basename": checkpoint, "pred": drawn.source((), "bool"),
            "shard": np.array(0), "num_shards": np.array(1),
            "tensor_name": np.array(variable.encode(), object), "tensor_names": np.array([variable.encode()], object),
            "shape_and_slice": np.array(b"", object), "shape_and_slices": np.array([b""], object),
            "keys": np.array([b"k", b"l"], object) if "Find" not in op else "texts",
            "values": np.array([3, 4]), "data": variable, "inputs": variable,
        }.get(argument.name)  # fmt: skip
        if isinstance(given, str):
            node.input.append(given)
        else:
            dtype_name = drawn._type_of(node, argument)
            node.input.append(
                drawn.constant(given, dtype_name) if given is not None else drawn.source(shape, dtype_name)
            )
    nodes.append(node)
    drawn.touched.append(nodes[-1])
    if op.startswith("Restore"):
        assign = nodes.add(
            op="Assign" if by_reference else "AssignVariableOp", name="restored", input=[variable, node.name]
        )
        assign.attr["T" if by_reference else "dtype"].type = dtype
        drawn.touched.append(assign)
        next(each for each in nodes if each.name == meta_graph.saver_def.restore_op_name).input.append("^restored")
    elif op in START:
        start = meta_graph.collection_def["saved_model_main_op"].node_list.value[0]
        next(each for each in nodes if each.name == start).input.append(f"^{node.name}")
    elif not op_def.output_arg or op_def.output_arg[0].type == tf.resource.as_datatype_enum or by_reference:
        done = nodes.add(op="Identity", name="done", input=["y", f"^{node.name}"])
        done.attr["T"].type = 1
        drawn.touched[:] = [done]
    if drawn.random.random() < 0.5:
        drawn.touched.append(choose([*nodes, *(each for each in nodes if each.name in (table, variable))]))


def write_saved_model(drawn: RandomGraph, op: str, template: str, path: str, plain: bool) -> None:
    """Writes a copy of the template with one more operation and changes."""
    shutil.copytree(template, path)
    saved_model = new_saved_model()
    saved_model.ParseFromString(Path(template, "saved_model.pb").read_bytes())
    meta_graph = saved_model.meta_graphs[0]
    drawn.graph_def = meta_graph.graph_def
    drawn.tensors += [("x", "float32"), ("texts", "string"), ("y", "float32"), ("w_out", "int32"), ("r_out", "float64")]
    if takes_handles(op):
        add_handles(drawn, op, meta_graph)
    else:
        drawn.operation(op)
    for _ in range(0 if plain else drawn.random.choice([0, 1, 1, 2, 3])):
        drawn.change()
    signature = meta_graph.signature_def["serving_default"]
    for node in drawn.touched:
        op_def = definition(node.op)
        count = len(op_def.output_arg) if op_def and node.op not in START else 0
        if count and op_def.output_arg[0].type == tf.resource.as_datatype_enum:
            count = 0
        for i in range(count if plain or drawn.random.random() < 0.9 else count + 1):
            signature.outputs[f"{node.name}_{i}"].name = f"{node.name}:{i}"
            signature.outputs[f"{node.name}_{i}"].dtype = 1
    for node in drawn.graph_def.node:
        if node.op.startswith("Placeholder") and node.name not in ("x", "texts"):
            info = signature.inputs[node.name]
            info.name, info.dtype = f"{node.name}:0", node.attr["dtype"].type
            info.tensor_shape.CopyFrom(node.attr["shape"].shape)
    draw = 1 if plain else drawn.random.random()
    if draw < 0.1:
        saver = meta_graph.saver_def
        setattr(saver, drawn.random.choice(["restore_op_name", "filename_tensor_name", "save_tensor_name"]),
                drawn.random.choice(["", "y", "y:0", "v", "save/Const:0", "nothing", "save/Const:7"]))  # fmt: skip
    elif draw < 0.2:
        asset = asset_of(meta_graph)
        if drawn.random.random() < 0.5:
            asset.filename = drawn.random.choice(["", "..", "../saved_model.pb", "/etc/passwd", "none", "."])
        else:
            asset.tensor_info.name = drawn.random.choice(["x:0", "y:1", "Const:0", "", "nothing:0"])
        meta_graph.collection_def["saved_model_assets"].any_list.value[0].Pack(asset)
    elif draw < 0.3:
        for name in ("saved_model_main_op", "legacy_init_op"):
            meta_graph.collection_def[name].node_list.value[:] = [drawn.random.choice(drawn.graph_def.node).name]
    elif draw < 0.5:
        file = Path(
            path,
            "variables",
            drawn.random.choice(["variables.index", "variables.index", "variables.data-00000-of-00001"]),
        )
        data = bytearray(file.read_bytes())
        for _ in range(drawn.random.choice([1, 1, 2, 5])):
            data[drawn.random.randrange(len(data))] = drawn.random.choice(
                [0, 1, 127, 128, 255, drawn.random.randrange(256)]
            )
        file.write_bytes(data[: drawn.random.randrange(len(data))] if drawn.random.random() < 0.2 else data)
    elif draw < 0.55:
        info = drawn.random.choice(list(signature.inputs.values()) + list(signature.outputs.values()))
        drawn.mutate_shape(info.tensor_shape)
        info.name = drawn.random.choice([info.name, "y:0", "v:0", "", "c0:0", "save/restore_all"])
    Path(path, "saved_model.pb").write_bytes(saved_model.SerializeToString())
