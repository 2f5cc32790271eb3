"""The Python consumer: checkpoints, frozen graphs and SavedModels; the whole command line; what bad input gets."""

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

import pytest

from conftest import ROOT, USER, Result, run_command
from model_import_export.graph_mode import tf

FROZEN = "frozen_graphs/frozen_linear_regression.pb"
PLACEHOLDERS = (
    "[<tf.Tensor 'inputs/x_sample:0' shape=(?, ?) dtype=float64>, "
    "<tf.Tensor 'inputs/y_sample:0' shape=(?, ?) dtype=float64>]\n"
)
Consume = Callable[..., Result]


def numbers(out: str) -> list[float]:
    """The numbers of the results line."""
    (line,) = re.findall(r"^The calculation results : \[(.*)\]$", out, re.MULTILINE)
    return [float(text) for text in line.split()]


def error(result: Result, message: str) -> None:
    """The result is this one line, and nothing else."""
    assert result == (1, "", f"model_consumer.py: {message}\n")


@pytest.fixture
def line(trained: Path) -> Callable[[float], float]:
    """The line that was trained, in Python's own arithmetic, from the last line that the producer printed."""
    last = (trained / "producer.out").read_text().splitlines()[-1]
    slope, intercept = (
        float(re.search(rf"{name}: (\S+?),?$", part)[1])
        for name, part in zip(("slope", "intercept"), last.split(", ")[2:], strict=True)
    )
    return lambda x: slope * x + intercept


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small models: frozen graphs and SavedModels, made by TensorFlow itself."""
    folder = tmp_path_factory.mktemp("models")

    def freeze(name: str, build: Callable[[], Any]) -> None:
        with tf.Graph().as_default() as graph:
            tf.identity(build(), name="y")
        (folder / name).write_bytes(graph.as_graph_def().SerializeToString())

    freeze("float32.pb", lambda: tf.placeholder(tf.float32, [None, None], name="x") * 1.5 - 3)
    freeze("scalar.pb", lambda: tf.placeholder(tf.float64, [], name="x") * 2)
    freeze(
        "sum10.pb", lambda: tf.reduce_sum(tf.placeholder(tf.float32, [None, 10], name="x"), 1, keepdims=True) >= 47.5
    )
    freeze("total.pb", lambda: tf.reduce_sum(tf.placeholder(tf.float64, [None], name="x")))
    freeze("pair.pb", lambda: tf.placeholder(tf.float64, [None, 2], name="x") * [[1.0, 10.0]])
    freeze("flip.pb", lambda: tf.transpose(tf.placeholder(tf.float64, [None, 2], name="x")))
    freeze(
        "keep.pb",
        lambda: tf.placeholder(tf.float64, [None, None], name="x") / tf.placeholder(tf.float64, name="keep_prob"),
    )
    freeze("count.pb", lambda: tf.cast(tf.placeholder(tf.float64, [None], name="x"), tf.int32))
    freeze("random.pb", lambda: tf.placeholder(tf.float64, [None], name="x") + tf.random.uniform([], dtype=tf.float64))

    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float64, [None, None], name="in")
        slope = tf.get_variable("slope", initializer=tf.constant(2.0, tf.float64))
        session.run(tf.global_variables_initializer())
        builder = tf.saved_model.builder.SavedModelBuilder(str(folder / "saved"))
        predict = tf.saved_model.predict_signature_def
        signatures = {
            "serving_default": predict({"x": x}, {"y": slope * x}),
            "two": predict({"x": x}, {"double": slope * x, "triple": 3 * x}),
        }
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    shutil.copytree(folder / "saved", folder / "text")
    (folder / "text" / "saved_model.pb").unlink()
    from google.protobuf import text_format
    from tensorflow.core.protobuf import saved_model_pb2

    proto = saved_model_pb2.SavedModel.FromString((folder / "saved" / "saved_model.pb").read_bytes())
    (folder / "text" / "saved_model.pbtxt").write_text(text_format.MessageToString(proto))
    return folder


def test_newest_checkpoint(consume: Consume, line: Callable[[float], float]) -> None:
    result = consume()
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith(PLACEHOLDERS)
    assert result.out.count("\n") == 2
    assert numbers(result.out) == [line(0), line(1), line(-1), line(2)]


@pytest.mark.parametrize(
    "model", ["saved_model", *(pytest.param(m, marks=pytest.mark.slow) for m in (FROZEN, "saved"))]
)
def test_as_a_user_types_it(trained: Path, models: Path, consume: Consume, model: str) -> None:
    """In a process of its own, TensorFlow imported for real: not a word of its log reaches the terminal."""
    path = models / model if model == "saved" else model
    result = run_command(f"python {ROOT}/model_consumer.py --model {path}", trained)
    assert result == consume("--model", path)
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


@pytest.mark.parametrize("flags", [["--x", "-1,2"], ["--x=-1,2"], ["-x", "-1,2"], ["-x=-1,2"], ["--x", "-1.0,+2e0"]])
def test_numbers_on_the_command_line(consume: Consume, line: Callable[[float], float], flags: list[str]) -> None:
    assert numbers(consume("-model", FROZEN, *flags).out) == [line(-1), line(2)]


def test_numbers_at_the_edges(consume: Consume, line: Callable[[float], float]) -> None:
    result = consume("--model", FROZEN, "--x", "nan,-inf,1e308,-0,5e-324,1e22")
    shown = result.out.split("[")[1].strip("]\n").split()
    assert shown[:2] == ["NaN", "-Inf"]
    assert [float(text) for text in shown[2:]] == [line(1e308), line(-0.0), line(5e-324), line(1e22)]


def test_subnormals_survive(models: Path, consume: Consume) -> None:
    """TensorFlow's pool threads flush them to zero; neither one number nor 10,000 go there."""
    for count in (1, 10_000):
        flags = (
            ("--model", models / "scalar.pb")
            if count == 1
            else ("--model", models / "keep.pb", "--feed", "keep_prob=0.5")
        )
        result = consume(*flags, "--input", "x", "--output", "y", "--x", ",".join(["5e-324"] * count))
        assert result.out == f"The calculation results : [{' '.join(['1e-323'] * count)}]\n"


