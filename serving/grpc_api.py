"""TensorFlow Serving's gRPC API: PredictionService and ModelService, with gRPC's health and reflection services.

Source: https://github.com/tensorflow/serving/tree/2.19.1/tensorflow_serving/apis
"""

import argparse
from collections.abc import Awaitable, Callable
from typing import Any

import metrics
import servable
from grpc_tensors import fill_tensor, to_array
from in_flight import Gate
from model_import_export import command_line
from model_import_export.graph_mode import tf
from models import Models
from rest_json import classes_and_scores, regressions
from servable import RequestError, Servable, Work
from worker import address

import grpc
import numpy as np
from google.protobuf import message_factory
from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2,
    predict_pb2,
    prediction_service_pb2,
    regression_pb2,
)

SERVICES = {
    "PredictionService": prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"],
    "ModelService": model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
}


class GrpcServer:
    """The gRPC server, in the running event loop."""

    def __init__(self, server: Any, models: Models) -> None:
        self.server, self.models, self.health = server, models, health.aio.HealthServicer()

    @classmethod
    async def start(
        cls, models: Models, gate: Gate, flags: argparse.Namespace, reload: Callable[[bytes], Awaitable[str]]
    ) -> "GrpcServer":
        """Starts listening. Raises OSError if the address is taken."""
        options = [("grpc.max_receive_message_length", flags.max_request_bytes), ("grpc.so_reuseport", 1)]
        started = cls(grpc.aio.server(options=options), models)
        server, service = started.server, Service(models, gate, flags.max_seconds, reload)
        for descriptor in SERVICES.values():
            handlers = {
                method.name: service.handler(method) for method in descriptor.methods if hasattr(service, method.name)
            }
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(descriptor.full_name, handlers),))
        health_pb2_grpc.add_HealthServicer_to_server(started.health, server)
        names = [*(each.full_name for each in SERVICES.values()), health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, server)
        try:
            server.add_insecure_port(address(flags.host, flags.port))
        except RuntimeError:
            raise OSError(f"cannot listen on: {address(flags.host, flags.port)} (give --port)") from None
        await started.update()
        await server.start()
        return started

    async def update(self) -> None:
        """Tells the health service whether each model has a version."""
        states = health_pb2.HealthCheckResponse
        for service in ("", *(each.full_name for each in SERVICES.values())):
            await self.health.set(service, states.SERVING if self.models.is_ready else states.NOT_SERVING)

    async def stop(self, seconds: float) -> None:
        """Takes no more requests, and waits for the running ones to end."""
        await self.health.enter_graceful_shutdown()
        await self.server.stop(seconds)


def predict_work(model: Servable, request: Any) -> Work:
    """The checked feed of a PredictRequest. Raises RequestError."""
    signature = model.find_signature(request.model_spec.signature_name)
    return model.check_feed(signature, {key: to_array(proto, key) for key, proto in request.inputs.items()})


def examples_work(model: Servable, request: Any, method: str) -> Work:
    """The checked feed of a ClassificationRequest or RegressionRequest. Raises RequestError."""
    signature = model.find_signature(request.model_spec.signature_name, method)
    kind = request.input.WhichOneof("kind")
    examples = list(getattr(request.input, kind).examples) if kind else []
    if not examples:
        raise RequestError("INVALID_ARGUMENT", "no examples: input")
    texts = [example.SerializeToString() for example in examples]
    if kind == "example_list_with_context":  # messages joined as bytes are merged when they are parsed
        context = request.input.example_list_with_context.context.SerializeToString()
        texts = [context + text for text in texts]
        texts = [tf.train.Example.FromString(text).SerializeToString() for text in texts]
    return model.check_feed(signature, dict.fromkeys(model.inputs[signature], np.array(texts, object)))


