"""What only the Python consumer has: checkpoints, and what it imports. The rest is in test_conformance.py."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import ROOT, USER, Result, run_command
from model_import_export import digests
from model_import_export.graph_mode import tf
from test_conformance import processor_time

import pytest

FROZEN = "frozen_graphs/frozen_linear_regression.pb"
PLACEHOLDERS = (
    "[<tf.Tensor 'inputs/x_sample:0' shape=(?, ?) dtype=float64>, "
    "<tf.Tensor 'inputs/y_sample:0' shape=(?, ?) dtype=float64>]\n"
)
Consume = Callable[..., Result]


def numbers(out: str) -> list[float]:
    """The numbers on the results line."""
    (line,) = re.findall(r"^The calculation results : \[(.*)\]$", out, re.MULTILINE)
    return [float(text) for text in line.split()]


def error(result: Result, message: str) -> None:
    """Asserts that a result is this one line, and nothing else."""
    assert result == (1, "", f"model_consumer.py: {message}\n")


@pytest.fixture
def line(trained: Path) -> Callable[[float], float]:
    """The trained line in Python's own arithmetic, from the last line that the producer printed."""
    last = (trained / "producer.out").read_text().splitlines()[-1]
    slope, intercept = (
        float(re.search(rf"{name}: (\S+?),?$", part)[1])
        for name, part in zip(("slope", "intercept"), last.split(", ")[2:], strict=True)
    )
    return lambda x: slope * x + intercept


def test_newest_checkpoint(consume: Consume, line: Callable[[float], float]) -> None:
    result = consume()
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith(PLACEHOLDERS)
    assert result.out.count("\n") == 2
    assert numbers(result.out) == [line(0), line(1), line(-1), line(2)]


@pytest.mark.parametrize("model", ["saved_model", pytest.param(FROZEN, marks=pytest.mark.slow)])
def test_as_a_user_types_it(trained: Path, consume: Consume, model: str) -> None:
    """In a separate process that really imports TensorFlow, none of whose log reaches the terminal."""
    result = run_command(f"python {ROOT}/model_consumer.py --model {model}", trained)
    assert result == consume("--model", model)
    assert (result.status, result.err) == (0, "")


@pytest.mark.slow
def test_the_log_is_shown_to_those_who_ask_for_it(trained: Path, consume: Consume) -> None:
    result = run_command(f"python {ROOT}/model_consumer.py", trained, TF_CPP_MIN_LOG_LEVEL="0")
    assert (result.status, result.out) == (0, consume().out)
    assert "oneDNN" in result.err


def test_prefix_and_frozen_graph_agree(consume: Consume) -> None:
    newest = numbers(consume().out)
    assert numbers(consume("--model", "saved_model/linear_regression.ckpt-1900").out) == newest
    assert numbers(consume("--model", "saved_model/linear_regression.ckpt-1500").out) != newest
    frozen = consume("--model", FROZEN)
    assert frozen.out.count("\n") == 1
    assert numbers(frozen.out) == newest


@pytest.mark.slow
@pytest.mark.parametrize(("closed", "out"), [("<&-", ""), ("<&- 2>&-", ""), (">&-", ""), ("2>&- < rows", "one line")])
def test_streams_that_are_closed(trained: Path, tmp_path: Path, closed: str, out: str) -> None:
    (tmp_path / "rows").write_text("0\n")
    model = f"--model {trained / FROZEN} --checked {trained / digests.CHECKED}"
    result = run_command(f"python {ROOT}/model_consumer.py {model} --stdin {closed}", tmp_path)
    assert (result.status, result.err, len(result.out.splitlines())) == (0, "", len(out.splitlines()))


@pytest.mark.slow
def test_the_reader_of_its_results_may_go_away(trained: Path) -> None:
    consumer = f"python {ROOT}/model_consumer.py --model {FROZEN} --stdin"
    result = run_command(
        f"set -o pipefail; yes 1 | head -n 3000000 | {consumer} | head -n 1; echo ${{PIPESTATUS[2]}}", trained
    )
    assert (result.out.split()[1], result.err) == ("0", "")
    full = run_command(f"echo 1 | {consumer} > /dev/full", trained)
    assert (full.status, full.err) == (1, "model_consumer.py: No space left on device\n")


