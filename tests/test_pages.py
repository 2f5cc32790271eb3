"""The four pages in one clone, in a newcomer's reading order: no page may spoil what another needs."""

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import page
from conftest import ROOT, USER, run_command, start_program, wait_for

import pytest

MAIN, COOKBOOK, SERVING, DISTRIBUTED = (
    (ROOT / name / "README.md").read_text() for name in ("", "cookbook", "serving", "distributed")
)
BUILT = (
    "go_consumer/go_consumer",
    "java_consumer/target",
    "serving/soap_service/target",
    ".cache/tf2onnx",
    ".cache/node",
)
PORTS = (5000, 8080, 8500, 8501)


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[None]:
    """The serving page's three servers, started as it says: in the folder, on their own ports."""
    flask, server, soap = (
        block.removeprefix("$ ").split("\n", 1)
        for block in page.blocks(SERVING, "console", run=False)
        if block.startswith(("$ python cookbook/freezemodel_serve", "$ make serve", "$ java -jar serving"))
    )
    model_server = ["serving/model_server.py", "--model_config_file", "serving/models.config"]
    with (
        start_program(flask[0].split()[1], folder=folder),
        start_program(*model_server, folder=folder) as started,
        subprocess.Popen(soap[0].split(), cwd=folder, env=USER, stdout=subprocess.PIPE, text=True) as soap_service,
    ):
        try:
            wait_for(lambda: not any(socket.socket().connect_ex(("127.0.0.1", port)) for port in PORTS))
            wait_for(lambda: "REST on" in started.output()[0])
            assert soap_service.stdout.readline() in soap[1]
            for line in started.output()[0].splitlines()[-2:]:
                assert line in server[1]
            yield
        finally:
            soap_service.terminate()


def main_files(folder: Path) -> dict[Path, bytes]:
    """What the main page's commands made."""
    made = ("exported_graphs", "saved_model", "frozen_graphs", "summaries")
    return {path: path.read_bytes() for name in made for path in (folder / name).rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_pages_from_the_first_to_the_last_command(tmp_path: Path) -> None:
    environments = ".cache/tf2onnx/complete .cache/node/complete"
    assert run_command(f"make .venv/distributed-complete {environments}", timeout=1200).status == 0
    folder = page.check_out(tmp_path / "clone")
    for name in BUILT:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(ROOT / name)
    built = ("make run", "go build", "mvn ")
    steps = [step for step in page.steps(MAIN) if not step.command.startswith(built)]
    page.check(page.walk(steps, folder, page.run_forked))
    page.check(page.walk(page.steps(COOKBOOK), folder), more_than=45)
    assert run_command("make exports", folder).status == 0
    with servers(folder):
        page.check(page.walk(page.steps(SERVING), folder))
    before = main_files(folder)
    page.check(page.walk(page.steps(DISTRIBUTED), folder), more_than=9)
    assert main_files(folder) == before
    tutorial = page.steps(MAIN[MAIN.index("## The tutorial") :])
    consumers = [step for step in tutorial if "consumer" in step.command and not step.command.startswith(built)]
    page.check(page.walk(consumers, folder, page.run_forked), more_than=4)
    shutil.rmtree(folder)
