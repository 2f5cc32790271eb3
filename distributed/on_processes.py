"""Runs the tasks in processes on this machine, each one task at a time."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from multiprocessing import Process
from multiprocessing.connection import Connection, wait
from typing import Any

from files import Task
from scoring import Job, Outcome, score_task


@contextlib.contextmanager
def workers(job: Job, count: int) -> Iterator[Any]:
    """Starts workers that wait for tasks. Yields them as an engine.

    They are forked from this process, which has imported TensorFlow for them but never used it, before it has threads,
    such as those of a file system. In the end they are terminated, and a file that one is still writing is removed.
    """
    context, started = multiprocessing.get_context("fork"), {}
    try:
        for _ in range(count):
            mine, its = context.Pipe()
            arguments = its, [mine, *started], job, os.getpid()
            started[mine] = context.Process(target=_serve, args=arguments, daemon=True)
            started[mine].start()
            its.close()  # so that the pipe closes with the process
        yield lambda tasks: _run(started, tasks)
    finally:
        for mine, process in started.items():
            mine.close()  # ends a waiting worker: a signal just before it waits would be missed
            process.terminate()
        for process in started.values():
            process.join()


def _run(started: dict[Connection, Process], tasks: Sequence[Task]) -> Iterator[int | Outcome]:
    left, doing, idle = iter(tasks), {}, list(started)
    while True:
        for mine, task in zip(idle, left, strict=False):
            doing[mine] = task
            mine.send(task)
        if not doing:
            return
        idle = []
        for mine in wait(list(doing)):
            try:
                message = mine.recv()
            except (EOFError, ConnectionError):
                raise OSError(_why(started[mine], doing[mine])) from None
            if isinstance(message, Outcome):
                del doing[mine]
                idle.append(mine)
            yield message


def _why(process: Process, task: Task) -> str:
    process.join()
    status = process.exitcode
    how = signal.Signals(-status).name if status < 0 else f"status {status}"
    return f"a worker ended ({how}) while it scored {task.path} (was there no memory left? lower --workers)"


def _serve(its: Connection, others: list[Connection], job: Job, parent: int) -> None:
    for each in others:  # a fork inherits them
        each.close()
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG: in case the parent is killed
    if os.getppid() != parent:
        return
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.unraisablehook = lambda _: None  # an exit raised in a destructor is lost; the closed pipe then ends this worker
    with contextlib.suppress(EOFError, ConnectionError):  # the parent has ended, or has closed the pipe
        while True:
            its.send(score_task(job, its.recv(), its.send))