def test_checkpoint_of_tensorflow_1_8(consume: Consume) -> None:
    """Written as in 2018, and moved since: the op is `Add`, and the path in the state file is absolute."""
    result = consume("--model", ROOT / "tests" / "tensorflow_1_8")
    assert result.status == 0
    published = (ROOT / "tests" / "published_table.txt").read_text().splitlines()[2]
    slope, intercept = map(float, re.search(r"epoch: 200, .*slope: (\S+), intercept: (\S+)", published).groups())
    assert numbers(result.out) == pytest.approx([slope * x + intercept for x in (0, 1, -1, 2)], rel=1e-11)


@pytest.mark.parametrize("name", ["x_sample", "inputs/x_sample:0"])
def test_input_and_output_of_a_checkpoint_by_name(consume: Consume, name: str, line: Callable[[float], float]) -> None:
    result = consume("--input", name, "--output", "linear_regression/mul", "--x", "2")
    if name == "x_sample":
        error(result, "no such input: x_sample (the model has: inputs/x_sample, inputs/y_sample)")
    else:
        assert numbers(result.out) == [line(2) - line(0)] or numbers(result.out) == pytest.approx(
            [line(2) - line(0)], rel=1e-15
        )


@pytest.fixture
def checkpoints(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained checkpoints, to damage."""
    return Path(shutil.copytree(trained / "saved_model", tmp_path / "saved_model"))


@pytest.mark.parametrize("missing", [".meta", ".index", ".data"])
def test_steps_back_to_a_complete_checkpoint(consume: Consume, checkpoints: Path, missing: str) -> None:
    for path in checkpoints.glob(f"linear_regression.ckpt-1900{missing}*"):
        path.unlink()
    result = consume(folder=checkpoints.parent)
    assert (result.status, result.err) == (
        0,
        f"model_consumer.py: incomplete checkpoint: saved_model/linear_regression.ckpt-1900 has no {missing} file "
        "(using saved_model/linear_regression.ckpt-1800)\n",
    )
    older = consume("--model", "saved_model/linear_regression.ckpt-1800", folder=checkpoints.parent)
    assert result.out == older.out
    if missing != ".data":
        named = consume("--model", "saved_model/linear_regression.ckpt-1900", folder=checkpoints.parent)
        error(
            named,
            f"incomplete checkpoint: saved_model/linear_regression.ckpt-1900 has no {missing} file "
            "(give another one, or the folder)",
        )


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (b"", "no complete checkpoint: saved_model (give one of: ...)"),
        (b'model_checkpoint_path: "elsewhere"\n', "no complete checkpoint: saved_model (give one of: ...)"),
        (b"\xff\x00", "not a checkpoint's state file: saved_model/checkpoint (give the prefix of a checkpoint)"),
        (
            b"model_checkpoint_path: 5",
            "not a checkpoint's state file: saved_model/checkpoint (give the prefix of a checkpoint)",
        ),
        (None, "no file checkpoint: saved_model does not say which is the newest (give one of: ...)"),
    ],
)
def test_state_files_that_say_nothing(consume: Consume, checkpoints: Path, state: bytes | None, said: str) -> None:
    (checkpoints / "checkpoint").unlink()
    if state is not None:
        (checkpoints / "checkpoint").write_bytes(state)
    result = consume(folder=checkpoints.parent)
    assert (result.status, result.out) == (1, "")
    assert re.fullmatch(re.escape(f"model_consumer.py: {said}\n").replace(re.escape("..."), ".+"), result.err)


def test_state_files_are_parsed_as_tensorflow_does(consume: Consume, checkpoints: Path) -> None:
    """Carriage returns, indentation, a comment, no space after the colon, single quotes."""
    (checkpoints / "checkpoint").write_bytes(
        b"# the newest\r\n  model_checkpoint_path:'linear_regression.ckpt-1500'\r\n"
        b'all_model_checkpoint_paths : "linear_regression.ckpt-1500"\r\n'
    )
    assert tf.train.latest_checkpoint(str(checkpoints)) == str(checkpoints / "linear_regression.ckpt-1500")
    result = consume(folder=checkpoints.parent)
    assert result == consume("--model", "saved_model/linear_regression.ckpt-1500")


def test_no_model(consume: Consume) -> None:
    error(consume("--model", "nothing"), "no model: nothing (run python model_producer.py first, or give --model)")
    error(
        consume("--model", "saved_model/checkpoint"),
        "not a checkpoint: saved_model/checkpoint only says which is the newest (give its folder)",
    )
    error(
        consume("--model", "exported_graphs/graphdef.pbtxt"),
        "not checked: exported_graphs/graphdef.pbtxt (python model_check.py exported_graphs/graphdef.pbtxt checks it; "
        "--trust takes it as it is)",
    )


def test_one_file_of_a_checkpoint(consume: Consume) -> None:
    prefix = "saved_model/linear_regression.ckpt-1900"
    for ending in (".data-00000-of-00001", ".index", ".meta"):
        error(
            consume("--model", prefix + ending),
            f"not a checkpoint: {prefix}{ending} is one file of it (give the prefix {prefix})",
        )


def save_mlp(folder: Path, **settings: Any) -> tuple[float, Path]:
    """A checkpoint as a user trains it: Adam, a random batch, a loss. Returns W's sum, and the prefix."""
    folder.mkdir()
    with tf.Graph().as_default() as graph, tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 2], name="x")
        weights = tf.get_variable("W", initializer=[[1.0], [2.0]])
        y = tf.matmul(x, weights, name="y")
        noise = tf.random.uniform(tf.shape(y))
        step = tf.train.AdamOptimizer().minimize(tf.reduce_mean((y - noise) ** 2))
        session.run(tf.global_variables_initializer())
        session.run(step, {x: [[1.0, 1.0]]})
        meta = settings.pop("write_meta_graph", True)
        tf.train.Saver(**settings).save(session, str(folder / "m.ckpt"), write_meta_graph=meta)
        if not meta:
            tf.train.write_graph(graph, str(folder), "graph.pbtxt")
        return float(session.run(weights).sum()), folder / "m.ckpt"


