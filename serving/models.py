"""A worker's loaded versions, and how to find the one that a request names."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from model_import_export import command_line
from plan import Plan, Report, Status
from servable import Key, RequestError, Servable


class Models:
    """The versions that a worker has loaded, kept in step with the plan."""

    def __init__(self, load: Callable[[Key, object], Servable], report: Callable[[Report], None]) -> None:
        """Starts with no version.

        Args:
            load: loads a version by its key and terms. If it raises, the error is reported.
            report: called when what is loaded has changed.
        """
        self.load, self.report = load, report
        self.plan, self.servables, self.errors, self.is_open = Plan(), {}, {}, False
        self.changing = threading.Lock()

    def apply(self, plan: Plan) -> bool:
        """Loads what is missing, then offers what the plan offers, then unloads what it does not need.

        Returns:
            Whether all is loaded.
        """
        errors = {}
        for key in plan.loads.keys() - self.servables.keys():
            try:
                self.servables[key] = self.load(key, plan.loads[key])
            except Exception as error:
                errors[key] = command_line.one_line(error)
        self.plan, self.errors = plan, errors
        for key, servable in list(self.servables.items()):
            if key not in plan.loads and not servable.closing:
                threading.Thread(target=self._unload, args=(servable,), daemon=True).start()
        self.tell()
        return not errors

    def _unload(self, servable: Servable) -> None:
        servable.close()
        del self.servables[servable.key]
        self.tell()

    def tell(self) -> None:
        """Reports what is loaded."""
        with self.changing:
            loaded = {key: servable.limit for key, servable in list(self.servables.items())}
            self.report(Report(loaded, self.errors, self.is_open))

    @property
    def names(self) -> list[str]:
        """The names of the models."""
        return sorted(self.plan.models)

    @property
    def is_ready(self) -> bool:
        """Whether each model has a version to offer."""
        return all(model.offered for model in self.plan.models.values())

    def find(self, name: str, version: int = 0, label: str = "") -> Servable:
        """The servable of a version or label; without either, the newest version. Raises RequestError."""
        model = self.plan.models.get(name)
        if model is None:
            raise RequestError("NOT_FOUND", f"no such model: {name[:100]} (there are: {', '.join(self.names)})")
        if label:
            if label not in model.labels:
                present = ", ".join(sorted(model.labels)) or "none"
                raise RequestError("NOT_FOUND", f"no such label: {label[:100]} of model {name} (there are: {present})")
            version = model.labels[label]
        key = model.offered.get(version or max(model.offered, default=0))
        servable = self.servables.get(key) if key else None
        if servable is None:
            there = ", ".join(map(str, sorted(model.offered))) or "none"
            raise RequestError("NOT_FOUND", f"no such version: {version or 'any'} of model {name} (loaded: {there})")
        return servable

    @contextlib.contextmanager
    def use(self, name: str, version: int, label: str, outcome: Any) -> Iterator[Servable]:
        """Finds a servable and keeps it from being unloaded; records its version in the request's outcome."""
        while True:
            with self.find(name, version, label).in_use() as servable:
                if servable:
                    outcome.version = str(servable.version)
                    yield servable
                    return
            time.sleep(0)  # it is being unloaded: look again for what is offered now

    def states(self, name: str, version: int = 0, label: str = "") -> list[tuple[int, Status]]:
        """The states of a model's versions, newest first; of one, if one is named. Raises RequestError."""
        model = self.plan.models.get(name)
        if model is None or label:
            version = self.find(name, version, label).version
        statuses = sorted(model.states.items(), reverse=True)
        if version:
            statuses = [(number, state) for number, state in statuses if number == version]
        if not statuses:
            raise RequestError("NOT_FOUND", f"no such version: {version or 'any'} of model {name}")
        return statuses
