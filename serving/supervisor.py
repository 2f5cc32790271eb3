"""The process that watches the folders and the workers: it judges versions and plans, but answers no requests itself.

It has one thread, and imports TensorFlow only for its children. So it can fork a worker, or a process that judges, at
any time.
"""

import argparse
import contextlib
import multiprocessing
import os
import re
import signal
import time
from collections.abc import Collection
from multiprocessing import connection
from multiprocessing.connection import Connection
from typing import Any

import worker
from configuration import Config, configs_of, read_configs
from model_import_export import ModelError, command_line, graph_check, sizes, trial
from plan import LOADING, Plan, Report
from servable import Key
from versions import Versions, nothing_in, require

FORK = multiprocessing.get_context("fork")
AT_ONCE = os.cpu_count() or 1  # versions judged at the same time
SECONDS_TO_STOP = 35.0
SECONDS_BETWEEN_STARTS = 1.0  # for the same worker
NEVER = 1e9
ADVICE = re.compile(r" \([^()]*--allow-op[^()]*\)")  # the gate's advice to those who run it by hand


class Child:
    """A forked process, and the pipe to it."""

    def __init__(self, work: Any, *arguments: Any) -> None:
        self.pipe, its = FORK.Pipe()
        self.process = FORK.Process(target=_begin, args=(os.getpid(), self.pipe, work, its, *arguments))
        self.process.start()
        its.close()

    def receive(self) -> Any:
        """What it says; None if it has ended."""
        try:
            return self.pipe.recv()
        except (EOFError, OSError):
            return None

    def end(self) -> str:
        """Waits for the process to end. Returns the signal or status that it ended with."""
        self.process.join()
        self.pipe.close()
        code = self.process.exitcode or 0
        return signal.Signals(-code).name if code < 0 else f"status {code}"


class Worker(Child):
    """A process that answers requests."""

    def __init__(self, flags: argparse.Namespace, plan: Plan, counts: Any, place: int) -> None:
        super().__init__(worker.work, flags, plan, counts, place)
        self.report, self.plan = Report(), plan

    def send(self, message: Any) -> None:
        """Sends it a message, unless it has just ended."""
        with contextlib.suppress(OSError):
            self.pipe.send(message)


def _begin(parent: int, parents: Connection, work: Any, *arguments: Any) -> None:
    """Runs first in a child, which then ends with its parent and leaves signals to it."""
    parents.close()
    trial.end_with_parent(parent)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    work(*arguments)


def judge(pipe: Connection, path: str, rows: int) -> None:
    """Judges a version. Sends how many rows each signature takes, or why it is refused."""
    trial.start(unused=True)
    try:
        feeds = graph_check.judge(path, serve=rows).feeds
        pipe.send({name: sizes.most_rows(found) if found[0].shapes else rows for name, found in feeds.items()})
    except Exception as error:
        pipe.send(ADVICE.sub("", command_line.one_line(error)))


