"""TensorFlow in graph mode: `tf` is `tensorflow.compat.v1` with the behaviour of version 2 switched off.

    from model_import_export.graph_mode import tf

is what `import tensorflow.compat.v1 as tf` and `tf.disable_v2_behavior()` are, with two differences: TensorFlow is
imported when a name of it is first used (it takes two seconds, which `--help` and a mistyped flag need not wait for),
and its log lines stay off the terminal unless `TF_CPP_MIN_LOG_LEVEL` is set.
"""

import contextlib
import os
import re
import signal
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

# What TensorFlow 2.21 writes to standard error while its libraries load, before it has read any setting.
LOG_NOISE = re.compile(
    rb"[IW]\d{4} [\d:.]+ |WARNING: All log messages before absl|To enable the following instructions:"
    rb"|INFO: |fully_quantize: "  # of LiteRT
)


@contextlib.contextmanager
def without_log_noise() -> Iterator[None]:
    """Filters descriptor 2 through a child process, so that a crash in between still shows its last words."""
    sys.stderr.flush()
    terminal = os.dup(2)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.close(writer)
        with open(reader, "rb") as lines:
            for line in lines:
                if not LOG_NOISE.match(line):
                    os.write(terminal, line)
        os._exit(0)
    os.dup2(writer, 2)
    os.close(writer)
    os.close(reader)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        os.close(terminal)
        os.waitpid(child, 0)


@contextlib.contextmanager
def quiet_log() -> Iterator[None]:
    """Keeps TensorFlow's log lines off the terminal while its libraries load, unless the user set their level.

    They read the level while they load; errors still come as exceptions.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    try:
        with without_log_noise():
            yield
    finally:
        del os.environ["TF_CPP_MIN_LOG_LEVEL"]


def import_tensorflow() -> Any:
    """Imports `tensorflow.compat.v1` with its log kept quiet, and its behaviour of version 2 as it is: for Keras.

    It takes two seconds from memory and a minute from a slow disk: after five seconds a terminal is told.
    """
    quiet = "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    with contextlib.ExitStack() as waiting:
        is_terminal = os.isatty(2)
        waiting.enter_context(quiet_log())  # which forks: before there is a thread
        if is_terminal:
            timer = threading.Timer(5, lambda: os.write(2, b"loading TensorFlow ...\n"))
            timer.start()
            waiting.callback(timer.join)
            waiting.callback(timer.cancel)
        import tensorflow.compat.v1 as tensorflow
    if quiet:
        from absl import logging  # Keras's

        tensorflow.logging.set_verbosity(tensorflow.logging.FATAL)
        logging.set_verbosity(logging.FATAL)
    return tensorflow


class _TensorFlow(types.ModuleType):
    """Becomes `tensorflow.compat.v1` when a name is first looked up in it."""

    def __getattr__(self, name: str) -> object:
        tensorflow = import_tensorflow()
        tensorflow.disable_v2_behavior()
        self.__dict__.update(vars(tensorflow))
        return getattr(tensorflow, name)


tf = _TensorFlow("tensorflow.compat.v1")


def load() -> None:
    """Imports TensorFlow now, with its log kept quiet: for what imports it as it is, such as gRPC stubs."""
    tf.GraphDef  # noqa: B018


def session_config() -> Any:
    """The `tf.ConfigProto` of every session here.

    All operations run in the caller's thread: a small graph is faster so, and the same numbers give the same bits, for
    the threads of TensorFlow's pool flush subnormal numbers to zero. A GPU that a graph names need not be here.
    """
    return tf.ConfigProto(inter_op_parallelism_threads=-1, intra_op_parallelism_threads=1, allow_soft_placement=True)


def new_saved_model() -> Any:
    """An empty SavedModel protocol buffer, a type that `tensorflow.compat.v1` does not have among its names."""
    load()
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel()


def make_callable(session: Any, feeds: list[str], fetches: list[str]) -> Any:
    """A function of arrays for the tensors `feeds` that returns the list of those for the tensors `fetches`.

    `Session.make_callable` with feeds is `Session.run` over again, which looks names up in every call; this one, which
    Keras was built on and TensorFlow keeps for it, has them looked up once and takes a sixth of the time.
    """
    from tensorflow.core.protobuf import config_pb2

    return session._make_callable_from_options(config_pb2.CallableOptions(feed=feeds, fetch=fetches))
