"""`go_consumer/env.sh`: where Go finds the C library, and what it does with the user's settings."""

import os
from pathlib import Path

from conftest import ROOT, Result, run_command

import pytest

SHOW = 'echo "$?|${CGO_CFLAGS-}|${CGO_LDFLAGS-}"'
CLEAN = {"CGO_CFLAGS": "", "CGO_LDFLAGS": "", "LIBRARY_PATH": ""}


def source(folder: Path = ROOT, shell: str = "bash", **environment: str) -> Result:
    """What sourcing the script in `folder` sets."""
    return run_command(f"{shell} -c '. {ROOT}/go_consumer/env.sh; {SHOW}'", folder, **CLEAN | environment)


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """A folder like the official libtensorflow archive's: include/ and lib/."""
    _, _, flags = source().out.strip().split("|")
    library, package = flags.removeprefix("-L").split(" -Wl,-rpath,")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "libtensorflow.so").write_text(Path(library, "libtensorflow.so").read_text())
    (tmp_path / "include").symlink_to(Path(package, "include"))
    (tmp_path / "package").symlink_to(package)
    return tmp_path


def test_finds_the_library_of_the_python_package(tmp_path: Path) -> None:
    status, headers, flags = source(tmp_path).out.strip().split("|")
    assert status == "0"
    library, package = flags.removeprefix("-L").split(" -Wl,-rpath,")
    assert Path(package, "libtensorflow_cc.so.2").exists()
    assert package in Path(library, "libtensorflow.so").read_text()
    assert headers == f"-O2 -g -I{package}/include"
    assert Path(package, "include", "tensorflow", "c", "c_api.h").exists()


def test_other_shells(tmp_path: Path) -> None:
    """They do not say where the script is, so the folder is the repository's, as for every command."""
    assert source(ROOT, "sh").out == source(ROOT).out
    assert source(ROOT, VIRTUAL_ENV="").out == source(ROOT).out, ".venv where no environment is active"
    del tmp_path


def test_leaves_what_the_user_set(official: Path) -> None:
    assert source(CGO_LDFLAGS="-Lmine").out == "0||-Lmine\n"
    assert source(LIBRARY_PATH=f"{official}/lib").out == "0||\n"
    assert source(CGO_CFLAGS="-O1").out.startswith("0|-O1 -I/")


def test_says_that_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    result = source(PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert result.out == "1||\n"
    assert result.err == (
        "env.sh: no TensorFlow C library: python has no tensorflow package "
        "(run make venv, or activate the environment that has it)\n"
    )


@pytest.mark.slow
def test_an_official_library_builds_with_the_paths_of_the_original_tutorial(official: Path, trained: Path) -> None:
    paths = {
        "LIBRARY_PATH": f"{official}/lib",
        "CPATH": f"{official}/include",
        "LD_LIBRARY_PATH": f"{official}/package",
    }
    built = run_command(f"go build -o {official}/consumer ./go_consumer", ROOT, **CLEAN | paths)
    assert built == (0, "", "")
    result = run_command(f"{official}/consumer", trained, **paths)
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("The calculation results : [-2.99878349")
    missing = run_command(f"{official}/consumer", trained, LD_LIBRARY_PATH="")
    assert missing.status == 127
    assert "cannot open shared object file" in missing.err
