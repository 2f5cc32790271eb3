"""The function that scores rows with a model: the same alone and on each executor of a Spark cluster."""

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model_import_export import command_line, graph_check, model_file, rows, tensors
from model_import_export.graph_mode import make_callable, session_config, tf

SHOWN = 10  # bad rows that are named


class Options(NamedTuple):
    """What is scored, and with what."""

    model: str  # a frozen graph, or a SavedModel's folder
    columns: tuple[str, ...]
    prediction: str  # the column to add
    on_error: str  # `fail` or `null`
    input_name: str | None = None
    output_name: str | None = None
    tag: str = "serve"
    signature: str = "serving_default"
    feed: tuple[tuple[str, str], ...] = ()
    allow_op: tuple[str, ...] = ()
    trust: bool = False


@dataclasses.dataclass
class BadRows:
    """The rows of a file without a prediction: how many, and the numbers of the first, from 1."""

    count: int = 0
    first: list[int] = dataclasses.field(default_factory=list)

    def add(self, numbers: np.ndarray) -> None:
        self.count += len(numbers)
        self.first += numbers[: SHOWN - len(self.first)].tolist()


class Scorer:
    """A model in a session of this process."""

    def __init__(self, options: Options) -> None:
        """Checks and loads the model. Raises ModelError or ValueError where it is refused or takes no such rows."""
        self.options = options
        session, ends = _load(options)
        source, output = ends.find_input(options.input_name), ends.find_output(options.output_name)
        self.placeholder = tensors.placeholder_of(source)
        self.dtype, self.output = rows.numpy_type(self.placeholder.dtype), output.name
        if self.dtype.kind != "f":
            raise ValueError(f"not a model of floating-point numbers: {source.name} takes {self.placeholder.dtype}")
        self.width, dims = rows.row_size(self.placeholder), self.placeholder.shape
        self.row = [1] if dims is None else [abs(dim) for dim in dims]
        if dims is not None and dims[:1] != (-1,):
            raise ValueError(f"not one result per row: {output.name} (a model to score with has a row in, a row out)")
        self.batch = rows.batch_rows(self.placeholder, tensors.shape_of(output), None, False)
        names, self.others = [source.name], []
        for name, text in options.feed:
            tensor = ends.find_input(name)
            names.append(tensor.name)
            self.others.append(rows.make_feed(tensors.placeholder_of(tensor), text, f"--feed {name}"))
        self.call = make_callable(session, names, [output.name])
        probe = self.run(np.zeros([1, self.width], self.dtype))
        self.result_width = probe.shape[1]
        number = pa.from_numpy_dtype(probe.dtype)
        self.field = pa.field(options.prediction, number if self.result_width == 1 else pa.list_(number))

    def run(self, x: np.ndarray) -> np.ndarray:
        """Calculates rows, shape `[n, width]`. Returns their results, shape `[n, result_width]`. Raises ValueError."""
        results = []
        for i in range(0, len(x), self.batch):
            part = x[i : i + self.batch]
            try:
                (result,) = self.call(part.reshape(len(part) * self.row[0], *self.row[1:]), *self.others)
            except tf.errors.OpError as error:
                raise ValueError(f"cannot calculate: {command_line.one_line(error)}") from None
            if result.shape[:1] != (len(part),):
                shape = list(result.shape)
                raise ValueError(f"not one result per row: {self.output} has the shape {shape} for {len(part)} rows")
            results.append(result.reshape(len(part), -1))
        return results[0] if len(results) == 1 else np.concatenate(results)

    def schema(self, schema: pa.Schema, file: str) -> pa.Schema:
        """The columns of a file and the prediction. Raises ValueError: one is missing, or there already."""
        for name in self.options.columns:
            if name not in schema.names:
                present = ", ".join(schema.names)
                raise ValueError(
                    f"no column {name}: {file} (it has: {present}; --column names the one with the numbers)"
                )
        if self.options.prediction in schema.names:
            raise ValueError(
                f"a column {self.options.prediction} is there already: {file} (--prediction names another)"
            )
        return schema.append(self.field)

    def score(self, batches: Iterator[pa.RecordBatch], file: str, bad: BadRows) -> Iterator[pa.RecordBatch]:
        """Adds the prediction to each batch of a file; null for a bad row, unless the options have it fail.

        Args:
            bad: is told of the bad rows.

        Raises:
            ValueError: it names the file, and the row where it is one's.
        """
        before = 0
        for batch in batches:
            try:
                x, good = self._numbers(batch)
            except ValueError as error:
                raise ValueError(f"{error}: {file}") from None
            if not good.all():
                first = int(np.argmin(good))
                if self.options.on_error == "fail":
                    shown = ", ".join(_shown(batch.column(name)[first]) for name in self.options.columns)
                    raise ValueError(
                        f"not a number: {shown} in row {before + first + 1} of {file} "
                        "(--on-error null goes on without a prediction for it)"
                    )
                bad.add(np.flatnonzero(~good) + before + 1)
            yield batch.append_column(self.field, self._predictions(x, good))
            before += len(batch)

    def _numbers(self, batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray]:
        """The rows, shape `[n, width]`, and which of them are good."""
        columns = [batch.column(name) for name in self.options.columns]
        is_list = len(columns) == 1 and isinstance(columns[0], (pa.ListArray, pa.LargeListArray, pa.FixedSizeListArray))
        if is_list:
            (lists,) = columns
            good = pc.fill_null(pc.equal(pc.list_value_length(lists), self.width), False).to_numpy(zero_copy_only=False)
            x, valid = np.zeros([len(lists), self.width], self.dtype), good.copy()
            numbers, fine = self._column(pc.list_flatten(lists.filter(pa.array(good))))
            x[good] = numbers.reshape(-1, self.width)
            valid[good] = fine.reshape(-1, self.width).all(axis=1)
            return x, valid
        if len(columns) != self.width:
            raise ValueError(
                f"wrong number of columns: {len(columns)} given, the placeholder {self.placeholder.name} "
                f"takes {self.width} (repeat --column, or name one that holds lists)"
            )
        pairs = [self._column(column) for column in columns]
        if len(pairs) == 1:
            return pairs[0][0].reshape(-1, 1), pairs[0][1]
        return np.stack([numbers for numbers, _ in pairs], 1), np.all([good for _, good in pairs], axis=0)

    def _column(self, column: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """A column's numbers in the placeholder's type, and which of them are some: no text, no null, no NaN, in range.

        Whole numbers and text are rounded to the nearest.
        """
        wanted = pa.from_numpy_dtype(self.dtype)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            try:
                numbers = column.cast(wanted)
            except pa.ArrowInvalid:  # some are none, or out of range, or begin with a plus
                return self._texts(column.to_pylist())
        elif any(test(column.type) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)):
            numbers = column if column.type == wanted else column.cast(wanted, safe=False)
        elif pa.types.is_null(column.type):
            numbers = column.cast(wanted)
        else:
            raise ValueError(f"not numbers: a column of type {column.type}")
        values = pc.fill_null(numbers, math.nan).to_numpy(zero_copy_only=False)
        good = ~np.isnan(values)
        if column.type == pa.float64() and wanted == pa.float32():
            good &= np.isfinite(values) | ~pc.fill_null(pc.is_finite(column), False).to_numpy(zero_copy_only=False)
        return values, good

    def _texts(self, texts: list[str | None]) -> tuple[np.ndarray, np.ndarray]:
        parts = [text if text and rows.NUMBER.fullmatch(text) else "nan" for text in texts]
        values = rows.round_numbers(parts, self.placeholder.dtype)
        written = np.array(["f" in part.lower() for part in parts])
        return values, np.isfinite(values) | (np.isinf(values) & written)

    def _predictions(self, x: np.ndarray, good: np.ndarray) -> pa.Array:
        everything = good.all()
        results = self.run(x if everything else x[good]) if good.any() else np.zeros([0, self.result_width])
        if self.result_width == 1:
            if everything:
                return pa.array(results.ravel(), self.field.type)
            full = np.zeros(len(good), results.dtype)
            full[good] = results.ravel()
            return pa.array(full, self.field.type, mask=~good)
        offsets = np.concatenate([[0], np.cumsum(good)]) * self.result_width
        values = pa.array(results.ravel(), self.field.type.value_type)
        mask = None if everything else pa.array(~good)
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, mask=mask)


