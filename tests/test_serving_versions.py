"""Versions that appear, break, disappear and are away for a while; changing configurations; warm-up requests."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import serving_models as models
from conftest import run_program, wait_for
from model_import_export.graph_mode import tf
from running_server import ask, call, config_of, predict_request, refusal, serving

import numpy as np

ONE = ("--model_name", "m", "--model_base_path", "m")


def put(folder: Path, version: int, build: Any = None) -> None:
    """Adds a version in the proper way: under another name first, then renamed. By default it adds its number."""
    models.save(folder.parent / "new", build or models.plus(float(version)))
    folder.mkdir(exist_ok=True)
    (folder.parent / "new").rename(folder / str(version))


def reload_request(text: str) -> Any:
    """A ReloadConfigRequest with a configuration in text form."""
    from google.protobuf import text_format
    from tensorflow_serving.apis import model_management_pb2

    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(text, request.config)
    return request


def test_versions_come_and_go(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    put(folder, 1)
    with serving(tmp_path, *ONE) as server:
        assert server.predict() == (200, {"predictions": [1.0]})
        put(folder, 2)
        wait_for(lambda: server.states() == {2: "AVAILABLE", 1: "END"})
        assert server.predict() == (200, {"predictions": [2.0]})
        assert ask(f"{server.rest}/m/versions/1:predict", {"instances": [0.0]})[0] == 404
        # Broken or harmful: the new version is refused, and the old one stays.
        (folder / "3").mkdir()
        (folder / "3" / "saved_model.pb").write_bytes(b"broken")
        wait_for(lambda: 3 in server.states())
        put(folder, 4, models.reads_a_file)
        wait_for(lambda: server.states() == {4: "END", 3: "END", 2: "AVAILABLE", 1: "END"})
        assert server.predict() == (200, {"predictions": [2.0]})
        error = ask(f"{server.rest}/m/versions/3")[1]["model_version_status"][0]["status"]
        assert error["error_message"].startswith("not a SavedModel: m/3/saved_model.pb: ")
        assert server.log.count("operations not allowed: ReadFile") == 1
        # Repaired, and removed again; a folder may be called 00005.
        shutil.rmtree(folder / "4")
        shutil.rmtree(folder / "3")
        put(folder, 3)
        wait_for(lambda: server.predict() == (200, {"predictions": [3.0]}))
        shutil.rmtree(folder / "3")
        put(folder, 5)
        (folder / "5").rename(folder / "00005")
        wait_for(lambda: server.predict() == (200, {"predictions": [5.0]}))


def test_a_folder_that_is_away_for_a_while(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    put(folder, 1)
    with serving(tmp_path, *ONE) as server:
        folder.rename(tmp_path / "away")
        wait_for(lambda: "cannot list versions: m: No such file or directory: m (what is loaded goes on)" in server.log)
        assert server.predict() == (200, {"predictions": [1.0]})
        folder.mkdir()  # like a share that is not mounted
        put(tmp_path / "away", 2)
        assert server.predict() == (200, {"predictions": [1.0]})
        folder.rmdir()
        (tmp_path / "away").rename(folder)
        wait_for(lambda: server.predict() == (200, {"predictions": [2.0]}))
        assert server.log.count("cannot list versions") == 1
        # A worker that dies while the folder is away comes back when the folder does, and does not listen until then.
        folder.rename(tmp_path / "away")
        wait_for(lambda: server.log.count("cannot list versions") == 2)
        os.kill(server.workers[0], signal.SIGKILL)
        wait_for(lambda: "a worker ended (SIGKILL)" in server.log)
        (tmp_path / "away").rename(folder)
        wait_for(lambda: server.workers)
        assert server.predict() == (200, {"predictions": [2.0]})


def test_a_version_that_changes_after_it_was_judged_is_judged_again(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    put(folder, 1)
    with serving(tmp_path, *ONE) as server:
        shutil.rmtree(folder / "1")
        put(folder, 1, models.reads_a_file)
        assert server.predict() == (200, {"predictions": [1.0]})  # what is loaded stays
        os.kill(server.workers[0], signal.SIGKILL)
        wait_for(lambda: "operations not allowed: ReadFile" in server.log)
        shutil.rmtree(folder / "1")
        put(folder, 1, models.plus(7.0))
        wait_for(lambda: server.workers and server.predict() == (200, {"predictions": [7.0]}))


def test_a_version_that_ends_the_workers_is_given_up(tmp_path: Path) -> None:
    """Only a trusted one gets this far."""
    folder = tmp_path / "m"
    put(folder, 1)
    with serving(tmp_path, *ONE, "--trust", "m") as server:
        put(folder, 2, models.aborting)
        wait_for(lambda: "not loaded: version 2 of model m: it ends the worker that loads it (SIGABRT)" in server.log)
        assert server.log.count("a worker ended (SIGABRT); another takes its place") == 2
        wait_for(lambda: server.workers and server.states() == {2: "END", 1: "AVAILABLE"})
        assert server.predict() == (200, {"predictions": [1.0]})
    flags = [*ONE, "--port", 0, "--rest_api_port", 0]
    shutil.rmtree(folder / "1")
    refused = run_program("serving/model_server.py", *flags, folder=tmp_path)
    assert refused.err.startswith("model_server.py: not loaded: version 2 of model m: refused graph: Const")


def test_looking_once(tmp_path: Path) -> None:
    put(tmp_path / "m", 1)
    with serving(tmp_path, *ONE, "--file_system_poll_wait_seconds", 0) as server:
        put(tmp_path / "m", 2)
        os.kill(server.process.pid, signal.SIGHUP)  # this starts a scan
        wait_for(lambda: server.states() == {2: "AVAILABLE", 1: "END"})
        put(tmp_path / "m", 3)
        for _ in range(5):
            assert server.predict() == (200, {"predictions": [2.0]})
        assert 3 not in server.states()


def test_policies_and_labels(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        put(tmp_path / "a", version)
    for name in ("b", "c"):
        shutil.copytree(tmp_path / "a", tmp_path / name)
    labels = 'version_labels { key: "old" value: 1 }'
    config = config_of(
        tmp_path,
        a="model_version_policy { latest { num_versions: 2 } }",
        b=f"model_version_policy {{ specific {{ versions: 1 versions: 3 }} }} {labels}",
        c="model_version_policy { all {} }",
    )
    with serving(tmp_path, "--model_config_file", config) as server:
        found = {name: sorted(server.states(name)) for name in "abc"}
        assert found == {"a": [2, 3], "b": [1, 3], "c": [1, 2, 3]}
        for path, expected in (("b", 3.0), ("b/labels/old", 1.0), ("b/versions/1", 1.0), ("c/versions/2", 2.0)):
            assert ask(f"{server.rest}/{path}:predict", {"instances": [0.0]}) == (200, {"predictions": [expected]})


def test_the_configuration_is_read_again(tmp_path: Path) -> None:
    for name, version in (("a", 1), ("b", 1), ("b", 2), ("c", 5)):
        put(tmp_path / name, version)
    both = {"a": "", "b": "model_version_policy { specific { versions: 1 } }"}
    config = config_of(tmp_path, **both)
    with serving(tmp_path, "--model_config_file", config, "--model_config_file_poll_wait_seconds", 0.1) as server:
        url = f"{server.rest}/b:predict"
        assert ask(url, {"instances": [0.0]}) == (200, {"predictions": [1.0]})
        # Reread automatically, after a while.
        config_of(tmp_path, b='model_version_policy { all {} } version_labels { key: "new" value: 2 }', c="")
        wait_for(lambda: server.states("b") == {2: "AVAILABLE", 1: "AVAILABLE"} and server.states("c"))
        wait_for(lambda: ask(server.rest) == (200, {"models": ["b", "c"]}))
        assert ask(f"{server.rest}/b/labels/new:predict", {"instances": [0.0]}) == (200, {"predictions": [2.0]})
        assert ask(f"{server.rest}/a")[0] == 404
        wait_for(lambda: "unloaded: version 1 of model a" in server.log)
        shutil.copytree(tmp_path / "b/2", tmp_path / "e")
        # A bad one is refused with one message, and the old one stays.
        for text, said in (
            ("model_config_list {", "not a ModelServerConfig: models.config: "),
            ('model_config_list { config { name: "d" base_path: "d" } }', "no model: d: no such folder: d "),
            ('model_config_list { config { name: "b" base_path: "b/2" } }', "no model: b: b/2 is a version's folder"),
            (
                'model_config_list { config { name: "e" base_path: "e" } }',
                "no model: e: e is a SavedModel without a version",
            ),
            ("", "no models, or two of one name: models.config (none)"),
        ):
            (tmp_path / "models.config").write_text(text)
            wait_for(lambda said=said: f"configuration not changed: {said}" in server.log)
            assert ask(server.rest) == (200, {"models": ["b", "c"]})
        # Reread at once when told to.
        (tmp_path / "models.config").unlink()
        os.kill(server.process.pid, signal.SIGHUP)
        wait_for(lambda: "configuration not changed: No such file or directory: models.config" in server.log)
        config_of(tmp_path, a="")
        os.kill(server.process.pid, signal.SIGHUP)
        wait_for(lambda: ask(server.rest) == (200, {"models": ["a"]}))
        wait_for(lambda: server.states("a") == {1: "AVAILABLE"})
        assert server.log.count("configuration not changed: not a ModelServerConfig") == 1


def test_the_configuration_comes_over_grpc(tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(tmp_path / name, 1)
    put(tmp_path / "harm", 1, models.reads_a_file)
    with serving(tmp_path, "--model_config_file", config_of(tmp_path, a=""), "--workers", 2) as server:
        config = (tmp_path / config_of(tmp_path, a="", b="")).read_text()
        assert call(server, "HandleReloadConfigRequest", reload_request(config)).status.error_code == 0
        for _ in range(8):  # from either worker, as soon as the request is answered
            assert server.predict("b") == (200, {"predictions": [1.0]})
        for request, said in (
            (reload_request(""), "no models, or two of one name: the request (none)"),
            (reload_request(config.replace('base_path: "b"', 'base_path: "z"')), "no model: b: no such folder: z "),
            (reload_request(config.replace("}", 'model_platform: "x" }', 1)), "not a model of TensorFlow with name"),
        ):
            code, words = refusal(server, "HandleReloadConfigRequest", request)
            assert (code, words[: len(said)]) == ("INVALID_ARGUMENT", said)
            assert ask(server.rest) == (200, {"models": ["a", "b"]})
        harm = (tmp_path / config_of(tmp_path, a="", harm="")).read_text()
        code, words = refusal(server, "HandleReloadConfigRequest", reload_request(harm))
        assert (code, words) == (
            "INVALID_ARGUMENT",
            "harm version 1: operations not allowed: ReadFile in node ReadFile",
        )


def warm_up_file(folder: Path, *requests: Any) -> Path:
    """Writes warm-up requests into a version's folder."""
    from tensorflow_serving.apis import prediction_log_pb2

    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for request in requests:
            kind = {"PredictRequest": "predict_log", "ClassificationRequest": "classify_log"}[request.DESCRIPTOR.name]
            log = prediction_log_pb2.PredictionLog()
            getattr(log, kind).request.CopyFrom(request)
            writer.write(log.SerializeToString())
    return path


