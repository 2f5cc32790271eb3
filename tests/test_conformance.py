"""The three consumers are alike: the same bytes for the same model and numbers, the same words for the same fault."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow.core.protobuf import saved_model_pb2

import bad_models
from conftest import ROOT, USER, Result, run_command, run_program
from model_import_export import command_line, graph_check, model_file, rows
from model_import_export.graph_mode import tf

GO = ROOT / "go_consumer" / "go_consumer"
JAVA = ROOT / "java_consumer" / "target"
# A JVM that does not compile what it will not run long: it takes half the processor time to start.
COMMANDS = {
    "Go": [str(GO)],
    "Java": ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-jar", str(JAVA / "java_consumer.jar")],
}
PROGRAMS = {"Python": "model_consumer.py", "Go": "go_consumer", "Java": "java_consumer"}
LANGUAGES = list(PROGRAMS)
OTHERS = list(COMMANDS)
FROZEN = "frozen_graphs/frozen_linear_regression.pb"
EDGES = "0,-0,5e-324,-5e-324,1e-308,2.2250738585072014e-308,1e308,-1.7976931348623157e308,nan,inf,-inf,1e22,1e-5,0.1"
FLOAT32_EDGES = "0,-0,1e-45,1e-38,3.4028235e38,nan,inf,-inf,1e22,1e-5,0.1,1.00000005960464477540"


def run_consumer(language: str, *flags: object, folder: Path, stdin: str | bytes = "") -> Result:
    """Runs a consumer with these flags in that folder."""
    if language == "Python":
        return run_program("model_consumer.py", *flags, folder=folder, stdin=stdin)
    done = subprocess.run(
        [*COMMANDS[language], *map(str, flags)],
        cwd=folder,
        env=USER,
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        timeout=120,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def anonymous(language: str, result: Result) -> Result:
    """The result without the program's name and the reason that a language's own parser gives."""
    err = result.err.removeprefix(f"{PROGRAMS[language]}: ")
    return result._replace(err=re.sub(r"(not a \w+: \S+: ).*", r"\1...", err))


@pytest.fixture(scope="module")
def models(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models: as the freeze script leaves it, as 1.x wrote it, in float32, a SavedModel and so on."""
    folder = tmp_path_factory.mktemp("models")
    frozen = tf.GraphDef.FromString((trained / FROZEN).read_bytes())

    def write(name: str, graph_def: Any) -> None:
        (folder / name).write_bytes(graph_def.SerializeToString())

    write("frozen.pb", frozen)
    older = tf.GraphDef.FromString(frozen.SerializeToString())
    next(node for node in older.node if node.op == "AddV2").op = "Add"
    older.versions.producer = 26  # TensorFlow 1.8
    write("Add.pb", older)
    through_origin = tf.GraphDef.FromString(frozen.SerializeToString())
    intercept = next(node for node in through_origin.node if node.name == "model_variables/intercept")
    intercept.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(0.0, tf.float64))
    write("intercept0.pb", through_origin)
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, None], name="inputs/x_sample")
        tf.add(x * tf.constant(1.4999940262704623), tf.constant(-3.0006167485345174), name="linear_regression/add")
    write("float32.pb", graph.as_graph_def())
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float64, [None, None], name="inputs/x_sample")
        tf.divide(x, tf.placeholder(tf.float64, [], name="keep_prob"), name="linear_regression/add")
    write("keep.pb", graph.as_graph_def())
    save(folder / "saved", folder / "text")
    (folder / "text" / "saved_model.pb").unlink()
    proto = saved_model_pb2.SavedModel.FromString((folder / "saved" / "saved_model.pb").read_bytes())
    (folder / "text" / "saved_model.pbtxt").write_text(text_format.MessageToString(proto))
    (folder / "frozen.pbtxt").write_text(text_format.MessageToString(frozen))
    return folder


