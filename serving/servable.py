"""A loaded version of a model: what its signatures take, and how they are run."""

import contextlib
import math
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from model_import_export import ModelError, command_line, model_file
from model_import_export.graph_mode import make_callable, session_config, tf
from model_import_export.tensors import as_array, signatures

import numpy as np

PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{method}" for method in ("predict", "classify", "regress"))


class RequestError(ValueError):
    """A request cannot be answered. `code` is the name of a gRPC status code; REST has a number for each."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Key(NamedTuple):
    """A version as loaded: loading the same folder again gives another number."""

    name: str
    version: int
    path: str
    number: int


class Tensor(NamedTuple):
    """What a signature says about one of its tensors."""

    name: str  # in the graph
    dtype: Any  # tf.DType
    shape: tuple[int, ...] | None  # -1 for an open dimension; None if the rank is open
    numpy: np.dtype  # dtype of the arrays to feed
    row: int  # numbers in a row, as far as the shape tells


class Work(NamedTuple):
    """A checked feed: arrays by key, and how they are run."""

    signature: str
    feed: Mapping[str, np.ndarray]
    rows: int
    by_one: bool = False  # the signature takes one row, so each row is run by itself
    is_flat: bool = False  # rows of one number were given as bare numbers, and are returned so


class Servable:
    """A version of a model, loaded into a session."""

    def __init__(self, key: Key, tags: frozenset[str], rows: Mapping[str, int] | None, most_rows: int) -> None:
        """Loads the SavedModel in a folder, which has already been judged.

        Args:
            tags: the tags of the graph to load; if no graph has exactly these, the only one that has them among others.
            rows: how many rows each signature takes at once; None for a model that is trusted.
            most_rows: the most rows of any request.

        Raises:
            ModelError: there is no such graph, or it cannot be loaded. OSError: a file cannot be read.
        """
        self.key, self.name, self.version = key, key.name, key.version
        meta_graph = _find_meta_graph(model_file.read_saved_model(key.path), tags)
        self.signatures = signatures(meta_graph)
        self.inputs = {name: _tensors(signature.inputs) for name, signature in self.signatures.items()}
        self.outputs = {name: _tensors(signature.outputs) for name, signature in self.signatures.items()}
        self.most_rows = {name: most_rows if rows is None else rows.get(name, 1) for name in self.signatures}
        self.most = most_rows
        self.session = tf.Session(graph=tf.Graph(), config=session_config())
        self.running, self.closing = 0, False
        self.taken: dict[tuple[str, int], float] = {}  # seconds that the last runs took, for in_flight.py
        self.changed = threading.Condition()
        try:
            with self.session.graph.as_default(), model_file.explaining(key.path):
                loaded = list(meta_graph.meta_info_def.tags)
                tf.saved_model.loader.load(self.session, loaded, key.path, clear_devices=True)
                self.calls = {name: self._prepare(name) for name in self.signatures}
        except BaseException:
            self.session.close()
            raise

    def _prepare(self, signature: str) -> Any:
        """Returns a function from arrays for the signature's inputs, in the order of their keys, to its outputs."""
        feeds, outputs = (
            [tensor.name for tensor in tensors[signature].values()] for tensors in (self.inputs, self.outputs)
        )
        fetches = [name for name in outputs if name not in feeds]  # TensorFlow cannot fetch what is fed
        run = make_callable(self.session, feeds, fetches) if fetches else lambda *_: []
        if fetches == outputs:
            return run

        def call(*arrays: np.ndarray) -> list[Any]:
            found = dict(zip(feeds, arrays, strict=True)) | dict(zip(fetches, run(*arrays), strict=True))
            return [found[name] for name in outputs]

        return call

    @property
    def limit(self) -> str:
        """How many rows signatures take, for those that the model's size limits to fewer than the server takes."""
        fewer = {
            name: f"{most} row{'s' * (most > 1)}"
            for name, most in self.most_rows.items()
            if most < self.most
            and any(tensor.shape is None or tensor.shape[:1] == (-1,) for tensor in self.inputs[name].values())
        }
        if not fewer:
            return ""
        if len(set(fewer.values())) == 1 and len(fewer) == len(self.signatures):
            return f" (at most {next(iter(fewer.values()))} per request)"
        return f" (per request at most {', '.join(f'{rows} with {name}' for name, rows in fewer.items())})"

    def find_signature(self, name: str, method: str = PREDICT) -> str:
        """The name of a signature, by default `serving_default`. Raises RequestError that lists those that exist."""
        name = name or "serving_default"
        signature = self.signatures.get(name)
        if signature is None or (method != PREDICT and signature.method_name != method):
            fitting = [
                key for key, other in self.signatures.items() if method == PREDICT or other.method_name == method
            ]
            kind = "" if method == PREDICT else f" to {method.rpartition('/')[2]} with"
            raise RequestError(
                "INVALID_ARGUMENT",
                f"no such signature{kind}: {name} (the model {self.name} has: {', '.join(sorted(fitting)) or 'none'})",
            )
        return name

    def check_feed(self, signature: str, feed: Mapping[str, np.ndarray], rows: int = 0) -> Work:
        """Compares a feed with the signature.

        As in TensorFlow Serving, numbers `[n]` count as rows `[n, 1]`. A signature that takes one row, or scalars, is
        run once for each of n rows.

        Args:
            rows: the number of rows in row form, otherwise 0; a signature without inputs is run that many times.

        Raises:
            RequestError: the feed does not fit; the error says what is expected.
        """
        inputs = self.inputs[signature]
        if feed.keys() != inputs.keys():
            given = ", ".join(sorted(feed)) or "none"
            raise RequestError(
                "INVALID_ARGUMENT",
                f"not the inputs of the signature {signature}: {given} (it takes: {', '.join(sorted(inputs))})",
            )
        arrays, ways, counts = {}, set(), set()
        for key, tensor in inputs.items():
            array, shape = feed[key], feed[key].shape
            if array.dtype != tensor.numpy and not (tensor.dtype == tf.string and array.dtype.kind in "OSU"):
                given = "string" if array.dtype.kind in "OSU" else array.dtype.name
                raise RequestError("INVALID_ARGUMENT", f"wrong type: {key} is {given}, not {tensor.dtype.name}")
            way = _way(tensor.shape, shape)
            if way is None:
                raise RequestError(
                    "INVALID_ARGUMENT", f"wrong shape: {key} is {list(shape)}, not {_shown(tensor.shape)}"
                )
            arrays[key] = array[..., np.newaxis] if way == "flat" else array
            count, most = shape[0] if shape else 1, self.most if way == "by one" else self.most_rows[signature]
            ways.add(way)
            counts.add(count)
            if count > most or array.size > most * tensor.row:
                raise RequestError(
                    "INVALID_ARGUMENT",
                    f"too large: {key} is {list(shape)} (at most {most} rows, {most * tensor.row} values)",
                )
        by_one = "by one" in ways or (not inputs and rows > 0)
        if by_one and (len(ways) > 1 or len(counts) > 1 or rows > self.most):
            raise RequestError(
                "INVALID_ARGUMENT", f"not {1 if len(ways) > 1 else 'as many'} rows in each: {', '.join(sorted(feed))}"
            )
        return Work(signature, arrays, max(counts, default=max(rows, 1)), by_one, "flat" in ways)

    def run(self, work: Work, until: float = math.inf) -> dict[str, np.ndarray]:
        """Calculates all outputs of a signature for a checked feed.

        Args:
            until: a time on the monotonic clock, after which a signature that takes one row at a time starts no other.

        Raises:
            RequestError: the outputs cannot be calculated, or the time is over.
        """
        call, arrays = self.calls[work.signature], list(work.feed.values())
        try:
            results = self._run_by_one(call, arrays, work, until) if work.by_one else list(map(as_array, call(*arrays)))
        except tf.errors.OpError as error:
            raise RequestError("INVALID_ARGUMENT", f"cannot calculate: {command_line.one_line(error)}") from None
        if work.is_flat:
            results = [array[..., 0] if array.ndim > 1 and array.shape[-1] == 1 else array for array in results]
        return dict(zip(self.outputs[work.signature], results, strict=True))

    def _run_by_one(self, call: Any, arrays: list[np.ndarray], work: Work, until: float) -> list[np.ndarray]:
        shapes = [tensor.shape for tensor in self.inputs[work.signature].values()]
        found = []
        for i in range(work.rows):
            if time.monotonic() > until:
                raise RequestError("DEADLINE_EXCEEDED", f"not done in time: row {i} of {work.rows}")
            row = [array[i : i + 1] if shape else array[i] for array, shape in zip(arrays, shapes, strict=True)]
            found.append(list(map(as_array, call(*row))))
        scalar = not any(shapes)
        joined = (
            np.stack(results) if scalar or not results[0].ndim else np.concatenate(results)
            for results in zip(*found, strict=True)
        )
        return list(joined)

    def close(self) -> None:
        """Waits until no request is running in it, then frees it."""
        with self.changed:
            self.closing = True  # from now on `in_use` yields None
            self.changed.wait_for(lambda: not self.running)
        self.session.close()

    @contextlib.contextmanager
    def in_use(self) -> Iterator["Servable | None"]:
        """Keeps it from being closed; yields None if closing has already begun."""
        with self.changed:
            taken = None if self.closing else self
            self.running += taken is not None
        try:
            yield taken
        finally:
            if taken:
                with self.changed:
                    self.running -= 1
                    self.changed.notify_all()


