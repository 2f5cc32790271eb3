"""The cluster that TF_CONFIG describes: its tasks, this process's server, and a watch over the other tasks.

Source: https://www.tensorflow.org/guide/distributed_training#TF_CONFIG
"""

import contextlib
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from model_import_export import command_line
from model_import_export.graph_mode import tf

JOBS = ("chief", "ps", "worker")
PROBE_SECONDS = 5


class Cluster(NamedTuple):
    """All tasks, and which of them this process is."""

    tasks: Mapping[str, Sequence[str]]  # from `chief`, `ps` and `worker` to addresses, `HOST:PORT`
    job: str
    index: int

    def others(self, *jobs: str) -> list[tuple[str, str]]:
        """The names (`worker 1`) and addresses of the tasks of these jobs, except this task."""
        return [
            (f"{job} {i}", address)
            for job in jobs
            for i, address in enumerate(self.tasks[job])
            if (job, i) != (self.job, self.index)
        ]

    @property
    def address(self) -> str:
        """This task's address."""
        return self.tasks[self.job][self.index]


def read_cluster() -> Cluster:
    """Reads the environment variable TF_CONFIG. Raises ValueError if it is missing or describes no cluster."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise ValueError(
            "no cluster: TF_CONFIG is not set (distributed/local_cluster.sh starts one here; "
            "python model_producer.py trains without one)"
        )
    try:
        config = json.loads(text)
        tasks, job, index = config["cluster"], config["task"]["type"], int(config["task"]["index"])
        sound = all(re.fullmatch(r".+:\d{1,5}", address) for job in tasks for address in tasks[job])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"not a cluster: TF_CONFIG: {command_line.one_line(error)}") from None
    if sorted(tasks) != list(JOBS) or not sound or len(tasks["chief"]) != 1 or not tasks["ps"] or not tasks["worker"]:
        raise ValueError("not a cluster: TF_CONFIG (it takes one chief, and ps and workers, each as HOST:PORT)")
    if job not in tasks or not 0 <= index < len(tasks[job]):
        raise ValueError(f"no such task: {job} {index} in TF_CONFIG's cluster")
    return Cluster(tasks, job, index)


def start_server(cluster: Cluster) -> Any:
    """Starts this task's `tf.train.Server`, which listens on all interfaces. Raises OSError if it cannot."""
    try:
        return tf.train.Server(dict(cluster.tasks), job_name=cluster.job, task_index=cluster.index)
    except tf.errors.OpError:
        raise OSError(f"cannot listen on: {cluster.address} (is another process there?)") from None


def watch(tasks: Iterable[tuple[str, str]], seconds: int) -> None:
    """Prints which tasks are awaited, and ends this process if one does not start, or come back, in time.

    TensorFlow itself waits silently, forever.
    """
    for name, address in tasks:
        threading.Thread(target=_watch_one, args=(name, address, seconds), daemon=True).start()


def _watch_one(name: str, address: str, seconds: int) -> None:
    since, told = time.monotonic(), False
    while True:
        started = time.monotonic()
        if _answers(address):
            if told:
                command_line.warn(f"here: {name} at {address}")
            since, told = time.monotonic(), False
        elif not told:
            command_line.warn(f"waiting: {name} at {address} does not answer (for {seconds} s at most)")
            told = True
        if time.monotonic() - since > seconds:
            command_line.warn(f"lost: {name} at {address} did not come within {seconds} s (start it, then this again)")
            sys.stdout.flush()
            os._exit(1)
        time.sleep(max(0, started + 1 - time.monotonic()))


def _answers(address: str) -> bool:
    """Whether a gRPC server answers there. A stopped process still accepts connections, but never answers."""
    import grpc

    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(PROBE_SECONDS)
        except grpc.FutureTimeoutError:
            return False
        return True


def _done_queue(job: str, index: int) -> Any:
    """A queue on a task; every process that asks for it gets the same one."""
    with tf.device(f"/job:{job}/task:{index}/cpu:0"):
        return tf.FIFOQueue(1, tf.bool, [[]], shared_name=f"done_{job}_{index}")


def wait_until_done(cluster: Cluster, target: str) -> None:
    """Serves the chief until the chief says that it is done. (`Server.join` would never return.)"""
    own = tf.ConfigProto(device_filters=[f"/job:{cluster.job}/task:{cluster.index}"])
    with tf.Graph().as_default(), tf.Session(target, config=own) as session:
        session.run(_done_queue(cluster.job, cluster.index).dequeue())


def say_done(cluster: Cluster, target: str) -> list[Any]:
    """Tells all other tasks to end.

    Returns:
        The sessions. Keep them until this process ends: closing one waits half a minute for a task that has ended.
    """
    sessions = []
    for job in ("worker", "ps"):
        for i in range(len(cluster.tasks[job])):
            config = tf.ConfigProto(device_filters=["/job:chief", f"/job:{job}/task:{i}"])
            with tf.Graph().as_default(), contextlib.suppress(tf.errors.OpError):  # the task may end before it answers
                end = _done_queue(job, i).enqueue(True)
                sessions.append(tf.Session(target, config=config))
                sessions[-1].run(end, options=tf.RunOptions(timeout_in_ms=10_000))
    return sessions
