"""The producer: the published run, what it writes, and how it handles bad input."""

import fcntl
import math
import os
import pty
import random
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from conftest import ROOT, USER, run_command, run_program, start_program
from model_import_export.graph_mode import tf

import pytest

LINE = re.compile(r"epoch: (\d+), loss: (\S+), slope: (\S+), intercept: (\S+)")
SERIES = {
    "scalars": ["model_variables/slope_1", "model_variables/intercept_1", "optimizer/loss"],
    "histograms": ["model_variables/slope_2", "model_variables/intercept_2", "optimizer/loss_1"],
}


def table(text: str) -> list[tuple[float, ...]]:
    """The numbers on the lines that the producer prints; every line must be such a line."""
    rows = [LINE.fullmatch(line) for line in text.splitlines()]
    assert all(rows), text
    return [tuple(map(float, row.groups())) for row in rows]


def published() -> list[tuple[float, ...]]:
    """The training table of 2018, kept as a test file."""
    return table((ROOT / "tests" / "published_table.txt").read_text())


def reference(epochs: int) -> list[tuple[float, float, float]]:
    """Adagrad on the same sample in plain Python: (loss before the step, slope and intercept after it) per epoch."""
    rate = struct.unpack("f", struct.pack("f", 0.8))[0]  # TensorFlow's Adagrad stores its learning rate as a float32
    lines = (ROOT / "data" / "linear_regression.csv").read_text().split()[1:]
    points = [tuple(map(float, line.split(","))) for line in lines]
    slope = intercept = 1.0
    squares = [0.1, 0.1]
    run = []
    for _ in range(epochs):
        errors = [slope * x + intercept - y for x, y in points]
        gradients = [2 * math.fsum(e * x for e, (x, _) in zip(errors, points, strict=True)), 2 * math.fsum(errors)]
        loss = math.fsum(e * e for e in errors)
        squares = [square + gradient**2 for square, gradient in zip(squares, gradients, strict=True)]
        slope -= rate * gradients[0] / math.sqrt(squares[0])
        intercept -= rate * gradients[1] / math.sqrt(squares[1])
        run.append((loss, slope, intercept))
    return run


def test_prints_the_published_table(trained: Path) -> None:
    ours, theirs = table((trained / "producer.out").read_text()), published()
    assert len(ours) == len(theirs) == 20
    for our, their in zip(ours, theirs, strict=True):
        assert our == pytest.approx(their, rel=1e-11, abs=0)


def test_the_published_table_is_adagrad() -> None:
    """The table agrees with an implementation that shares nothing with TensorFlow."""
    run = reference(1901)
    for epoch, *numbers in published():
        assert numbers == pytest.approx(run[int(epoch)], rel=1e-9, abs=0)


def test_prints_the_same_table_twice(trained: Path, tmp_path: Path) -> None:
    again = run_program("model_producer.py", "--output-dir", tmp_path)
    assert again == (0, (trained / "producer.out").read_text(), "")


def test_committed_graph_is_what_the_producer_writes(trained: Path) -> None:
    for name in ("graphdef.pbtxt", "get_operations.txt"):
        written = (trained / "exported_graphs" / name).read_text()
        assert (ROOT / "exported_graphs" / name).read_text() == written, name


def test_operations_are_the_published_118() -> None:
    printed = (ROOT / "exported_graphs" / "get_operations.txt").read_text().splitlines()
    operations = [re.fullmatch(r"<tf\.Operation '(\S+)' type=(\w+)>", line).groups() for line in printed]
    listed = [tuple(line.split()) for line in (ROOT / "data" / "graph_nodes.txt").read_text().splitlines()]
    assert len(listed) == 118
    assert operations == listed
    graph_def = tf.GraphDef()
    from google.protobuf import text_format

    text_format.Parse((ROOT / "exported_graphs" / "graphdef.pbtxt").read_text(), graph_def)
    assert [(node.name, node.op) for node in graph_def.node] == listed


def test_keeps_the_newest_five_checkpoints(trained: Path) -> None:
    names = {path.name for path in (trained / "saved_model").iterdir()}
    endings = (".data-00000-of-00001", ".index", ".meta")
    kept = {f"linear_regression.ckpt-{epoch}{end}" for epoch in range(1500, 2000, 100) for end in endings}
    assert names == kept | {"checkpoint"}
    state = (trained / "saved_model" / "checkpoint").read_text()
    assert 'model_checkpoint_path: "linear_regression.ckpt-1900"' in state
    assert "/" not in state, "paths in the state file are relative"


