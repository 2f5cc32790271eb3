"""Scores a file with a model, in the same way on one machine and on each executor of a Spark cluster."""

import dataclasses
import functools
import gc
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import columns
import graph_runtime
import tables
from files import Task, is_local, is_parquet, locate
from model_import_export import ModelError, digests, model_file, rows, tensors
from model_import_export.command_line import one_line
from model_import_export.graph_mode import make_callable, session_config, tf

import numpy as np
import pyarrow as pa

SHOWN = 10  # bad rows to list


class Model(NamedTuple):
    """An admitted model: a frozen graph or a SavedModel folder, and the digests of its files."""

    path: str
    digests: tuple[tuple[str, str], ...]  # file names relative to the folder, and their SHA-256


class Options(NamedTuple):
    """The model, how its input is read, and how its result is named."""

    model: Model
    names: tensors.Names
    feed: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    prediction: str  # the column to add
    on_error: str  # `fail` or `null`


class Job(NamedTuple):
    """What all tasks have in common."""

    options: Options
    rows: str  # where the input files are: a local path, or a URI
    save: str  # where the outputs go: also a local path, or a URI
    text: tables.Text
    run: str  # part of the names of its temporary files


@dataclasses.dataclass
class Outcome:
    """The outcome of a task."""

    task: Task
    rows: int = 0
    bad: int = 0  # rows without a prediction
    first_bad: list[int] = dataclasses.field(default_factory=list)  # the numbers of the first ones, from 1
    columns: tuple[str, ...] = ()
    error: str = ""


def admit(path: str, checked: str, allow: list[str], trust: bool) -> Model:
    """Makes sure that TensorFlow may load a model: its digests are in the list, it is judged here, or it is trusted.

    A worker or executor that loads it compares only the digests.

    Raises:
        ModelError: the model is missing or refused.
    """
    model_file.require_graph(path)
    model = Model(path, _digests(path))
    if not trust and not {digest for _, digest in model.digests} <= digests.listed(checked):
        from model_import_export import graph_check

        graph_check.judge(path, allow=allow)
        _compare(model)
    return model


def _digests(path: str) -> tuple[tuple[str, str], ...]:
    files = digests.files_of(path)
    return tuple((os.path.relpath(file, path), digests.digest(file)) for file in files)


def _compare(model: Model) -> None:
    if _digests(model.path) != model.digests:
        raise ModelError(f"changed since it was checked: {model.path} (run this again)")