def save(path: Path, copy: Path) -> None:
    """A SavedModel with two signatures, and a copy of it."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float64, [None, None], name="in")
        slope = tf.get_variable("slope", initializer=tf.constant(1.4999940262704623, tf.float64))
        intercept = tf.get_variable("intercept", initializer=tf.constant(-3.0006167485345174, tf.float64))
        y = slope * x + intercept
        session.run(tf.global_variables_initializer())
        predict = tf.saved_model.predict_signature_def
        signatures = {
            "serving_default": predict({"x": x}, {"y": y}),
            "two": predict({"x": x}, {"once": y, "twice": y + y}),
        }
        builder = tf.saved_model.builder.SavedModelBuilder(str(path))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    shutil.copytree(path, copy)


# All with all is slow; the edges find what differs, if anything does.
SOON = ("frozen.pb edges", "float32.pb edges")
MATRIX = [
    pytest.param(model, numbers, marks=[] if f"{model} {numbers}" in SOON else pytest.mark.slow)
    for model in ("frozen.pb", "saved", "Add.pb", "float32.pb", "intercept0.pb", "keep.pb")
    for numbers in ("default", "edges", "one", "many")
]


@pytest.mark.parametrize(("model", "numbers"), MATRIX)
def test_the_same_bytes(models: Path, model: str, numbers: str) -> None:
    many = ",".join(f"{i * 0.37 - 1850:.5g}" for i in range(10_000))
    edges = FLOAT32_EDGES if model == "float32.pb" else EDGES
    xs = {"default": "0,1,-1,2", "edges": edges, "one": "-1.5", "many": many}[numbers]
    flags = ["--model", model, *(["--feed", "keep_prob=0.7"] if model == "keep.pb" else [])]
    whole = [] if numbers == "default" else ["--x", xs]
    by_flag = [run_consumer(language, *flags, *whole, folder=models) for language in LANGUAGES]
    assert (by_flag[0].status, by_flag[0].err) == (0, "")
    texts = re.fullmatch(r"The calculation results : \[(.*)\]\n", by_flag[0].out)[1].split()
    assert len(texts) == xs.count(",") + 1
    assert by_flag[1:] == by_flag[:1] * 2
    if numbers in ("edges", "many"):
        by_row = [
            run_consumer(language, *flags, "--stdin", folder=models, stdin=xs.replace(",", "\n"))
            for language in LANGUAGES
        ]
        assert by_row == [Result(0, "\n".join(texts) + "\n", "")] * 3


@pytest.fixture(scope="module")
def cookbook(trained: Path, models: Path) -> Path:
    """The models, and those that recipes make of the classifier and of the regression's checkpoint."""
    names = ["--input", "x=inputs/x_sample", "--output", "y=linear_regression/add"]
    for recipe, *flags in (
        ["checkpoint_save", "--steps", 300],
        ["freezemodel_save"],
        ["savedmodel_from_checkpoint"],
        ["savedmodel_from_checkpoint", "--checkpoint", trained / "saved_model", *names, "--export", "exports/line/1"],
    ):
        result = run_program(f"cookbook/{recipe}.py", *flags, folder=models)
        assert (result.status, result.err) == (0, "")
    return models


@pytest.mark.parametrize(
    "model", ["results/frozen_model.pb", pytest.param("results/tfckptmodel", marks=pytest.mark.slow), "exports/line/1"]
)
def test_the_same_bytes_of_the_models_of_recipes(cookbook: Path, model: str) -> None:
    names = ["--input", "Placeholder/inputs_placeholder", "--output", "Accuracy/predictions"]
    flags = ["--model", model, *(names if model.endswith(".pb") else [])]
    by_rows = model == "exports/line/1"
    xs = EDGES if by_rows else "5,5,5,5,5,5,5,5,5,5,0,1,2,3,4,5,6,7,8,9"
    results = [run_consumer(language, *flags, "--x", xs, folder=cookbook) for language in LANGUAGES]
    texts = re.fullmatch(r"The calculation results : \[(.*)\]\n", results[0].out)[1].split()
    assert texts == ["true", "false"] if not by_rows else len(texts) == EDGES.count(",") + 1
    assert results == [Result(0, results[0].out, "")] * 3
    stdin = xs.replace(",", "\n") if by_rows else xs.replace("5,0", "5\n0")
    streamed = [run_consumer(language, *flags, "--stdin", folder=cookbook, stdin=stdin) for language in LANGUAGES]
    assert streamed == [Result(0, "\n".join(texts) + "\n", "")] * 3


