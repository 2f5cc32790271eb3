"""The gate's rule on sizes: how large each output can get must be known, and within limits, before anything runs.

TensorFlow's own shape inference gives the sizes. While an operation is added to a graph, it evaluates whatever the
shape is calculated from. So the operations are added one by one, to a graph that never runs, and each only when its
inputs are known to be small.
"""

import contextlib
import math
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from model_import_export import ModelError
from model_import_export.graph_mode import tf
from model_import_export.graph_rules import MAX_ELEMENTS, MAX_RANK, Step, Written, definition_of
from model_import_export.operations import BRANCHES
from model_import_export.rows import MAX_BATCH, TYPES, Placeholder
from model_import_export.variables_file import Entry

MAX_TOTAL = 64 << 20  # elements of all outputs together
MAX_EMPTY = 1 << 40  # the product of an output's dimensions other than 0
MAX_WORK = 1 << 38  # multiplications and additions: a few seconds
MAX_TEXT = 64 << 20  # bytes of an output's strings
MAX_FED_RANK = 64  # numpy's limit
LONGEST_FED = 1 << 12  # bytes of a fed string
LARGE = 1 << 10  # elements: no shape is calculated from a larger constant
GUESSES = (1, 2, 3, 4, 8, 10, 16, 28, 32, 64, 100, 128, 224, 256, 299, 784)  # for an open dimension
ATTEMPTS = 200
LARGEST_GUESS = 1 << 20  # elements
BETWEEN = (2, 3, 4, 5, 7, 10, 100, 1000)  # rows
SECONDS = 1  # for trying these
PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum")
# Convolutions, and how many of the filter's last dimensions are the result's channels.
CHANNELS = {"Conv2D": 1, "Conv3D": 1, "Conv2DBackpropInput": 1, "Conv3DBackpropInputV2": 1, "Dilation2D": 1,
            "DepthwiseConv2dNative": 2}  # fmt: skip
# Operations whose output sizes are known only at run time, but are no larger than the inputs.
INDEFINITE = frozenset(
    "BroadcastGradientArgs DenseToDenseSetOperation ParseExample ParseExampleV2 ParseSingleExample "
    "FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3".split()
)
SERIES = ("Igamma", "Igammac")  # up to 2,000 terms each
SAME_SHAPE = (
    "Assign AssignAdd AssignSub AssignVariableOp AssignAddVariableOp AssignSubVariableOp ApplyGradientDescent "
    "ResourceApplyGradientDescent"
).split()


class Feed(NamedTuple):
    """A feed that fits a model: the shapes of its tensors, its number of rows, and the elements of all outputs."""

    shapes: Mapping[str, tuple[int, ...]]
    rows: int
    elements: int
    largest: int  # elements of the largest output
    is_tried: bool = True  # whether the trial runs it


class MismatchError(Exception):
    """The feed does not fit the model."""


class IndefiniteError(ModelError):
    """A shape is known only at run time."""