@pytest.mark.parametrize("settings", [{}, {"write_version": 1}, {"sharded": True}, {"write_meta_graph": False}])
def test_checkpoints_of_others(consume: Consume, tmp_path: Path, settings: dict[str, Any]) -> None:
    """Whatever the training part holds, the output and the values of variables are pure calculation."""
    total, prefix = save_mlp(tmp_path / "mlp", **settings)
    for path in (prefix, prefix.parent):
        result = consume("--model", path, "--output", "y", "--x", "1,1")
        assert (result.status, result.err) == (0, "")
        assert numbers(result.out) == pytest.approx([total], rel=1e-6)
    assert sum(numbers(consume("--model", prefix, "--output", "W", "--x", "1,1").out)) == pytest.approx(total, rel=1e-6)
    refused = consume("--model", prefix, "--output", "Adam/none", "--x", "1,1")
    assert refused.err.startswith("model_consumer.py: no such output: Adam/none (the model ends in: ")
    trains = consume("--model", prefix, "--output", "W/Adam", "--x", "1,1")
    assert trains.status == 0


def test_a_lost_shard_is_named(consume: Consume, tmp_path: Path) -> None:
    _, prefix = save_mlp(tmp_path / "mlp", sharded=True)
    for name, other in ((".data-00000-of-00001", ".data-00000-of-00002"),):
        os.rename(f"{prefix}{name}", f"{prefix}{other}")
    said = f"incomplete checkpoint: {prefix} has no .data-00001-of-00002 file (give another one, or the folder)"
    error(consume("--model", prefix, "--output", "y", "--x", "1,1"), said)


def test_a_checkpoint_of_tensorflow_2_is_named_as_such(consume: Consume, tmp_path: Path) -> None:
    script = "import tensorflow as tf; tf.train.Checkpoint(v=tf.Variable(1.0)).write('object')"
    assert run_command(f'python -c "{script}"', tmp_path).status == 0
    result = consume("--model", "object", folder=tmp_path)
    assert re.fullmatch(
        r"model_consumer\.py: not a checkpoint of TensorFlow 1: object is an object-based .*\n", result.err
    )


def test_a_path_that_tensorflow_takes_for_a_pattern(consume: Consume, checkpoints: Path) -> None:
    folder = checkpoints.rename(checkpoints.with_name("a[1]"))
    said = f"not a path that TensorFlow restores from: {folder}/linear_regression.ckpt-1900 has [ in it (rename it)"
    error(consume("--model", folder), said)


