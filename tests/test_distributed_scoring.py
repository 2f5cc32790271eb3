"""Scoring on one machine: which files, which values, what is written, and what a killed run leaves."""

import contextlib
import functools
import gzip
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import page
import small_models
from conftest import ROOT, USER, Result, run_command, run_program, start_program, wait_for
from model_import_export import command_line, digests, tensors
from model_import_export.graph_mode import tf

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

sys.path.append(str(ROOT / "distributed"))
import columns
import driver
import files
import scoring
from score import parse_arguments

MODELS = ("line", "line32", "pair", "on_gpu", "on_ps")  # line is y = 1.5x - 3


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small models that are in its list of checked ones."""
    folder = tmp_path_factory.mktemp("models")
    for name in MODELS:
        with tf.Graph().as_default() as graph:
            small_models.GRAPHS[name]()
        (folder / f"{name}.pb").write_bytes(graph.as_graph_def().SerializeToString())
    small_models.write_saved_model(folder / "saved")
    files = [*(str(folder / f"{name}.pb") for name in MODELS), *digests.files_of(str(folder / "saved"))]
    digests.add(str(folder / digests.CHECKED), [(file, digests.digest(file)) for file in files])
    return folder


Score = Callable[..., Result]


@pytest.fixture
def program(models: Path, tmp_path: Path) -> Score:
    """Runs score.py in a scratch folder, with the model line.pb where no flag names another."""

    def run(*flags: object, model: str = "line.pb") -> Result:
        return run_program("distributed/score.py", *with_model(models, model), *flags, folder=tmp_path)

    return run


def with_model(models: Path, model: str = "line.pb") -> list[object]:
    return ["--model", models / model, "--checked", models / digests.CHECKED]


@pytest.fixture
def score(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Score:
    """Does what `program` does in this process: all of score.py but the processes in which it has the tasks done."""

    @contextlib.contextmanager
    def start_engine(job: scoring.Job, _: object) -> Iterator[driver.Engine]:
        yield lambda tasks: (scoring.score_task(job, task) for task in tasks)

    monkeypatch.setattr(driver, "start_engine", start_engine)
    monkeypatch.chdir(tmp_path)

    def run(*flags: object, model: str = "line.pb") -> Result:
        words = ["score.py", *map(str, [*with_model(models, model), *flags])]
        monkeypatch.setattr(sys, "argv", words)
        status = 0
        try:
            driver.score_files(parse_arguments())
        except Exception as error:
            status = 1
            command_line.warn(error)
        return Result(status, *capsys.readouterr())

    yield run
    files.locate.cache_clear()
    scoring.load_scorer.cache_clear()


def line(x: float) -> float:
    """What line.pb calculates."""
    return 1.5 * x - 3


def write(path: Path, **columns: object) -> None:
    """Writes a Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def summary(rows: int, bad: int = 0, save: str = "out") -> str:
    return f"rows scored: {rows}, without a prediction: {bad}, written to: {save}\n"