@pytest.mark.parametrize(
    "dtype",
    [
        "int8",
        "uint64",
        "bool",
        *(
            pytest.param(dtype, marks=pytest.mark.slow)
            for dtype in ("int16", "int32", "int64", "uint8", "uint16", "uint32")
        ),
    ],
)
def test_results_of_every_type(models: Path, dtype: str) -> None:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float64, [None, None], name="inputs/x_sample")
        tf.cast(x, dtype, name="linear_regression/add")
    (models / f"{dtype}.pb").write_bytes(graph.as_graph_def().SerializeToString())
    most = {"bool": 1, "uint64": 2**63, "int64": 2**62}.get(dtype, 2 ** (tf.as_dtype(dtype).size * 8 - 1) - 1)
    least = 0 if dtype[0] in "ub" else -most
    result = Result(0, f"The calculation results : [{least} 1 {most}]\n", "")
    if dtype == "bool":
        result = Result(0, "The calculation results : [false true true]\n", "")
    flags = ("--model", f"{dtype}.pb", "--x", f"{least},1,{most}")
    assert [run_consumer(language, *flags, folder=models) for language in LANGUAGES] == [result] * 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_line_of_the_original_tutorial(models: Path, language: str) -> None:
    result = run_consumer(language, "--model", "saved", folder=models)
    printed = "-3.0006167485345174 -1.5006227222640551 -4.500610774804979 -0.0006286959935928316"
    assert result == (0, f"The calculation results : [{printed}]\n", "")


WORDS = [
    # files
    ("--model nothing.pb", None),
    ("--model empty.pb", None),
    ("--model fifo", None),
    ("--model frozen.pb/x.pb", None),
    ("--model saved/saved_model.pb", None),
    ("--model random.pb", None),
    ("--model frozen.pbtxt --x 1,2", None),
    ("--model text --x 1,2", None),
    # names
    ("--model frozen.pb --input x", None),
    ("--model frozen.pb --output linear_regresion/add", None),
    ("--model frozen.pb --output linear_regression/add:1", None),
    ("--model saved --tag train", None),
    ("--model exp_model/1 --tag gpu", None),
    ("--model exp_model/1 --signature classification", None),
    ("--model exp_model/2 --signature prediction", None),
    ("--model saved --signature three", None),
    ("--model saved --signature two", None),
    ("--model saved --signature two --output twice --x 3", None),
    ("--model saved --input z", None),
    # numbers and shapes
    ("--model frozen.pb --x 1,a", None),
    ("--model frozen.pb --x 1_0", None),
    ("--model frozen.pb --x=", None),
    ("--model frozen.pb --x 1e999", None),
    ("--model float32.pb --x 1e39", None),
    ("--model keep.pb", None),
    ("--model keep.pb --feed keep_prob=1,2", None),
    ("--model keep.pb --feed keep_prob=1 --feed keep_prob=1", None),
    ("--model keep.pb --feed keep_prob=a", None),
    ("--model keep.pb --feed other=1", None),
    ("--model frozen.pb --feed inputs/x_sample=1", None),
    # standard input
    ("--model frozen.pb --stdin", ""),
    ("--model frozen.pb --stdin", "1\r\n2\r\n\r\n3\r\n"),
    ("--model frozen.pb --stdin", "1\n 2\n"),
    ("--model frozen.pb --stdin", "1\n2,3\n"),
    ("--model float32.pb --stdin", "1\n-1e39\n"),
    ("--model frozen.pb --stdin", "1\n\x00\n"),
    ("--model frozen.pb --stdin", "1\n" * 5000 + "one\n"),
    # operations
    ("--model random_uniform.pb --x 1", None),
    ("--model unused_variable.pb --x 1 --allow-op VariableV2", None),
    # the command line
    ("--x", None),
    ("--feed keep_prob", None),
    ("--stdin --x 1", None),
    ("--x 1 --stdin", None),
    ("--x --stdin", None),
    ("--modle x", None),
    ("frozen.pb", None),
    ("-model frozen.pb -x -1,2", None),
    ("-model=frozen.pb -x=-1,2", None),
]
# One of four is soon enough to notice that the words have drifted apart.
CASES = [pytest.param(*case, marks=[] if i % 4 == 0 else pytest.mark.slow) for i, case in enumerate(WORDS)]


@pytest.mark.parametrize(("flags", "stdin"), CASES)
def test_the_same_words(cases: Path, flags: str, stdin: str | None) -> None:
    results = [
        anonymous(language, run_consumer(language, *flags.split(" "), folder=cases, stdin=stdin or ""))
        for language in LANGUAGES
    ]
    assert results[0].err.count("\n") <= 1
    assert (results[0].status > 0) == bool(results[0].err)
    assert results[1:] == results[:1] * 2


