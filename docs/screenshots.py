"""Takes the README's pictures of TensorBoard and of the model server from the real pages, in headless Chromium.

    python docs/screenshots.py --url http://localhost:8501

Reads summaries/, asks the model server that runs at --url (`make serve`), writes docs/tensorboard_scalars.png,
docs/tensorboard_graph.png and docs/model_server.png. Needs Debian's chromium and chromium-driver, and selenium
(tests/requirements.txt).
"""

import argparse
import io
import time
from pathlib import Path

from chromium import open_browser
from tensorboard_server import start_tensorboard

from PIL import Image, ImageChops
from selenium.webdriver.support.expected_conditions import element_to_be_clickable
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

DOCS = Path(__file__).parent
WAIT = 60  # seconds for a page to show what is expected
MARGIN = 12


def take_scalars(url: str) -> None:
    """Saves the cards of the three curves side by side, without the rest of TensorBoard's page."""
    with open_browser(1280, 1340) as driver:
        driver.get(f"{url}#timeseries")
        for click in ("//button[normalize-space()='Scalars']", "//button[contains(@class, 'settings-button')]"):
            WebDriverWait(driver, WAIT).until(element_to_be_clickable(("xpath", click))).click()
        WebDriverWait(driver, WAIT).until(lambda _: len(driver.find_elements("tag name", "line-chart")) >= 3)
        time.sleep(5)  # a worker draws the curves and does not say when it has finished
        pictures = [card.screenshot_as_png for card in driver.find_elements("tag name", "card-view")]
    cards = [Image.open(io.BytesIO(picture)) for picture in pictures]
    picture = Image.new("RGB", (sum(card.width for card in cards), max(card.height for card in cards)), "white")
    for number, card in enumerate(cards):
        picture.paste(card, (sum(other.width for other in cards[:number]), 0))
    picture.save(DOCS / "tensorboard_scalars.png")


def take_graph(url: str) -> None:
    """Saves the drawing of the graph without the panels around it."""
    with open_browser(1280, 900) as driver:
        driver.get(f"{url}#graphs")
        left, top = 320, 76  # the settings panel, and the bar with its shadow
        deadline = time.monotonic() + WAIT
        earlier = None
        while True:
            picture = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
            picture = picture.crop((left, top, *picture.size))
            drawn = len(picture.getcolors(1 << 24)) > 50  # a graph has the grays of many letters
            if drawn and earlier is not None and picture.tobytes() == earlier:
                break
            if time.monotonic() > deadline:
                raise TimeoutError("TensorBoard did not draw the graph within a minute")
            earlier = picture.tobytes()
            time.sleep(2)
    trim(picture).save(DOCS / "tensorboard_graph.png")


def trim(picture: Image.Image) -> Image.Image:
    """Cuts off the white border, except for a margin."""
    difference = ImageChops.difference(picture, Image.new("RGB", picture.size, "white"))
    left, top, right, bottom = difference.point(lambda value: 255 if value > 16 else 0).getbbox()
    width, height = picture.size
    box = max(left - MARGIN, 0), max(top - MARGIN, 0), min(right + MARGIN, width), min(bottom + MARGIN, height)
    return picture.crop(box)


def take_model_server(url: str) -> None:
    """Asks the regression on the model server's page, at a phone's width, and saves what the page shows."""
    with open_browser(500, 1800) as driver:
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
    parser.add_argument("--url", help="of the model server; left out without it")
    flags = parser.parse_args()
    with start_tensorboard(flags.logdir) as url:
        take_scalars(url)
        take_graph(url)
    if flags.url:
        take_model_server(flags.url)


if __name__ == "__main__":
    main()
