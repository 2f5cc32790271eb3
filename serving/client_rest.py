"""Asks a model server over REST, with Python's standard library alone.

    python serving/client_rest.py --x 0,1,-1,2

It works against serving/model_server.py and TensorFlow Serving alike.
"""

import argparse
import contextlib
import json
import urllib.error
import urllib.request

from model_import_export import command_line


def ask(url: str, document: dict[str, object], seconds: float) -> dict[str, object]:
    """Posts JSON and returns the reply's JSON. Raises ValueError with the server's own message, or OSError."""
    request = urllib.request.Request(url, json.dumps(document).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=seconds) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        with contextlib.suppress(ValueError, KeyError, TypeError):
            text = json.loads(text)["error"]
        raise ValueError(f"the server answers {error.code}: {text}") from None
    except urllib.error.URLError as error:
        raise ValueError(f"no server: {url}: {error.reason} (run make serve first, or give --url)") from None


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--url", metavar="URL", default="http://127.0.0.1:8501", help="URL of the server")
    parser.add_argument(
        "--model", metavar="NAME", default="linear_regression", help="name by which the server knows the model"
    )
    parser.add_argument("--x", metavar="LIST", default="0,1,-1,2", help="comma-separated numbers: one row")
    parser.add_argument("--seconds", metavar="S", type=float, default=10, help="seconds to wait for the answer")
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    try:
        row = [float(text) for text in flags.x.split(",")]
    except ValueError as error:
        raise ValueError(f"not a number: {error} in --x") from None
    reply = ask(f"{flags.url}/v1/models/{flags.model}:predict", {"instances": [row]}, flags.seconds)
    print(reply["predictions"])


if __name__ == "__main__":
    command_line.run(main)