def test_10000_numbers_both_ways(consume: Consume, line: Callable[[float], float]) -> None:
    xs = [i * 0.37 - 1850 for i in range(10_000)]
    by_flag = numbers(consume("--model", FROZEN, "--x", ",".join(map(str, xs))).out)
    by_row = consume("--model", FROZEN, "--stdin", stdin="\n".join(map(str, xs)))
    assert by_flag == list(map(float, by_row.out.split())) == list(map(line, xs))


def test_stdin(consume: Consume, line: Callable[[float], float]) -> None:
    assert consume("--stdin") == (0, "", ""), "no input, no output"
    assert consume("--stdin", stdin="1\r\n2\r\n").out == f"{line(1)}\n{line(2)}\n"
    result = consume("--stdin", stdin="1\n2\n\n3\n")
    assert result == (1, f"{line(1)}\n{line(2)}\n", "model_consumer.py: not a number:  on line 3\n")


def test_stdin_answers_while_the_input_goes_on(trained: Path) -> None:
    command = [sys.executable, str(ROOT / "model_consumer.py"), "--model", FROZEN, "--stdin"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=trained, env=USER, text=True, **pipes) as process:
        for x in ("0", "1"):
            process.stdin.write(f"{x}\n")
            process.stdin.flush()
            assert float(process.stdout.readline())
        started = time.monotonic()
        process.send_signal(signal.SIGINT)  # standard input still open
        assert process.wait(30) == 130
        assert (process.stdout.read(), process.stderr.read()) == ("", "")
    assert time.monotonic() - started < 5


@pytest.mark.slow
@pytest.mark.parametrize(("closed", "out"), [("<&-", ""), ("<&- 2>&-", ""), (">&-", ""), ("2>&- < rows", "one line")])
def test_streams_that_are_closed(trained: Path, tmp_path: Path, closed: str, out: str) -> None:
    (tmp_path / "rows").write_text("0\n")
    result = run_command(f"python {ROOT}/model_consumer.py --model {trained / FROZEN} --stdin {closed}", tmp_path)
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


@pytest.mark.parametrize(
    ("model", "xs", "stdin", "by_flag", "by_row"),
    [
        ("float32.pb", "0,1,0.1", "0\n1\n0.1\n", "-3 -1.5 -2.85", "-3\n-1.5\n-2.85\n"),
        ("scalar.pb", "1.5", "1.5\n-2\n", "3", "3\n-4\n"),
        (
            "sum10.pb",
            "5,5,5,5,5,5,5,5,5,5,0,1,2,3,4,5,6,7,8,9",
            "5,5,5,5,5,5,5,5,5,5\n0,1,2,3,4,5,6,7,8,9\n",
            "true false",
            "true\nfalse\n",
        ),
        ("total.pb", "1,2,3", "1\n2\n3\n", "6", "1\n2\n3\n"),
        ("pair.pb", "1,2,3,4", "1,2\n3,4\n", "1 20 3 40", "1,20\n3,40\n"),
        ("count.pb", "1.7,-2.2", "1.7\n-2.2\n", "1 -2", "1\n-2\n"),
    ],
)
def test_models_of_your_own(
    consume: Consume, models: Path, model: str, xs: str, stdin: str, by_flag: str, by_row: str
) -> None:
    flags = ("--model", models / model, "--input", "x", "--output", "y:0")
    assert consume(*flags, "--x", xs) == (0, f"The calculation results : [{by_flag}]\n", "")
    assert consume(*flags, "--stdin", stdin=stdin) == (0, by_row, "")