@pytest.fixture(scope="module")
def cases(models: Path) -> Path:
    """The models, one with several graphs in it, and beside them what is none."""
    assert run_program("cookbook/savedmodel_builder.py", folder=models).status == 0
    (models / "folder").mkdir()
    os.mkfifo(models / "fifo")
    (models / "empty.pb").touch()
    (models / "random.pb").write_bytes(bytes(range(256)))
    for name, build in (
        ("random_uniform", lambda: tf.random.uniform([], dtype=tf.float64)),
        ("unused_variable", lambda: tf.get_variable("v", initializer=1.0)),
    ):
        with tf.Graph().as_default() as graph:
            build()
            bad_models.build_line()
        (models / f"{name}.pb").write_bytes(graph.as_graph_def().SerializeToString())
    return models


@pytest.mark.parametrize("language", OTHERS)
def test_a_checkpoint_is_named_as_what_it_is(trained: Path, language: str) -> None:
    for path in (
        "saved_model",
        "saved_model/linear_regression.ckpt-1900",
        "saved_model/linear_regression.ckpt-1900.meta",
    ):
        said = (
            f"{PROGRAMS[language]}: not a frozen graph or SavedModel: {path} (it holds Saver checkpoints; "
            "freeze one with ./freeze_graph_linear_regression.sh)\n"
        )
        assert run_consumer(language, "--model", path, folder=trained) == (1, "", said)


@pytest.mark.parametrize("language", OTHERS)
def test_a_folder_without_a_model(cases: Path, language: str) -> None:
    said = f"{PROGRAMS[language]}: not a usable model file: folder is not a regular file\n"
    assert run_consumer(language, "--model", "folder", folder=cases) == (1, "", said)


@pytest.mark.parametrize("language", OTHERS)
def test_list(trained: Path, models: Path, language: str) -> None:
    for model in ("frozen.pb", "saved", "keep.pb"):
        listed = run_consumer(language, "--model", model, "--list", folder=models)
        expected = run_consumer("Python", "--model", model, "--list", folder=models)
        *lines, version = listed.out.splitlines()
        assert (listed.status, listed.err, lines) == (0, "", expected.out.splitlines()[:-1])
        assert re.fullmatch(r"TensorFlow version: 2\.\d+\.\d+", version)


@pytest.mark.parametrize("language", OTHERS)
def test_help_names_every_flag(language: str, tmp_path: Path) -> None:
    python = run_consumer("Python", "--help", folder=tmp_path)
    other = run_consumer(language, "--help", folder=tmp_path)
    flags = set(re.findall(r"--[a-z-]+", python.out))
    assert (other.status, other.err) == (0, "")
    assert set(re.findall(r"--[a-z-]+", other.out)) == flags
    assert len(flags) == 12


