"""The three consumers agree: the same bytes for the same model and values, the same message for the same fault.

Functions (`tanh`, `exp`, softmax) and matrix products are rounded differently by Java's TensorFlow 2.18, and by batches
of different sizes. For these, only most digits are compared.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import small_models
from conftest import ROOT, USER, Result, run_command, run_program
from model_import_export.graph_mode import tf

import numpy as np
import pytest

GO = ROOT / "go_consumer" / "go_consumer"
JAVA = ROOT / "java_consumer" / "target" / "java_consumer.jar"
# Without its optimizing compiler, which does not pay for short runs, the JVM starts in half the processor time.
COMMANDS = {
    "Go": [str(GO)],
    "Java": ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-jar", str(JAVA)],
}
PROGRAMS = {"Python": "model_consumer.py", "Go": "go_consumer", "Java": "java_consumer"}
LANGUAGES = list(PROGRAMS)
OTHERS = list(COMMANDS)
EDGES = "0,-0,5e-324,-5e-324,1e-308,2.2250738585072014e-308,1e308,-1.7976931348623157e308,nan,inf,-inf,1e22,1e-5,0.1"
FLOAT32_EDGES = "0,-0,1e-45,1e-38,3.4028235e38,nan,inf,-inf,1e22,1e-5,0.1,1.00000005960464477540"
MANY = ",".join(f"{i * 0.37 - 1850:.5g}" for i in range(10_000))


def run_consumer(language: str, *flags: object, folder: Path, stdin: str | bytes = "") -> Result:
    """Runs a consumer with these flags in a folder."""
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


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small models and arrays to feed them."""
    folder = small_models.make(tmp_path_factory.mktemp("models"))
    (folder / "arrays").mkdir()
    pair = np.array([[1.0, 2.0], [3.0, 4.0]])
    for name, array in {
        "pair": pair,
        "fortran": np.asfortranarray(pair),
        "big_endian": pair.astype(">f8"),
        "float32": pair.astype(np.float32),
        "vector": pair.ravel(),
        "zero_dimensions": np.array(3.0),
        "cube": np.arange(480.0).reshape(2, 3, 80),
    }.items():
        np.save(folder / "arrays" / f"{name}.npy", array)
    (folder / "arrays" / "text.npy").write_text("1,2\n")
    return folder


COMMAND_CASES = json.loads((ROOT / "tests" / "cases" / "commands.json").read_text())


def every_fourth(language: str, number: int) -> list[Any]:
    """Every fourth command is enough to notice early that messages have drifted apart; Python runs them all."""
    return [] if language == "Python" or number % 4 == 0 else [pytest.mark.slow]


@pytest.mark.parametrize(
    ("language", "case"),
    [
        pytest.param(language, case, id=f"{language}-{i}", marks=every_fourth(language, i))
        for i, case in enumerate(COMMAND_CASES)
        for language in LANGUAGES
        if language != "Python" or not case.get("others")
    ],
)
def test_command(models: Path, language: str, case: dict[str, Any]) -> None:
    result = run_consumer(language, *case["flags"].split(" "), folder=models, stdin=case.get("stdin", ""))
    assert (result.status, result.out) == (case.get("status", 0), case.get("out", ""))
    said = f"{PROGRAMS[language]}: {case['err']}\n" if "err" in case else ""
    assert re.fullmatch(re.escape(said).replace(re.escape("..."), ".*"), result.err), result.err
    if "saved" in case:
        assert (models / "out.npy").read_bytes() == (models / case["saved"]).read_bytes()
        (models / "out.npy").unlink()
    assert not (models / "out.npy").exists()