def test_warm_up_requests_are_run_before_a_version_is_offered(tmp_path: Path) -> None:
    from tensorflow_serving.apis import classification_pb2

    models.save(tmp_path / "counter" / "1", models.counter)
    warm_up_file(tmp_path / "counter" / "1", predict_request("counter", "add"), predict_request("counter", "add"))
    models.save(tmp_path / "half" / "1", models.half_plus_two)
    request = classification_pb2.ClassificationRequest()
    request.model_spec.signature_name = "classification"
    example = request.input.example_list.examples.add()
    example.features.feature["x"].float_list.value.append(1.0)
    warm_up_file(tmp_path / "half" / "1", predict_request("half", x=np.float32([[1]])), request)
    flags = ["--model_config_file", config_of(tmp_path, counter="", half="")]
    body = {"signature_name": "get", "inputs": {}}
    with serving(tmp_path, *flags, "--num_request_iterations_for_warmup", 3) as server:
        assert ask(f"{server.rest}/counter:predict", body) == (200, {"outputs": 6.0})
        # A bad request's file is named, and the old version stays.
        models.save(tmp_path / "new", models.half_plus_two)
        warm_up_file(tmp_path / "new", predict_request("half", x=np.float64([[1]])))
        (tmp_path / "new").rename(tmp_path / "half" / "2")
        wait_for(lambda: server.log.count("cannot warm up") == 1)
        models.save(tmp_path / "new", models.half_plus_two)
        warm_up_file(tmp_path / "new").write_bytes(b"no record" * 10)
        (tmp_path / "new").rename(tmp_path / "half" / "3")
        wait_for(lambda: server.log.count("cannot warm up") == 2)
        path = "half/{}/assets.extra/tf_serving_warmup_requests"
        said = (
            f"not loaded: version 2 of model half: cannot warm up: {path.format(2)}: wrong type: x is float64, not fl"
        )
        assert said in server.log
        assert f"not loaded: version 3 of model half: cannot warm up: {path.format(3)}: corrupted record" in server.log
        wait_for(lambda: server.states("half") == {3: "END", 2: "END", 1: "AVAILABLE"})
    with serving(tmp_path, *flags, "--enable_model_warmup=false") as server:
        assert ask(f"{server.rest}/counter:predict", body) == (200, {"outputs": 0.0})
    warm_up_file(tmp_path / "counter" / "1", *[predict_request("counter", "get")] * 1001)
    refused = run_program("serving/model_server.py", *flags, "--port", 0, "--rest_api_port", 0, folder=tmp_path)
    assert refused.status == 1
    assert "counter/1/assets.extra/tf_serving_warmup_requests: more than 1000 requests" in refused.err
