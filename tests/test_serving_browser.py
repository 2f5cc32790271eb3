"""The page for trying models, in a browser: with keys and files, on a phone, while it waits, and when refused."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import serving_models as models
from conftest import ROOT, run_command, wait_for
from running_server import Server, config_of, serving

import numpy as np
import pytest

pytestmark = pytest.mark.slow
NAMES = ("line", "half_plus_two", "slow", "many", "photo", "types")
sys.path.insert(0, str(ROOT / "docs"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a model for each part of the page."""
    folder = tmp_path_factory.mktemp("browser")
    for name in NAMES:
        models.save(folder / name / "1", getattr(models, name))
    with serving(folder, "--model_config_file", config_of(folder, **dict.fromkeys(NAMES, ""))) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser with a window as large as a phone."""
    if not Path("/usr/bin/chromedriver").exists():
        installed = (
            os.geteuid() == 0
            and run_command("apt-get update && apt-get install -y chromium chromium-driver", timeout=600).status == 0
        )
        if not installed:
            pytest.skip("no browser: install chromium and chromium-driver")
    from chromium import open_browser

    with open_browser(420, 700) as browser:
        yield browser


@pytest.fixture
def driver(browser: Any, server: Server) -> Any:
    """The browser on the page, with the models loaded."""
    browser.get(server.url)
    wait_for(lambda: browser.find_element("id", "predict").is_enabled())
    return browser


def choose(driver: Any, signature: str) -> Any:
    """Chooses a signature. Returns the field for its request."""
    from selenium.webdriver.support.select import Select

    Select(driver.find_element("id", "signature")).select_by_visible_text(signature)
    return driver.find_element("id", "body")


def press(driver: Any, *keys: str) -> None:
    """Presses keys together, in the element that has the focus."""
    from selenium.webdriver import ActionChains

    chain = ActionChains(driver)
    for key in keys[:-1]:
        chain.key_down(key)
    chain.send_keys(keys[-1])
    for key in keys[:-1]:
        chain.key_up(key)
    chain.perform()


def answer_of(driver: Any) -> str:
    """Waits for the answer and returns it."""
    answer = driver.find_element("id", "answer")
    wait_for(lambda: answer.get_attribute("aria-busy") == "false" and answer.text)
    return answer.text


def ask(driver: Any) -> Any:
    """Presses the button, and waits for the answer."""
    driver.find_element("id", "predict").click()
    return json.loads(answer_of(driver))


def test_the_line_is_calculated_and_drawn(driver: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    rows = driver.find_element("id", "models").text.splitlines()
    assert rows == [f"{name} 1 AVAILABLE" for name in sorted(NAMES)]
    body = choose(driver, "line: serving_default (predict)")
    body.clear()
    body.send_keys('{"inputs": {"x": [[0, 1, -1, 2]]}}', Keys.TAB)
    assert driver.switch_to.active_element.text == "Predict"
    driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert json.loads(answer_of(driver)) == {"outputs": [[-3.0, -1.5, -4.5, 0.0]]}
    wait_for(lambda: driver.find_element("id", "drawing").is_displayed())
    points = driver.find_element("css selector", "#line polyline").get_attribute("points").split()
    heights = [float(point.split(",")[1]) for point in points]
    np.testing.assert_allclose(heights, np.linspace(220, 20, 21))  # -18 to 12, from bottom to top
    shown = run_command(driver.find_element("id", "curl").text)
    assert json.loads(shown.out) == {"outputs": [[-3.0, -1.5, -4.5, 0.0]]}
    # An error draws no line, and other signatures have none.
    body.clear()
    body.send_keys("{")
    press(driver, Keys.CONTROL, Keys.ENTER)
    wait_for(lambda: "not JSON" in driver.find_element("id", "answer").text)
    assert driver.find_element("id", "answer").get_attribute("class") == "bad"
    assert not driver.find_element("id", "drawing").is_displayed()
    choose(driver, "half_plus_two: classification (classify)")
    assert ask(driver) == {"results": [[["low", 2.75]]]}
    assert not driver.find_element("id", "drawing").is_displayed()


def test_the_keyboard_asks_and_the_answer_scrolls_into_view(driver: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    choose(driver, "types: int8 (predict)").click()
    answer = driver.find_element("id", "answer")
    below = "const {top, bottom} = arguments[0].getBoundingClientRect(); return top > innerHeight || bottom < 0"
    driver.execute_script("window.scrollTo(0, 0)")
    assert driver.execute_script(below, answer)
    press(driver, Keys.CONTROL, Keys.ENTER)
    assert json.loads(answer_of(driver)) == {"outputs": [0, 1, 2, 3]}
    assert not driver.execute_script(below, answer)
    assert driver.execute_script("return document.documentElement.scrollWidth <= window.innerWidth")


def test_it_shows_that_it_waits(driver: Any) -> None:
    choose(driver, "slow: serving_default (predict)")
    driver.execute_script("""
        window.seen = [];
        const answer = document.getElementById("answer");
        new MutationObserver(() => seen.push(answer.ariaBusy + " " + answer.textContent)).observe(
            answer, {attributes: true, attributeFilter: ["aria-busy"]});
    """)
    assert ask(driver) == {"outputs": [0, 1, 2, 3]}
    assert driver.execute_script("return seen") == [
        "true waiting for the answer",
        'false {"outputs":[0.0,1.0,2.0,3.0]}\n',
    ]
    # Choosing something else ends the wait.
    driver.find_element("id", "predict").click()
    driver.execute_script("window.before = asking")
    choose(driver, "line: serving_default (predict)")
    assert driver.execute_script("return before.signal.aborted")
    assert ask(driver) == {"outputs": [[-3.0, -1.5, 0.0, 1.5]]}


def test_the_answer_and_the_curl_line_are_copied(driver: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    body = choose(driver, "line: serving_default (predict)")
    ask(driver)
    for part in ("answer", "curl"):
        button = driver.find_element("css selector", f"[data-copy={part}]")
        expected = driver.find_element("id", part).get_attribute("textContent")
        button.click()
        wait_for(lambda button=button: button.text == "Copied")
        body.clear()
        body.send_keys(Keys.CONTROL, "v")
        assert body.get_attribute("value") == expected


def give(driver: Any, path: Path) -> None:
    """Gives the page a file, and returns once the page has read it."""
    fields = driver.find_element("id", "body"), driver.find_element("id", "answer")
    before = [each.get_property("value") for each in fields]
    driver.find_element("id", "file").send_keys(str(path))
    wait_for(lambda: [each.get_property("value") for each in fields] != before)


def test_a_model_of_many_inputs_takes_an_array_for_one(driver: Any, tmp_path: Path) -> None:
    from selenium.webdriver.support.select import Select

    body = choose(driver, "many: serving_default (predict)")
    assert int(body.get_attribute("rows")) == 16
    assert body.get_attribute("value").splitlines()[1:4:2] == ['"feature_0": [0,1,2,3],', '"feature_2": [0,1,2,3],']
    assert ask(driver) == {"outputs": [0, 20, 40, 60]}
    np.save(tmp_path / "a.npy", np.float32([100, 200, 300, -0.5]))
    Select(driver.find_element("id", "input")).select_by_visible_text("feature_7")
    give(driver, tmp_path / "a.npy")
    assert ask(driver) == {"outputs": [100, 219, 338, 56.5]}


@pytest.mark.parametrize("dtype", "bool int8 uint8 int16 uint16 int32 uint32 int64 uint64 float32 float64".split())
def test_arrays_of_every_type(driver: Any, tmp_path: Path, dtype: str) -> None:
    choose(driver, f"types: {dtype} (predict)")
    if dtype == "bool":
        array = np.array([False, True])
    else:
        limits = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
        array = np.array([limits.min, limits.max], dtype)
    np.save(tmp_path / "a.npy", array)
    give(driver, tmp_path / "a.npy")
    driver.find_element("id", "predict").click()
    wait_for(lambda: "outputs" in answer_of(driver))
    assert np.array(json.loads(answer_of(driver))["outputs"], dtype).tolist() == array.tolist()


def test_a_request_that_is_too_long_to_edit(driver: Any, tmp_path: Path) -> None:
    body = choose(driver, "photo: serving_default (predict)")
    assert len(body.get_attribute("value")) == 1000
    assert driver.find_element("id", "save").is_displayed()
    assert driver.find_element("id", "curl").text.endswith("-d @request.json")
    numbers = 96 * 96 * 3
    assert ask(driver) == {"outputs": [pytest.approx(numbers * (numbers - 1) / 2, rel=1e-6)]}
    np.save(tmp_path / "a.npy", np.ones([2, 96, 96, 3], np.float32))
    give(driver, tmp_path / "a.npy")
    assert ask(driver) == {"outputs": [numbers, numbers]}
    (tmp_path / "a.json").write_text('{"instances": ' + json.dumps(np.full([1, 96, 96, 3], 2.0).tolist()) + "}")
    give(driver, tmp_path / "a.json")
    assert ask(driver) == {"predictions": [2 * numbers]}
    # A short file can be edited; a file without an array is refused.
    (tmp_path / "b.json").write_text('{"instances": [1]}')
    give(driver, tmp_path / "b.json")
    assert body.get_attribute("value") == '{"instances": [1]}'
    assert not driver.find_element("id", "save").is_displayed()
    (tmp_path / "b.npy").write_bytes(b"{}")
    give(driver, tmp_path / "b.npy")
    assert answer_of(driver) == "cannot use b.npy: it is not an array of numpy"