def test_checkpoint_holds_the_two_variables_of_its_epoch(trained: Path) -> None:
    for epoch, _, slope, intercept in table((trained / "producer.out").read_text())[-5:]:
        reader = tf.train.load_checkpoint(str(trained / f"saved_model/linear_regression.ckpt-{epoch:.0f}"))
        shapes = reader.get_variable_to_shape_map()
        assert shapes == {"model_variables/slope": [], "model_variables/intercept": []}
        assert reader.get_tensor("model_variables/slope") == slope
        assert reader.get_tensor("model_variables/intercept") == intercept


def test_summaries_hold_six_series_of_2000_steps(trained: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    everything = {"scalars": 0, "histograms": 0}
    events = EventAccumulator(str(trained / "summaries" / "linear_regression"), size_guidance=everything).Reload()
    assert {kind: sorted(events.Tags()[kind]) for kind in SERIES} == {kind: sorted(SERIES[kind]) for kind in SERIES}
    assert events.Tags()["graph"]
    for tag in SERIES["scalars"]:
        assert [event.step for event in events.Scalars(tag)] == list(range(2000)), tag
    for tag in SERIES["histograms"]:
        assert [event.step for event in events.Histograms(tag)] == list(range(2000)), tag
    losses = {event.step: event.value for event in events.Scalars("optimizer/loss")}
    slopes = {event.step: event.value for event in events.Scalars("model_variables/slope_1")}
    intercepts = {event.step: event.value for event in events.Scalars("model_variables/intercept_1")}
    run = reference(1901)
    for epoch, loss, _, _ in published():
        assert losses[epoch] == pytest.approx(loss, rel=1e-6)  # a summary's scalar is a float32
        # TensorFlow does not say whether a summary sees a variable before or after the step of its run.
        near = [run[int(step)] for step in (epoch - 1, epoch) if step >= 0]
        assert any(slopes[epoch] == pytest.approx(slope, rel=1e-6) for _, slope, _ in near) or epoch == 0
        assert any(intercepts[epoch] == pytest.approx(intercept, rel=1e-6) for *_, intercept in near) or epoch == 0


def test_starts_clean_of_an_earlier_run(tmp_path: Path) -> None:
    flags = ("--epochs", 301, "--output-dir", tmp_path)
    assert run_program("model_producer.py", *flags).status == 0
    (tmp_path / "saved_model" / "notes.txt").write_text("mine")
    assert run_program("model_producer.py", "--epochs", 1, "--output-dir", tmp_path).status == 0
    assert {path.name for path in (tmp_path / "saved_model").iterdir()} == {
        "checkpoint",
        "notes.txt",
        *(f"linear_regression.ckpt-0{end}" for end in (".data-00000-of-00001", ".index", ".meta")),
    }
    assert len(list((tmp_path / "summaries" / "linear_regression").iterdir())) == 1


@pytest.mark.slow
def test_random_sample_is_drawn_by_its_seed(tmp_path: Path) -> None:
    draw = ("model_producer.py", "--output-dir", tmp_path, "--epochs", 1901, "--checkpoint-every", 1900)
    first, again, other, unseeded = (run_program(*draw, "--random-sample", *seed) for seed in (["7"], ["7"], ["8"], []))
    assert first == again
    assert len({first.out, other.out, unseeded.out}) == 3
    for result in (first, other, unseeded):
        _, loss, slope, intercept = table(result.out)[-1]
        # 100 draws of N(0, 0.005^2): the loss is 0.000025 times a chi-square of 98.
        assert 0.001 < loss < 0.005
        assert (slope, intercept) == pytest.approx((1.5, -3), abs=0.01)


def test_any_number_of_rows(tmp_path: Path) -> None:
    (tmp_path / "two.csv").write_text("\ufeffy , note,x\r\n1,,0\r\n\r\n3,a,1\r\n")
    flags = ("--data", "two.csv", "--epochs", 4000, "--checkpoint-every", 3999)
    result = run_program("model_producer.py", *flags, folder=tmp_path)
    assert result.status == 0, result.err
    assert table(result.out)[-1][1:] == pytest.approx((0, 2, 1), abs=1e-6)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (None, "no data: sample.csv (give --data FILE, or --random-sample)"),
        ("", "no column x: sample.csv (its first line names the columns: x,y)"),
        ("x,z\n1,2\n2,3\n", "no column y: sample.csv (its first line names the columns: x,y)"),
        ("x,y\n1,2\n2,zwei\n", "not two finite numbers: 2,zwei on line 3 of sample.csv"),
        ("x,y\n1,2\n\n2,nan\n", "not two finite numbers: 2,nan on line 4 of sample.csv"),
        ("x,y\n1,2\n2,1e999\n", "not two finite numbers: 2,1e999 on line 3 of sample.csv"),
        ("x,y\n1,2\n2,1_0\n", "not two finite numbers: 2,1_0 on line 3 of sample.csv"),
        ("x,y\n1,2\n2\n", "not two finite numbers: 2 on line 3 of sample.csv"),
        ("x,y\n1,2\n", "too few points: sample.csv has 1 rows, 1 different x (a line takes two)"),
        ("x,y\n1,2\n1,3\n", "too few points: sample.csv has 2 rows, 1 different x (a line takes two)"),
        ("x,y\n", "too few points: sample.csv has 0 rows, 0 different x (a line takes two)"),
        (b"x,y\n1,\xff\n2,3\n", "not two finite numbers: 1,\ufffd on line 2 of sample.csv"),
        ("x,y\n1,2\n2,\x00\n", "not two finite numbers: 2,  on line 3 of sample.csv"),
    ],
)
def test_bad_data_is_one_line(tmp_path: Path, content: str | bytes | None, error: str) -> None:
    if content is not None:
        (tmp_path / "sample.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    result = run_program("model_producer.py", "--data", "sample.csv", folder=tmp_path)
    assert result == (1, "", f"model_producer.py: {error}\n")
    assert {path.name for path in tmp_path.iterdir()} <= {"sample.csv"}, "nothing was written"


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["--epochs", "0"], "argument --epochs: not a whole number from 1 to 2147483647: 0"),
        (["--epochs", "-5"], "argument --epochs: not a whole number from 1 to 2147483647: -5"),
        (["--epochs", "1_0"], "argument --epochs: not a whole number from 1 to 2147483647: 1_0"),
        (
            ["--epochs", "99999999999999999999"],
            "argument --epochs: not a whole number from 1 to 2147483647: 99999999999999999999",
        ),
        (["--epochs", "many"], "argument --epochs: not a whole number from 1 to 2147483647: many"),
        (["--learning-rate", "0"], "argument --learning-rate: not a number above zero that a float32 holds: 0"),
        (["--learning-rate", "nan"], "argument --learning-rate: not a number above zero that a float32 holds: nan"),
        (["--learning-rate", "1e39"], "argument --learning-rate: not a number above zero that a float32 holds: 1e39"),
        (["--learning-rate", "fast"], "argument --learning-rate: not a number above zero that a float32 holds: fast"),
        (["--checkpoint-every", "0"], "argument --checkpoint-every: not a whole number from 1 to 2147483647: 0"),
        (["--random-sample", "-1"], "argument --random-sample: not a whole number from 0 on: -1"),
        (["--random-sample", "--data", "x"], "argument --data: not allowed with argument --random-sample"),
        (["--epoch", "3"], "unknown argument: --epoch (nearest: --epochs;"),
    ],
)
def test_wrong_flags_are_one_line(flags: list[str], error: str) -> None:
    start = time.monotonic()
    result = run_command(f"python model_producer.py {' '.join(flags)}")
    ending = "(--help lists the flags)"[";" in error :]
    assert result == (2, "", f"model_producer.py: {error} {ending}\n")
    assert "tensorflow" not in run_command(f"python -X importtime model_producer.py {' '.join(flags)}").err
    assert time.monotonic() - start < 60


