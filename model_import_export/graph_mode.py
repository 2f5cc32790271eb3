"""TensorFlow in graph mode: `tf` is `tensorflow.compat.v1` with the behaviour of version 2 switched off.

    from model_import_export.graph_mode import tf

is like `import tensorflow.compat.v1 as tf` and `tf.disable_v2_behavior()`, with two differences. TensorFlow is imported
only when one of its names is first used: that takes two seconds, which `--help` and a mistyped flag need not wait for.
And its log lines stay off the terminal unless `TF_CPP_MIN_LOG_LEVEL` is set.
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

# What TensorFlow 2.21 writes to standard error while its libraries load, before it reads any setting.
LOG_NOISE = re.compile(
    rb"[IW]\d{4} [\d:.]+ |WARNING: All log messages before absl|To enable the following instructions:"
    rb"|INFO: |fully_quantize: "  # from LiteRT
)


@contextlib.contextmanager
def without_log_noise() -> Iterator[None]:
    """Filters file descriptor 2 through a child process, so that the last words of a crash still appear."""
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
    """Keeps TensorFlow's log lines off the terminal while its libraries load, unless the user has set the log level.

    The libraries read the level while they load. Errors are still raised as exceptions.
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
    """Imports `tensorflow.compat.v1` quietly, with version 2 behaviour left on, for Keras.

    It takes two seconds from memory and a minute from a slow disk. After five seconds, a terminal shows a message.
    """
    quiet = "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    with contextlib.ExitStack() as waiting:
        is_terminal = os.isatty(2)
        waiting.enter_context(quiet_log())  # this forks, so before any thread starts
        if is_terminal:
            timer = threading.Timer(5, lambda: os.write(2, b"loading TensorFlow ...\n"))
            timer.start()
            waiting.callback(timer.join)
            waiting.callback(timer.cancel)
        import tensorflow.compat.v1 as tensorflow
    if quiet:
        from absl import logging  # Keras's log

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
    """Imports TensorFlow now, quietly, before a module that imports it by itself, such as a gRPC stub."""
    tf.GraphDef  # noqa: B018


def session_config() -> Any:
    """The `tf.ConfigProto` of every session here.

    All operations run in the caller's thread. That is faster for a small graph, and makes results reproducible: threads
    of TensorFlow's own pool flush subnormal numbers to zero. A graph may name a GPU that is not here.
    """
    return tf.ConfigProto(inter_op_parallelism_threads=-1, intra_op_parallelism_threads=1, allow_soft_placement=True)


def new_saved_model() -> Any:
    """An empty SavedModel protocol buffer, a type that `tensorflow.compat.v1` does not export."""
    load()
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel()


def make_callable(session: Any, feeds: list[str], fetches: list[str]) -> Any:
    """Returns a function from arrays for the tensors `feeds` to the list of arrays for the tensors `fetches`.

    With feeds, `Session.make_callable` is just `Session.run`, which looks names up in every call. This private method,
    which TensorFlow keeps for Keras, looks them up once and takes a sixth of the time.
    """
    from tensorflow.core.protobuf import config_pb2

    return session._make_callable_from_options(config_pb2.CallableOptions(feed=feeds, fetch=fetches))
