"""Starts TensorBoard on a free port of this machine, for as long as it is in use."""

import contextlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator


@contextlib.contextmanager
def start_tensorboard(folder: str) -> Iterator[str]:
    """Serves the event files in a folder. Yields the address. Raises TimeoutError if the server does not answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder, "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(url).close()
                break
            except urllib.error.URLError:
                if time.monotonic() > deadline:
                    raise TimeoutError("TensorBoard did not answer within a minute") from None
                time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait()
