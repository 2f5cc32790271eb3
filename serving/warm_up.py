"""Warm-up requests, which come with a version and are run before it is offered.

Source: https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

import os
from typing import Any

from model_import_export import ModelError, command_line
from model_import_export.graph_mode import tf
from servable import RequestError, Servable

FILE = "assets.extra/tf_serving_warmup_requests"
MOST = 1000  # requests


def warm_up(model: Servable, times: int) -> None:
    """Runs each request in the file `times` times. Raises ModelError that names the file if it is bad."""
    path = os.path.join(model.key.path, FILE)
    if not os.path.exists(path):
        return
    from google.protobuf.message import DecodeError
    from tensorflow_serving.apis import prediction_log_pb2

    try:
        for i, record in enumerate(tf.io.tf_record_iterator(path)):
            if i == MOST:
                raise ModelError(f"more than {MOST} requests")
            work = _work(model, prediction_log_pb2.PredictionLog.FromString(record))
            for _ in range(times):
                model.run(work)
    except (ModelError, RequestError, DecodeError, tf.errors.OpError) as error:
        raise ModelError(f"cannot warm up: {path}: {command_line.one_line(error)}") from None


def _work(model: Servable, log: Any) -> Any:
    import grpc_api

    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        return grpc_api.predict_work(model, log.predict_log.request)
    if kind in ("classify_log", "regress_log"):
        request = getattr(log, kind).request
        return grpc_api.examples_work(model, request, f"tensorflow/serving/{kind.removesuffix('_log')}")
    raise ModelError(f"a request of another kind: {kind or 'none'} (predict_log, classify_log and regress_log are run)")