class Service:
    """The methods of both services. Their errors become the reply's status."""

    def __init__(
        self, models: Models, gate: Gate, seconds: float, reload: Callable[[bytes], Awaitable[str]] | None
    ) -> None:
        self.models, self.gate, self.seconds, self.reload_with = models, gate, seconds, reload

    def handler(self, method: Any) -> Any:
        """Returns what grpcio calls for a method. Bytes that are not a request are refused."""
        function, kind = getattr(self, method.name), message_factory.GetMessageClass(method.input_type)
        timer = metrics.Timer(self.models, method.name, "GRPC")

        async def call(data: bytes, context: Any) -> Message:
            try:
                request = kind.FromString(data)
            except DecodeError:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"not a {kind.DESCRIPTOR.name}")
            try:
                name = request.model_spec.name if "model_spec" in kind.DESCRIPTOR.fields_by_name else ""
                with timer.measure(name) as outcome:
                    return await function(request, outcome)
            except RequestError as error:
                await context.abort(getattr(grpc.StatusCode, error.code), str(error))
            except Exception as error:
                command_line.warn(f"{type(error).__name__}: {error}")
                await context.abort(grpc.StatusCode.INTERNAL, "the server failed; its log says why")

        return grpc.unary_unary_rpc_method_handler(call, None, lambda reply: reply.SerializeToString())

    def find(self, spec: Any, outcome: metrics.Outcome) -> Any:
        """The servable of a ModelSpec, kept while in use. Raises RequestError."""
        return self.models.use(spec.name, spec.version.value, spec.version_label, outcome)

    async def Predict(self, request: Any, outcome: metrics.Outcome) -> Any:  # noqa: N802
        """Source: predict.proto."""
        with self.gate, self.find(request.model_spec, outcome) as model:
            work = predict_work(model, request)
            unknown = set(request.output_filter) - model.outputs[work.signature].keys()
            if unknown:
                present = ", ".join(sorted(model.outputs[work.signature]))
                raise RequestError("INVALID_ARGUMENT", f"no such output: {min(unknown)} (the model has: {present})")
            results = await self.gate.run(model, work, self.seconds)
            reply = predict_pb2.PredictResponse()
            fill_spec(reply.model_spec, model, work.signature)
            for key in request.output_filter or results:
                fill_tensor(reply.outputs[key], results[key])
            return reply

    async def Classify(self, request: Any, outcome: metrics.Outcome) -> Any:  # noqa: N802
        """Source: classification.proto."""
        with self.gate, self.find(request.model_spec, outcome) as model:
            work = examples_work(model, request, servable.CLASSIFY)
            labels, scores = classes_and_scores(await self.gate.run(model, work, self.seconds))
            reply = classification_pb2.ClassificationResponse()
            fill_spec(reply.model_spec, model, work.signature)
            for row in zip(labels, scores, strict=True):
                classes = reply.result.classifications.add().classes
                for label, score in zip(*row, strict=True):
                    classes.add(label=label, score=score)
            return reply

    async def Regress(self, request: Any, outcome: metrics.Outcome) -> Any:  # noqa: N802
        """Source: regression.proto."""
        with self.gate, self.find(request.model_spec, outcome) as model:
            work = examples_work(model, request, servable.REGRESS)
            values = regressions(await self.gate.run(model, work, self.seconds))
            reply = regression_pb2.RegressionResponse()
            fill_spec(reply.model_spec, model, work.signature)
            for value in values.tolist():
                reply.result.regressions.add(value=value)
            return reply

    async def GetModelMetadata(self, request: Any, outcome: metrics.Outcome) -> Any:  # noqa: N802
        """Source: get_model_metadata.proto."""
        if list(request.metadata_field) != ["signature_def"]:
            given = ", ".join(request.metadata_field) or "none"
            raise RequestError("INVALID_ARGUMENT", f"no such metadata field: {given} (there is: signature_def)")
        with self.find(request.model_spec, outcome) as model:
            reply = get_model_metadata_pb2.GetModelMetadataResponse()
            fill_spec(reply.model_spec, model)
            signatures = get_model_metadata_pb2.SignatureDefMap()
            for key, signature in model.signatures.items():
                signatures.signature_def[key].CopyFrom(signature)
            reply.metadata["signature_def"].Pack(signatures)
            return reply

    async def GetModelStatus(self, request: Any, outcome: metrics.Outcome) -> Any:  # noqa: N802
        """Source: get_model_status.proto."""
        spec = request.model_spec
        reply = get_model_status_pb2.GetModelStatusResponse()
        numbers = get_model_status_pb2.ModelVersionStatus.State
        for version, status in self.models.states(spec.name, spec.version.value, spec.version_label):
            entry = reply.model_version_status.add(version=version, state=numbers.Value(status.state))
            entry.status.error_code, entry.status.error_message = 2 if status.error else 0, status.error
        return reply

    async def HandleReloadConfigRequest(self, request: Any, outcome: metrics.Outcome) -> Any:  # noqa: N802
        """Source: model_management.proto."""
        error = await self.reload_with(request.config.SerializeToString())
        if error:
            raise RequestError("INVALID_ARGUMENT", error)
        return model_management_pb2.ReloadConfigResponse()


def fill_spec(spec: Any, model: Servable, signature: str = "") -> None:
    """Fills in which model and version a reply comes from."""
    spec.name, spec.version.value, spec.signature_name = model.name, model.version, signature
