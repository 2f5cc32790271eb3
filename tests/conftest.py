"""Runs the programs as their users do, each in its own process."""

import contextlib
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from model_import_export import trial

import pytest

ROOT = Path(__file__).resolve().parent.parent
# The environment of a user who has activated the virtual environment that runs the tests.
USER = {name: value for name, value in os.environ.items() if not name.startswith(("TF_", "MAKE"))}
USER |= {"VIRTUAL_ENV": sys.prefix, "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
FORK_SERVER = multiprocessing.get_context("forkserver")
FORK_SERVER.set_forkserver_preload(["tensorflow.compat.v1"])
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # for the fork server, which imports TensorFlow directly

# A shell's background jobs ignore Ctrl-C, and without this so would every process started here.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Result(NamedTuple):
    """A program's exit status and output."""

    status: int
    out: str
    err: str


def _main(words: list[str], folder: str, files: list[str], environment: dict[str, str]) -> None:
    del os.environ["TF_CPP_MIN_LOG_LEVEL"]
    os.environ.update(environment)
    os.chdir(folder)
    for descriptor, (file, mode) in enumerate(zip(files, (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY), strict=True)):
        os.dup2(os.open(file, mode), descriptor)
    sys.stdin, sys.stdout, sys.stderr = (open(i, "rw"[i > 0], closefd=False) for i in range(3))  # noqa: SIM115
    trial.start(unused=True)
    sys.argv = words
    sys.path.insert(0, os.path.dirname(words[0]))
    runpy.run_path(words[0], run_name="__main__")


@contextlib.contextmanager
def start_program(
    *words: object, folder: Path = ROOT, stdin: str | bytes = "", environment: Mapping[str, str] = {}
) -> Iterator[Any]:
    """Starts one of the repository's Python programs in a process forked from one that has imported TensorFlow.

    The whole program runs, from its command line to its exit status, except for the seconds that the import takes.
    """
    with tempfile.TemporaryDirectory() as scratch:
        files = [Path(scratch, name) for name in ("in", "out", "err")]
        for file in files:
            file.touch()
        files[0].write_bytes(stdin.encode() if isinstance(stdin, str) else stdin)
        program, *flags = map(str, words)
        arguments = [str(ROOT / program), *flags], str(folder), list(map(str, files)), dict(environment)
        process = FORK_SERVER.Process(target=_main, args=arguments)
        process.start()
        process.output = lambda: [file.read_text(errors="replace") for file in files[1:]]
        try:
            yield process
        finally:
            process.kill()
            process.join()


def run_program(*words: object, timeout: float = 120, **settings: Any) -> Result:
    """Runs a program to its end, started with `start_program`."""
    with start_program(*words, **settings) as process:
        process.join(timeout)
        assert process.exitcode is not None, f"{words} did not end within {timeout} s"
        return Result(process.exitcode, *process.output())


def run_command(command: str, folder: Path = ROOT, timeout: float = 300, **environment: str) -> Result:
    """Runs a shell command as typed, with the tests' Python first on the path."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=USER | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def free_ports(count: int = 1) -> list[int]:
    """Free ports."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the longest tests first, so that no worker waits for them at the end."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the producer and then the freeze script ran. Tests must not change it."""
    folder = tmp_path_factory.mktemp("trained")
    produced = run_command(f"python {ROOT}/model_producer.py --data {ROOT}/data/linear_regression.csv", folder)
    assert (produced.status, produced.err) == (0, "")
    (folder / "producer.out").write_text(produced.out)
    frozen = run_command(f"{ROOT}/freeze_graph_linear_regression.sh", folder)
    assert (frozen.status, frozen.err, frozen.out.count("\n")) == (0, "", 4)
    return folder


@pytest.fixture
def consume(trained: Path) -> Callable[..., Result]:
    """Runs `model_consumer.py` with these flags in the folder where the producer ran."""
    return lambda *flags, **settings: run_program("model_consumer.py", *flags, **{"folder": trained} | settings)
