"""Opens headless Chromium from Debian (`apt-get install chromium chromium-driver`), driven by selenium."""

import contextlib
import tempfile
from collections.abc import Iterator

from selenium import webdriver

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
).split()


@contextlib.contextmanager
def open_browser(width: int, height: int) -> Iterator[webdriver.Chrome]:
    """Yields a browser with an empty profile and a window of this size, and closes it after use."""
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        with webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver")) as driver:
            yield driver
