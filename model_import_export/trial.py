"""Works on a model that has not been judged yet, in a separate process under limits.

If TensorFlow does what no rule foresaw (crashes, never returns, takes gigabytes), only that process ends, and the model
is refused. The process is forked from one that has imported TensorFlow but never used it, because sessions and threads
do not survive a fork.
"""

import contextlib
import ctypes
import gc
import multiprocessing
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from model_import_export import ModelError, graph_mode, model_file
from model_import_export.command_line import one_line

SECONDS = 20  # of processor time
MEMORY = 5 << 28  # bytes; it is killed beyond these and four times the model's files
LIBRARIES = ("/usr", "/lib", "/lib64", "/proc", "/sys", "/dev", sys.prefix, sys.base_prefix, os.path.dirname(__file__))

_zygote: tuple[Connection, int] | None = None
_progress: Connection | None = None
_lock = threading.Lock()


def stage(words: str) -> None:
    """Says what the process is about to do, for the error if the process does not survive it."""
    if _progress:
        _progress.send(("stage", words))


def run(
    path: str, work: Callable[..., Any], *arguments: Any, seconds: int = SECONDS, beside: Sequence[str] = ()
) -> Any:
    """Calls a module's function in a separate process, which may read only the files at `path`.

    Args:
        seconds: limit on its processor time; it may take three times that in all.
        beside: other files that it may read.

    Returns:
        What the function returned.

    Raises:
        ModelError: the function raised an error, or the process did not survive; the message says why.
    """
    try:
        with _lock:
            start()
            _zygote[0].send((os.getcwd(), path, work, arguments, seconds, beside))
            kind, value = _zygote[0].recv()
    except (EOFError, OSError):
        raise ModelError(f"cannot judge: {path}: the process that judges ended") from None
    if kind == "error":
        raise ModelError(value)
    return value


def start(unused: bool = False) -> None:
    """Starts the process from which the others are forked.

    It is forked from this process, which imports TensorFlow first. If TensorFlow was already imported here and may have
    started threads, a new process is started instead, which takes seconds longer.

    Args:
        unused: TensorFlow was imported here but never used.
    """
    global _zygote
    if _zygote and _zygote[1] == os.getpid():
        return
    mine, its = multiprocessing.Pipe()
    if "tensorflow" in sys.modules and not unused:
        code = f"from model_import_export import trial; trial.serve({its.fileno()})"
        folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])}
        subprocess.Popen([sys.executable, "-c", code], pass_fds=[its.fileno()], env=environment)
    else:
        graph_mode.import_tensorflow()
        if os.fork() == 0:
            mine.close()
            serve(os.dup(its.fileno()))
    its.close()
    _zygote = mine, os.getpid()


def serve(descriptor: int) -> NoReturn:
    """Does each requested piece of work in a child, until the requesting process ends."""
    graph_mode.import_tensorflow()
    gc.freeze()  # so that no child's collector walks TensorFlow's million objects
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Connection(descriptor) as its, contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            folder, *work = its.recv()
            os.chdir(folder)  # paths may be relative
            its.send(_supervise(*work))
    os._exit(0)


def _supervise(
    path: str, work: Callable[..., Any], arguments: tuple, seconds: int, beside: Sequence[str]
) -> tuple[str, Any]:
    """Runs the work in a child. Returns `value` and the result, or `error` and its message."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        reader.close()
        _child(parent, writer, path, work, arguments, seconds, beside)
    writer.close()
    outcome, doing, reason = None, "judged", ""
    deadline, asker = time.monotonic() + 3 * seconds, os.getppid()
    most = MEMORY + 4 * _size(path)
    while outcome is None and not reason:
        try:
            if reader.poll(0.01):
                kind, value = reader.recv()
                if kind == "stage":
                    doing = value
                else:
                    outcome = kind, value
        except (EOFError, OSError):
            break
        if _resident(pid) > most:
            reason = f"takes more than {most >> 20} MiB of memory"
        elif time.monotonic() > deadline or os.getppid() != asker:
            reason = f"takes more than {3 * seconds} s"
    if outcome is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL) if reason else None
    _, status = os.waitpid(pid, 0)
    reader.close()
    if outcome:
        return outcome
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if not reason and number in (signal.SIGXCPU, signal.SIGKILL):
        reason = f"takes more than {seconds} s of processor time"
    name = signal.Signals(number).name if number else f"status {os.waitstatus_to_exitcode(status)}"
    return "error", f"refused graph: {path} {reason or f'ends the process ({name})'} when it is {doing}"


def _child(
    parent: int,
    writer: Connection,
    path: str,
    work: Callable[..., Any],
    arguments: tuple,
    seconds: int,
    beside: Sequence[str],
) -> None:
    global _progress
    _progress = writer
    try:
        end_with_parent(parent)
        if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        for limit, most in (
            (resource.RLIMIT_CPU, seconds),
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_DATA, _data() + 2 * MEMORY + 8 * _size(path)),
        ):
            resource.setrlimit(limit, (most, most + 1 if limit == resource.RLIMIT_CPU else most))
        _allow_reading([*LIBRARIES, path, *beside, *([] if os.path.isdir(path) else model_file.files_of(path))])
        outcome = "value", work(*arguments)
    except MemoryError:
        outcome = "error", f"refused graph: {path} takes more memory than there is"
    except Exception as error:
        plain = isinstance(error, (ModelError, OSError))
        outcome = (
            "error",
            one_line(error) if plain else f"refused graph: {path}: {type(error).__name__}: {one_line(error)}",
        )
    with contextlib.suppress(OSError):
        writer.send(outcome)
    os._exit(0)


def end_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def _data() -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmData:"))


def _size(path: str) -> int:
    """The bytes of a model's files."""
    return sum(os.path.getsize(file) for file in model_file.files_of(path) if os.path.isfile(file))


def _allow_reading(paths: list[str]) -> None:
    """Makes the kernel refuse this process all files except those below `paths`, if it can (Landlock, Linux 5.13)."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(444, None, 0, 1)
    if version < 1:
        return
    read, everything = 0b1101, (1 << (13 if version == 1 else 14 if version == 2 else 15)) - 1
    ruleset = libc.syscall(444, ctypes.byref(ctypes.c_uint64(everything)), 8, 0)
    beside = [os.path.dirname(path) or "." for path in paths if os.path.isfile(path)]
    for path, access in [*((path, read) for path in paths), *((folder, 0b1000) for folder in set(beside))]:
        if not os.path.exists(path):
            continue
        descriptor = os.open(path, os.O_PATH)
        rule = struct.pack("=Qi", access if os.path.isdir(path) else access & 0b0101, descriptor)
        libc.syscall(445, ruleset, 1, rule, 0)
        os.close(descriptor)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    libc.syscall(446, ruleset, 0)
    os.close(ruleset)
