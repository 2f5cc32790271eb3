"""The page of the tutorial about serving: its commands print what it says."""

import contextlib
import socket
import subprocess
from pathlib import Path

import page
from conftest import ROOT, USER, run_program, start_program, wait_for

import pytest

JAR = "serving/soap_service/target/soap_service.jar"


@pytest.fixture(scope="module")
def exports(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the exports of `make exports`."""
    folder = tmp_path_factory.mktemp("exports")
    names = ["--input", "x=inputs/x_sample", "--output", "y=linear_regression/add"]
    line = ["--checkpoint", trained / "saved_model", *names, "--save", "exports/linear_regression/1"]
    for recipe, *flags in (
        ["savedmodel_from_checkpoint", *line],
        ["savedmodel_from_source"],
        ["checkpoint_save"],
        ["savedmodel_from_checkpoint", "--save", "exports/classifier/1"],
        ["freezemodel_save"],
        ["savedmodel_builder"],
    ):
        result = run_program(f"cookbook/{recipe}.py", *flags, folder=folder)
        assert (result.status, result.err) == (0, "")
    return folder


@pytest.mark.slow
def test_every_command_prints_what_the_page_says(exports: Path, trained: Path) -> None:
    """With the servers that it tells to start, on their own ports."""
    text = (ROOT / "serving" / "README.md").read_text()
    java = ["java", "-jar", str(ROOT / JAR)]
    config = ROOT / "serving" / "models.config"
    with (
        start_program("cookbook/freezemodel_serve.py", folder=exports) as flask,
        start_program("serving/model_server.py", "--model_config_file", config, folder=exports) as server,
        subprocess.Popen(java, cwd=trained, env=USER, stdout=subprocess.PIPE) as soap,
        contextlib.ExitStack() as at_end,
    ):
        at_end.callback(soap.terminate)
        assert soap.stdout.readline() in page.blocks(text, "console", run=False)[-1].encode()
        wait_for(lambda: "listening" in flask.output()[0] and not socket.socket().connect_ex(("127.0.0.1", 5000)))
        wait_for(lambda: "REST on" in server.output()[0])
        for line in server.output()[0].splitlines()[-2:]:
            assert line in page.blocks(text, "console", run=False)[2]
        page.check(page.walk(page.steps(text), ROOT))