def test_a_result_that_is_not_one_a_row(consume: Consume, models: Path) -> None:
    flags = ("--model", models / "flip.pb", "--input", "x", "--output", "y", "--allow-op", "Transpose")
    result = consume(*flags, "--stdin", stdin="1,2\n3,4\n5,6\n")
    assert result.status == 0
    assert result.out == "1,2\n3,4\n5,6\n", "a column a row, asked one by one"


def test_further_placeholders(consume: Consume, models: Path) -> None:
    flags = ("--model", models / "keep.pb", "--input", "x", "--output", "y", "--x", "1,2")
    assert consume(*flags, "--feed", "keep_prob=0.5").out == "The calculation results : [2 4]\n"
    error(consume(*flags), "no value for the placeholder: keep_prob (give --feed keep_prob=...)")
    error(consume(*flags, "--feed", "keep=1"), "no such input: keep (the model has: x, keep_prob)")
    error(consume(*flags, "--feed", "keep_prob=a"), "not a number: a in --feed keep_prob")
    error(consume(*flags, "--feed", "x=1"), "fed twice: x in --feed x")


@pytest.mark.parametrize("form", ["saved", "text"])
def test_saved_model(consume: Consume, models: Path, form: str) -> None:
    model = ("--model", models / form)
    assert consume(*model, "--x", "1,2") == (0, "The calculation results : [2 4]\n", "")
    assert (
        consume(*model, "--signature", "two", "--output", "triple", "--x", "1,2").out
        == "The calculation results : [3 6]\n"
    )
    assert consume(*model, "--stdin", stdin="1\n2\n").out == "2\n4\n"
    error(consume(*model, "--signature", "two"), "no such output: (none given) (the model has: double, triple)")
    error(consume(*model, "--input", "z"), "no such input: z (the model has: x)")
    error(consume(*model, "--tag", "train"), "no such tag: train (the model has: serve)")
    error(consume(*model, "--signature", "z"), "no such signature: z (the model has: serving_default, two)")


def test_saved_model_of_tensorflow_2_needs_trust(consume: Consume, tmp_path: Path) -> None:
    script = """
import tensorflow as tf
class Doubler(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float64, name="x")])
    def __call__(self, x):
        return {"y": 2 * x}
doubler = Doubler()
tf.saved_model.save(doubler, "model", signatures=doubler.__call__)
"""
    (tmp_path / "save.py").write_text(script)
    assert run_command("python save.py", tmp_path).status == 0
    refused = consume("--model", tmp_path / "model")
    assert refused.status == 1
    assert re.fullmatch(
        r"model_consumer\.py: refused graph: it has a function library.*\(--trust accepts it.*\)\n", refused.err
    )
    trusted = consume("--model", tmp_path / "model", "--trust", "--x", "1,2")
    assert trusted == (0, "The calculation results : [2 4]\n", "")


def test_list(consume: Consume, models: Path, trained: Path) -> None:
    version = f"TensorFlow version: {tf.__version__}\n"
    graph_def = tf.GraphDef.FromString((trained / FROZEN).read_bytes())
    frozen = consume("--model", FROZEN, "--list")
    assert frozen == (
        0,
        "placeholder: inputs/x_sample float64 [?, ?]\noutput: linear_regression/add float64 [?, ?]\n"
        f"operations: {len(graph_def.node)}\nproducer version: {graph_def.versions.producer}\n{version}",
        "",
    )
    checkpoint = consume("--list").out
    assert "placeholder: inputs/y_sample float64 [?, ?]\n" in checkpoint
    assert "operations: 118\n" in checkpoint
    saved = consume("--model", models / "saved", "--list").out
    assert "signature: two\n  input: x = in float64 [?, ?]\n  output: double = " in saved


def test_checkpoint_of_tensorflow_1_8(consume: Consume) -> None:
    """Written in 2018's way, its folder moved since: the op is `Add`, the state file's path is absolute."""
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
    """A copy of the trained checkpoints, to break."""
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