@pytest.mark.parametrize("language", OTHERS)
def test_the_log_is_shown_to_those_who_ask_for_it(models: Path, language: str) -> None:
    done = subprocess.run(
        [*COMMANDS[language], "--model", "frozen.pb"],
        cwd=models,
        env=USER | {"TF_CPP_MIN_LOG_LEVEL": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, run_consumer(language, "--model", "frozen.pb", folder=models).out)
    assert "cpu_feature_guard" in done.stderr


@pytest.mark.parametrize(
    ("closed", "out"), [("<&-", ""), ("<&- 2>&-", ""), ("<&- >&-", ""), (">&-", ""), ("2>&- < one", "one line")]
)
@pytest.mark.parametrize("language", OTHERS)
def test_streams_that_are_closed(models: Path, language: str, closed: str, out: str) -> None:
    (models / "one").write_text("0\n")
    result = run_command(f"{' '.join(COMMANDS[language])} --model frozen.pb --stdin {closed}", models)
    assert (result.status, result.err, len(result.out.splitlines())) == (0, "", len(out.splitlines()))


@pytest.mark.parametrize("language", OTHERS)
def test_errors_in_a_file_stay_in_their_order(models: Path, language: str, tmp_path: Path) -> None:
    command = " ".join([*COMMANDS[language], "--model", "nothing.pb"])
    script = f"exec 2> {tmp_path}/log; echo before >&2; {command}; echo between >&2; {command}; echo after >&2"
    subprocess.run(["bash", "-c", script], cwd=models, env=USER, timeout=120)
    words = (tmp_path / "log").read_text().splitlines()
    assert [line.partition(":")[0] for line in words] == [
        "before",
        PROGRAMS[language],
        "between",
        PROGRAMS[language],
        "after",
    ]


@pytest.mark.parametrize("language", OTHERS)
def test_the_reader_of_the_results_may_go_away(models: Path, language: str) -> None:
    command = " ".join([*COMMANDS[language], "--model", "frozen.pb", "--stdin"])
    script = f"yes 1 | {command} | head -n 1; echo ${{PIPESTATUS[1]}}; echo 1 | {command} > /dev/full; echo $?"
    done = subprocess.run(["bash", "-c", script], cwd=models, env=USER, capture_output=True, text=True, timeout=120)
    assert done.stdout.split()[1:] == ["0", "1"]
    assert re.fullmatch(rf"{PROGRAMS[language]}: No space left on device\n", done.stderr)


@pytest.mark.parametrize("language", OTHERS)
def test_stdin_answers_while_the_input_goes_on(models: Path, language: str) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [*COMMANDS[language], "--model", "intercept0.pb", "--stdin"]
    with subprocess.Popen(command, cwd=models, env=USER, text=True, **pipes) as process:
        for x in ("0", "-0"):
            process.stdin.write(f"{x}\n")
            process.stdin.flush()
            assert process.stdout.readline() == ("0\n" if x == "0" else "-0\n") or x == "-0"
        process.send_signal(signal.SIGINT)  # standard input still open
        assert process.wait(30) == 130
        assert (process.stdout.read(), process.stderr.read()) == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("language", OTHERS)
def test_ctrl_c_ends_a_long_calculation(tmp_path: Path, language: str) -> None:
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float64, [None, None], name="inputs/x_sample")
        y = tf.constant(1.0, tf.float64, [1024, 1024]) + x
        for _ in range(900):
            y = tf.matmul(y, y)
        tf.identity(y, name="linear_regression/add")
    (tmp_path / "long.pb").write_bytes(graph.as_graph_def().SerializeToString())
    command = [*COMMANDS[language], "--model", "long.pb", "--x", "1", "--trust"]
    with subprocess.Popen(command, cwd=tmp_path, env=USER, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        time.sleep(4)
        assert process.poll() is None
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"")
    assert time.monotonic() - started < 3


def said_by_python(path: Path, source: str, target: str) -> str:
    """What the checks of Python say of a frozen graph; `ok` where they accept it."""
    try:
        model = model_file.read_frozen_graph(str(path), source, target)
        node = graph_check.find_placeholder(model.graph_def, source)
        shapes = {node.name: rows.feed_shape(graph_check.placeholder_dims(node), 4, node.name)}
        graph_check.check_output(model.graph_def, target, shapes)
        graph_check.check_shapes(model.graph_def, shapes, target)
    except (ValueError, OSError) as error:
        return command_line.one_line(error)
    return "ok"


