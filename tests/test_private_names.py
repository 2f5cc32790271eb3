"""TensorFlow and uvicorn names that the project uses without a promise that they stay: what moved, and who uses it."""

import inspect
import re
import sys

from conftest import ROOT, run_command
from model_import_export import graph_mode
from model_import_export.graph_mode import tf

import pytest
import uvicorn
from tensorflow.python.framework import convert_to_constants, op_def_registry, ops


@pytest.mark.parametrize(
    ("owner", "name", "used_in"),
    [
        (tf.Session, "_make_callable_from_options", "model_import_export/graph_mode.py"),
        (ops, "_create_c_op", "model_import_export/sizes.py"),
        (ops.Operation, "_init", "model_import_export/sizes.py"),
        (op_def_registry, "get", "model_import_export/graph_rules.py"),
        (convert_to_constants, "convert_variables_to_constants_from_session_graph", "model_import_export/freezing.py"),
        (uvicorn.Server, "capture_signals", "serving/http_server.py"),
    ],
)
def test_a_private_name_is_where_it_was(owner: object, name: str, used_in: str) -> None:
    where = getattr(owner, "__name__", owner)
    assert name in (ROOT / used_in).read_text(), f"{used_in} no longer uses {name}: take it out of this list"
    assert hasattr(owner, name), f"{where} has no {name} in this version: {used_in} needs another way"


def test_private_names_take_what_they_took() -> None:
    given = [*inspect.signature(ops._create_c_op).parameters]
    assert given[:5] == ["graph", "node_def", "inputs", "control_inputs", "op_def"], "sizes.py calls ops._create_c_op"
    assert "extract_traceback" in given, "sizes.py calls ops._create_c_op without a traceback"
    assert [*inspect.signature(tf.Session._make_callable_from_options).parameters] == ["self", "callable_options"], (
        "graph_mode.py calls Session._make_callable_from_options with CallableOptions"
    )


def test_the_log_of_tensorflow_looks_as_it_did() -> None:
    done = run_command(f"{sys.executable} -c 'import tensorflow'", TF_CPP_MIN_LOG_LEVEL="0")
    lines = done.err.splitlines()
    assert lines, "TensorFlow writes no log while it loads: graph_mode.quiet_log may have become needless"
    unknown = [line for line in lines if not graph_mode.LOG_NOISE.match(line.encode())]
    assert not unknown, f"graph_mode.LOG_NOISE does not know these lines of TensorFlow's log: {unknown}"
    assert any(re.match(r"[IW]\d{4} ", line) for line in lines)