def test_help_shows_the_defaults() -> None:
    result = run_command("python model_producer.py --help")
    assert (result.status, result.err) == (0, "")
    for shown in ("--data FILE", "(default: 0.8)", "(default: 2000)", "(default: 100)", "--random-sample [SEED]"):
        assert shown in result.out


@pytest.mark.parametrize(("sample", "rate"), [("x,y\n1e200,1\n-1e200,2\n", "0.8"), ("x,y\n1e117,1e117\n1,6\n", "1e38")])
def test_stops_at_the_first_loss_that_is_not_finite(tmp_path: Path, sample: str, rate: str) -> None:
    (tmp_path / "sample.csv").write_text(sample)
    flags = ("--data", "sample.csv", "--learning-rate", rate, "--checkpoint-every", 1)
    result = run_program("model_producer.py", *flags, folder=tmp_path)
    pattern = r"model_producer\.py: the loss is no longer finite: epoch (\d+) \(lower --learning-rate; (.+)\)\n"
    epoch, kept = re.fullmatch(pattern, result.err).groups()
    assert result.status == 1
    assert len(table(result.out)) == int(epoch), "every epoch before it was printed"
    consumed = run_program("model_consumer.py", "--x", "0", folder=tmp_path)
    if epoch == "0":
        assert kept == "no checkpoint was saved"
        missing = "no complete checkpoint: saved_model (run python model_producer.py first)"
        assert consumed.err == f"model_consumer.py: {missing}\n"
    else:
        assert kept == f"the last good checkpoint is saved_model/linear_regression.ckpt-{int(epoch) - 1}"
        assert consumed.status == 0
        assert float(consumed.out.split("[")[-1].strip("]\n")) == table(result.out)[-1][-1]


