"""TensorFlow Serving's gRPC API: PredictionService and ModelService, on the stubs of `tensorflow-serving-api`.

Source: https://github.com/tensorflow/serving/tree/2.19.1/tensorflow_serving/apis
"""

import functools
import math
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import numpy as np
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

import servable
from in_flight import Gate
from model_import_export import command_line, graph_rules, operations
from model_import_export.graph_mode import tf
from servable import Models, RequestError, Servable


async def start_server(models: Models, gate: Gate, address: str, most_bytes: int) -> Any:
    """Starts the server, in the event loop that runs. Raises OSError where the address cannot be had."""
    options = [("grpc.max_receive_message_length", most_bytes), ("grpc.so_reuseport", 0)]
    server = grpc.aio.server(options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(models, gate), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(models), server)
    try:
        server.add_insecure_port(address)
    except RuntimeError:
        raise OSError(f"cannot listen on: {address} (is another server running? give --port)") from None
    await server.start()
    return server


def answer(method: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any, Any], Awaitable[Any]]:
    """Has a method's errors become the status of its reply."""

    @functools.wraps(method)
    async def call(service: Any, request: Any, context: Any) -> Any:
        try:
            return await method(service, request)
        except RequestError as error:
            await context.abort(getattr(grpc.StatusCode, error.code), str(error))
        except Exception as error:
            command_line.warn(f"{type(error).__name__}: {error}")
            await context.abort(grpc.StatusCode.INTERNAL, "the server failed; its log says why")

    return call


def find(models: Models, spec: Any) -> Any:
    """The servable of a ModelSpec, kept while in use. Raises RequestError."""
    return models.use(spec.name, spec.version.value, spec.version_label)


def to_array(proto: Any, key: str, most: int) -> np.ndarray:
    """The array in a TensorProto, whose shape may ask for more than it holds. Raises RequestError."""
    dims = [dim.size for dim in proto.tensor_shape.dim]
    try:
        dtype = tf.as_dtype(proto.dtype)
        elements = len(getattr(proto, operations.ELEMENTS[dtype.name]))
    except (TypeError, KeyError):
        raise RequestError("INVALID_ARGUMENT", f"wrong type: {key} is of the type {proto.dtype}") from None
    if proto.tensor_shape.unknown_rank or min(dims, default=0) < 0 or math.prod(dims) > most:
        raise RequestError("INVALID_ARGUMENT", f"wrong shape: {key} is {dims} (at most {most} elements)")
    wanted, content = math.prod(dims), dtype != tf.string and proto.tensor_content
    held = len(content) // dtype.size if content else elements
    if held != wanted and not (held == 1 and wanted > 1 and not content):
        raise RequestError("INVALID_ARGUMENT", f"wrong shape: {key} is {dims} and holds {held} elements")
    try:
        if content:  # what `make_ndarray` does with it, at a tenth of the cost
            return np.frombuffer(content, dtype.as_numpy_dtype).reshape(dims)
        return tf.make_ndarray(proto)
    except (TypeError, ValueError) as error:
        raise RequestError("INVALID_ARGUMENT", f"not a tensor: {key}: {error}") from None


def fill_tensor(proto: Any, array: np.ndarray) -> None:
    """Writes an array into the field of its type, `float_val` and the like, as TensorFlow Serving does by default."""
    field = operations.ELEMENTS.get(array.dtype.name, "half_val")
    if field == "half_val":  # numbers of 16 bits, and strings
        proto.CopyFrom(tf.make_tensor_proto(array))
        return
    proto.dtype = tf.as_dtype(array.dtype).as_datatype_enum
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, field).extend(array.ravel().tolist())


