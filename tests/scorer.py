"""What the tests of distributed/score.py share: models, runs of the program, and files to score."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import small_models
from conftest import ROOT, Result, run_program
from model_import_export import command_line, digests
from model_import_export.graph_mode import tf

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.append(str(ROOT / "distributed"))
import driver
import files
import scoring
from score import parse_arguments

MODELS = ("line", "line32", "pair", "on_gpu", "on_ps")  # line is y = 1.5x - 3


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small models, all in its list of checked models."""
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
    """Runs score.py in a scratch folder, with the model line.pb unless a flag names another."""

    def run(*flags: object, model: str = "line.pb") -> Result:
        return run_program("distributed/score.py", *with_model(models, model), *flags, folder=tmp_path)

    return run


def with_model(models: Path, model: str = "line.pb") -> list[object]:
    return ["--model", models / model, "--checked", models / digests.CHECKED]


@pytest.fixture
def score(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Score:
    """Does what `program` does, but in this process: all of score.py except the worker processes."""

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
    """Calculates what line.pb calculates."""
    return 1.5 * x - 3


def write(path: Path, **columns: object) -> None:
    """Writes a Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def summary(rows: int, bad: int = 0, save: str = "out") -> str:
    return f"rows scored: {rows}, without a prediction: {bad}, written to: {save}\n"


def names(folder: Path) -> list[str]:
    """The files below a folder, including hidden ones."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


BAD = ["1", "abc", "", "nan", "1e999", "-inf", "+5", " 7", "1_0", "infinity", "-1e400", "0x10", ".5", "2."]


@pytest.fixture
def many(tmp_path: Path) -> np.ndarray:
    """Writes files that take seconds to score. Returns the numbers of the first; those of file i are larger by i."""
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