def test_no_complete_checkpoint(consume: Consume, tmp_path: Path, checkpoints: Path) -> None:
    for state in (b"", b"\xff\x00", b'model_checkpoint_path: "elsewhere"\n', b"model_checkpoint_path: 5"):
        (checkpoints / "checkpoint").write_bytes(state)
        missing = "no complete checkpoint: saved_model (run python model_producer.py first)"
        error(consume(folder=tmp_path), missing)
    (checkpoints / "checkpoint").unlink()
    error(consume(folder=tmp_path), missing)
    error(consume("--model", "nothing"), "no model: nothing (run python model_producer.py first, or give --model)")
    error(
        consume("--model", "nothing.pb"),
        "no model: nothing.pb (run ./freeze_graph_linear_regression.sh first, or give --model)",
    )


def test_one_file_of_a_checkpoint(consume: Consume) -> None:
    prefix = "saved_model/linear_regression.ckpt-1900"
    for ending in (".data-00000-of-00001", ".index", ".meta"):
        error(
            consume("--model", prefix + ending),
            f"not a checkpoint: {prefix}{ending} is one file of it (give the prefix {prefix})",
        )


def test_checkpoint_of_another_model(consume: Consume, tmp_path: Path, checkpoints: Path) -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        weights = tf.get_variable("weights", initializer=tf.constant(1.0))
        session.run(weights.initializer)
        tf.train.Saver([weights]).save(session, str(tmp_path / "other" / "ckpt"))
    result = consume("--model", tmp_path / "other")
    assert result.err.startswith(f"model_consumer.py: no collection inputs: {tmp_path}/other/ckpt.meta (it has: ")
    assert result.err.endswith("; give --input)\n")
    for ending in (".index", ".data-00000-of-00001"):
        shutil.copy(tmp_path / "other" / f"ckpt{ending}", checkpoints / f"linear_regression.ckpt-1900{ending}")
    result = consume(folder=tmp_path)
    assert (result.status, result.out) == (1, "")
    assert re.fullmatch(r"model_consumer\.py: .*Key model_variables/\w+ not found in checkpoint.*\n", result.err)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".data-00000-of-00001", ".index", ".meta"])
def test_flipped_and_truncated_files(consume: Consume, checkpoints: Path, ending: str) -> None:
    """A changed file is refused in one line, or changes nothing; numbers that are silently wrong do not come out."""
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


def test_refused_graphs(consume: Consume, models: Path, trained: Path) -> None:
    flags = ("--model", models / "random.pb", "--input", "x", "--output", "y", "--x", "1")
    refused = (
        r"operation not allowed: RandomUniform in node \S+ \(--allow-op RandomUniform accepts it, --trust accepts all\)"
    )
    result = consume(*flags)
    assert (result.status, result.out) == (1, "")
    assert re.fullmatch(rf"model_consumer\.py: {refused}\n", result.err)
    for accepted in (["--allow-op", "RandomUniform"], ["--trust"]):
        assert 1 <= numbers(consume(*flags, *accepted).out)[0] < 2
    error(
        consume("--model", "exported_graphs/graphdef.pbtxt"),
        "operation not allowed: VariableV2 in node model_variables/slope "
        "(--allow-op VariableV2 accepts it, --trust accepts all)",
    )
    uninitialized = consume("--model", "exported_graphs/graphdef.pbtxt", "--trust")
    assert uninitialized.status == 1
    assert re.fullmatch(r"model_consumer\.py: .*uninitialized value model_variables/\w+.*\n", uninitialized.err)
    text = consume("--model", "saved_model/checkpoint")
    assert re.fullmatch(r"model_consumer\.py: not a GraphDef: saved_model/checkpoint: .+\n", text.err)


def test_files_that_are_not_the_models(consume: Consume, checkpoints: Path, models: Path, tmp_path: Path) -> None:
    meta_path = checkpoints / "linear_regression.ckpt-1900.meta"
    meta = tf.MetaGraphDef.FromString(meta_path.read_bytes())
    restore = next(node for node in meta.graph_def.node if node.name == "save/RestoreV2")
    restore.input[0] = "save/SaveV2/tensor_names"
    meta_path.write_bytes(meta.SerializeToString())
    error(consume(folder=tmp_path), "refused graph: node save/RestoreV2 restores from a file that is not the model's")
    for path in (checkpoints / "checkpoint", meta_path):
        path.unlink()
        os.mkfifo(path)
    fifo = "not a usable model file: saved_model/checkpoint is not a regular file"
    error(consume(folder=tmp_path), fifo)