class Supervisor:
    """Keeps the workers in step with the folders, and alive."""

    def __init__(self, flags: argparse.Namespace, configs: Collection[Config]) -> None:
        self.flags = flags
        self.versions = Versions(configs, flags.trust)
        self.judges: dict[Key, Child] = {}
        self.workers: list[Worker | None] = [None] * flags.workers
        self.not_before = [0.0] * flags.workers
        self.counts = FORK.RawArray("i", flags.workers)  # each worker's requests in flight
        self.reloads: list[tuple[Worker, int, list[str]]] = []
        self.has_judged = self.is_open = self.has_said_so = False
        self.complaint = ""
        self.look_at = 0.0
        self.reread_at = time.monotonic() + (flags.model_config_file_poll_wait_seconds or NEVER)

    def run(self) -> int:
        """Serves until SIGTERM or Ctrl-C. Returns the number of that signal.

        Raises:
            SystemExit: a model has no version at the start.
            OSError: a port cannot be opened.
        """
        signals, written = os.pipe()
        os.set_blocking(written, False)
        signal.set_wakeup_fd(written)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        try:
            while True:
                self._keep_up()
                children = self._children()
                for ready in connection.wait([signals, *children], self._seconds()):
                    if ready == signals:
                        number = os.read(signals, 1)[0]
                        if number == signal.SIGHUP:
                            self._reread(is_asked=True)
                        elif number in (signal.SIGINT, signal.SIGTERM):
                            self._stop()
                            return number
                    else:
                        self._listen(children[ready])
        finally:
            for child in self._children().values():
                child.process.kill()

    def _children(self) -> dict[Any, Child]:
        return {child.pipe: child for child in [*self.judges.values(), *self.workers] if child}

    def _seconds(self) -> float:
        """How long to wait if nothing happens."""
        times = [self.look_at, self.reread_at]
        if self.has_judged:
            times += [self.not_before[i] for i, each in enumerate(self.workers) if not each]
        return min(max(0.0, min(times) - time.monotonic()), 3600.0)

    def _keep_up(self) -> None:
        """Does what is due."""
        if time.monotonic() >= self.reread_at:
            self.reread_at = time.monotonic() + self.flags.model_config_file_poll_wait_seconds
            self._reread(is_asked=False)
        if time.monotonic() >= self.look_at:
            self._look()
        for version in self.versions.unjudged:
            if version.key not in self.judges and len(self.judges) < AT_ONCE:
                self.judges[version.key] = Child(judge, version.key.path, self.flags.max_rows)
        self.has_judged = self.has_judged or not self.versions.unjudged
        for line in self.versions.settle([each.report if each else Report() for each in self.workers]):
            print(line, flush=True)
        if not self.is_open:
            self._require_all()
            self.is_open = not any(version.status.state == LOADING for version in self.versions.found)
        if self.has_judged:
            self._tell(self.versions.plan(self.is_open))
        if not self.has_said_so and all(each and each.report.is_open for each in self.workers):
            self.has_said_so = True
            self._say_where()
        self._answer_reloads()

    def _look(self) -> None:
        self.look_at = time.monotonic() + (self.flags.file_system_poll_wait_seconds or NEVER)
        try:
            self.versions.look()
        except Exception as error:  # if a folder changes while it is read, the next look finds it whole
            command_line.warn(error)

    def _require_all(self) -> None:
        """Ends the server if a model has no version at the start."""
        missing = self.versions.missing()
        for name, errors in missing.items():
            if not errors:  # others have been printed
                command_line.warn(f"no model: {name}: {nothing_in(self.versions.configs[name])}")
        if missing and not self.versions.unjudged:
            raise SystemExit(1)

    def _tell(self, plan: Plan) -> None:
        """Sends the plan to the workers, and replaces those that have ended."""
        for i, each in enumerate(self.workers):
            if each and each.plan != plan:
                each.plan = plan
                each.send(("plan", plan))
            elif not each and time.monotonic() >= self.not_before[i]:
                self.not_before[i] = time.monotonic() + SECONDS_BETWEEN_STARTS
                self.workers[i] = Worker(self.flags, plan, self.counts, i)

    def _say_where(self) -> None:
        flags = self.flags
        if flags.port:
            print(f"gRPC on {worker.address(flags.host, flags.port)}", flush=True)
        if flags.rest_api_port:
            print(f"REST on http://{worker.address(flags.host, flags.rest_api_port)}", flush=True)

    def _listen(self, child: Child) -> None:
        """Handles a child's message, or its end."""
        said = child.receive()
        if not isinstance(child, Worker):
            key = next(key for key, each in self.judges.items() if each is child)
            how = child.end()
            del self.judges[key]
            self.versions.judged(key, f"cannot judge: {key.path}: its process ended ({how})" if said is None else said)
        elif isinstance(said, Report):
            child.report = said
        elif said is None:
            how = child.end()
            place = self.workers.index(child)
            self.workers[place], self.counts[place] = None, 0
            self.reloads = [reload for reload in self.reloads if reload[0] is not child]
            command_line.warn(f"a worker ended ({how}); another takes its place")
            self.versions.blame(child.report, how)
        elif said[0] == "reload":
            self._reload_for(child, *said[1:])
        elif not self.has_said_so:
            raise OSError(said[1])
        else:
            command_line.warn(said[1])

    def _reread(self, is_asked: bool) -> None:
        """Reads the configuration again. If the new one is bad, it is refused and the old one stays."""
        path, complaint = self.flags.model_config_file, ""
        try:
            if path and (configs := read_configs(path)) != list(self.versions.configs.values()):
                self._configure(configs, path)
        except (ModelError, OSError) as error:
            complaint = f"configuration not changed: {command_line.one_line(error)}"
            if is_asked or complaint != self.complaint:
                command_line.warn(complaint)
        self.complaint = complaint
        if is_asked:
            self._look()

    def _configure(self, configs: Collection[Config], source: str) -> None:
        require(configs)
        self.versions.configure(configs)
        print(f"configured: {', '.join(config.name for config in configs)} from {source}", flush=True)
        self._look()

    def _reload_for(self, child: Worker, number: int, text: bytes) -> None:
        """Applies the configuration in a HandleReloadConfigRequest."""
        from tensorflow_serving.config import model_server_config_pb2

        try:
            configs = configs_of(model_server_config_pb2.ModelServerConfig.FromString(text), "the request")
            self._configure(configs, "a request")
        except ModelError as error:
            child.send(("reloaded", number, str(error)))
        else:
            self.reloads.append((child, number, [config.name for config in configs]))

    def _answer_reloads(self) -> None:
        """Answers reload requests whose models are all loaded or refused."""
        for reload in self.reloads.copy():
            child, number, names = reload
            if not any(v.status.state == LOADING and v.key.name in names for v in self.versions.found):
                lost = {name: errors for name, errors in self.versions.missing().items() if name in names}
                child.send(("reloaded", number, "; ".join(f"{name} {', '.join(lost[name])}" for name in lost)))
                self.reloads.remove(reload)

    def _stop(self) -> None:
        """Lets the workers finish their requests."""
        workers = [each for each in self.workers if each]
        for each in workers:
            each.send(("stop",))
        ended = time.monotonic() + SECONDS_TO_STOP
        for each in workers:
            each.process.join(max(0.0, ended - time.monotonic()))
