"""Takes the README's pictures of TensorBoard and of the model server from the real pages, in headless Chromium.

    python docs/screenshots.py --url http://localhost:8501

Reads summaries/, asks the model server that runs at --url (`make serve`), writes docs/tensorboard_scalars.png,
docs/tensorboard_graph.png and docs/model_server.png. Needs Debian's chromium and chromium-driver, and selenium
(tests/requirements.txt).
"""

import argparse
import time
from pathlib import Path

from selenium.webdriver.support.expected_conditions import element_to_be_clickable
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from chromium import open_browser
from tensorboard_server import start_tensorboard

DOCS = Path(__file__).parent
# The page, what is clicked there first (by XPath), and the window's size.
PAGES = {
    "scalars": (
        "timeseries",
        ("//button[normalize-space()='Scalars']", "//button[contains(@class, 'settings-button')]"),
        (1280, 1340),
    ),
    "graph": ("graphs", (), (1280, 900)),
}


def take_tensorboard(url: str, name: str, wait: float) -> None:
    """Opens a page of TensorBoard and saves what it shows."""
    fragment, clicks, size = PAGES[name]
    with open_browser(*size) as driver:
        driver.get(f"{url}#{fragment}")
        for click in clicks:
            WebDriverWait(driver, 60).until(element_to_be_clickable(("xpath", click))).click()
        time.sleep(wait)
        driver.save_screenshot(str(DOCS / f"tensorboard_{name}.png"))


def take_model_server(url: str) -> None:
    """Asks the regression on the model server's page, as wide as a phone, and saves what it shows."""
    with open_browser(500, 1400) as driver:
        driver.get(url)
        wait = WebDriverWait(driver, 10)
        wait.until(lambda _: Select(driver.find_element("id", "signature")).options)
        wanted = "linear_regression: serving_default (predict)"
        Select(driver.find_element("id", "signature")).select_by_visible_text(wanted)
        driver.find_element("css selector", "button").click()
        wait.until(lambda _: driver.find_elements("css selector", "#line polyline"))
        driver.find_element("tag name", "body").screenshot(str(DOCS / "model_server.png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logdir", default="summaries", help="default: %(default)s")
    parser.add_argument("--wait", type=float, default=12, help="seconds for a page to draw (default: %(default)s)")
    parser.add_argument("--url", help="of the model server; left out without it")
    flags = parser.parse_args()
    with start_tensorboard(flags.logdir) as url:
        for name in PAGES:
            take_tensorboard(url, name, flags.wait)
    if flags.url:
        take_model_server(flags.url)


if __name__ == "__main__":
    main()