@pytest.mark.parametrize(("asset", "accepted"), [(True, True), (False, False)])
def test_a_table_reads_an_asset_alone(consume: Consume, tmp_path: Path, asset: bool, accepted: bool) -> None:
    (tmp_path / "words.txt").write_text("a\nb\n")
    with tf.Graph().as_default(), tf.Session() as session:
        name = tf.constant(str(tmp_path / "words.txt"))
        if asset:
            tf.add_to_collection(tf.GraphKeys.ASSET_FILEPATHS, name)
        table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                name, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            ),
            -1,
        )
        x = tf.placeholder(tf.float64, [None], name="x")
        y = x + tf.cast(table.lookup(tf.constant(["b"])), tf.float64)
        slope = tf.get_variable("slope", initializer=1.0)
        session.run([slope.initializer, tf.tables_initializer()])
        builder = tf.saved_model.builder.SavedModelBuilder(str(tmp_path / "model"))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": tf.saved_model.predict_signature_def({"x": x}, {"y": y})},
            assets_collection=tf.get_collection(tf.GraphKeys.ASSET_FILEPATHS) if asset else None,
            main_op=tf.tables_initializer(),
        )
        builder.save()
    result = consume("--model", tmp_path / "model", "--x", "5")
    if accepted:
        assert result == (0, "The calculation results : [6]\n", "")
    else:
        assert result.status == 1
        assert re.fullmatch(r".*: refused graph: node \S+ reads a file that is not an asset of the model\n", result.err)


@pytest.mark.parametrize("writer", ["save/restore_all", "linear_regression/add"])
def test_a_graph_that_writes_when_it_is_used(consume: Consume, checkpoints: Path, tmp_path: Path, writer: str) -> None:
    meta_path = checkpoints / "linear_regression.ckpt-1900.meta"
    meta = tf.MetaGraphDef.FromString(meta_path.read_bytes())
    restore = next(node for node in meta.graph_def.node if node.name == writer)
    restore.input.append("^save/SaveV2")
    meta_path.write_bytes(meta.SerializeToString())
    before = {path: path.read_bytes() for path in checkpoints.iterdir()}
    said = "refused graph: node save/SaveV2 would write a file when the model is used"
    error(consume(folder=tmp_path), said)
    error(consume("--output", "linear_regression/add", folder=tmp_path), said)
    assert before == {path: path.read_bytes() for path in checkpoints.iterdir()}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--x", "argument -x/--x: expected one argument"),
        ("--feed keep_prob", "argument --feed: not NAME=LIST: keep_prob"),
        ("--stdin --x 1", "argument -x/--x: not allowed with argument --stdin"),
        ("--modle x", "unrecognized arguments: --modle x"),
        ("1 2", "unrecognized arguments: 1 2"),
    ],
)
def test_wrong_flags(flags: str, message: str) -> None:
    result = run_command(f"python model_consumer.py {flags}")
    assert result.status == 2
    assert result.out == ""
    assert result.err.replace("argument --x:", "argument -x/--x:") == (
        f"model_consumer.py: {message} (--help lists the flags)\n"
    )


def test_does_not_import_tensorflow_where_it_needs_none(trained: Path) -> None:
    for flags in ("--help", "--modle x", "--model nothing.pb"):
        result = run_command(f"python -X importtime {ROOT}/model_consumer.py {flags}", trained)
        assert "| tensorflow" not in result.err.replace("|   ", "| ")
        assert "| numpy" in re.sub(r"\| +", "| ", result.err), "what it imports is seen"
    help_text = run_command("python model_consumer.py --help").out
    for flag in (
        "--model PATH",
        "--input NAME",
        "--output NAME",
        "--tag NAME",
        "--signature NAME",
        "--x LIST",
        "--feed NAME=LIST",
        "--stdin",
        "--allow-op OP",
        "--trust",
        "--list",
    ):
        assert flag in help_text


@pytest.mark.slow
def test_ctrl_c_ends_a_long_calculation(tmp_path: Path) -> None:
    """The signal is heeded while TensorFlow calculates, not only between two of Python's instructions."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float64, [None, None], name="x")
        y = tf.constant(1.0, tf.float64, [1024, 1024]) + x
        for _ in range(900):
            y = tf.matmul(y, y)
        tf.identity(y, name="y")
    (tmp_path / "long.pb").write_bytes(graph.as_graph_def().SerializeToString())
    flags = ["--model", "long.pb", "--input", "x", "--output", "y", "--x", "1", "--trust"]
    command = [sys.executable, str(ROOT / "model_consumer.py"), *flags]
    with subprocess.Popen(command, cwd=tmp_path, env=USER, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while _processor_time(process.pid) < 9 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.2)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"")
    assert time.monotonic() - started < 3


def _processor_time(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