def test_output_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    sample = ROOT / "data" / "linear_regression.csv"
    result = run_program("model_producer.py", "--data", sample, "--output-dir", "file", folder=tmp_path)
    assert result == (1, "", "model_producer.py: Not a directory: file/exported_graphs\n")
    for name in ("exported_graphs", "saved_model", "summaries"):
        folder = tmp_path / f"with_{name}"
        folder.mkdir()
        (folder / name).write_text("mine")
        result = run_program("model_producer.py", "--output-dir", folder, "--epochs", 1)
        assert (result.status, result.out) == (1, "")
        assert re.fullmatch(rf"model_producer\.py: .*{name}.*\n", result.err)
        assert (folder / name).read_text() == "mine"


@pytest.mark.slow
def test_file_size_limit_ends_the_run_in_one_line(tmp_path: Path) -> None:
    """A file size limit makes writes fail like a full disk does; the summaries reach this limit first."""
    producer = f"python {ROOT}/model_producer.py --data {ROOT}/data/linear_regression.csv"
    result = run_command(f"ulimit -f 60; {producer}", tmp_path)  # in units of 1,024 bytes
    assert result.status == 1
    assert re.fullmatch(r"model_producer\.py: .*(File too large|a full disk).*\n", result.err)
    rows = table(result.out)
    assert rows
    consumed = run_program("model_consumer.py", "--x", "0", folder=tmp_path)
    assert float(consumed.out.split("[")[-1].strip("]\n")) in {row[-1] for row in rows}


@pytest.mark.slow
@pytest.mark.parametrize("size", [20, 60, 100, 120, 150, 210, 300, 500])
def test_full_disk_leaves_the_last_complete_checkpoint(tmp_path: Path, size: int) -> None:
    """A disk of `size` KiB, in the test's own mount namespace."""
    unshare = "unshare -m" if os.getuid() == 0 else "unshare -Urm"
    producer = (
        f"python {ROOT}/model_producer.py --data {ROOT}/data/linear_regression.csv --output-dir disk > out 2> err"
    )
    consumer = f"python {ROOT}/model_consumer.py --model disk/saved_model --x 0 > results 2> /dev/null"
    script = f"mkdir disk; mount -t tmpfs -o size={size}k none disk; {producer}; echo $?; {consumer}; echo $?"
    result = run_command(f"{unshare} bash -c '{script}'", tmp_path)
    producer_status, consumer_status = result.out.split()
    error = (tmp_path / "err").read_text()
    assert producer_status == "1"
    assert re.fullmatch(r"model_producer\.py: .*(No space left on device|a full disk).*\n", error)
    rows = table((tmp_path / "out").read_text())
    results = (tmp_path / "results").read_text()
    assert consumer_status == ("0" if rows else "1")
    assert not rows or float(results.split("[")[-1].strip("]\n")) == rows[-1][-1]


def kill_at_random(folder: Path, moments: int, seed: int, table_of_run: list[tuple[float, ...]]) -> int:
    """Kills the producer `moments` times at random; the consumer must read what it left, or say why it cannot.

    Returns:
        How often there was a checkpoint to read.
    """
    random_moment = random.Random(seed)
    read = 0
    for _ in range(moments):
        with start_program("model_producer.py", "--output-dir", folder) as process:
            started = time.monotonic()
            moment = random_moment.uniform(0, kill_at_random.duration)
            process.join(moment)
            if process.exitcode is not None:
                kill_at_random.duration = min(kill_at_random.duration, time.monotonic() - started)
            process.kill()
        result = run_program("model_consumer.py", "--model", folder / "saved_model", "--x", "0")
        if result.status == 0:
            read += 1
            assert float(result.out.split("[")[-1].strip("]\n")) in {row[-1] for row in table_of_run}
            assert re.fullmatch(r"(model_consumer\.py: incomplete checkpoint: .* \(using .*\)\n)?", result.err)
        else:
            assert (result.status, result.out) == (1, "")
            assert re.fullmatch(r"model_consumer\.py: (no complete checkpoint|no model): .*\n", result.err)
    return read


