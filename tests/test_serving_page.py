"""The page of the tutorial about serving, whose commands print what it says, and the page to try models on."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import page
from conftest import ROOT, USER, run_command, run_program, start_program, wait_for
from running_server import LINE, Server, serving

import numpy as np
import pytest

JAR = "serving/soap_service/target/soap_service.jar"
pytestmark = pytest.mark.slow


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


@pytest.fixture(scope="module")
def server(exports: Path) -> Iterator[Server]:
    """The server with all the exports."""
    with serving(exports, "--model_config_file", ROOT / "serving" / "models.config") as server:
        yield server


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


def test_the_page_to_try_models_on(server: Server) -> None:
    if not Path("/usr/bin/chromedriver").exists():
        installed = (
            os.geteuid() == 0
            and run_command("apt-get update && apt-get install -y chromium chromium-driver", timeout=600).status == 0
        )
        if not installed:
            pytest.skip("no browser: install chromium and chromium-driver")
    sys.path.insert(0, str(ROOT / "docs"))
    from chromium import open_browser

    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.select import Select

    with open_browser(420, 900) as driver:
        driver.get(server.url)
        signature = driver.find_element("id", "signature")
        wait_for(lambda: len(Select(signature).options) == 6)
        rows = driver.find_element("id", "models").text.splitlines()
        assert "linear_regression 1 AVAILABLE" in rows
        Select(signature).select_by_visible_text("linear_regression: serving_default (predict)")
        body = driver.find_element("id", "body")
        body.clear()
        body.send_keys('{"inputs": {"x": [[0, 1, -1, 2]]}}')
        body.send_keys(Keys.TAB)  # to the button, which the keyboard presses
        assert driver.switch_to.active_element.text == "Predict"
        driver.switch_to.active_element.send_keys(Keys.ENTER)
        answer = driver.find_element("id", "answer")
        wait_for(lambda: "outputs" in answer.text)
        np.testing.assert_allclose(json.loads(answer.text)["outputs"], [LINE], rtol=1e-11)
        wait_for(lambda: len(driver.find_elements("css selector", "#line polyline")) == 1)
        points = driver.find_element("css selector", "#line polyline").get_attribute("points").split()
        assert len(points) == 21
        heights = np.diff([float(point.split(",")[1]) for point in points])
        assert np.allclose(heights, heights[0])
        curl = driver.find_element("id", "curl").text
        shown = run_command(curl)
        assert json.loads(shown.out) == json.loads(answer.text)
        # Nothing sticks out on a phone.
        assert driver.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")
        body.clear()
        body.send_keys("{")
        driver.find_element("css selector", "button").click()
        wait_for(lambda: "not JSON" in answer.text)
        Select(signature).select_by_visible_text("exp_model: classification (classify)")
        driver.find_element("css selector", "button").click()
        wait_for(lambda: "result" in answer.text)
        assert json.loads(answer.text) == {"results": [[["low", 2.75]]]}
        assert not driver.find_element("id", "drawing").is_displayed()