class Sizes:
    """The growing graph of one model. All feeds share the parts that depend on no feed."""

    def __init__(self, producer: int, extra: Iterable[str] = ()) -> None:
        """Starts with an empty graph.

        Args:
            producer: the version of the model's graph; some operations exist only in old versions.
            extra: operations whose outputs may be of any size.
        """
        self.graph, self.extra = tf.Graph(), frozenset(extra)
        with self.graph.as_default():
            tf.import_graph_def(tf.GraphDef(versions={"producer": producer}), name="")
        self.variables: dict[str, tuple[int, ...]] = {}  # shapes that are known better than from the graph
        self.restored: dict[str, list[Entry]] = {}  # what each RestoreV2 returns
        self.measures = False  # whether anything is calculated from the shape of a fed tensor
        self.longest = LONGEST_FED  # bytes of a string in a table or variable
        self.bounded: set[Any] = set()  # tensors that are small, whatever their shapes
        self.shared: dict[tuple[Any, ...], list[Any]] = {}
        self.text: dict[Any, int] = {}  # the bytes of the longest string in each tensor of strings
        self.count = 0

    def grow(self, written: Written, feeds: Mapping[str, Placeholder]) -> Feed:
        """Adds the steps for a feed. The inputs of all steps, and the tensors that were asked for, count as used.

        Args:
            feeds: definite shapes by the names of tensors, including placeholders.

        Raises:
            ModelError: an output is too large, or has no definite shape.
            MismatchError: TensorFlow rejects the feed; the error says why.
        """
        outputs: list[list[Any]] = []
        varying: list[bool] = []
        used: set[Any] = set()
        loose, work = False, 0

        def use(number: int, index: int) -> Any:
            label = written.steps[number].label
            if index >= len(outputs[number]):
                raise ModelError(f"refused graph: node {label} has no output {index}")
            tensor = outputs[number][index]
            if not (loose or tensor.shape.is_fully_defined() or tensor in self.bounded):
                raise IndefiniteError(f"refused graph: the output of node {label} has no definite shape")
            used.add(tensor)
            return tensor

        for step in written.steps:
            known = [source for source in step.inputs if source[0] < len(outputs)]
            inputs = [use(*source) for source in known]
            varies = any(varying[number] for number, _ in known)
            loose = loose or bool(step.proto and step.proto.op in self.extra)
            self.measures |= varies and bool(step.proto and step.proto.op in ("Shape", "ShapeN", "Size"))
            name = step.tensor or f"{step.label}:0"
            if name in feeds and (not step.proto or "Placeholder" in step.proto.op):
                made, varies = [self._placeholder(feeds[name].dtype, feeds[name].shape, LONGEST_FED)], True
            elif not varies and (key := (step.label, step.proto.op, *inputs)) in self.shared:
                made = self.shared[key]
            else:
                made = self._add(step, inputs)
                if not varies:
                    self.shared[key] = made
            for tensor in made:
                self._check(tensor, step.label)
                if not (loose or tensor.shape.is_fully_defined() or step.proto.op in INDEFINITE):
                    raise IndefiniteError(f"refused graph: the output of node {step.label} has no definite shape")
            work += _work(step, inputs, made) if step.proto and not loose else 0
            if work > MAX_WORK:
                raise ModelError(
                    f"refused graph: with node {step.label} it calculates {work} products and sums (at most {MAX_WORK})"
                )
            outputs.append(made)
            varying.append(varies)
        for source in written.sources.values():
            if source and outputs[source[0]]:
                use(*source)
        sizes = [tensor.shape.num_elements() or 0 for tensor in used]
        if sum(sizes) > MAX_TOTAL:
            raise ModelError(f"refused graph: its outputs have {sum(sizes)} elements together (at most {MAX_TOTAL})")
        shapes = {name: feed.shape for name, feed in feeds.items()}
        return Feed(shapes, 1, sum(sizes), max(sizes, default=0))

    def _check(self, tensor: Any, label: str) -> None:
        output, rank = f"refused graph: the output of node {label}", tensor.shape.rank
        if rank is not None and rank > MAX_RANK:
            raise ModelError(f"{output} has {rank} dimensions (at most {MAX_RANK})")
        elements = tensor.shape.num_elements() or 0
        if elements > MAX_ELEMENTS:
            raise ModelError(f"{output} has {elements} elements (at most {MAX_ELEMENTS})")
        if rank and math.prod(dim or 1 for dim in tensor.shape.as_list()) > MAX_EMPTY:
            raise ModelError(f"{output} is {tensor.shape}: empty, and too large")
        if self.text.get(tensor, 0) * max(1, elements) > MAX_TEXT:
            raise ModelError(f"{output} has strings of more than {MAX_TEXT} bytes")

    def _placeholder(self, dtype: Any, shape: Any, text: int = 0) -> Any:
        if shape is not None and math.prod(map(abs, filter(None, shape))) > MAX_EMPTY:  # no graph bears it
            raise ModelError(f"refused graph: a tensor of it is {list(shape)}, which is too large")
        with self.graph.as_default():
            tensor = tf.placeholder(tf.as_dtype(dtype), shape)
        tensor.set_shape(shape)  # in an old graph, `[]` means any shape
        if tensor.dtype == tf.string:
            self.text[tensor] = text
        return tensor

    def _add(self, step: Step, inputs: list[Any]) -> list[Any]:
        """Adds a step and returns its outputs. Those without a shape in a graph that never runs are given one here."""
        proto, op = step.proto, step.proto.op
        attr = proto.attr
        if op in ("Variable", "VariableV2", "VarHandleOp"):
            shape = self.variables.get(variable_key(step), _dims(attr["shape"].shape))
            if shape is None or -1 in shape:
                raise ModelError(f"refused graph: the variable {step.label} has no definite shape")
            if self.variables.setdefault(variable_key(step), shape) != shape:
                raise ModelError(f"refused graph: the variable {step.label} has two shapes")
            return [self._placeholder(attr["dtype"].type, shape, self.longest)]
        if op in SAME_SHAPE:
            if not inputs[0].shape.is_compatible_with(inputs[-1].shape):
                if op not in ("Assign", "AssignVariableOp"):  # TensorFlow checks the others itself
                    raise MismatchError(f"{step.label} takes values of another shape")
                raise ModelError(f"refused graph: node {step.label} would change the shape of a variable")
            return inputs[:1]
        if op in ("ReadVariableOp", "Merge", "RefMerge", "Switch", "RefSwitch", *BRANCHES):
            return self._pass_on(step, inputs)
        if op in ("RestoreV2", "Restore", "RestoreSlice"):
            return [self._placeholder(each.dtype, each.shape, each.size) for each in self.restored[step.label]]
        if op in ("DisableCopyOnRead", "Assert", "NoOp"):
            return []
        if op in ("LookupTableFind", "LookupTableFindV2"):
            default = self.text.get(inputs[2], 0)
            return [self._placeholder(attr["Tout"].type, _known(inputs[1].shape), max(self.longest, default))]
        if op in ("InitializeTable", "InitializeTableV2", "LookupTableImport", "LookupTableImportV2"):
            self.longest = max(self.longest, self.text.get(inputs[2], 0))
        if op in ("VarIsInitializedOp", "IsVariableInitialized"):
            return [self._placeholder(tf.bool, [])]
        if op == "ResourceGather":
            axis = attr["batch_dims"].i
            with self._matching(step):
                return [tf.raw_ops.GatherV2(params=inputs[0], indices=inputs[1], axis=axis, batch_dims=axis)]
        if op == "PlaceholderWithDefault":
            return self._pass_on(step, inputs)
        if op == "Const":
            tensor = attr["value"].tensor
            shape = [dim.size for dim in tensor.tensor_shape.dim]
            if tf.TensorShape(shape).num_elements() > LARGE:
                return [self._placeholder(tensor.dtype, shape, max(map(len, tensor.string_val), default=0))]
        made = self._operation(step, inputs)
        if op == "BroadcastGradientArgs":
            self.bounded.update(made)
        return made

    def _pass_on(self, step: Step, inputs: list[Any]) -> list[Any]:
        if step.proto.op in ("Switch", "RefSwitch"):
            return [inputs[0], inputs[0]]
        if step.proto.op in BRANCHES:
            inputs = inputs[:2]
        tensor = inputs[0]
        if step.proto.op not in ("ReadVariableOp", "PlaceholderWithDefault") and any(t is not tensor for t in inputs):
            # Which of them it is, is known only at run time.
            same = all(each.shape == tensor.shape for each in inputs) and tensor.shape.is_fully_defined()
            longest = max(self.text.get(each, 0) for each in inputs)
            tensor = self._placeholder(tensor.dtype.base_dtype, tensor.shape.as_list() if same else None, longest)
        return [tensor, self._placeholder(tf.int32, [])] if "Merge" in step.proto.op else [tensor]

    def _operation(self, step: Step, inputs: list[Any]) -> list[Any]:
        from tensorflow.python.framework import ops

        proto = type(step.proto)(name=f"n{self.count}", op=step.proto.op)
        self.count += 1
        for key, value in step.proto.attr.items():
            if not key.startswith("_"):
                proto.attr[key].CopyFrom(value)
        with self._matching(step):
            # Like Operation.from_node_def, which takes three times as long because it keeps the Python stack.
            created = ops._create_c_op(self.graph, proto, inputs, [], definition_of(proto), extract_traceback=False)
            operation = ops.Operation(created, ops.SymbolicTensor)
            operation._init(self.graph)
            made = operation.outputs
            [tensor.shape for tensor in made]  # raises if the shape is impossible
        if any(tensor.dtype == tf.string for tensor in made):
            longest = self._longest(step, inputs)
            self.text.update((tensor, longest) for tensor in made)
        return list(made)

    @contextlib.contextmanager
    def _matching(self, step: Step) -> Iterator[None]:
        """Turns TensorFlow's errors while an operation is added into a MismatchError."""
        try:
            with self.graph.as_default():
                yield
        except (ValueError, TypeError, KeyError, AttributeError, AssertionError, tf.errors.OpError) as error:
            raise MismatchError(f"{step.label}: {error}") from None

    def _longest(self, step: Step, inputs: list[Any]) -> int:
        """The most bytes that a string from a step can have."""
        lengths = [self.text.get(tensor, 0) for tensor in inputs]
        op = step.proto.op
        if op == "Const":
            return max(map(len, step.proto.attr["value"].tensor.string_val), default=0)
        if op in ("Add", "AddV2", "StringJoin"):
            return sum(lengths) + len(inputs) * len(step.proto.attr["separator"].s if op == "StringJoin" else b"")
        if op == "AsString":
            return 400 + max(0, step.proto.attr["width"].i) + max(0, step.proto.attr["precision"].i)
        return max([LONGEST_FED if "Parse" in op else 0, *lengths])


