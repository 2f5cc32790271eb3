"""Formatting, linting, and what belongs in the repository."""

import subprocess

from conftest import ROOT, run_command

import pytest


@pytest.mark.parametrize("command", ["ruff format --check --quiet .", "ruff check --quiet ."])
def test_python_is_formatted_and_clean(command: str) -> None:
    result = run_command(command)
    assert result == (0, "", "")


def test_shell_scripts_are_clean() -> None:
    scripts = subprocess.check_output(["git", "ls-files", "*.sh", ".ci/run"], cwd=ROOT, text=True).split()
    assert scripts
    result = run_command(f"shellcheck {' '.join(scripts)}")
    assert result == (0, "", "")


def test_go_is_formatted() -> None:
    assert run_command("gofmt -l go_consumer") == (0, "", "")


def test_requirements_are_pinned_and_explained() -> None:
    for path in (ROOT / "requirements.txt", *ROOT.glob("*/requirements.txt"), *ROOT.glob("tests/interop/*.txt")):
        for line in path.read_text().splitlines():
            if not line.startswith("#"):
                requirement, _, reason = line.partition("  # ")
                assert "==" in requirement, line
                assert reason, line
    assert run_command("python -m pip check").status == 0


def test_nothing_generated_is_tracked() -> None:
    tracked = subprocess.check_output(["git", "ls-files", "-ci", "--exclude-standard"], cwd=ROOT, text=True)
    assert tracked == ""