@pytest.mark.parametrize("numbers", ["edges", pytest.param("many", marks=pytest.mark.slow)])
@pytest.mark.parametrize("model", ["line", pytest.param("line32", marks=pytest.mark.slow), "saved"])
def test_the_same_bytes(models: Path, model: str, numbers: str) -> None:
    xs = MANY if numbers == "many" else FLOAT32_EDGES if model == "line32" else EDGES
    flags = ["--model", model if model == "saved" else f"{model}.pb"]
    results = [run_consumer(language, *flags, "--x", xs, folder=models) for language in LANGUAGES]
    texts = re.fullmatch(r"The calculation results : \[(.*)\]\n", results[0].out)[1].split()
    assert len(texts) == xs.count(",") + 1
    assert results == [Result(0, results[0].out, "")] * 3
    rows = xs.replace(",", "\n")
    for batch in ([], ["--batch", "3"]):
        streamed = [run_consumer(x, *flags, "--stdin", *batch, folder=models, stdin=rows) for x in LANGUAGES]
        assert streamed == [Result(0, "\n".join(texts) + "\n", "")] * 3


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("language", OTHERS)
def test_every_number_of_two_bytes(models: Path, language: str, dtype: str) -> None:
    numbers = np.arange(1 << 16, dtype=np.uint16)
    np.save(models / f"{dtype}.npy", numbers.view("V2" if dtype == "bfloat16" else dtype))
    flags = ["--model", f"{dtype}.pb", "--x", f"{dtype}.npy"]
    expected = run_consumer("Python", *flags, folder=models)
    assert expected.status == 0
    assert run_consumer(language, *flags, folder=models) == expected
    saved = run_consumer(language, *flags, "--save", f"{language}.npy", folder=models)
    assert saved == (0, "", "")
    assert (models / f"{language}.npy").read_bytes() == (models / f"{dtype}.npy").read_bytes()