@functools.cache
def load_scorer(options: Options) -> Scorer:
    """The scorer of a process, which is loaded once."""
    return Scorer(options)


def score_shipped(options: Options, model: str, file: str, batches: Iterator[pa.RecordBatch]) -> Any:
    """What an executor of Spark does with the rows of a file. The model came with the job."""
    from pyspark import SparkFiles

    return load_scorer(options._replace(model=SparkFiles.get(model))).score(batches, file, BadRows())


def _load(options: Options) -> tuple[Any, tensors.Ends]:
    """Judges the model, unless it is trusted, and loads it into a session."""
    kind = model_file.require_graph(options.model)
    if not options.trust:
        graph_check.judge(options.model, allow=options.allow_op)
    session = tf.Session(graph=tf.Graph(), config=session_config())
    with session.graph.as_default(), model_file.explaining(options.model, options.tag):
        if kind == model_file.FROZEN_GRAPH:
            tf.import_graph_def(model_file.read_frozen_graph(options.model), name="")
            return session, tensors.ends_of(session.graph)
        tags = options.tag.split(",")
        meta_graph = tf.saved_model.loader.load(session, tags, options.model, clear_devices=True)
        return session, tensors.keys_of(session.graph, meta_graph, options.signature)


def _shown(value: pa.Scalar) -> str:
    text = str(value.as_py()) if value.is_valid else "null"
    return text if len(text) < 80 else f"{text[:77]}..."