kill_at_random.duration = 4.0  # seconds, roughly the duration of a run


@pytest.mark.slow
def test_a_killed_producer_leaves_a_readable_folder(tmp_path: Path, trained: Path) -> None:
    kill_at_random(tmp_path, 6, 1, table((trained / "producer.out").read_text()))


@pytest.mark.slow
def test_a_producer_killed_50_times_leaves_a_readable_folder(tmp_path: Path, trained: Path) -> None:
    assert kill_at_random(tmp_path, 50, 2, table((trained / "producer.out").read_text())) > 10


def test_interrupt_ends_at_once_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "model_producer.py"), "--epochs", "1000000", "--output-dir", str(tmp_path)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=USER
    ) as process:
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        out, err = process.communicate(timeout=60)
    assert time.monotonic() - started < 5
    assert process.returncode == 130
    newest = re.fullmatch(r"model_producer.py: interrupted \(the newest checkpoint is (.*)\)\n", err)[1]
    assert Path(f"{newest}.index").exists()
    result = run_program("model_consumer.py", "--model", tmp_path / "saved_model", "--x", "0")
    assert result.status == 0
    assert float(result.out.split("[")[-1].strip("]\n")) in {row[-1] for row in table("".join(lines) + out)[-2:]} or (
        "using" in result.err
    )


@pytest.mark.slow
def test_the_reader_of_its_lines_may_go_away(tmp_path: Path, trained: Path) -> None:
    command = f"set -o pipefail; python {ROOT}/model_producer.py --data {ROOT}/data/linear_regression.csv | head -n 1"
    result = run_command(command, tmp_path)
    assert result == (0, (trained / "producer.out").read_text().splitlines(keepends=True)[0], "")
    assert (tmp_path / "saved_model" / "linear_regression.ckpt-1900.meta").exists(), "the training went on"


@pytest.mark.slow
def test_progress_bar_on_a_terminal(tmp_path: Path) -> None:
    """Without a terminal, standard error stays empty, as other tests check."""
    terminal, standard_error = pty.openpty()
    fcntl.ioctl(standard_error, termios.TIOCSWINSZ, struct.pack("4H", 40, 100, 0, 0))
    command = [sys.executable, str(ROOT / "model_producer.py"), "--epochs", "301", "--output-dir", str(tmp_path)]
    out = subprocess.check_output(command, cwd=ROOT, env=USER, stderr=standard_error, text=True)
    assert len(table(out)) == 4, "the lines go to standard output, whole"
    assert "/301 [" in os.read(terminal, 1 << 16).decode()


@pytest.mark.slow
def test_tensorflow_1_8_reads_the_checkpoint(trained: Path) -> None:
    """With the real Python 3.6 and TensorFlow 1.8, in a separate environment."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [*map(str, pyenv.glob("versions/3.6.*/bin/python3.6")), "python3.6"]
    python = next((name for name in candidates if run_command(f"{name} --version").status == 0), None)
    if python is None:
        pytest.skip("needs Python 3.6, the newest that TensorFlow 1.8 runs on")
    environment = ROOT / ".cache" / "tensorflow-1.8"
    if not (environment / "complete").exists():
        packages = "tensorflow==1.8.0 'numpy<1.17' 'protobuf<3.18'"
        made = run_command(
            f"{python} -m venv --clear {environment} && {environment}/bin/pip install -q -U 'pip<22' && "
            f"{environment}/bin/pip install -q {packages} && touch {environment}/complete",
            timeout=600,
        )
        assert made.status == 0, made.err
    prefix = trained / "saved_model" / "linear_regression.ckpt-1900"
    result = run_command(f"{environment}/bin/python tests/tensorflow_1_8.py read {prefix}")
    assert result.status == 0, result.err
    assert tuple(map(float, result.out.split())) == table((trained / "producer.out").read_text())[-1][2:]