def _work(step: Step, inputs: Sequence[Any], made: Sequence[Any]) -> int:
    """Roughly how much an operation calculates, if that is more than the elements of its outputs."""
    op, attr = step.proto.op, step.proto.attr
    sizes = [tensor.shape.num_elements() or 0 for tensor in inputs]
    result = made[0].shape.num_elements() or 0 if made else 0
    if op in PRODUCTS:  # each index is in two of the three: m, n and k in [m, k], [k, n] and [m, n]
        return math.isqrt(math.prod(sizes) * result)
    if op in CHANNELS:
        channels = math.prod(dim or 1 for dim in inputs[1].shape.as_list()[-CHANNELS[op] :])
        return (sizes[2] if "Backprop" in op else result) * sizes[1] // max(1, channels)
    if "Pool" in op:
        window = tf.get_static_value(inputs[1]) if op == "MaxPoolV2" else attr["ksize"].list.i
        return 0 if window is None else result * math.prod(max(1, int(size)) for size in window) << 5
    if op == "LRN":
        return result * (inputs[0].shape.as_list()[-1] or 1)
    return result << 12 if op in SERIES else 0


def _known(shape: Any) -> list[int | None] | None:
    """The dimensions of a TensorShape; None if its rank is unknown."""
    return None if shape.rank is None else shape.as_list()


