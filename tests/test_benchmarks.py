"""What the benchmarks make of their measurements; `make bench` does the measuring."""

import json
import re
import sys
from pathlib import Path
from typing import Any

from conftest import ROOT, run_command

import pytest

sys.path.append(str(ROOT / "benchmarks"))
import measure
import report


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The rows of two tables: seconds with a base of 2 s, and rates with a base that took 4 s."""
    monkeypatch.setenv(measure.ROWS, str(tmp_path / "rows"))
    seconds = {"base": [2.0, 9.0, 1.0], "near": [3.0, 2.0, 2.5], "far": [3.0, 4.0, 5.0]}
    measure.table("Cost", "s", seconds, "base", {"near": "<= 1.25", "far": "<= 1.9"})
    measure.table(
        "Rate", "s", {"base": [4.0], "fast": [1.0], "slow": [8.0]}, "base", {"slow": ">= 0.6"}, kind="throughput"
    )
    return [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]


def test_ratios_are_of_medians_and_say_what_became_of_the_target(rows: list[dict[str, Any]]) -> None:
    found = [(row["name"], row["median"], row["least"], row["most"], row["ratio"], row["met"]) for row in rows]
    assert found == [
        ("base", 2, 1, 9, 1, None),
        ("near", 2.5, 2, 3, 1.25, True),
        ("far", 4, 3, 5, 2, False),
        ("base", 4, 4, 4, 1, None),
        ("fast", 1, 1, 1, 4, None),
        ("slow", 8, 8, 8, 0.5, False),
    ]


def test_a_missed_target_is_shown(rows: list[dict[str, Any]]) -> None:
    text = report.as_markdown(rows, "a machine")
    assert "| Cost: time relative to base | near | 1.25 | <= 1.25: met |\n" in text
    assert "| slow | 8 s | 8 to 8 | 1 | 0.50 | >= 0.6: **missed** |\n" in text


def test_measurements_are_taken_in_turn() -> None:
    order: list[str] = []
    measures = {name: lambda name=name: order.append(name) or len(order) for name in "AB"}
    assert measure.in_turn(2, measures) == {"A": [1, 3], "B": [2, 4]}
    assert order == ["A", "B", "A", "B"]


def test_a_command_that_fails_is_named() -> None:
    with pytest.raises(SystemExit, match=r"failed: sh -c .*: lost\n"):
        measure.run(["sh", "-c", "echo lost >&2; exit 3"])


@pytest.mark.slow
def test_the_producer_is_compared() -> None:
    result = run_command("python benchmarks/producer.py --rounds 1")
    assert (result.status, result.err) == (0, "")
    assert re.search(r"  model_producer.py  .*\(target <= 1.1: (met|MISSED)\)\n", result.out)