def _find_meta_graph(saved_model: Any, tags: frozenset[str]) -> Any:
    others = [each for each in saved_model.meta_graphs if tags < frozenset(each.meta_info_def.tags)]
    try:
        return model_file.find_meta_graph(saved_model, tags)
    except ModelError:
        if len(others) == 1:
            return others[0]
        raise


def _tensors(infos: Mapping[str, Any]) -> dict[str, Tensor]:
    found = {}
    for key, info in sorted(infos.items()):
        unknown = info.tensor_shape.unknown_rank or not info.HasField("tensor_shape")
        shape = None if unknown else tuple(dim.size for dim in info.tensor_shape.dim)
        dtype = tf.as_dtype(info.dtype).base_dtype
        row = math.prod(dim for dim in (shape or ())[1:] if dim > 0)
        found[key] = Tensor(info.name, dtype, shape, np.dtype(dtype.as_numpy_dtype), row)
    return found


def _fits(declared: tuple[int, ...] | None, given: tuple[int, ...]) -> bool:
    if declared is None:
        return True
    if len(declared) != len(given):
        return False
    for dim, size in zip(declared, given, strict=True):  # noqa: SIM110  (a generator would take three times as long)
        if dim not in (-1, size):
            return False
    return True


def _way(declared: tuple[int, ...] | None, given: tuple[int, ...]) -> str | None:
    """How an array is fed: as it is, as rows of one number, or one row at a time; None if it does not fit."""
    if _fits(declared, given):
        return "as it is"
    if declared[-1:] == (1,) and _fits(declared, (*given, 1)):
        return "flat"
    takes_one = declared == () or declared[:1] == (1,)
    return "by one" if takes_one and given[:1] not in ((), (0,)) and _fits((-1, *declared[1:]), given) else None


def _shown(shape: tuple[int, ...] | None) -> str:
    return "any" if shape is None else f"[{', '.join('?' if dim < 0 else str(dim) for dim in shape)}]"