def test_checkpoint_of_another_model(consume: Consume, tmp_path: Path, checkpoints: Path) -> None:
    _, prefix = save_mlp(tmp_path / "other")
    result = consume("--model", prefix, "--x", "1,1")
    assert result.err.startswith("model_consumer.py: no such output: linear_regression/add (the model ends in: ")
    for ending in (".index", ".data-00000-of-00001"):
        shutil.copy(f"{prefix}{ending}", checkpoints / f"linear_regression.ckpt-1900{ending}")
    result = consume(folder=tmp_path)
    assert (result.status, result.out) == (1, "")
    assert re.fullmatch(r"model_consumer\.py: .*Key model_variables/\w+ not found in checkpoint.*\n", result.err)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".data-00000-of-00001", ".index", ".meta"])
def test_flipped_and_truncated_files(consume: Consume, checkpoints: Path, ending: str) -> None:
    """A changed file is refused in one line, or changes nothing; it never gives wrong numbers silently."""
    path = checkpoints / f"linear_regression.ckpt-1900{ending}"
    data = path.read_bytes()
    right = consume(folder=checkpoints.parent)
    for i in range(3, len(data), max(1, len(data) // 4)):
        for changed in (data[:i] + bytes([data[i] ^ 16]) + data[i + 1 :], data[:i]):
            path.write_bytes(changed)
            result = consume(folder=checkpoints.parent)
            if result != right:
                assert (result.status, result.out) == (1, ""), i
                assert re.fullmatch(r"model_consumer\.py: .+\n", result.err), i


def test_a_graph_that_reads_is_refused(consume: Consume, checkpoints: Path) -> None:
    """Reading is refused upstream of the output and while restoring; it may be in parts that are not asked for."""
    meta_path = checkpoints / "linear_regression.ckpt-1900.meta"
    original = tf.MetaGraphDef.FromString(meta_path.read_bytes())
    for target, said in (
        (
            "linear_regression/add",
            "operations not allowed: ReadFile in node read (--allow-op ReadFile accepts them...)",
        ),
        ("save/restore_all", "operations not allowed: ReadFile in node read (--allow-op ReadFile accepts them...)"),
        (None, None),
    ):
        meta = tf.MetaGraphDef.FromString(original.SerializeToString())
        name = meta.graph_def.node.add(name="name", op="Const")
        name.attr["dtype"].type = tf.string.as_datatype_enum
        name.attr["value"].tensor.CopyFrom(tf.make_tensor_proto("/etc/passwd"))
        meta.graph_def.node.add(name="read", op="ReadFile", input=["name"])
        if target:
            next(node for node in meta.graph_def.node if node.name == target).input.append("^read")
        meta_path.write_bytes(meta.SerializeToString())
        result = consume(folder=checkpoints.parent)
        if target:
            assert re.fullmatch(re.escape(f"model_consumer.py: {said}\n").replace(re.escape("..."), ".*"), result.err)
        else:
            assert (result.status, result.err) == (0, "")


def test_does_not_import_tensorflow_where_it_needs_none(trained: Path) -> None:
    for flags in ("--help", "--version", "--modle x", "--model nothing.pb", f"--model {FROZEN} --checked nothing"):
        result = run_command(f"python -X importtime {ROOT}/model_consumer.py {flags}", trained)
        assert "| tensorflow" not in re.sub(r"\| +", "| ", result.err)
        assert "| numpy" in re.sub(r"\| +", "| ", result.err), "what it imports is seen"


@pytest.mark.slow
def test_ctrl_c_ends_a_long_calculation(tmp_path: Path) -> None:
    """The signal is handled while TensorFlow calculates, not only between two Python instructions."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float64, [None, None], name="x")
        y = tf.constant(1.0, tf.float64, [1024, 1024]) + x
        for _ in range(900):
            y = tf.matmul(y, y)
        tf.identity(y, name="y")
    (tmp_path / "long.pb").write_bytes(graph.as_graph_def().SerializeToString())
    flags = ["--model", "long.pb", "--x", "1", "--trust"]
    command = [sys.executable, str(ROOT / "model_consumer.py"), *flags]
    with subprocess.Popen(command, cwd=tmp_path, env=USER, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while processor_time(process.pid) < 9 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.2)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"model_consumer.py: interrupted\n")
    assert time.monotonic() - started < 3