def names(folder: Path) -> list[str]:
    """The files below a folder, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Files


def test_scores_parquet_and_csv(program: Score, tmp_path: Path) -> None:
    x = np.random.default_rng(5).normal(0, 100, 300_000)
    write(tmp_path / "in/a.parquet", id=np.arange(200_000), x=x[:200_000], note=["n"] * 200_000)
    write(tmp_path / "in/deep/b.parquet", x=x[200_000:])
    (tmp_path / "in/c.csv").write_text("x,note\n0,a\n1,b\n-1,\n+2,d\n")
    done = program("--rows", "in", "--save", "out")
    assert (done.status, done.err) == (0, "")
    first, columns, last = done.out.splitlines(keepends=True)
    assert (first, last) == ("files to score: 3, already scored: 0\n", summary(300_004))
    other = "(without id int64, x double; with x string)"
    assert columns.startswith(f"columns other than in {tmp_path}/in/a.parquet: {tmp_path}/in/c.csv {other}, ")
    for name in ("a", "deep/b"):
        before, after = pq.read_table(tmp_path / f"in/{name}.parquet"), pq.read_table(tmp_path / f"out/{name}.parquet")
        assert after.drop_columns("prediction").equals(before)
        assert np.array_equal(after["prediction"], before["x"].to_numpy() * 1.5 + -3.0)
    assert pq.read_table(tmp_path / "out/c.parquet").to_pylist() == [
        {"x": "0", "note": "a", "prediction": line(0)},
        {"x": "1", "note": "b", "prediction": line(1)},
        {"x": "-1", "note": None, "prediction": line(-1)},
        {"x": "+2", "note": "d", "prediction": line(2)},
    ]
    assert names(tmp_path / "out") == ["a.parquet", "c.parquet", "deep/b.parquet"]


def test_the_same_bits_as_the_consumer(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("x\n0\n0.1\n1e300\n-3\n")
    scored = run_program("distributed/score.py", "--rows", tmp_path, "--save", tmp_path / "out", folder=trained)
    assert scored.status == 1
    assert "the output is in the input" in scored.err
    scored = run_program("distributed/score.py", "--rows", tmp_path / "c.csv", "--save", tmp_path / "o", folder=trained)
    assert scored.status == 0, scored.err
    frozen = "frozen_graphs/frozen_linear_regression.pb"
    said = run_program("model_consumer.py", "--model", frozen, "--x", "0,0.1,1e300,-3", folder=trained).out
    numbers = list(map(float, re.search(r"\[(.*)\]", said)[1].split()))
    assert pq.read_table(tmp_path / "o/c.parquet")["prediction"].to_pylist() == numbers


def test_every_ending_and_what_is_left_out(score: Score, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write(folder / "e.pq", x=[5.0])
    write(folder / "f.PARQUET", x=[6.0])
    (folder / "a.csv").write_text("x\n1\n")
    (folder / "B.CSV").write_text("x\n2\n")
    (folder / "c.tsv").write_text("n\tx\n,\t3\n")
    (folder / "d.CSV.GZ").write_bytes(gzip.compress(b"x\n4\n"))
    (folder / "notes.txt").write_text("x\n7\n")
    done = score("--rows", "in", "--save", "out")
    assert (done.status, done.err) == (0, "")
    assert f"left out, neither Parquet nor CSV: {folder}/notes.txt\n" in done.out
    assert done.out.endswith(summary(6))
    for i, name in enumerate("aBcdef", 1):
        assert pq.read_table(tmp_path / f"out/{name}.parquet")["prediction"].to_pylist() == [line(i)]


def test_a_folder_as_hive_and_spark_write_it(score: Score, tmp_path: Path) -> None:
    for year in (2023, 2024):
        write(tmp_path / f"in/year={year}/part-0.snappy.parquet", x=[float(year)])
        (tmp_path / f"in/year={year}/.part-0.snappy.parquet.crc").write_bytes(b"crc")
    (tmp_path / "in/_SUCCESS").touch()
    write(tmp_path / "in/_temporary/0/part-1.parquet", x=[0.0])
    done = score("--rows", "in", "--save", "out")
    assert done == (0, f"files to score: 2, already scored: 0\n{summary(2)}", "")
    rows = pq.read_table(tmp_path / "out").to_pylist()
    assert [(row["year"], row["prediction"]) for row in rows] == [(2023, line(2023)), (2024, line(2024))]
    said = score("--rows", "in", "--save", "other", "--column", "year").err
    assert said == (
        f"score.py: no column year: {tmp_path}/in/year=2023/part-0.snappy.parquet "
        "(it is in a folder's name, which is not read)\n"
    )


def test_a_store_that_is_not_a_file_system_of_this_machine(
    score: Score, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "in/deep/a.parquet", x=[1.0])
    (tmp_path / "in/b.csv").write_text("x\n2\nbad\n")
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    locate = functools.cache(lambda uri: (store, uri.removeprefix("store://")))
    for module in (files, scoring):
        monkeypatch.setattr(module, "locate", locate)
    flags = ("--rows", "store://in", "--on-error", "null", "--save")
    assert score(*flags, "store://out").out.endswith(summary(3, 1, "store://out"))
    assert pq.read_table(tmp_path / "out/deep/a.parquet")["prediction"].to_pylist() == [line(1)]
    assert pq.read_table(tmp_path / "out/b.parquet")["prediction"].to_pylist() == [line(2), None]
    assert names(tmp_path / "out") == ["b.parquet", "deep/a.parquet"]
    assert score(*flags, "store://out").out.startswith("files to score: 0, already scored: 2\n")
    assert "the output is in the input: in/out" in score(*flags, "store://in/out").err


def test_links_lead_to_each_file_once(score: Score, tmp_path: Path) -> None:
    write(tmp_path / "in/deep/a.parquet", x=[1.0])
    write(tmp_path / "elsewhere/b.parquet", x=[2.0])
    for name, target in {
        "in/0loop": "in",
        "in/deep/up": "in",
        "in/deep/1again.parquet": "in/deep/a.parquet",
        "in/more": "elsewhere",
        "elsewhere/back": "in",
        "in/nowhere.parquet": "nothing",
    }.items():
        (tmp_path / name).symlink_to(tmp_path / target)
    assert score("--rows", "in", "--save", "out").out.endswith(summary(2))
    assert names(tmp_path / "out") == ["deep/a.parquet", "more/b.parquet"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("in/*.parquet", ["a", "b"]),
        ("in/?.parquet", ["a", "b"]),
        ("in/[!a].parquet", ["b"]),
        ("in/**/*.parquet", ["a", "b", "d1/a", "d1/d2/c"]),
        ("in/d*", ["d1/a", "d1/d2/c"]),
        ("in/d1/a.parquet", ["a"]),
        ("in/{b}.parquet", []),
        ("in/e[1]", ["a"]),
    ],
)
def test_patterns(pattern: str, found: list[str], tmp_path: Path) -> None:
    for name in ("in/a", "in/b", "in/d1/a", "in/d1/d2/c", "in/e[1]/a"):
        write(tmp_path / f"{name}.parquet", x=[1.0])
    if pattern == "in/**/*.parquet":
        found = [*found, "e[1]/a"]
    base, its = files.find(*files.locate(str(tmp_path / pattern)))
    pairs, _ = files.pair(base, its, "out")
    assert sorted(pairs) == [f"out/{name}.parquet" for name in found]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--rows", "nothing"], "no data: {tmp}/nothing (no .parquet, .pq, .csv or .tsv is there)"),
        (["--rows", "s3a://b/in"], "no such file system: s3a://b/in: Unrecognized filesystem type in URI: "),
        (["--rows", "in", "--column", "y"], "no column y: {tmp}/in/a.parquet (it has: id, x, note; --column names the"),
        (["--rows", "in", "--column", "note"], "not a number: n in row 1 of {tmp}/in/a.parquet (--on-error null"),
        (["--rows", "in", "--column", "when"], "not numbers: a column of type "),
        (["--rows", "in", "--column", "x", "--column", "id"], "wrong number of columns: 2 given, the placeholder x ta"),
        (["--rows", "in", "--prediction", "x"], "a column x is there already: {tmp}/in/a.parquet (--prediction names"),
        (["--rows", "in", "--save", "in/out"], "the output is in the input: {tmp}/in/out (a rerun would score it"),
        (["--rows", "in/*.parquet", "--save", "in"], "the output is in the input: {tmp}/in (a rerun would"),
        (["--rows", "in/a.parquet", "--save", "in"], "the output is in the input: {tmp}/in (a rerun would"),
        (["--rows", "in", "--save", "link"], "the output is in the input: {tmp}/link (a rerun would"),
        (["--rows", "in", "--save", "linked"], "the output is in the input: {tmp}/linked (a rerun would"),
        (["--rows", "in", "--save", "mine"], "not written by score.py: {tmp}/mine/a.parquet (it would be replaced;"),
        (["--rows", "broken"], "cannot read: {tmp}/broken/b.parquet: "),
        (["--rows", "twice"], "two inputs of one output: {tmp}/twice/a.csv and {tmp}/twice/a.parquet (rename one)"),
        (["--rows", "t/header.csv"], "two columns x: {tmp}/t/header.csv (name each once)"),
        (["--rows", "t/others.csv"], "two columns n: {tmp}/t/others.csv (name each once)"),
        (["--rows", "t/long.csv"], "cannot read: {tmp}/t/long.csv: CSV parse error: Row #3: Expected 2 columns, got 3"),
        (["--rows", "t/empty.csv"], "empty: {tmp}/t/empty.csv (the first line of CSV names the columns)"),
        (["--rows", "t/16.csv"], "not text in this encoding: {tmp}/t/16.csv (--encoding names another, such as utf-16"),
        (["--rows", "t/16le.csv"], "not text in this encoding: {tmp}/t/16le.csv (--encoding names another"),
        (["--rows", "t/latin.csv"], "not text in this encoding: {tmp}/t/latin.csv (--encoding names another"),
        (["--rows", "t/latin.csv", "--encoding", "utf-16"], "not text in this encoding: {tmp}/t/latin.csv"),
        (["--rows", "t/range.csv"], "out of range for float64: 1e999 in row 2 of {tmp}/t/range.csv (--on-error null"),
        (["--rows", "in", "--model", "nothing.pb"], "no model: nothing.pb (run ./freeze_graph"),
        (["--rows", "in", "--model", "checkpoints"], "not a frozen graph or SavedModel: checkpoints (it holds Saver"),
        (["--rows", "in", "--output", "nothing"], "no such output: nothing (the model ends in: y; nearest: "),
        (["--rows", "in", "--input", "nothing"], "no such input: nothing (the model has: x)"),
        (["--rows", "in", "--feed", "z=1"], "no such input: z (the model has: x)"),
    ],
)
def test_what_cannot_be_scored(score: Score, tmp_path: Path, flags: list[str], said: str) -> None:
    day = pa.array([datetime(2024, 1, 1, tzinfo=UTC)])
    write(tmp_path / "in/a.parquet", id=[1], x=[1.0], note=["n"])
    if "when" in flags:
        write(tmp_path / "in/a.parquet", when=day)
    write(tmp_path / "mine/a.parquet", x=[1.0])
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/a.parquet").symlink_to(tmp_path / "in/a.parquet")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/b.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "twice").mkdir()
    for name in ("a.csv", "a.parquet"):
        (tmp_path / "twice" / name).touch()
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/checkpoint").touch()
    (tmp_path / "t").mkdir()
    for name, data in {
        "header": b"x,x\n1,2\n",
        "others": b"x,n,n\n1,2,3\n",
        "long": b"x,y\n1,2\n4,5,6\n",
        "empty": b"",
        "16": "x\n1\n".encode("utf-16"),
        "16le": "x\n1\n".encode("utf-16-le"),
        "latin": "x,n\n1,\u00e9\n".encode("latin-1"),
        "range": b"x\n1\n1e999\n",
    }.items():
        (tmp_path / f"t/{name}.csv").write_bytes(data)
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    done = score(*([] if "--save" in flags else ["--save", "out"]), *flags)
    assert (done.status, done.err.count("\n")) == (1, 1), done
    assert done.err.startswith(f"score.py: {said.format(tmp=tmp_path)}")
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--spark", "nowhere://"], "argument --spark: not a Spark master: nowhere:// (spark://HOST:PORT, "),
        (["--spark", "local[2]", "--workers", "2"], "argument --workers: not allowed with argument --spark"),
        (["--delimiter", ";;"], "argument --delimiter: not one ASCII character: ;;"),
        (["--encoding", "klingon"], "argument --encoding: not an encoding that Python knows: klingon"),
        (["--workers", "0"], "argument --workers: not a whole number from 1 to "),
        (["--worker", "2"], "unknown argument: --worker (nearest: --workers; "),
    ],
)
def test_wrong_flags(program: Score, flags: list[str], said: str) -> None:
    done = program(*flags)
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert done.err.startswith(f"score.py: {said}")


# Values


BAD = ["1", "abc", "", "nan", "1e999", "-inf", "+5", " 7", "1_0", "infinity", "-1e400", "0x10", ".5", "2."]
GOOD = {0: 1.0, 5: -np.inf, 6: 5.0, 12: 0.5, 13: 2.0}  # by the position


def test_bad_rows(score: Score, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/t.csv").write_text("x\n" + "".join(f'"{text}"\n' for text in BAD))
    write(tmp_path / "bad/p.parquet", x=pa.array([1.0, None, float("nan"), float("-inf"), 3.0]))
    failed = score("--rows", "bad/t.csv", "--save", "out")
    hint = "(--on-error null goes on without a prediction for it)"
    assert (failed.status, failed.err) == (1, f"score.py: not a number: abc in row 2 of {tmp_path}/bad/t.csv {hint}\n")
    assert names(tmp_path / "out") == []
    assert f"not a number: null in row 2 of {tmp_path}/bad/p.parquet {hint}" in score("--rows", "bad/p*").err
    done = score("--rows", "bad", "--save", "out", "--on-error", "null")
    assert (done.status, done.err) == (0, "")
    bad = [str(i + 1) for i in range(len(BAD)) if i not in GOOD]
    assert done.out.splitlines(keepends=True)[:3] == [
        "files to score: 2, already scored: 0\n",
        f"no prediction for 2 rows of {tmp_path}/bad/p.parquet: 2, 3\n",
        f"no prediction for {len(bad)} rows of {tmp_path}/bad/t.csv: {', '.join(bad)}\n",
    ]
    assert done.out.endswith(summary(19, 2 + len(bad)))
    after = pq.read_table(tmp_path / "out/t.parquet")
    assert after["x"].to_pylist() == BAD
    assert after["prediction"].to_pylist() == [line(GOOD[i]) if i in GOOD else None for i in range(len(BAD))]
    expected = [line(1), None, None, -np.inf, line(3)]
    assert pq.read_table(tmp_path / "out/p.parquet")["prediction"].to_pylist() == expected


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_what_becomes_of_a_value_does_not_depend_on_those_beside_it(dtype: str) -> None:
    kind = np.dtype(dtype)
    texts = [*BAD, "1e5", "3.4028236e38", "65520", "0.1", "16777217", "1e-400", "9007199254740993", None]
    alone = [columns.read_column(pa.array([text], pa.string()), kind) for text in texts]
    for some in (texts, texts[::-1], [text for text, each in zip(texts, alone, strict=True) if each.good[0]]):
        together = columns.read_column(pa.array(some, pa.string()), kind)
        for i, text in enumerate(some):
            one = alone[texts.index(text)]
            assert together.good[i] == one.good[0], text
            assert not one.good[0] or together.values[i] == one.values[0]
    rounded = {"float64": float, "float32": np.float32, "float16": np.float16}[dtype]
    for text, each in zip(texts, alone, strict=True):
        if each.good[0] and "inf" not in text:
            assert each.values[0] == rounded(text), text


def test_column_types(score: Score, tmp_path: Path) -> None:
    """What is read of each type, and that the columns themselves come out as they went in."""
    tenth = [Decimal("0.100000000000000005"), Decimal("-12345678901234567.8"), None]
    columns = {
        "large": (pa.array(["1", "0.1", "x"], pa.large_string()), [1, 0.1, None]),
        "view": (pa.array(["1", "0.1", None], pa.string_view()), [1, 0.1, None]),
        "dictionary": (pa.array(["7", "7", "x"]).dictionary_encode(), [7, 7, None]),
        "decimal": (pa.array(tenth, pa.decimal128(35, 18)), [0.1, -12345678901234567.8, None]),
        "whole": (pa.array([1, -2, None], pa.int8()), [1, -2, None]),
        "uint64": (pa.array([2**64 - 1, 2**53 + 1, 0], pa.uint64()), [2.0**64, 2.0**53, 0]),
        "float": (pa.array([0.5, None, 1e30], pa.float32()), [0.5, None, float(np.float32(1e30))]),
        "nothing": (pa.nulls(3), [None, None, None]),
    }
    others = {
        "when": pa.array([datetime(9999, 12, 31, tzinfo=UTC)] * 3, pa.timestamp("us", "Europe/Berlin")),
        "nanoseconds": pa.array([1, 2, 3], pa.timestamp("ns", "UTC")),
        "nested": pa.array([{"a": [1, None]}, None, {"a": []}]),
        "bytes": pa.array([b"\xff", b"", None], pa.binary()),
    }
    write(tmp_path / "t.parquet", **{name: values for name, (values, _) in columns.items()}, **others)
    before = pq.read_table(tmp_path / "t.parquet")
    for name, (_, numbers) in columns.items():
        done = score("--rows", "t.parquet", "--save", "out", "--on-error", "null", "--column", name)
        assert done.status == 0, done.err
        after = pq.read_table(tmp_path / "out/t.parquet")
        assert after["prediction"].to_pylist() == [None if x is None else x * 1.5 - 3 for x in numbers], name
        assert after.drop_columns("prediction").equals(before)
        assert after.schema.remove(after.schema.get_field_index("prediction")).equals(before.schema)


def test_timestamps_of_old_spark(score: Score, tmp_path: Path) -> None:
    """INT96, in which nanoseconds end with the year 2262."""
    when = pa.array([datetime(9999, 12, 31, 23, 59, 59, 999_999), datetime(1, 1, 1)], pa.timestamp("us"))
    pq.write_table(
        pa.table({"x": [1.0, 2.0], "when": when}), tmp_path / "t.parquet", use_deprecated_int96_timestamps=True
    )
    assert score("--rows", "t.parquet", "--save", "out").status == 0
    assert pq.read_table(tmp_path / "out/t.parquet")["when"].equals(pa.chunked_array([when]))


def test_csv_as_people_write_it(score: Score, tmp_path: Path) -> None:
    cells = ['c "d"', 'say "hi", x', "two\nlines", "", None, "\u00e9"]
    quoted = ["" if cell is None else '"' + cell.replace('"', '""') + '"' for cell in cells]
    text = "n,x\r\n" + "".join(f"{cell},{i}\r\n" for i, cell in enumerate(quoted))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/bom.csv").write_text("\ufeff" + text, newline="")
    (tmp_path / "in/none.csv").write_text("n,x\n")
    (tmp_path / "in/header.csv").write_text("n,x")
    done = score("--rows", "in", "--save", "out")
    assert done == (0, f"files to score: 3, already scored: 0\n{summary(6)}", "")
    expected = [{"n": cell, "x": str(i), "prediction": line(i)} for i, cell in enumerate(cells)]
    assert pq.read_table(tmp_path / "out/bom.parquet").to_pylist() == expected
    for name in ("none", "header"):
        empty = pq.read_table(tmp_path / f"out/{name}.parquet")
        assert empty.schema.names == ["n", "x", "prediction"]
        assert empty.num_rows == 0
    (tmp_path / "16.csv").write_text(text.replace(",", ";").replace('say ""hi"";', 'say ""hi"",'), "utf-16", newline="")
    done = score("--rows", "16.csv", "--save", "out", "--encoding", "UTF-16", "--delimiter", ";")
    assert (done.status, done.err) == (0, "")
    assert pq.read_table(tmp_path / "out/16.parquet").to_pylist() == expected


def test_rows_that_straddle_blocks(score: Score, tmp_path: Path) -> None:
    """Quoted newlines over several blocks of 8 MB: no row is lost, and the numbers of rows stay right."""
    note, count = "a\n" * 500, 20_000
    (tmp_path / "t.csv").write_text("x,n\n" + "".join(f'{i},"{note}"\n' for i in range(count)) + "bad,\n")
    done = score("--rows", "t.csv", "--save", "out", "--on-error", "null")
    assert f"no prediction for 1 row of {tmp_path}/t.csv: {count + 1}\n" in done.out
    after = pq.read_table(tmp_path / "out/t.parquet")
    assert np.array_equal(after["prediction"].to_numpy()[:-1], np.arange(count) * 1.5 - 3)
    assert after["n"].unique().to_pylist() == [note, None]


def test_no_rows(score: Score, tmp_path: Path) -> None:
    write(tmp_path / "in/none.parquet", x=pa.array([], pa.float64()))
    pq.ParquetWriter(tmp_path / "in/no_groups.parquet", pa.schema({"x": pa.float64()})).close()
    done = score("--rows", "in", "--save", "out")
    assert done == (0, f"files to score: 2, already scored: 0\n{summary(0)}", "")
    for name in ("none", "no_groups"):
        assert pq.read_table(tmp_path / f"out/{name}.parquet").schema.names == ["x", "prediction"]


def test_a_damaged_page_is_refused_where_it_has_a_checksum(score: Score, tmp_path: Path) -> None:
    x = np.arange(1000.0)
    path = tmp_path / "t.parquet"
    settings = {"use_dictionary": False, "compression": "none"}
    pq.write_table(pa.table({"x": x}), path, write_page_checksum=True, **settings)
    data = bytearray(path.read_bytes())
    data[data.index(x[500].tobytes())] ^= 1
    path.write_bytes(data)
    done = score("--rows", "t.parquet", "--save", "out")
    assert done.status == 1
    assert re.fullmatch(f"score.py: cannot read: {path}: .*checksum.*\n", done.err, re.IGNORECASE)
    # What is written has them.
    pq.write_table(pa.table({"x": x}), path, **settings)
    assert score("--rows", "t.parquet", "--save", "out").status == 0
    scored = tmp_path / "out/t.parquet"
    data = bytearray(scored.read_bytes())
    data[pq.ParquetFile(scored).metadata.row_group(0).column(1).data_page_offset + 200] ^= 1
    scored.write_bytes(data)
    with pytest.raises(OSError, match="(?i)checksum|corrupt"):
        pq.read_table(scored, page_checksum_verification=True)


# Models


def test_a_model_that_takes_several_numbers_a_row(score: Score, tmp_path: Path) -> None:
    """Columns, or a column of lists; float32, to which a number is rounded once, and out of whose range one can be."""
    lists = [[1.0, 2.0], [3.0], None, [4.0, float("inf")], [5.0, None], [6.0, 7.0]]
    for name, kind in (("list", pa.list_(pa.float64())), ("large", pa.large_list(pa.float64()))):
        write(tmp_path / f"in/{name}.parquet", a=[1, 2, 3, 4, 5, 6], b=["0.1"] * 6, both=pa.array(lists, kind))
    done = score("--rows", "in", "--save", "out", "--column", "a", "--column", "b", model="pair.pb")
    assert (done.status, done.err) == (0, "")
    for name in ("list", "large"):
        predictions = pq.read_table(tmp_path / f"out/{name}.parquet")["prediction"].to_pylist()
        assert predictions == [[i, 10 * 0.1] for i in range(1, 7)]
    failed = score("--rows", "in", "--save", "out2", "--column", "both", model="pair.pb")
    assert f"not 2 numbers: [3.0] in row 2 of {tmp_path}/in/" in failed.err
    done = score("--rows", "in", "--save", "out2", "--column", "both", "--on-error", "null", model="pair.pb")
    for name in ("list", "large"):
        assert f"no prediction for 3 rows of {tmp_path}/in/{name}.parquet: 2, 3, 5\n" in done.out
        after = pq.read_table(tmp_path / f"out2/{name}.parquet")["prediction"].to_pylist()
        assert after == [[1, 20], None, None, [4, np.inf], None, [6, 70]]


def test_numbers_out_of_a_narrower_type(score: Score, tmp_path: Path) -> None:
    values = [0.1, 1e39, float("inf"), 16777217.0]
    write(tmp_path / "t.parquet", x=values, text=["0.1", "1e39", "inf", "16777217"])
    for column, shown in (("x", "1e+39"), ("text", "1e39")):
        flags = ("--rows", "t.parquet", "--save", f"out_{column}", "--column", column)
        assert f"out of range for float32: {shown} in row 2 of" in score(*flags, model="line32.pb").err
        done = score(*flags, "--on-error", "null", model="line32.pb")
        assert done.out.endswith(summary(4, 1, f"out_{column}"))
        after = pq.read_table(tmp_path / f"out_{column}/t.parquet")["prediction"]
        assert after.type == pa.float32()
        small = [np.float32(x) * np.float32(1.5) - np.float32(3) for x in (0.1, 16777217.0)]
        assert after.to_pylist() == [small[0], None, np.inf, small[1]]


@pytest.mark.parametrize("model", ["on_gpu.pb", "on_ps.pb"])
def test_devices_that_are_not_here(score: Score, tmp_path: Path, model: str) -> None:
    write(tmp_path / "t.parquet", x=[2.0])
    assert score("--rows", "t.parquet", "--save", "out", model=model) == (
        0,
        f"files to score: 1, already scored: 0\n{summary(1)}",
        "",
    )
    assert pq.read_table(tmp_path / "out/t.parquet")["prediction"].to_pylist() == [line(2)]


def test_a_model_is_judged_where_it_is_not_listed(program: Score, models: Path, tmp_path: Path) -> None:
    write(tmp_path / "t.parquet", x=[2.0])
    shutil.copy(models / "line.pb", tmp_path / "line.pb")
    with tf.Graph().as_default() as graph:
        written = tf.io.write_file("/tmp/never", "x")
        with tf.control_dependencies([written]):
            tf.identity(tf.placeholder("float64", [None, None], name="x"), name="y")
    (tmp_path / "bad.pb").write_bytes(graph.as_graph_def().SerializeToString())
    flags = ("--rows", "t.parquet", "--save", "out", "--checked", "none")
    assert program(*flags, "--model", "line.pb").out.endswith(summary(1))
    refused = program(*flags, "--model", "bad.pb")
    assert (refused.status, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert "WriteFile" in refused.err
    admitted = scoring.admit(str(tmp_path / "line.pb"), str(models / digests.CHECKED), [], trust=False)
    shutil.copy(models / "pair.pb", tmp_path / "line.pb")
    with pytest.raises(ValueError, match=r"^changed since it was checked: .*/line.pb"):
        scoring.Scorer(scoring.Options(admitted, tensors.Names("x", ("y",)), (), ("x",), "prediction", "fail"))


@pytest.mark.slow
def test_as_users_start_it_tensorflow_is_not_imported_whole(models: Path, tmp_path: Path) -> None:
    """A frozen graph and a SavedModel, in processes that have not imported TensorFlow as the other tests' have."""
    write(tmp_path / "t.parquet", x=[2.0, 1e300])
    listed = f"--rows t.parquet --checked {models / digests.CHECKED}"
    watch = "import sys; import runpy; sys.argv[0] = {0!r}; sys.path.insert(0, {1!r}); "
    count = "sum(name.startswith('keras') for name in sys.modules)"
    watch += f"import atexit; atexit.register(lambda: print({count}, file=sys.stderr)); "
    watch += "runpy.run_path({0!r}, run_name='__main__')"
    code = watch.format(str(ROOT / "distributed/score.py"), str(ROOT / "distributed"))
    done = run_command(f'python -c "{code}" --model {models}/line.pb {listed} --save line', tmp_path)
    assert (done.status, done.out, done.err) == (
        0,
        f"files to score: 1, already scored: 0\n{summary(2, 0, 'line')}",
        "0\n",
    )
    program = f"python {ROOT}/distributed/score.py --model {models}/saved {listed}"
    once = run_command(f"{program} --save once", tmp_path)
    assert (once.status, once.err) == (0, "")
    twice = run_command(f"{program} --save twice --signature two --output twice --workers 1", tmp_path)
    assert (twice.status, twice.err) == (0, "")
    slope, intercept = 1.4999940262704623, -3.0006167485345174  # of small_models.write_saved_model
    expected = [slope * x + intercept for x in (2.0, 1e300)]
    assert pq.read_table(tmp_path / "line/t.parquet")["prediction"].to_pylist() == [line(2.0), line(1e300)]
    assert pq.read_table(tmp_path / "once/t.parquet")["prediction"].to_pylist() == expected
    assert pq.read_table(tmp_path / "twice/t.parquet")["prediction"].to_pylist() == [2 * y for y in expected]


