"""Clients in four languages, and one written by others for TensorFlow Serving."""

import json
from collections.abc import Iterator
from pathlib import Path

import serving_models as models
from conftest import ROOT, free_ports, run_command, run_program
from running_server import Server, config_of, serving

import pytest


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with models under the tutorial's names; the line is y = 1.5x - 3."""
    folder = tmp_path_factory.mktemp("clients")
    models.save(folder / "linear_regression" / "1", models.line)
    models.save(folder / "classifier" / "1", models.sums)
    with serving(folder, "--model_config_file", config_of(folder, linear_regression="", classifier="")) as server:
        yield server


def test_clients_in_four_languages(server: Server) -> None:
    printed = "[[-3.0, -1.5, -4.5, 0.0]]\n"
    assert run_program("serving/client_rest.py", "--url", server.url) == (0, printed, "")
    assert run_program("serving/client_grpc.py", "--address", server.grpc) == (0, printed, "")
    go = run_command(f"go run serving/client_rest.go -url {server.url} -x -1,2")
    assert (go.status, go.out) == (0, "[[-4.5 0]]\n"), go
    java = run_command(f"java serving/RestClient.java -1,2 {server.url}")
    assert java == (0, '{"predictions":[[-4.5,0.0]]}\n', "")


@pytest.mark.slow
def test_clients_say_what_is_wrong(server: Server) -> None:
    nobody = f"http://127.0.0.1:{free_ports()[0]}"
    said = "the server answers 404: "
    for result, words in (
        (run_program("serving/client_rest.py", "--url", server.url, "--model", "m"), said + "no such model: m (there"),
        (run_program("serving/client_rest.py", "--url", nobody), f"no server: {nobody}"),
        (run_program("serving/client_rest.py", "--x", "a"), "not a number: "),
        (
            run_program("serving/client_grpc.py", "--address", server.grpc, "--model", "m"),
            "the server answers NOT_FOUND",
        ),
        (run_command(f"java serving/RestClient.java 1 {server.url} m"), said),
        (run_command(f"java serving/RestClient.java 1 {nobody}"), f"no server: {nobody}"),
    ):
        assert (result.status, result.out) == (1, "")
        assert words in result.err
        assert result.err.count("\n") == 1


@pytest.mark.slow
def test_ovmsclient(server: Server) -> None:
    """A real TensorFlow Serving client, in a separate environment."""
    assert run_command("make .cache/ovmsclient/complete", timeout=600).status == 0
    script = Path(ROOT / "tests" / "interop" / "ovms_client.py")
    for kind, address in (("http", server.url.removeprefix("http://")), ("grpc", server.grpc)):
        result = run_command(f"{ROOT}/.cache/ovmsclient/bin/python {script} {kind} {address}")
        assert (result.status, result.err) == (0, "")
        line, sums, status, missing = map(json.loads, result.out.splitlines())
        assert line == [[-3.0, -1.5, -4.5, 0.0]]
        assert sums == [[False], [True]]
        assert status == {"1": "AVAILABLE"}
        assert missing.startswith("ModelNotFoundError")
