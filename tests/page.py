"""Runs the commands in a Markdown page's code blocks, and compares what they print with what the page shows."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from conftest import ROOT, Result, run_command, run_program

import pytest

BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
COLOR = re.compile(r"\x1b\[[\d;]*m")  # Maven always ends with one, whatever its options
NUMBER = re.compile(r"(?<![\w./-])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w.]*[\w])")


class Step(NamedTuple):
    """A command on a page, and its output there."""

    command: str
    output: str


def blocks(text: str, language: str, run: bool = True) -> list[str]:
    """A page's code blocks in a language: those that run, or those that are marked as not to be run."""
    found = [match for match in BLOCK.finditer(text) if match["language"] == language]
    return [match["text"] for match in found if (match["reason"] is None) == run]


def steps(text: str) -> list[Step]:
    """The commands of a page's console blocks that run, in order."""
    found = []
    for block in blocks(text, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append(Step(command, output))
    return found


def same(shown: str, printed: str) -> bool:
    """Whether two outputs are equal, except for small differences in numbers; `...` matches anything.

    Numbers may differ by 1e-9 (near zero absolutely), those with the seven to nine digits of a float32 by 1e-3:
    results of training in float32 depend on the processor.
    """
    pattern, values = "", []
    position = 0
    for match in NUMBER.finditer(shown):
        pattern += re.escape(shown[position : match.start()]) + r"([-+]?\d[\d.e+-]*)"
        values.append(match[0])
        position = match.end()
    pattern += re.escape(shown[position:])
    found = re.fullmatch(pattern.replace(r"\.\.\.", r"(?:.*?)"), printed, re.DOTALL)
    return found is not None and all(
        shown == printed
        if shown.lstrip("+-").isdigit()
        else float(printed) == pytest.approx(float(shown), rel=1e-3 if 7 <= digits(shown) <= 9 else 1e-9, abs=1e-9)
        for shown, printed in zip(values, found.groups(), strict=True)
    )


def digits(number: str) -> int:
    """How many significant digits a number has."""
    return len(re.sub(r"e.*|\D", "", number).lstrip("0"))


def check_out(folder: Path) -> Path:
    """Copies the files that git tracks or would track, and links the virtual environment of this repository."""
    listed = subprocess.check_output(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True)
    for name in listed.splitlines():
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


def run_forked(command: str, folder: Path) -> Result:
    """Runs a command. A Python program runs in a forked process that has already imported TensorFlow, if it uses it."""
    words = shlex.split(command)
    if words[0] == "python" and not set("|;<>&$()") & set(command) and "c_library" not in command:
        return run_program(*words[1:], folder=folder)
    return run_command(command, folder)


def walk(steps: list[Step], folder: Path, run: Callable[[str, Path], Result] = run_command) -> list[tuple[Step, str]]:
    """Runs commands one after another. Returns each with what it printed on standard output and standard error."""
    results = ((step, run(step.command, folder)) for step in steps)
    return [(step, COLOR.sub("", result.out + result.err)) for step, result in results]


def check(walked: list[tuple[Step, str]], more_than: int = 10) -> None:
    """Compares what commands printed with what the page shows. There must be more than `more_than` commands."""
    for step, printed in walked:
        assert same(step.output, printed), f"$ {step.command}\n{printed}"
    assert len(walked) > more_than