# Runs


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
    # With another model or other flags it is another result, whatever is older.
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
    # A rerun does the part that is missing.
    (tmp_path / "out" / parts[1]).unlink()
    assert f"files to score: 1, already scored: 0\nrows scored: {len(x) // len(parts) // 1000}" in score(*flags).out
    assert score(*flags).out == f"files to score: 0, already scored: 1\n{summary(0)}"
    # Rows are numbered through the file; the parts of what the file was before go.
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


@pytest.fixture
def many(tmp_path: Path) -> np.ndarray:
    """Files that take seconds. Returns the numbers of the first; those of file i are greater by i."""
    x = np.random.default_rng(7).normal(0, 100, 500_000)
    for i in range(16):
        write(tmp_path / f"in/{i:02}.parquet", x=x + i)
    return x


def check_many(folder: Path, x: np.ndarray) -> None:
    assert names(folder / "out") == [f"{i:02}.parquet" for i in range(16)]
    for i in range(16):
        assert np.array_equal(pq.read_table(folder / f"out/{i:02}.parquet")["prediction"], (x + i) * 1.5 - 3)


def whole_files(folder: Path) -> list[Path]:
    return list((folder / "out").glob("[0-9]*.parquet"))


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
    # Nothing is lost, nothing is there twice, and what was being written is removed.
    again = program("--rows", "in", "--save", "out")
    assert (again.status, again.err) == (0, "")
    check_many(tmp_path, many)


def test_the_terminal_is_left_clean(models: Path, tmp_path: Path) -> None:
    """A progress bar is shown, and gone at the end."""
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


# The page


@pytest.mark.slow
def test_every_command_prints_what_the_page_says(trained: Path, tmp_path: Path) -> None:
    folder = page.check_out(tmp_path / "checkout")
    shutil.copytree(trained / "saved_model", folder / "saved_model")
    shutil.copytree(trained / "frozen_graphs", folder / "frozen_graphs")
    assert run_command("make .venv/distributed-complete", timeout=600).status == 0
    page.check(page.walk(page.steps((ROOT / "distributed" / "README.md").read_text()), folder), more_than=9)