class Scorer:
    """A model in a session in this process."""

    def __init__(self, options: Options) -> None:
        """Loads an admitted model. Raises ModelError or ValueError if it has changed, or takes no such rows."""
        self.options, names = options, options.names
        session, ends = _load(options.model, names)
        source, self.output = ends.find_input(names.input), ends.find_output(names.wanted[0])
        self.placeholder = tensors.placeholder_of(source)
        self.dtype = rows.numpy_type(self.placeholder.dtype)
        if self.dtype.kind != "f":
            raise ValueError(f"not a model of floating-point numbers: {source.name} takes {self.placeholder.dtype}")
        self.width, dims = rows.row_size(self.placeholder), self.placeholder.shape
        self.row = [1] if dims is None else [abs(dim) for dim in dims]
        if dims is not None and dims[:1] != (-1,):
            raise ValueError(
                f"not one result per row: {self.output.name} (a model to score with has a row in, a row out)"
            )
        self.batch = rows.batch_rows(self.placeholder, tensors.shape_of(self.output), None, False)
        fed, self.others = [source.name], []
        for name, text in options.feed:
            tensor = ends.find_input(name)
            fed.append(tensor.name)
            self.others.append(rows.make_feed(tensors.placeholder_of(tensor), text, f"--feed {name}"))
        self.call = make_callable(session, fed, [self.output.name])
        probe = self.run(np.zeros([1, self.width], self.dtype))
        self.result_width = probe.shape[1]
        if probe.dtype.kind not in "fiub":
            raise ValueError(f"not a model of numbers: {self.output.name} is {self.output.dtype.name}")
        number = pa.from_numpy_dtype(probe.dtype)
        self.field = pa.field(options.prediction, number if self.result_width == 1 else pa.list_(number))

    def run(self, x: np.ndarray) -> np.ndarray:
        """Runs rows of shape `[n, width]`. Returns their results, shape `[n, result_width]`. Raises ValueError."""
        results = []
        for i in range(0, len(x), self.batch):
            part = x[i : i + self.batch]
            with tensors.explaining([self.output]):
                (result,) = self.call(part.reshape(len(part) * self.row[0], *self.row[1:]), *self.others)
            if result.shape[:1] != (len(part),):
                raise ValueError(
                    f"not one result per row: {self.output.name} has the shape {list(result.shape)} "
                    f"for {len(part)} rows"
                )
            results.append(result.reshape(len(part), -1))
        return results[0] if len(results) == 1 else np.concatenate(results)

    def schema(self, schema: pa.Schema, file: str, mark: dict[bytes, bytes]) -> pa.Schema:
        """A file's columns plus the prediction. Raises ValueError if they do not fit the model or the options."""
        names = schema.names
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two columns {twice}: {file} (name each once)")
        for name in self.options.columns:
            if f"/{name}=" in file and name not in names:
                raise ValueError(f"no column {name}: {file} (it is in a folder's name, which is not read)")
            if name not in names:
                raise ValueError(
                    f"no column {name}: {file} (it has: {', '.join(names)}; --column names the one with the numbers)"
                )
        if self.options.prediction in names:
            raise ValueError(
                f"a column {self.options.prediction} is there already: {file} (--prediction names another)"
            )
        kinds = [schema.field(name).type for name in self.options.columns]
        if len(kinds) != self.width and not (len(kinds) == 1 and columns.is_list(kinds[0])):
            raise ValueError(
                f"wrong number of columns: {len(kinds)} given, the placeholder {self.placeholder.name} "
                f"takes {self.width} (repeat --column, or name one that holds lists)"
            )
        return schema.append(self.field).with_metadata({**(schema.metadata or {}), **mark})

    def score(self, batches: Iterator[pa.RecordBatch], outcome: Outcome) -> Iterator[pa.RecordBatch]:
        """Adds the prediction to each batch of a file. A bad row gets null, or an error if the options say so.

        Args:
            outcome: its task names the file; the bad rows are added to it.

        Raises:
            ValueError: names the file, and the row if one is at fault.
        """
        file, before = outcome.task.path, outcome.task.first_row
        most = max(1, tables.BATCH_BYTES // (8 * (self.width + self.result_width)))
        for batch in (whole.slice(i, most) for whole in batches for i in range(0, len(whole), most)):
            given = [batch.column(name) for name in self.options.columns]
            try:
                x, good = columns.read_rows(given, self.width, self.dtype)
            except ValueError as error:
                raise ValueError(f"{error}: {file}") from None
            if not good.all():
                bad = np.flatnonzero(~good)
                if self.options.on_error == "fail":
                    fault = next(filter(None, (columns.fault(c[bad[0]], self.width, self.dtype) for c in given)))
                    raise ValueError(
                        f"{fault} in row {before + bad[0] + 1} of {file} "
                        "(--on-error null goes on without a prediction for it)"
                    )
                outcome.bad += len(bad)
                outcome.first_bad += (bad[: SHOWN - len(outcome.first_bad)] + before + 1).tolist()
            yield batch.append_column(self.field, self._predictions(x, good))
            before += len(batch)

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


def _load(model: Model, names: tensors.Names) -> tuple[Any, tensors.Ends]:
    graph_runtime.load(saved_model=os.path.isdir(model.path))
    _compare(model)
    session = tf.Session(graph=tf.Graph(), config=session_config())
    with session.graph.as_default(), model_file.explaining(model.path, names.tag):
        if os.path.isdir(model.path):
            tags = names.tag.split(",")
            meta_graph = tf.saved_model.loader.load(session, tags, model.path, clear_devices=True)
            return session, tensors.keys_of(session.graph, meta_graph, names.signature)
        tf.import_graph_def(model_file.read_frozen_graph(model.path), name="")
        return session, tensors.ends_of(session.graph)


@functools.cache
def load_scorer(options: Options) -> Scorer:
    """This process's scorer, which is loaded once."""
    scorer = Scorer(options)
    gc.freeze()  # otherwise full collections, which Spark runs after each task, walk all of TensorFlow's objects
    return scorer


def score_task(job: Job, task: Task, progress: Callable[[int], Any] = lambda _: None) -> Outcome:
    """Scores a file, or a run of a file's row groups, into one file, whole or not at all.

    Args:
        progress: called with the bytes done since the last call, which add up to the task's size.
    """
    outcome = Outcome(task)
    try:
        scorer = load_scorer(job.options)
        (source, _), (target, _) = locate(job.rows), locate(job.save)
        if is_parquet(task.path):
            found = tables.read_parquet(source, task.path, task.groups)
        else:
            found = tables.read_csv(source, task.path, job.text)
        outcome.columns = tuple(f"{field.name} {field.type}" for field in found.schema)
        schema = scorer.schema(found.schema, task.path, task.mark)
        batches, done = found.batches, 0
        if task.spare or not is_local(source):
            batches = tables.ahead(batches)
        scored = scorer.score(batches, outcome)
        if task.spare:
            scored = tables.ahead(scored)

        def tell(batch: pa.RecordBatch) -> None:
            nonlocal done
            more = task.size * len(batch) // found.count if found.count else batch.nbytes
            done += (more := min(task.size - done, more))
            progress(more)

        outcome.rows = tables.write_parquet(target, task.output, schema, scored, tell, job.run)
        progress(task.size - done)
    except Exception as error:
        outcome.error = one_line(error)
    return outcome
