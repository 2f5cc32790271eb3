"""What a run of score.py leaves after a rerun, a kill or a full disk, and on a terminal. Also its page."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path

from conftest import ROOT, USER, run_command, start_program, wait_for
from scorer import Score, check_many, line, many, models, names, program, score, summary, whole_files, with_model, write

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.append(str(ROOT / "distributed"))
import files

__all__ = ["many", "models", "program", "score"]  # fixtures


def test_a_rerun_does_what_is_missing(score: Score, models: Path, tmp_path: Path) -> None:
    for i, name in enumerate("abc"):
        write(tmp_path / f"in/{name}.parquet", x=[float(i)])

    def counts(*flags: object, **settings: object) -> tuple[int, ...]:
        done = score("--rows", "in", "--save", "out", *flags, **settings)
        assert (done.status, done.err) == (0, "")
        return tuple(map(int, re.search(r"files to score: (\d), already scored: (\d)", done.out).groups()))

    assert counts() == (3, 0)
    (tmp_path / "out/a.parquet").unlink()
    write(tmp_path / "in/c.parquet", x=[7.0])
    os.utime(tmp_path / "in/c.parquet", (1e9, 1e9))  # older than its output
    kept = (tmp_path / "out/b.parquet").stat()
    assert counts() == (2, 1)
    assert (tmp_path / "out/b.parquet").stat().st_mtime_ns == kept.st_mtime_ns
    assert pq.read_table(tmp_path / "out/c.parquet")["prediction"].to_pylist() == [line(7)]
    assert counts() == (0, 3)
    assert counts("--workers", 1) == (0, 3)
    # With another model or other flags it is scored again, whichever file is older.
    os.utime(models / "line32.pb", (1e9, 1e9))
    assert counts(model="line32.pb") == (3, 0)
    assert pq.read_table(tmp_path / "out/c.parquet")["prediction"].type == pa.float32()
    assert counts("--on-error", "null", model="line32.pb") == (3, 0)
    assert counts("--on-error", "null", model="line32.pb") == (0, 3)


def test_a_large_file_is_scored_in_parts(score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PART", 1 << 15)
    x = np.random.default_rng(1).normal(size=20_000)
    (tmp_path / "in").mkdir()
    table = pa.table({"x": x})
    pq.write_table(table, tmp_path / "in/t.parquet", row_group_size=1000)
    flags = ("--rows", "in", "--save", "out")
    assert score(*flags).out == f"files to score: 1, already scored: 0\n{summary(20_000)}"
    parts = names(tmp_path / "out")
    assert len(parts) == round((tmp_path / "in/t.parquet").stat().st_size / (1 << 15)) > 3
    assert parts[-1] == f"t-{len(parts) - 1:05}-of-{len(parts):05}.parquet"
    assert np.array_equal(pq.read_table(tmp_path / "out")["prediction"], x * 1.5 - 3)
    # A rerun scores the missing part.
    (tmp_path / "out" / parts[1]).unlink()
    assert f"files to score: 1, already scored: 0\nrows scored: {len(x) // len(parts) // 1000}" in score(*flags).out
    assert score(*flags).out == f"files to score: 0, already scored: 1\n{summary(0)}"
    # Row numbers continue through the whole file; parts of its earlier version are removed.
    x[17_000:17_002] = np.nan
    pq.write_table(pa.table({"x": x}), tmp_path / "in/t.parquet", row_group_size=6000)
    done = score(*flags, "--on-error", "null")
    assert f"no prediction for 2 rows of {tmp_path}/in/t.parquet: 17001, 17002\n" in done.out
    assert len(names(tmp_path / "out")) == 4
    after = pq.read_table(tmp_path / "out")["prediction"].to_numpy()
    assert np.array_equal(after, x * 1.5 - 3, equal_nan=True)
    assert "not a number: nan in row 17001 of" in score("--rows", "in", "--save", "fail").err


def test_two_scorers_with_one_output(score: Score, models: Path, tmp_path: Path) -> None:
    x = np.arange(100_000.0)
    for i in range(6):
        write(tmp_path / f"in/{i}.parquet", x=x + i)
    flags = [*with_model(models), "--rows", "in", "--save", "out"]
    with contextlib.ExitStack() as stack:
        both = [stack.enter_context(start_program("distributed/score.py", *flags, folder=tmp_path)) for _ in range(2)]
        for each in both:
            each.join(60)
            assert (each.exitcode, each.output()[1]) == (0, "")
    assert names(tmp_path / "out") == [f"{i}.parquet" for i in range(6)]
    for i in range(6):
        assert np.array_equal(pq.read_table(tmp_path / f"out/{i}.parquet")["prediction"], (x + i) * 1.5 - 3)


@pytest.mark.parametrize(
    ("victim", "number", "status"),
    [("program", signal.SIGKILL, -9), ("program", signal.SIGINT, 130), ("worker", signal.SIGKILL, 1)],
)
def test_a_run_that_is_ended(
    program: Score, models: Path, tmp_path: Path, many: np.ndarray, victim: str, number: int, status: int
) -> None:
    flags = [*with_model(models), "--rows", "in", "--save", "out"]
    with start_program("distributed/score.py", *flags, folder=tmp_path) as process:
        wait_for(lambda: len(whole_files(tmp_path)) > 2)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        workers = list(map(int, children))[-len(os.sched_getaffinity(0)) :]
        os.kill(process.pid if victim == "program" else workers[0], number)
        process.join(60)
        assert process.exitcode == status
        out, err = process.output()
    assert len(whole_files(tmp_path)) < 16
    assert out == "files to score: 16, already scored: 0\n"
    if number == signal.SIGINT:
        words = r"score.py: interrupted: \d+ of 16 files were scored \(the same command goes on from there\)\n"
        assert re.fullmatch(words, err)
    elif victim == "worker":
        assert re.fullmatch(
            rf"score.py: a worker ended \(SIGKILL\) while it scored {tmp_path}/in/\d\d.parquet \(.*\)\n", err
        )
    else:
        assert err == ""
    wait_for(lambda: not any(os.path.exists(f"/proc/{worker}") for worker in workers))
    # Nothing is lost or duplicated, and partly written files are removed.
    again = program("--rows", "in", "--save", "out")
    assert (again.status, again.err) == (0, "")
    check_many(tmp_path, many)


def test_the_terminal_is_left_clean(models: Path, tmp_path: Path) -> None:
    """A progress bar is shown, and removed at the end."""
    write(tmp_path / "in/t.parquet", x=np.arange(1_000_000.0))
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 80))
    command = [sys.executable, ROOT / "distributed/score.py", "--model", models / "line.pb", "--trust"]
    command += ["--rows", "in", "--save", "out"]
    with subprocess.Popen(list(map(str, command)), cwd=tmp_path, env=USER, stdout=its, stderr=its) as process:
        os.close(its)
        shown = b""
        with contextlib.suppress(OSError):
            while part := os.read(ours, 4096):
                shown += part
        assert process.wait() == 0
    os.close(ours)
    assert b"%|" in shown
    rest, last = shown.decode().rsplit("\r", 1)[0], shown.decode().splitlines()[-1]
    assert last.rpartition("\r")[2] == summary(1_000_000).strip(), shown
    assert re.search(r"\r +\r$", rest[: rest.rindex("rows scored")]), shown


@pytest.mark.slow
def test_a_full_disk_leaves_no_part_of_a_file(models: Path, tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / f"in/{i}.parquet", x=np.random.default_rng(i).normal(size=100_000))
    command = (
        f"mkdir out && mount -t tmpfs -o size=3m tmpfs out && python {ROOT}/distributed/score.py "
        f"--model {models}/line.pb --trust --rows in --save out; echo $?; ls -A out | grep -v parquet$; umount out"
    )
    done = run_command(f"unshare --mount bash -c '{command}'", tmp_path)
    if "unshare failed" in done.err or "permission denied" in done.err:
        pytest.skip("no file system of its own: not root")
    assert done.out == "files to score: 3, already scored: 0\n1\n"
    assert done.err.count("\n") == 1
    assert "No space left on device" in done.err
