"""The freeze script: what it freezes, what else it writes, and how it handles bad input."""

import hashlib
import os
import re
import shlex
import shutil
import stat
import sys
from pathlib import Path

from conftest import ROOT, Result, run_command
from model_import_export.graph_mode import tf

import pytest

SCRIPT = ROOT / "freeze_graph_linear_regression.sh"
FROZEN = "frozen_graphs/frozen_linear_regression.pb"


def listed(path: str, variables: int = 2) -> str:
    """What the script prints about a frozen regression."""
    operations, node = (7, "add") if variables == 2 else (4, "mul")
    return (
        f"{path}: frozen graph, {operations} operations, written by TensorFlow {tf.__version__} "
        f"(producer {tf.version.GRAPH_DEF_VERSION})\ninput  inputs/x_sample float64 [?, ?]\n"
        f"output linear_regression/{node} float64 [?, ?]\npure calculation; its digest is in frozen_graphs/SHA256SUMS\n"
    )


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
    assert result == (0, listed("-a b/c/model.pb", variables=1), "")
    graph_def = tf.GraphDef.FromString((copy / "-a b" / "c" / "model.pb").read_bytes())
    (constant,) = (tf.make_ndarray(node.attr["value"].tensor) for node in graph_def.node if node.op == "Const")
    assert constant == tf.train.load_checkpoint(str(copy / checkpoint)).get_tensor("model_variables/slope")
    graph_def = tf.MetaGraphDef.FromString((copy / f"{checkpoint}.meta").read_bytes()).graph_def
    (copy / "binary.pb").write_bytes(graph_def.SerializeToString())
    assert freeze(copy, INPUT_GRAPH="binary.pb") == (0, listed(FROZEN), "")


def test_a_checkpoint_brings_its_graph(tmp_path: Path) -> None:
    """If only INPUT_CHECKPOINT is given, its .meta is used, not the regression's graph."""
    with tf.Graph().as_default(), tf.Session() as session:
        v = tf.get_variable("v", initializer=2.0)
        tf.multiply(tf.placeholder(tf.float32, [None], name="x"), v, name="y")
        session.run(v.initializer)
        tf.train.Saver().save(session, str(tmp_path / "other" / "ckpt"))
    result = freeze(tmp_path, INPUT_CHECKPOINT="other", OUTPUT_NODE="y")
    assert (result.status, result.err) == (0, "")
    assert "\noutput y float32 [?]\n" in result.out


@pytest.mark.parametrize("name", ["a\rb.pb", "a\nb.pb", "a\\b.pb", "-a.pb", "a b.pb"])
def test_names_of_every_kind(copy: Path, name: str) -> None:
    result = freeze(copy, OUTPUT_GRAPH=name, CDPATH="/tmp:/etc")
    assert (result.status, result.err) == (0, "")
    sums = copy / "frozen_graphs" / "SHA256SUMS"
    digest = hashlib.sha256((copy / name).read_bytes()).hexdigest()
    assert digest in sums.read_text()
    assert run_command("cd frozen_graphs && sha256sum -c SHA256SUMS", copy).status == 0
    python = sys.executable
    assert run_command(f"{python} {ROOT}/model_consumer.py --model='./'{shlex.quote(name)}", copy).status == 0


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
            "no checkpoint: nothing (run python model_producer.py first, or name another)",
        ),
        ({"INPUT_CHECKPOINT": "summaries"}, "no complete checkpoint: summaries (run python model_producer.py first)"),
        ({"OUTPUT_GRAPH": "summaries"}, "not a regular file: summaries (it would be replaced; set OUTPUT_GRAPH)"),
        ({"OUTPUT_GRAPH": "device"}, "not a regular file: device (it would be replaced; set OUTPUT_GRAPH)"),
        ({"OUTPUT_GRAPH": "fifo"}, "not a regular file: fifo (it would be replaced; set OUTPUT_GRAPH)"),
        (
            {"OUTPUT_GRAPH": "frozen_graphs/SHA256SUMS"},
            "not a name for a graph: frozen_graphs/SHA256SUMS (set OUTPUT_GRAPH)",
        ),
        ({"OUTPUT_GRAPH": "new/"}, "not a name for a graph: new/ (set OUTPUT_GRAPH)"),
        (
            {"OUTPUT_GRAPH": "producer.out/model.pb"},
            "cannot make the folder of producer.out/model.pb (set OUTPUT_GRAPH)",
        ),
        (
            {"OUTPUT_NODE": "y"},
            "cannot freeze: exported_graphs/graphdef.pbtxt with saved_model/linear_regression.ckpt-1900: "
            "AssertionError: y is not in graph (OUTPUT_NODE is y)",
        ),
    ],
)
def test_bad_settings(copy: Path, settings: dict[str, str], message: str) -> None:
    os.mkfifo(copy / "fifo")
    if settings.get("OUTPUT_GRAPH") == "device":
        try:
            os.mknod(copy / "device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root makes device nodes")
    before = {path: path.read_bytes() for path in (copy / "frozen_graphs").iterdir()}
    assert freeze(copy, **settings) == (1, "", f"{SCRIPT.name}: {message}\n")
    assert {path: path.read_bytes() for path in (copy / "frozen_graphs").iterdir()} == before
    kinds = stat.S_ISFIFO((copy / "fifo").stat().st_mode), not (copy / "device").exists() or (copy / "device").is_file()
    assert kinds == (True, not (copy / "device").exists())


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
    """Without an active environment it uses the .venv next to it, and says so if there is none."""
    script = shutil.copy(SCRIPT, tmp_path)
    result = run_command(f"unset VIRTUAL_ENV CONDA_PREFIX; {script}", copy)
    said = f"no Python environment: {tmp_path}/.venv (run make venv, or activate the environment that has TensorFlow)"
    assert result == (1, "", f"{SCRIPT.name}: {said}\n")
    bin_folder = tmp_path / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    (bin_folder / "python").write_text(f'#!/bin/sh\necho used >> {tmp_path}/used\nexec python "$@"\n')
    os.chmod(bin_folder / "python", 0o755)
    shutil.copytree(ROOT / "model_import_export", tmp_path / "model_import_export")
    shutil.copy(ROOT / "model_check.py", tmp_path)
    assert run_command(f"unset VIRTUAL_ENV CONDA_PREFIX; {script}", copy) == (0, listed(FROZEN), "")
    assert (tmp_path / "used").exists()
