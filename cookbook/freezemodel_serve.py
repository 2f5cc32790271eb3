"""Serves the frozen classifier over HTTP in the smallest possible way: one Flask route, served by waitress.

    python cookbook/freezemodel_serve.py

Reads results/frozen_model.pb (freezemodel_save.py). `POST /api/predict` takes {"x": [[ten numbers], ...]}.
"""

import argparse
from typing import Any

import artefacts
import classifier
from model_import_export import command_line, model_file
from model_import_export.graph_mode import session_config, tf

import numpy as np

MAX_ROWS, MAX_BYTES = 10_000, 8 << 20


def parse_rows(document: Any) -> np.ndarray:
    """Returns the rows of a request, float32 `[n, 10]`. Raises ValueError with a message that says what is expected."""
    rows = document.get("x") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not 0 < len(rows) <= MAX_ROWS:
        raise ValueError(f'not a request: give {{"x": [[{classifier.INPUTS} numbers], ...]}}, at most {MAX_ROWS} rows')
    for i, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != classifier.INPUTS:
            raise ValueError(f"not {classifier.INPUTS} numbers: row {i} of x")
        if not all(type(x) in (int, float) and abs(x) < 3.4e38 for x in row):
            raise ValueError(f"not a number that a float32 holds: in row {i} of x")
    return np.array(rows, np.float32)


def build_app(session: Any, inputs: Any, outputs: Any) -> Any:
    """Builds the application. A bad request is answered with {"error": "..."} and status 4xx."""
    import flask
    from werkzeug.exceptions import HTTPException

    app = flask.Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES

    @app.post("/api/predict")
    def predict() -> Any:
        x = parse_rows(flask.request.get_json())
        return {"y": session.run(outputs, {inputs: x}).tolist()}

    app.register_error_handler(ValueError, lambda error: ({"error": str(error)}, 400))
    app.register_error_handler(RecursionError, lambda _: ({"error": "not a request: too many brackets"}, 400))
    app.register_error_handler(HTTPException, lambda error: ({"error": error.description}, error.code))
    return app


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    parser.add_argument("--model", metavar="FILE", default=artefacts.FROZEN, help="frozen classifier to serve")
    parser.add_argument("--port", metavar="PORT", type=int, default=5000, help="port on 127.0.0.1 to listen on")
    artefacts.add_trust(parser)
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    graph_def = model_file.read_frozen_graph(artefacts.need_checked(flags.model, flags))
    import logging

    import waitress

    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it reports how many requests wait
    with tf.Graph().as_default() as graph:
        names = [f"{classifier.INPUT}:0", f"{classifier.OUTPUT}:0"]
        inputs, outputs = tf.import_graph_def(graph_def, name="", return_elements=names)
        with tf.Session(graph=graph, config=session_config()) as session:
            app = build_app(session, inputs, outputs)
            # Connections that send nothing for ten seconds end, and leave room for others.
            limits = {"connection_limit": 1000, "channel_timeout": 10, "cleanup_interval": 5, "asyncore_use_poll": True}
            server = waitress.create_server(app, host="127.0.0.1", port=flags.port, threads=8, **limits)
            print(f"listening on http://127.0.0.1:{flags.port}/api/predict", flush=True)
            server.run()


if __name__ == "__main__":
    command_line.run(main)