def variable_key(step: Step) -> str:
    """Identifies a variable: nodes with the same container and shared name are the same variable."""
    attr = step.proto.attr
    container, shared = (attr[key].s.decode(errors="surrogateescape") for key in ("container", "shared_name"))
    return f"{container} {shared or step.label}"


def _dims(shape: Any) -> tuple[int, ...] | None:
    return None if shape.unknown_rank else tuple(dim.size for dim in shape.dim)


def find_feeds(sizes: Sizes, written: Written, inputs: Mapping[str, Placeholder], most: int = 0) -> list[Feed]:
    """Finds the feeds for one row and for a full batch of 4,096 numbers.

    A model may take an open dimension in only one size, or an unknown rank in only one way. Numbers that TensorFlow's
    errors mention are tried, and common sizes.

    Args:
        most: for a server, the most rows that it takes. The last feed then has as many of them as stay within the
            limits (for `[?, ?]`, also that many numbers in one row), and the batch has at most that many rows.

    Raises:
        ModelError: an output is too large or has no definite shape, or no feed that fits is found.
    """
    for each in inputs.values():
        if each.dtype not in TYPES:
            raise ModelError(f"refused graph: the input {each.name} is of type {each.dtype}, which cannot be fed")
        if each.shape and len(each.shape) > MAX_FED_RANK:
            raise ModelError(f"refused graph: the input {each.name} has more than {MAX_FED_RANK} dimensions")
    reasons: list[str] = []
    loose = any(step.proto and step.proto.op in sizes.extra for step in written.steps)
    for guess in _guesses(reasons, inputs):
        one = {name: each._replace(shape=_fill(each, 1, guess)) for name, each in inputs.items()}
        if guess.size > 1 and any(tf.TensorShape(each.shape).num_elements() > LARGEST_GUESS for each in one.values()):
            continue
        try:
            found = [sizes.grow(written, one)]
        except MismatchError as error:
            reasons.append(str(error))
            continue
        except IndefiniteError:
            if not loose:
                raise
            continue
        row = max((tf.TensorShape(each.shape).num_elements() for each in one.values()), default=0)
        rows = MAX_BATCH // max(1, row)

        def grow(rows: int, one: Mapping[str, Placeholder] = one, guess: Guess = guess) -> Iterator[Feed]:
            many = {name: each._replace(shape=_fill(each, rows, guess)) for name, each in inputs.items()}
            wide = {name: each._replace(shape=(1, rows)) if list(each.shape or ()) == [-1, -1] else one[name]
                    for name, each in inputs.items()}  # fmt: skip
            for batch in (many, wide):
                if batch != one:
                    with contextlib.suppress(MismatchError):  # the model takes no such batch, so none is run
                        yield sizes.grow(written, batch)._replace(rows=rows)

        largest = _largest(grow, most)
        if most:
            rows = min(rows, most_rows(largest))
        found += grow(rows)
        rows = most_rows([*found, *largest])
        if sizes.measures and rows > 1:  # sizes may peak between one row and a batch
            ended = time.monotonic() + SECONDS
            for count in [*BETWEEN, *(random.randint(2, rows) for _ in BETWEEN)]:
                if count < rows and time.monotonic() < ended:
                    list(grow(count))
        return found + [feed._replace(is_tried=False) for feed in largest]
    if loose:  # the operations that were allowed hide the sizes
        shapes = {name: _fill(each, 1, Guess(1, 1, "")) for name, each in inputs.items()}
        return [Feed(shapes, 1, 0, 0)]
    raise ModelError(f"refused graph: no feed was found that fits it ({reasons[0]})")