def fill_spec(spec: Any, model: Servable, signature: str = "") -> None:
    """Says in a reply which model and version gave it."""
    spec.name, spec.version.value, spec.signature_name = model.name, model.version, signature


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, Classify, Regress and GetModelMetadata."""

    def __init__(self, models: Models, gate: Gate) -> None:
        self.models, self.gate = models, gate

    @answer
    async def Predict(self, request: Any) -> Any:  # noqa: N802
        with self.gate, find(self.models, request.model_spec) as model:
            signature = model.find_signature(request.model_spec.signature_name)
            most = graph_rules.MAX_ELEMENTS
            feed = {key: to_array(proto, key, most) for key, proto in request.inputs.items()}
            results = await self.gate.run(model, signature, feed, model.check_feed(signature, feed))
            unknown = set(request.output_filter) - results.keys()
            if unknown:
                present = ", ".join(sorted(results))
                raise RequestError("INVALID_ARGUMENT", f"no such output: {min(unknown)} (the model has: {present})")
            reply = predict_pb2.PredictResponse()
            fill_spec(reply.model_spec, model, signature)
            for key in request.output_filter or results:
                fill_tensor(reply.outputs[key], results[key])
            return reply

    async def _run_examples(self, request: Any, method: str) -> tuple[Servable, str, dict[str, np.ndarray]]:
        with self.gate, find(self.models, request.model_spec) as model:
            signature = model.find_signature(request.model_spec.signature_name, method)
            kind = request.input.WhichOneof("kind")
            if kind is None:
                raise RequestError("INVALID_ARGUMENT", "no examples: input")
            examples = list(getattr(request.input, kind).examples)
            if kind == "example_list_with_context":
                for example in examples:
                    merged = tf.train.Example.FromString(
                        request.input.example_list_with_context.context.SerializeToString()
                    )
                    merged.MergeFrom(example)
                    example.CopyFrom(merged)
            if not examples:
                raise RequestError("INVALID_ARGUMENT", "no examples: input")
            array = np.array([example.SerializeToString() for example in examples], object)
            feed = dict.fromkeys(model.inputs[signature], array)
            rows = model.check_feed(signature, feed)
            return model, signature, await self.gate.run(model, signature, feed, rows)

    @answer
    async def Classify(self, request: Any) -> Any:  # noqa: N802
        model, signature, results = await self._run_examples(request, servable.CLASSIFY)
        reply = classification_pb2.ClassificationResponse()
        fill_spec(reply.model_spec, model, signature)
        classes, scores = results.get("classes"), results.get("scores")
        for i in range(len(scores if classes is None else classes)):
            row = reply.result.classifications.add()
            for j in range((scores if classes is None else classes).shape[1]):
                label = "" if classes is None else classes[i, j]
                row.classes.add(label=label, score=0 if scores is None else float(scores[i, j]))
        return reply

    @answer
    async def Regress(self, request: Any) -> Any:  # noqa: N802
        model, signature, results = await self._run_examples(request, servable.REGRESS)
        reply = regression_pb2.RegressionResponse()
        fill_spec(reply.model_spec, model, signature)
        (values,) = results.values()
        for value in values.reshape(-1).tolist():
            reply.result.regressions.add(value=value)
        return reply

    @answer
    async def GetModelMetadata(self, request: Any) -> Any:  # noqa: N802
        if list(request.metadata_field) != ["signature_def"]:
            given = ", ".join(request.metadata_field) or "none"
            raise RequestError("INVALID_ARGUMENT", f"no such metadata field: {given} (there is: signature_def)")
        with find(self.models, request.model_spec) as model:
            reply = get_model_metadata_pb2.GetModelMetadataResponse()
            fill_spec(reply.model_spec, model)
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for key, signature in model.signatures.items():
                signatures.signature_def[key].CopyFrom(signature)
            reply.metadata["signature_def"].Pack(signatures)
            return reply


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus."""

    def __init__(self, models: Models) -> None:
        self.models = models

    @answer
    async def GetModelStatus(self, request: Any) -> Any:  # noqa: N802
        spec = request.model_spec
        found = self.models.states(spec.name, spec.version.value, spec.version_label)
        reply = get_model_status_pb2.GetModelStatusResponse()
        numbers = get_model_status_pb2.ModelVersionStatus.State
        for version, status in found:
            entry = reply.model_version_status.add(version=version, state=numbers.Value(status.state))
            entry.status.error_code, entry.status.error_message = 2 if status.error else 0, status.error
        return reply