def said_by(language: str, paths: list[Path], source: str, target: str) -> list[str]:
    """What the checks of another language say of them, all in one process."""
    classes = f"{JAVA}/test-classes:{JAVA}/java_consumer.jar"
    command, environment = {
        "Go": ([str(ROOT / ".cache" / "graphcheck.test")], {"CHECK_EACH": f"{source} {target}"}),
        "Java": (["java", "-cp", classes, "modelimportexport.CheckEach", source, target], {}),
    }[language]
    done = subprocess.run(
        command,
        env=USER | environment,
        input="".join(f"{path}\n" for path in paths),
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == [str(path) for path in paths], done.stderr[-2000:]
    return [line[1] for line in lines]


def alike(words: str) -> str:
    """What of a refusal has to be the same in every language: not a parser's reasons, nor TensorFlow's own."""
    words = re.sub(r"(not a \w+: \S+: ).*", r"\1...", words)
    ours = r"refused graph: (Const|node|two nodes|the (output|input|placeholder)|it has|its|a chain|\w+ of node) "
    return words if re.match(ours, words) or not words.startswith("refused graph: ") else "refused graph: ..."


@pytest.fixture(scope="module")
def changed(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of thousands of frozen graphs, each cut or changed somewhere: `POSITION.MASK.pb`, `POSITION.cut.pb`."""
    folder = tmp_path_factory.mktemp("changed")
    data = (trained / FROZEN).read_bytes()
    for i in range(len(data)):
        (folder / f"{i}.cut.pb").write_bytes(data[:i])
        for mask in (1, 16, 128, 255):
            (folder / f"{i}.{mask}.pb").write_bytes(data[:i] + bytes([data[i] ^ mask]) + data[i + 1 :])
    return folder


@pytest.mark.parametrize("which", ["*.255.pb", pytest.param("*.pb", marks=pytest.mark.slow)])
@pytest.mark.parametrize("language", OTHERS)
def test_every_length_and_every_byte(changed: Path, language: str, which: str) -> None:
    """Thousands of cut and changed graphs: refused in the same words as by Python, or accepted as by Python."""
    paths = sorted(changed.glob(which))
    assert len(paths) > 600
    source, target = "inputs/x_sample", "linear_regression/add"
    expected = [said_by_python(path, source, target) for path in paths]
    assert 0 < expected.count("ok") < len(paths) / 2
    pairs = list(zip(map(alike, expected), map(alike, said_by(language, paths, source, target)), strict=True))
    different = [f"{path.name}: {pair}" for path, pair in zip(paths, pairs, strict=True) if len(set(pair)) > 1]
    # A few byte strings one language's parser or binding takes otherwise than another's: bits beyond a number's 64,
    # text that is not UTF-8, a number of ten bytes (-1 to Java whatever its last).
    parser = (
        r"not a GraphDef|refused graph: \.\.\.|wrong number of values: 4 given, .* a multiple of 9223372036854775807"
    )
    theirs = re.compile(rf"\('({parser})|, '({parser})")
    assert not [line for line in different if not theirs.search(line)]
    assert len(different) < len(paths) / 50, different


def test_the_same_operations_are_allowed() -> None:
    """Each language has the list in its own source."""
    go = (ROOT / "go_consumer" / "graphcheck" / "graphcheck.go").read_text()
    java = (ROOT / "java_consumer/src/main/java/modelimportexport/GraphCheck.java").read_text()
    pure, saved_model = graph_check.OPERATIONS, graph_check.SAVED_MODEL_OPERATIONS - graph_check.OPERATIONS
    for text, names in (
        (re.search(r"^var Operations = set\(`(.*?)`", go, re.MULTILINE | re.DOTALL)[1], pure),
        (re.search(r" OPERATIONS = with.*?\"\"\"(.*?)\"\"\"", java, re.DOTALL)[1], pure),
        (re.search(r"^var SavedModelOperations = .*?`(.*?)`", go, re.MULTILINE | re.DOTALL)[1], saved_model),
        (re.search(r" SAVED_MODEL_OPERATIONS = .*?\"\"\"(.*?)\"\"\"", java, re.DOTALL)[1], saved_model),
    ):
        assert sorted(text.split()) == sorted(names)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The models of `bad_models.py`."""
    return bad_models.make(tmp_path_factory.mktemp("bad"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_bad_models_are_refused(bad: list[Path], language: str) -> None:
    names = "inputs/x_sample", "linear_regression/add"
    expected = [alike(said_by_python(path, *names)) for path in bad]
    assert "ok" not in expected
    assert len(expected) > 20
    if language != "Python":
        assert [alike(words) for words in said_by(language, bad, *names)] == expected


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_bad_models_do_no_harm(bad: list[Path], tmp_path: Path, language: str) -> None:
    """End to end: one line, status 1, soon, below 1 GB, and no file read or written that is not the model's."""
    program = [sys.executable, str(ROOT / "model_consumer.py")] if language == "Python" else COMMANDS[language]
    files = [path for path in bad if path.is_file() and path.stem != "sparse"]
    before = [hashlib.sha256(path.read_bytes()).digest() for path in files]
    for path in bad:
        started = time.monotonic()
        with open(tmp_path / "out", "wb") as out, open(tmp_path / "err", "wb") as err:
            process = subprocess.Popen([*program, "--model", str(path)], cwd=tmp_path, env=USER, stdout=out, stderr=err)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        words = (tmp_path / "err").read_text()
        assert (process.returncode, (tmp_path / "out").read_text()) == (1, ""), path
        assert re.fullmatch(rf"{re.escape(PROGRAMS[language])}: .+\n", words), path
        assert usage.ru_maxrss < 1 << 20, path  # KiB
        assert time.monotonic() - started < 30, path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["err", "out"]
    assert before == [hashlib.sha256(path.read_bytes()).digest() for path in files]
