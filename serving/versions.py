"""The versions in the models' folders: which exist, which are wanted, and the state of each."""

import contextlib
import os
from collections.abc import Collection, Iterable, Mapping

from configuration import Config
from model_import_export import ModelError, command_line, model_file
from plan import AVAILABLE, END, LOADING, UNLOADING, Looks, Model, Plan, Report, Status, Terms
from servable import Key

MOST_ENDED = 100  # ended versions that a model's status remembers


class Version:
    """A version from its discovery to its end."""

    def __init__(self, key: Key, looks: Looks, is_trusted: bool) -> None:
        self.key, self.looks = key, looks
        self.status, self.deaths = Status(LOADING), 0
        self.terms = Terms(None, looks) if is_trusted else None  # None until it was judged

    @property
    def is_live(self) -> bool:
        """Whether it is loaded or is to be."""
        return self.status.state in (LOADING, AVAILABLE)


class Versions:
    """All versions of all models. Nothing here loads a version: `plan` says what the workers are to do."""

    def __init__(self, configs: Collection[Config], trusted: Collection[str] = ()) -> None:
        self.configs, self.trusted = {config.name: config for config in configs}, frozenset(trusted)
        self.found: list[Version] = []
        self.ended: dict[str, dict[int, tuple[Status, Looks]]] = {}
        self.wanted: dict[str, set[int]] = {}
        self.away: set[str] = set()
        self.number = 0

    def configure(self, configs: Collection[Config]) -> None:
        """Replaces the configuration, from the next look on."""
        self.configs = {config.name: config for config in configs}

    def look(self) -> None:
        """Looks in the folders for versions to load, and for those that are no longer wanted."""
        for config in self.configs.values():
            mine = {v.key.version: v for v in self.found if v.is_live and _is_of(v.key, config)}
            present = self._present(config)
            if present is None:
                continue
            wanted = self.wanted[config.name] = config.policy.choose(present)
            for version in sorted(wanted - mine.keys()):
                self._add(config, version, present[version])
        self._drop()

    def _present(self, config: Config) -> Mapping[int, str] | None:
        """The paths of a model's versions by number; None while its folder is away, which is logged once.

        A folder that has become empty counts as away: it may be a share that is not mounted.
        """
        try:
            present, reason = versions_in(config.base_path), "it holds no version"
        except OSError as error:
            present, reason = {}, command_line.one_line(error)
        if present:
            self.away.discard(config.base_path)
        elif config.base_path not in self.away and any(_is_of(v.key, config) for v in self.found):
            self.away.add(config.base_path)
            command_line.warn(f"cannot list versions: {config.base_path}: {reason} (what is loaded goes on)")
        return present or None

    def _add(self, config: Config, version: int, path: str) -> None:
        looks = looks_of(path)
        if self.ended.get(config.name, {}).get(version, (None, None))[1] == looks:
            return  # it was refused and has not changed
        self.number += 1
        self.found.append(Version(Key(config.name, version, path, self.number), looks, config.name in self.trusted))

    def _drop(self) -> None:
        """Unloads what is not wanted. While a wanted version is missing, the loaded ones stay."""
        for version in self.found:
            if version.is_live and version.key.name not in self.configs:
                version.status = Status(UNLOADING)
        for name, config in self.configs.items():
            wanted = self.wanted.get(name, set())
            mine = [v for v in self.found if v.is_live and v.key.name == name]
            good = [v for v in mine if _is_of(v.key, config) and v.key.version in wanted]
            if any(v.status.state == LOADING for v in good) or (wanted and not good):
                continue
            for version in mine:
                if version not in good:
                    version.status = Status(UNLOADING)

    @property
    def unjudged(self) -> list[Version]:
        """The versions that are waiting for a verdict."""
        return [version for version in self.found if version.is_live and not version.terms]

    def judged(self, key: Key, verdict: Mapping[str, int] | str) -> None:
        """Takes a verdict: how many rows each signature takes, or why the version is refused."""
        for version in self.found:
            if version.key == key and version.is_live:
                if isinstance(verdict, str):
                    self.refuse(version, verdict, f" (--trust {key.name} takes it as it is, if you made it yourself)")
                else:
                    version.terms = Terms(verdict, version.looks)

    def refuse(self, version: Version, error: str, advice: str = "") -> None:
        """Ends a version with an error, and prints it."""
        key, version.status = version.key, Status(END, error)
        self.ended.setdefault(key.name, {})[key.version] = version.status, version.looks
        command_line.warn(f"not loaded: version {key.version} of model {key.name}: {error}{advice}")

    def settle(self, reports: Collection[Report]) -> list[str]:
        """Takes the workers' reports: a version is available once all have loaded it, and has ended once none has it.

        Returns:
            The lines to print.
        """
        lines = []
        for version in self.found:
            key, state = version.key, version.status.state
            errors = [report.errors[key] for report in reports if key in report.errors]
            if state == LOADING and errors:
                self.refuse(version, errors[0])
            elif state == LOADING and reports and all(key in report.loaded for report in reports):
                version.status = Status(AVAILABLE)
                self.ended.get(key.name, {}).pop(key.version, None)
                limit = next(iter(reports)).loaded[key]
                lines.append(f"loaded: version {key.version} of model {key.name} from {key.path}{limit}")
            elif state == AVAILABLE and errors and looks_of(key.path) not in ((), version.looks):
                self.refuse(version, "its files have changed since it was judged")
            elif state == UNLOADING and not any(key in report.loaded for report in reports):
                self.ended.setdefault(key.name, {})[key.version] = Status(END), ()
                version.status = Status(END)
                lines.append(f"unloaded: version {key.version} of model {key.name}")
        self._drop()
        self.found = [version for version in self.found if version.status.state != END]
        for ended in self.ended.values():
            for version in sorted(ended)[:-MOST_ENDED]:
                del ended[version]
        return lines

    def blame(self, report: Report, how: str) -> None:
        """Refuses the versions that a worker was loading when it ended, if that is the second time."""
        for version in self.found:
            if version.status.state == LOADING and version.terms and version.key not in report.loaded:
                version.deaths += 1
                if version.deaths > 1:
                    self.refuse(version, f"it ends the worker that loads it ({how})")

    def plan(self, is_open: bool) -> Plan:
        """What the workers should do."""
        models = {}
        for name, config in self.configs.items():
            states = {version: status for version, (status, _) in self.ended.get(name, {}).items()}
            mine = [version for version in self.found if version.key.name == name]
            states |= {version.key.version: version.status for version in mine}
            offered = {v.key.version: v.key for v in mine if v.status.state == AVAILABLE}
            states |= {number: Status(AVAILABLE) for number in offered}
            models[name] = Model(states, offered, config.labels)
        loads = {version.key: version.terms for version in self.found if version.is_live and version.terms}
        return Plan(loads, models, is_open)

    def missing(self) -> dict[str, list[str]]:
        """The models without a version, and why each of their versions was refused; an empty list if none was found."""
        missing = {}
        for name in self.configs:
            if not any(version.is_live and version.key.name == name for version in self.found):
                ended = self.ended.get(name, {}).items()
                missing[name] = [f"version {number}: {status.error}" for number, (status, _) in ended if status.error]
        return missing


