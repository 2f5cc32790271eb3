"""A minimal REST endpoint: FastAPI around one `session.run` of the frozen classifier, nothing checked.

Takes the flags of cookbook/freezemodel_serve.py.
"""

import argparse
from typing import Any

from model_import_export.graph_mode import tf

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frozen", metavar="FILE", required=True)
    parser.add_argument("--port", type=int, required=True)
    flags = parser.parse_args()
    with open(flags.frozen, "rb") as file:
        graph_def = tf.GraphDef.FromString(file.read())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    session = tf.Session(graph=graph, config=tf.ConfigProto(inter_op_parallelism_threads=-1))
    run = session.make_callable("Accuracy/predictions:0", ["Placeholder/inputs_placeholder:0"])

    import uvicorn
    from fastapi import FastAPI, Request

    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request) -> Any:
        x = np.array((await request.json())["instances"], np.float32)
        return {"predictions": run(x).tolist()}

    print("listening", flush=True)
    uvicorn.run(app, host="127.0.0.1", port=flags.port, log_level="error", access_log=False)


if __name__ == "__main__":
    main()