@pytest.mark.parametrize("language", OTHERS)
def test_functions_agree_but_for_their_last_digits(models: Path, language: str) -> None:
    rows = "".join(f"{i / 10}\n" for i in range(-50, 50))
    flags = ["--model", "tanh.pb", "--stdin"]
    python, other = (run_consumer(x, *flags, folder=models, stdin=rows).out.split() for x in ("Python", language))
    assert list(map(float, other)) == pytest.approx(list(map(float, python)), rel=1e-14)
    assert list(map(float, python)) == pytest.approx(np.tanh(np.arange(-50, 50) / 10).tolist(), rel=1e-14)
    if language == "Go":  # Go and Python use the same TensorFlow
        assert other == python


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_bytes_do_not_depend_on_how_rows_arrive(models: Path, language: str) -> None:
    """Rows arrive through a pipe that is written in parts, and all at once from a file."""
    rows = "".join(f"{i / 10}\n" for i in range(50))
    command = [str(ROOT / ".venv" / "bin" / "python"), str(ROOT / "model_consumer.py")]
    command = COMMANDS.get(language, command)
    with subprocess.Popen(
        [*command, "--model", "tanh.pb", "--stdin"], cwd=models, env=USER, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        for line in rows.splitlines(keepends=True):
            process.stdin.write(line.encode())
            process.stdin.flush()
        process.stdin.close()
        piecemeal = process.stdout.read().decode()
    assert piecemeal == run_consumer(language, "--model", "tanh.pb", "--stdin", folder=models, stdin=rows).out


@pytest.fixture(scope="module")
def cookbook(trained: Path, models: Path) -> Path:
    """The models, plus those that recipes make from the classifier and from the regression's checkpoint."""
    names = ["--input", "x=inputs/x_sample", "--output", "y=linear_regression/add"]
    for recipe, *flags in (
        ["checkpoint_save", "--steps", 300],
        ["freezemodel_save"],
        ["savedmodel_from_checkpoint"],
        ["savedmodel_from_checkpoint", "--checkpoint", trained / "saved_model", *names, "--save", "exports/line/1"],
    ):
        result = run_program(f"cookbook/{recipe}.py", *flags, folder=models)
        assert (result.status, result.err) == (0, "")
    return models


@pytest.mark.parametrize(
    "model", ["results/frozen_model.pb", pytest.param("results/tfckptmodel", marks=pytest.mark.slow), "exports/line/1"]
)
def test_the_same_bytes_of_the_models_of_recipes(cookbook: Path, model: str) -> None:
    by_rows = model == "exports/line/1"
    xs = EDGES if by_rows else "5,5,5,5,5,5,5,5,5,5,0,1,2,3,4,5,6,7,8,9"
    results = [run_consumer(language, "--model", model, "--x", xs, folder=cookbook) for language in LANGUAGES]
    texts = re.fullmatch(r"The calculation results : \[(.*)\]\n", results[0].out)[1].split()
    assert texts == ["true", "false"] if not by_rows else len(texts) == EDGES.count(",") + 1
    assert results == [Result(0, results[0].out, "")] * 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_frozen_regression(trained: Path, language: str) -> None:
    result = run_consumer(language, "--model", "frozen_graphs/frozen_linear_regression.pb", folder=trained)
    assert result == run_consumer("Go", folder=trained)
    assert result.out == run_consumer("Python", folder=trained).out.splitlines(keepends=True)[1]


@pytest.mark.parametrize("language", OTHERS)
def test_a_damaged_file_is_refused(trained: Path, tmp_path: Path, language: str) -> None:
    """If any byte changes, the digest is no longer in the list."""
    data = (trained / "frozen_graphs" / "frozen_linear_regression.pb").read_bytes()
    for position in (0, len(data) // 2, len(data) - 1):
        damaged = tmp_path / "damaged.pb"
        damaged.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        result = run_consumer(language, "--model", damaged, folder=trained)
        assert result.err.startswith(f"{PROGRAMS[language]}: not checked: {damaged} (python model_check.py ")


@pytest.mark.parametrize("language", LANGUAGES)
def test_help_and_version(language: str, tmp_path: Path) -> None:
    shown = run_consumer(language, "--help", folder=tmp_path)
    assert (shown.status, shown.err) == (0, "")
    assert max(map(len, shown.out.splitlines())) <= 80
    flags = set(re.findall(r"--[a-z-]+", shown.out))
    assert flags == {f"--{name}" for name in (
        "batch checked feed help input model output save signature stdin tag trust version x"
    ).split()}  # fmt: skip
    version = run_consumer(language, "--version", folder=tmp_path)
    assert (version.status, version.err) == (0, "")
    assert re.fullmatch(rf"{PROGRAMS[language]} 1\.0\.0, .*TensorFlow 2\.\d+\.\d+\n", version.out)


@pytest.mark.parametrize("language", OTHERS)
def test_the_log_is_shown_to_those_who_ask_for_it(models: Path, language: str) -> None:
    command = [*COMMANDS[language], "--model", "line.pb"]
    pipes = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 120}
    done = subprocess.run(command, cwd=models, env=USER | {"TF_CPP_MIN_LOG_LEVEL": "0"}, **pipes)
    assert (done.returncode, done.stdout) == (0, "The calculation results : [-3 -1.5 -4.5 0]\n")
    assert "cpu_feature_guard" in done.stderr


@pytest.mark.parametrize(
    ("closed", "out"), [("<&-", ""), ("<&- 2>&-", ""), ("<&- >&-", ""), (">&-", ""), ("2>&- < one", "one line")]
)
@pytest.mark.parametrize("language", OTHERS)
def test_streams_that_are_closed(models: Path, language: str, closed: str, out: str) -> None:
    (models / "one").write_text("0\n")
    result = run_command(f"{' '.join(COMMANDS[language])} --model line.pb --stdin {closed}", models)
    assert (result.status, result.err, len(result.out.splitlines())) == (0, "", len(out.splitlines()))


def test_a_jar_without_its_libraries(tmp_path: Path) -> None:
    """Copied alone, which is the first thing that a Java engineer does with a jar."""
    shutil.copy(JAVA, tmp_path)
    result = run_command(f"java -jar {JAVA.name}", tmp_path)
    expected = (
        "java_consumer: no library: org/tensorflow/TensorFlow (copy the folder lib that is beside the jar, too)\n"
    )
    assert result == (1, "", expected)


@pytest.mark.parametrize("language", OTHERS)
def test_errors_in_a_file_stay_in_their_order(models: Path, language: str, tmp_path: Path) -> None:
    command = " ".join([*COMMANDS[language], "--model", "nothing.pb"])
    script = f"exec 2> {tmp_path}/log; echo before >&2; {command}; echo between >&2; {command}; echo after >&2"
    subprocess.run(["bash", "-c", script], cwd=models, env=USER, timeout=120)
    words = [line.partition(":")[0] for line in (tmp_path / "log").read_text().splitlines()]
    assert words == ["before", PROGRAMS[language], "between", PROGRAMS[language], "after"]


@pytest.mark.parametrize("language", OTHERS)
def test_the_reader_of_the_results_may_go_away(models: Path, language: str) -> None:
    command = " ".join([*COMMANDS[language], "--model", "line.pb", "--stdin"])
    script = f"yes 1 | {command} | head -n 1; echo ${{PIPESTATUS[1]}}; echo 1 | {command} > /dev/full; echo $?"
    done = subprocess.run(["bash", "-c", script], cwd=models, env=USER, capture_output=True, text=True, timeout=120)
    assert done.stdout.split()[1:] == ["0", "1"]
    assert re.fullmatch(rf"{PROGRAMS[language]}: No space left on device\n", done.stderr)


@pytest.mark.parametrize("language", OTHERS)
def test_rows_one_by_one_are_answered_while_the_input_goes_on(models: Path, language: str) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [*COMMANDS[language], "--model", "line.pb", "--stdin", "--batch", "1"]
    with subprocess.Popen(command, cwd=models, env=USER, text=True, **pipes) as process:
        for x, y in (("0", "-3\n"), ("2", "0\n")):
            process.stdin.write(f"{x}\n")
            process.stdin.flush()
            assert process.stdout.readline() == y
        process.send_signal(signal.SIGINT)  # standard input is still open
        assert process.wait(30) == 130
        assert (process.stdout.read(), process.stderr.read()) == ("", f"{PROGRAMS[language]}: interrupted\n")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_terminal_is_answered_row_by_row(models: Path, language: str) -> None:
    command = COMMANDS.get(language, [str(ROOT / ".venv" / "bin" / "python"), str(ROOT / "model_consumer.py")])
    terminal, its = os.openpty()
    with subprocess.Popen(
        [*command, "--model", "line.pb", "--stdin"], cwd=models, env=USER, stdin=its, stdout=subprocess.PIPE, text=True
    ) as process:
        os.close(its)
        os.write(terminal, b"2\n")
        assert process.stdout.readline() == "0\n"
        process.kill()
    os.close(terminal)


@pytest.mark.slow
@pytest.mark.parametrize("language", OTHERS)
def test_ctrl_c_ends_a_long_calculation(tmp_path: Path, language: str) -> None:
    with tf.Graph().as_default() as graph:
        y = tf.constant(1.0, tf.float64, [1024, 1024]) + tf.placeholder(tf.float64, [None, None], name="x")
        for _ in range(900):
            y = tf.matmul(y, y)
    (tmp_path / "long.pb").write_bytes(graph.as_graph_def().SerializeToString())
    command = [*COMMANDS[language], "--model", "long.pb", "--x", "1", "--trust"]
    with subprocess.Popen(command, cwd=tmp_path, env=USER, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while processor_time(process.pid) < 5 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.1)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", f"{PROGRAMS[language]}: interrupted\n".encode())
    assert time.monotonic() - started < 3


def processor_time(pid: int) -> float:
    """The processor time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
