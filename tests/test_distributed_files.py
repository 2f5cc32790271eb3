"""Which files score.py scores on one machine, and what it refuses."""

import functools
import gzip
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

from conftest import ROOT, run_program
from scorer import Score, line, models, names, program, score, summary, write

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

sys.path.append(str(ROOT / "distributed"))
import files
import scoring

__all__ = ["models", "program", "score"]  # fixtures


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
