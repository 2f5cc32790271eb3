"""Imports only what runs a graph in a session, in a third of the time and memory of `import tensorflow`.

The package's `__init__.py` imports Keras, TFLite's converter, TPUs and data services. Without it, the modules below are
the same, and so are their results.
"""

import importlib.util
import os
import sys
import types

from model_import_export.graph_mode import quiet_log, tf


def load(saved_model: bool) -> None:
    """Gives `tf` what it needs to run a frozen graph or SavedModel, unless TensorFlow is already imported."""
    if "tensorflow" in sys.modules:
        return
    package = types.ModuleType("tensorflow")
    package.__spec__ = importlib.util.find_spec("tensorflow")
    if package.__spec__ is None:
        raise ModuleNotFoundError(name="tensorflow")
    package.__path__ = package.__spec__.submodule_search_locations
    sys.modules["tensorflow"] = package
    quiet = "TF_CPP_MIN_LOG_LEVEL" not in os.environ
    with quiet_log():
        from tensorflow.core.framework.graph_pb2 import GraphDef
        from tensorflow.core.protobuf.config_pb2 import ConfigProto
        from tensorflow.python.client.session import Session
        from tensorflow.python.framework import errors
        from tensorflow.python.framework.importer import import_graph_def
        from tensorflow.python.framework.ops import Graph, disable_eager_execution
        from tensorflow.python.platform import tf_logging

        if saved_model:
            from tensorflow.python.saved_model import loader

            tf.saved_model = types.SimpleNamespace(loader=loader)
    if quiet:
        tf_logging.set_verbosity(tf_logging.FATAL)
    disable_eager_execution()
    tf.GraphDef, tf.ConfigProto, tf.Graph, tf.Session = GraphDef, ConfigProto, Graph, Session
    tf.errors, tf.import_graph_def = errors, import_graph_def
