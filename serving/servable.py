"""The models behind the server: versions found, checked, loaded, run and unloaded.

A version is served from a session of its own. A new one is loaded before the old one goes; that goes when its last
request has ended. One that cannot be loaded leaves the others as they are.
"""

import contextlib
import math
import os
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from model_import_export import command_line, graph_check, model_file, sizes
from model_import_export.graph_mode import make_callable, session_config, tf

# The states that TensorFlow Serving's GetModelStatus knows.
LOADING, AVAILABLE, UNLOADING, END = "LOADING", "AVAILABLE", "UNLOADING", "END"
PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{method}" for method in ("predict", "classify", "regress"))


class RequestError(ValueError):
    """A request that cannot be answered. `code` is the name of a gRPC status code; REST has a number for each."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Policy(NamedTuple):
    """Which versions of a model are served: the newest `latest`, all (None), or just `specific`."""

    latest: int | None = 1
    specific: frozenset[int] = frozenset()

    def choose(self, versions: Collection[int]) -> set[int]:
        """The versions to serve of those that are there."""
        if self.specific:
            return self.specific.intersection(versions)
        return set(versions) if self.latest is None else set(sorted(versions)[-self.latest :])


class Config(NamedTuple):
    """A model that the server is told to serve."""

    name: str
    base_path: str
    policy: Policy = Policy()
    labels: Mapping[str, int] = {}


class Limits(NamedTuple):
    """What a request may ask for."""

    rows: int = 10_000
    seconds: float = 30.0


class Tensor(NamedTuple):
    """What a signature says of one of its tensors."""

    name: str  # in the graph
    dtype: Any  # tf.DType
    shape: tuple[int, ...] | None  # -1 where a dimension is open; None where the rank is


class Servable:
    """A version of a model, loaded into a session."""

    def __init__(self, name: str, version: int, path: str, limits: Limits, trust: bool) -> None:
        """Checks and loads the SavedModel in a folder. Raises ModelError, OSError or a TensorFlow error."""
        self.name, self.version, self.limits = name, version, limits
        feeds = {} if trust else graph_check.judge(path).feeds
        self.meta_graph = model_file.find_meta_graph(model_file.read_saved_model(path), ["serve"])
        self.signatures = {
            key: signature
            for key, signature in self.meta_graph.signature_def.items()
            if not key.startswith("__") and signature.method_name
        }
        self.inputs = {key: _tensors(signature.inputs) for key, signature in self.signatures.items()}
        self.outputs = {key: _tensors(signature.outputs) for key, signature in self.signatures.items()}
        self.most_rows = {key: sizes.most_rows(feeds.get(key, ()), limits.rows) for key in self.signatures}
        self.session = tf.Session(graph=tf.Graph(), config=session_config())
        self.running, self.closing = 0, False
        self.changed = threading.Condition()
        try:
            with self.session.graph.as_default():
                tf.saved_model.loader.load(self.session, ["serve"], path, clear_devices=True)
            self.calls = {key: self._prepare(key) for key in self.signatures}
        except BaseException:
            self.session.close()
            raise
        self.seconds_a_row = math.inf  # not known before the first run

    def _prepare(self, signature: str) -> Any:
        """A function of the arrays for the signature's inputs, in the order of their keys, that returns its outputs."""
        feeds, fetches = (
            [tensor.name for _, tensor in sorted(tensors[signature].items())] for tensors in (self.inputs, self.outputs)
        )
        return make_callable(self.session, feeds, fetches)

    def find_signature(self, name: str, method: str = PREDICT) -> str:
        """The name of a signature, `serving_default` for none. Raises RequestError; it lists those there are."""
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

    def check_feed(self, signature: str, feed: Mapping[str, np.ndarray]) -> int:
        """Compares a feed with the signature. Returns its rows. Raises RequestError; it says what is expected."""
        inputs = self.inputs[signature]
        if feed.keys() != inputs.keys():
            given = ", ".join(sorted(feed)) or "none"
            raise RequestError(
                "INVALID_ARGUMENT",
                f"not the inputs of the signature {signature}: {given} (it takes: {', '.join(sorted(inputs))})",
            )
        rows = 1
        for key, array in feed.items():
            tensor = inputs[key]
            if array.dtype != tensor.dtype.as_numpy_dtype and not (
                tensor.dtype == tf.string and array.dtype.kind in "OSU"
            ):
                raise RequestError(
                    "INVALID_ARGUMENT", f"wrong type: {key} is {array.dtype.name}, not {tensor.dtype.name}"
                )
            shape = tensor.shape
            if shape is not None and (
                len(shape) != array.ndim
                or any(dim not in (-1, size) for dim, size in zip(shape, array.shape, strict=True))
            ):
                raise RequestError(
                    "INVALID_ARGUMENT", f"wrong shape: {key} is {list(array.shape)}, not {_shown(tensor.shape)}"
                )
            rows = max(rows, array.shape[0] if array.ndim else 1)
            most = self.most_rows[signature]
            values = most * math.prod(dim for dim in (shape or ())[1:] if dim > 0)
            if rows > most or array.size > values:
                raise RequestError(
                    "INVALID_ARGUMENT",
                    f"too large: {key} is {list(array.shape)} (at most {most} rows, {values} values)",
                )
        return rows

    def is_quick(self, rows: int) -> bool:
        """Whether a run of so many rows is expected to take less time than handing it to another thread is worth."""
        return rows * self.seconds_a_row < 0.001

    def run(self, signature: str, feed: Mapping[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
        """Calculates all outputs of a signature, for a feed that was checked. Raises RequestError where it fails."""
        started = time.perf_counter()
        try:
            results = self.calls[signature](*(feed[key] for key in sorted(feed)))
        except tf.errors.OpError as error:
            raise RequestError("INVALID_ARGUMENT", f"cannot calculate: {command_line.one_line(error)}") from None
        self.seconds_a_row = (time.perf_counter() - started) / rows
        return dict(zip(sorted(self.outputs[signature]), results, strict=True))

    def close(self) -> None:
        """Waits until no request runs in it any more, and frees it."""
        with self.changed:
            self.closing = True
            self.changed.wait_for(lambda: not self.running)
        self.session.close()

    @contextlib.contextmanager
    def in_use(self) -> Iterator["Servable | None"]:
        """Keeps it from being closed meanwhile; yields None where that has begun already."""
        with self.changed:
            if self.closing:
                taken = None
            else:
                self.running += 1
                taken = self
        try:
            yield taken
        finally:
            if taken:
                with self.changed:
                    self.running -= 1
                    self.changed.notify_all()


def _tensors(infos: Mapping[str, Any]) -> dict[str, Tensor]:
    return {
        key: Tensor(
            info.name,
            tf.as_dtype(info.dtype),
            None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim),
        )
        for key, info in infos.items()
    }


def _shown(shape: tuple[int, ...] | None) -> str:
    return "any" if shape is None else f"[{', '.join('?' if dim < 0 else str(dim) for dim in shape)}]"


class Status(NamedTuple):
    """The state of a version, and why it ended where it did so with an error."""

    state: str
    error: str = ""


class Models:
    """The models and their versions, kept in step with the folders that they come from."""

    def __init__(self, configs: Collection[Config], limits: Limits, trusted: Collection[str] = ()) -> None:
        self.configs = {config.name: config for config in configs}
        self.limits, self.trusted = limits, frozenset(trusted)
        self.servables: dict[str, dict[int, Servable]] = {name: {} for name in self.configs}
        self.statuses: dict[str, dict[int, Status]] = {name: {} for name in self.configs}
        self.refused: dict[tuple[str, int], Any] = {}  # what a version looked like that could not be loaded

    def find(self, name: str, version: int = 0, label: str = "") -> Servable:
        """The servable of a version or label; 0 and none are the newest. Raises RequestError."""
        servables = self.servables.get(name)
        if servables is None:
            present = ", ".join(sorted(self.configs))
            raise RequestError("NOT_FOUND", f"no such model: {name} (there are: {present})")
        if label:
            labels = self.configs[name].labels
            if label not in labels:
                present = ", ".join(sorted(labels)) or "none"
                raise RequestError("NOT_FOUND", f"no such label: {label} of model {name} (there are: {present})")
            version = labels[label]
        present = sorted(servables)
        if not present or version not in (0, *present):
            there = ", ".join(map(str, present)) or "none"
            raise RequestError(
                "NOT_FOUND", f"no such version: {version or 'any'} of model {name} (loaded are: {there})"
            )
        return servables.get(version or present[-1]) or self.find(name, version)

    @contextlib.contextmanager
    def use(self, name: str, version: int = 0, label: str = "") -> Iterator[Servable]:
        """Finds a servable and keeps it from being unloaded meanwhile."""
        while True:
            with self.find(name, version, label).in_use() as servable:
                if servable:
                    yield servable
                    return
            time.sleep(0)  # it was being unloaded: look again for what is there now

    def states(self, name: str, version: int = 0, label: str = "") -> list[tuple[int, Status]]:
        """The states of a model's versions, the newest first; of one, where one is named. Raises RequestError."""
        if name not in self.statuses or label:
            found = self.find(name, version, label)
            return [(found.version, self.statuses[name][found.version])]
        statuses = sorted(self.statuses[name].copy().items(), reverse=True)
        if version:
            statuses = [(number, state) for number, state in statuses if number == version]
        if not statuses:
            raise RequestError("NOT_FOUND", f"no such version: {version or 'any'} of model {name}")
        return statuses

    def refresh(self) -> None:
        """Loads versions that have come and unloads those that are wanted no more."""
        for config in self.configs.values():
            wanted = config.policy.choose(self._present(config))
            servables, statuses = self.servables[config.name], self.statuses[config.name]
            for version in sorted(wanted - servables.keys()):
                self._load(config, version)
            # While a wanted version is missing, what is there stays.
            if wanted and not wanted & servables.keys():
                continue
            for version in sorted(servables.keys() - wanted):
                if not wanted - servables.keys() or version < min(servables):
                    servable = servables.pop(version)
                    statuses[version] = Status(UNLOADING)
                    threading.Thread(target=self._unload, args=(config.name, version, servable)).start()

    def _present(self, config: Config) -> list[int]:
        """The versions that stand in a model's folder: folders of digits that hold a SavedModel."""
        try:
            names = os.listdir(config.base_path)
        except OSError as error:
            command_line.warn(error)
            return []
        return [
            int(name)
            for name in names
            if name.isdecimal()
            and name.isascii()
            and 0 < int(name) < 1 << 63
            and any(os.path.exists(f"{config.base_path}/{name}/{file}") for file in model_file.SAVED_MODEL_FILES)
        ]

    def _load(self, config: Config, version: int) -> None:
        path = os.path.join(config.base_path, _folder_name(config.base_path, version))
        looks = _looks(path)
        if self.refused.get((config.name, version)) == looks:
            return
        self.statuses[config.name][version] = Status(LOADING)
        try:
            servable = Servable(config.name, version, path, self.limits, config.name in self.trusted)
        except Exception as error:
            words = command_line.one_line(error)
            self.refused[config.name, version] = looks
            self.statuses[config.name][version] = Status(END, words)
            command_line.warn(f"not loaded: version {version} of model {config.name}: {words}")
            return
        self.servables[config.name][version] = servable
        self.statuses[config.name][version] = Status(AVAILABLE)
        print(f"loaded: version {version} of model {config.name} from {path}", flush=True)

    def _unload(self, name: str, version: int, servable: Servable) -> None:
        servable.close()
        if version not in self.servables[name]:
            self.statuses[name][version] = Status(END)
        print(f"unloaded: version {version} of model {name}", flush=True)


def _folder_name(base_path: str, version: int) -> str:
    """A folder may be called 1 or 00001."""
    return next(name for name in sorted(os.listdir(base_path)) if name.isdecimal() and int(name) == version)


def _looks(path: str) -> list[tuple[str, int, int]]:
    """Names, sizes and times of a folder's files: when they change, loading is tried again."""
    found = []
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                status = os.stat(os.path.join(folder, name))
                found.append((os.path.join(folder, name), status.st_size, status.st_mtime_ns))
    return sorted(found)