def _is_of(key: Key, config: Config) -> bool:
    return key.name == config.name and os.path.dirname(key.path) == config.base_path.rstrip("/")


def versions_in(base_path: str) -> dict[int, str]:
    """The paths of the versions in a model's folder: subfolders whose names are numbers. Raises OSError."""
    found = {}
    for name in sorted(os.listdir(base_path), reverse=True):  # of 1 and 00001, the one that sorts first counts
        path = os.path.join(base_path.rstrip("/"), name)
        if name.isdecimal() and name.isascii() and len(name) < 20 and 0 < int(name) < 1 << 63 and is_saved_model(path):
            found[int(name)] = path
    return found


def is_saved_model(path: str) -> bool:
    """Whether a folder holds a SavedModel."""
    return any(os.path.exists(os.path.join(path, file)) for file in model_file.SAVED_MODEL_FILES)


def looks_of(path: str) -> Looks:
    """Names, sizes and times of a folder's files: if they change, it is judged again. Empty if there is no folder."""
    found = []
    for folder, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                status = os.stat(os.path.join(folder, name))
                found.append((os.path.join(folder, name), status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))


def nothing_in(config: Config) -> str:
    """Why a model's folder has no version to serve, and what to do about it."""
    path = config.base_path
    if is_saved_model(path):
        folder, name = os.path.split(path.rstrip("/"))
        if name.isdecimal():
            return f"{path} is a version's folder (give the folder that holds it, {folder or '.'})"
        return f"{path} is a SavedModel without a version (move its files to {path.rstrip('/')}/1)"
    try:
        present = versions_in(path)
    except FileNotFoundError:
        return f"no such folder: {path} (make exports writes those of the tutorial; --model_base_path names another)"
    except OSError as error:
        return command_line.one_line(error)
    wanted = ", ".join(map(str, sorted(config.policy.specific)))
    if present:
        return f"no version {wanted} in {path} (there are: {', '.join(map(str, sorted(present)))})"
    return f"no version in {path} (a version is a folder there with a number for a name, such as {path.rstrip('/')}/1)"


def require(configs: Iterable[Config]) -> None:
    """Raises ModelError if the folder of a model has no version to serve."""
    for config in configs:
        try:
            wanted = config.policy.choose(versions_in(config.base_path))
        except OSError:
            wanted = set()
        if not wanted:
            raise ModelError(f"no model: {config.name}: {nothing_in(config)}")
