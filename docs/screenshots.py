"""Takes the README's pictures of TensorBoard from the real page, in headless Chromium.

    python docs/screenshots.py

Reads summaries/, writes docs/tensorboard_scalars.png and docs/tensorboard_graph.png. Needs Debian's chromium and
chromium-driver, and selenium (tests/requirements.txt).
"""

import argparse
import tempfile
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.support.expected_conditions import element_to_be_clickable
from selenium.webdriver.support.wait import WebDriverWait
from tensorboard_server import start_tensorboard

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()
# The page, what is clicked there first (by XPath), and the window's size.
PAGES = {
    "scalars": (
        "timeseries",
        ("//button[normalize-space()='Scalars']", "//button[contains(@class, 'settings-button')]"),
        "1280,1340",
    ),
    "graph": ("graphs", (), "1280,900"),
}


def take_picture(url: str, name: str, wait: float) -> None:
    """Opens a page of TensorBoard and saves what it shows."""
    fragment, clicks, size = PAGES[name]
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={size}"):
            options.add_argument(flag)
        with webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver")) as driver:
            driver.get(f"{url}#{fragment}")
            for click in clicks:
                WebDriverWait(driver, 60).until(element_to_be_clickable(("xpath", click))).click()
            time.sleep(wait)
            driver.save_screenshot(str(Path(__file__).parent / f"tensorboard_{name}.png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logdir", default="summaries", help="default: %(default)s")
    parser.add_argument("--wait", type=float, default=12, help="seconds for a page to draw (default: %(default)s)")
    flags = parser.parse_args()
    with start_tensorboard(flags.logdir) as url:
        for name in PAGES:
            take_picture(url, name, flags.wait)


if __name__ == "__main__":
    main()
