"""What score.py reads as a number, what it passes through unchanged, and which models it takes."""

import re
import shutil
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from conftest import ROOT, run_command
from model_import_export import digests, tensors
from model_import_export.graph_mode import tf
from scorer import BAD, Score, line, models, names, program, score, summary, write

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.append(str(ROOT / "distributed"))
import columns
import scoring

__all__ = ["models", "program", "score"]  # fixtures


GOOD = {0: 1.0, 5: -np.inf, 6: 5.0, 12: 0.5, 13: 2.0}  # by position


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
    """How each type is read, and that the columns themselves come out unchanged."""
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
    """INT96, whose nanoseconds end in the year 2262."""
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
    """Quoted newlines over several blocks of 8 MB: no row is lost, and row numbers stay right."""
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
    # The output has them.
    pq.write_table(pa.table({"x": x}), path, **settings)
    assert score("--rows", "t.parquet", "--save", "out").status == 0
    scored = tmp_path / "out/t.parquet"
    data = bytearray(scored.read_bytes())
    data[pq.ParquetFile(scored).metadata.row_group(0).column(1).data_page_offset + 200] ^= 1
    scored.write_bytes(data)
    with pytest.raises(OSError, match="(?i)checksum|corrupt"):
        pq.read_table(scored, page_checksum_verification=True)


def test_a_model_that_takes_several_numbers_a_row(score: Score, tmp_path: Path) -> None:
    """Columns, or a column of lists. A number is rounded to float32 once, and can be out of its range."""
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
        written = tf.io.write_file(str(tmp_path / "never"), "x")
        with tf.control_dependencies([written]):
            tf.identity(tf.placeholder("float64", [None, None], name="x"), name="y")
    (tmp_path / "bad.pb").write_bytes(graph.as_graph_def().SerializeToString())
    flags = ("--rows", "t.parquet", "--save", "out", "--checked", "none")
    assert program(*flags, "--model", "line.pb").out.endswith(summary(1))
    refused = program(*flags, "--model", "bad.pb")
    assert (refused.status, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert "WriteFile" in refused.err
    assert not (tmp_path / "never").exists()
    admitted = scoring.admit(str(tmp_path / "line.pb"), str(models / digests.CHECKED), [], trust=False)
    shutil.copy(models / "pair.pb", tmp_path / "line.pb")
    with pytest.raises(ValueError, match=r"^changed since it was checked: .*/line.pb"):
        scoring.Scorer(scoring.Options(admitted, tensors.Names("x", ("y",)), (), ("x",), "prediction", "fail"))


@pytest.mark.slow
def test_as_users_start_it_tensorflow_is_not_imported_whole(models: Path, tmp_path: Path) -> None:
    """A frozen graph and a SavedModel, in processes that have not imported TensorFlow, unlike those of other tests."""
    write(tmp_path / "t.parquet", x=[2.0, 1e300])
    listed = f"--rows t.parquet --checked {models / digests.CHECKED}"
    watch = "import os, runpy, sys; sys.argv[0] = {0!r}; sys.path.insert(0, {1!r}); "
    count = "sum(name.startswith('keras') for name in sys.modules)"
    # The program and its workers end with this function.
    watch += "end, program = os._exit, os.getpid(); "
    watch += f"say = lambda: os.getpid() == program and print({count}, file=sys.stderr, flush=True); "
    watch += "os._exit = lambda status: (say(), end(status)); "
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