def _largest(grow: Callable[[int], Iterator[Feed]], most: int) -> list[Feed]:
    """The feeds of `most` rows, or of half as many, a quarter and so on, until they stay within the limits."""
    while most > 1:
        try:
            return list(grow(most))
        except IndefiniteError:
            raise
        except ModelError:
            most //= 2
    return []


def most_rows(feeds: Sequence[Feed]) -> int:
    """The most rows in any of the feeds; a model that takes no batch takes one row."""
    return max((feed.rows for feed in feeds), default=1)


class Guess(NamedTuple):
    """A size for open dimensions; a rank for inputs of unknown rank, or for the named one while others are scalars."""

    size: int
    rank: int
    name: str


def _guesses(reasons: list[str], inputs: Mapping[str, Placeholder]) -> Iterator[Guess]:
    """Yields what to try: common sizes, and those that errors mention meanwhile."""
    unknown = [each.name for each in inputs.values() if each.shape is None]
    is_open = unknown or any(-1 in each.shape for each in inputs.values())
    ranks = [(rank, name) for rank in range(5) for name in ["", *(unknown if unknown[1:] and rank else [])]]
    tried: set[Guess] = set()
    while len(tried) < ATTEMPTS:
        named = [int(number) for reason in reasons for number in re.findall(r"\b\d{1,7}\b", reason)]
        sizes = dict.fromkeys([1, *filter(None, named), *GUESSES]) if is_open else [1]
        every = (Guess(size, *rank) for size in sizes for rank in (ranks if unknown else [(0, "")]))
        guess = next((each for each in every if each not in tried), None)
        if guess is None:
            return
        tried.add(guess)
        yield guess


def _fill(placeholder: Placeholder, rows: int, guess: Guess) -> tuple[int, ...]:
    """A definite shape: an open first dimension becomes `rows`, any other open one the guessed size."""
    dims = placeholder.shape
    if dims is None and guess.name not in ("", placeholder.name):
        return ()
    if dims is None:
        dims = [-1] * (max(guess.rank, 1) if rows > 1 else guess.rank)
    return tuple((rows if i == 0 else guess.size) if dim < 0 else dim for i, dim in enumerate(dims))
