"""The freeze script: what it freezes, what it writes beside it, and what bad input gets."""

import hashlib
import os
import re
import shutil
from pathlib import Path

import pytest

from conftest import ROOT, Result, run_command
from model_import_export.graph_mode import tf

SCRIPT = ROOT / "freeze_graph_linear_regression.sh"
FROZEN = "frozen_graphs/frozen_linear_regression.pb"


def freeze(folder: Path, **environment: str) -> Result:
    """Runs the script in a folder."""
    return run_command(str(SCRIPT), folder, **environment)


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """A copy of what the producer wrote."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def test_holds_the_calculation_alone(trained: Path) -> None:
    graph_def = tf.GraphDef.FromString((trained / FROZEN).read_bytes())
    types = {node.name: node.op for node in graph_def.node}
    assert set(types.values()) == {"Placeholder", "Const", "Identity", "Mul", "AddV2"}
    assert types["inputs/x_sample"] == "Placeholder"
    assert types["linear_regression/add"] == "AddV2"
    constants = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in graph_def.node if node.op == "Const"}
    reader = tf.train.load_checkpoint(str(trained / "saved_model" / "linear_regression.ckpt-1900"))
    assert constants == {
        name: reader.get_tensor(name) for name in ("model_variables/slope", "model_variables/intercept")
    }


def test_digest(trained: Path) -> None:
    digest = hashlib.sha256((trained / FROZEN).read_bytes()).hexdigest()
    assert (trained / "frozen_graphs" / "SHA256SUMS").read_text() == f"{digest}  frozen_linear_regression.pb\n"
    assert run_command("cd frozen_graphs && sha256sum -c SHA256SUMS", trained).status == 0
    assert {path.name for path in (trained / "frozen_graphs").iterdir()} == {
        "SHA256SUMS",
        "frozen_linear_regression.pb",
    }


@pytest.mark.slow
def test_settings_of_the_environment(copy: Path) -> None:
    checkpoint = "saved_model/linear_regression.ckpt-1500"
    settings = {"INPUT_GRAPH": f"{checkpoint}.meta", "INPUT_CHECKPOINT": checkpoint, "OUTPUT_GRAPH": "-a b/c/model.pb"}
    result = freeze(copy, **settings, OUTPUT_NODE="linear_regression/mul")
    assert result == (0, "Converted 1 variables to const ops.\n", "")
    graph_def = tf.GraphDef.FromString((copy / "-a b" / "c" / "model.pb").read_bytes())
    (constant,) = (tf.make_ndarray(node.attr["value"].tensor) for node in graph_def.node if node.op == "Const")
    assert constant == tf.train.load_checkpoint(str(copy / checkpoint)).get_tensor("model_variables/slope")
    graph_def = tf.MetaGraphDef.FromString((copy / f"{checkpoint}.meta").read_bytes()).graph_def
    (copy / "binary.pb").write_bytes(graph_def.SerializeToString())
    assert freeze(copy, INPUT_GRAPH="binary.pb").out == "Converted 2 variables to const ops.\n"


def test_freezes_the_newest_complete_checkpoint(copy: Path) -> None:
    (copy / "saved_model" / "linear_regression.ckpt-1900.index").unlink()
    sums = copy / "frozen_graphs" / "SHA256SUMS"
    other = f"{'0' * 64}  other frozen_linear_regression.pb\n"
    sums.write_text(other + sums.read_text())
    result = freeze(copy)
    assert result.status == 0
    said = "incomplete checkpoint: saved_model/linear_regression.ckpt-1900 has no .index file"
    assert result.err == f"{SCRIPT.name}: {said} (using saved_model/linear_regression.ckpt-1800)\n"
    digest = hashlib.sha256((copy / FROZEN).read_bytes()).hexdigest()
    assert sums.read_text() == other + f"{digest}  frozen_linear_regression.pb\n", "others' entries stay"
    graph_def = tf.GraphDef.FromString((copy / FROZEN).read_bytes())
    values = {node.name: tf.make_ndarray(node.attr["value"].tensor) for node in graph_def.node if node.op == "Const"}
    reader = tf.train.load_checkpoint(str(copy / "saved_model" / "linear_regression.ckpt-1800"))
    assert values["model_variables/slope"] == reader.get_tensor("model_variables/slope")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"OUTPUT_NODE": "y:0"}, "not a node: y:0 is a tensor (OUTPUT_NODE=y is its node)"),
        ({"INPUT_GRAPH": "nothing"}, "no graph: nothing (run python model_producer.py first, or set INPUT_GRAPH)"),
        (
            {"INPUT_CHECKPOINT": "nothing"},
            "no checkpoint: nothing (run python model_producer.py first, or set INPUT_CHECKPOINT)",
        ),
        ({"INPUT_CHECKPOINT": "summaries"}, "no complete checkpoint: summaries (run python model_producer.py first)"),
        ({"OUTPUT_GRAPH": "summaries"}, "not a file: summaries is a folder (set OUTPUT_GRAPH)"),
        (
            {"OUTPUT_GRAPH": "a\\b.pb"},
            "not a name for a file: a\\b.pb (SHA256SUMS writes it otherwise; set OUTPUT_GRAPH)",
        ),
        ({"OUTPUT_GRAPH": "producer.out/model.pb"}, "cannot make the folder: producer.out (set OUTPUT_GRAPH)"),
        (
            {"OUTPUT_NODE": "y"},
            "cannot freeze: exported_graphs/graphdef.pbtxt with saved_model/linear_regression.ckpt-1900: "
            "AssertionError: y is not in graph",
        ),
    ],
)
def test_bad_settings(copy: Path, settings: dict[str, str], message: str) -> None:
    before = (copy / FROZEN).read_bytes()
    assert freeze(copy, **settings) == (1, "", f"{SCRIPT.name}: {message}\n")
    assert (copy / FROZEN).read_bytes() == before
    assert {path.name for path in (copy / "frozen_graphs").iterdir()} == {"SHA256SUMS", "frozen_linear_regression.pb"}


@pytest.mark.slow
def test_bad_graph_and_checkpoint(copy: Path) -> None:
    (copy / "exported_graphs" / "graphdef.pbtxt").write_text("node {")
    result = freeze(copy)
    assert (result.status, result.out) == (1, "")
    assert re.fullmatch(
        rf"{SCRIPT.name}: cannot freeze: exported_graphs/graphdef\.pbtxt with \S+: .*ParseError.*\n", result.err
    )


def test_flags_are_refused_and_help_is_given() -> None:
    for words in ("--frozen", "''", "'' x"):
        assert run_command(f"{SCRIPT} {words}").status == 2
    shown = run_command(f"{SCRIPT} --help")
    assert shown.status == 0
    for setting in ("INPUT_GRAPH", "INPUT_CHECKPOINT", "OUTPUT_GRAPH", "OUTPUT_NODE"):
        assert setting in shown.out


@pytest.mark.slow
def test_finds_its_python(copy: Path, tmp_path: Path) -> None:
    """Without an active environment it takes .venv beside it, and says so where there is none."""
    script = shutil.copy(SCRIPT, tmp_path)
    result = run_command(f"unset VIRTUAL_ENV CONDA_PREFIX; {script}", copy)
    said = f"no Python environment: {tmp_path}/.venv (run make venv, or activate the environment that has TensorFlow)"
    assert result == (1, "", f"{SCRIPT.name}: {said}\n")
    bin_folder = tmp_path / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "python").write_text(f'#!/bin/sh\necho used >> {tmp_path}/used\nexec python "$@"\n')
    os.chmod(bin_folder / "python", 0o755)
    for module in ("command_line.py", "graph_check.py", "graph_mode.py", "model_file.py"):
        shutil.copy(ROOT / module, tmp_path)
    assert run_command(f"unset VIRTUAL_ENV CONDA_PREFIX; {script}", copy).out == "Converted 2 variables to const ops.\n"
    assert (tmp_path / "used").exists()
