"""TensorFlow Serving's REST API: status, metadata, predict, classify, regress. Every error is `{"error": "..."}`.

Source: https://www.tensorflow.org/tfx/serving/api_rest; openapi.json describes it.
"""

import argparse
import asyncio
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import metrics
import rest_json
from in_flight import Gate
from model_import_export import command_line
from models import Models
from servable import RequestError, Servable

import numpy as np
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

STATUS = {
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "REQUEST_TIMEOUT": 408,
    "TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "RESOURCE_EXHAUSTED": 429,
    "DEADLINE_EXCEEDED": 503,
}
HERE = Path(__file__).parent
PATHS = [f"/v1/models/{{name:name}}{ending}" for ending in ("", "/versions/{version:name}", "/labels/{label:name}")]


class _Name(Convertor):
    """A model's name. A colon ends it, so that GET of `M:predict` gives 405, not a model with that name."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("name", _Name())


class Deadline:
    """Cancels what is awaited within it when the time is over: TimeoutError. (`asyncio.timeout` needs Python 3.11.)"""

    def __init__(self, seconds: float) -> None:
        self.task, self.is_over = asyncio.current_task(), False
        self.timer = asyncio.get_running_loop().call_later(seconds, self._end)

    def _end(self) -> None:
        self.is_over = True
        self.task.cancel()

    def __enter__(self) -> None:  # noqa: D105
        pass

    def __exit__(self, kind: Any, *_: object) -> None:  # noqa: D105
        self.timer.cancel()
        if self.is_over and kind is asyncio.CancelledError:
            raise TimeoutError from None


def reply(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON reply."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    if status in (429, 503):
        headers = {"Retry-After": "1"}
    return Response(body + b"\n", status, headers, "application/json")


async def read_body(request: Request, limit: int) -> bytes:
    """Reads a request's body, and unpacks it if it is compressed with gzip.

    Raises:
        RequestError: it is longer than `limit` bytes, packed or unpacked; up to twice as much is then read and dropped,
            for a client that reads no answer before it has sent everything. Or it has another coding, or is damaged.
    """
    coding = request.headers.get("content-encoding", "identity").lower()
    if coding not in ("identity", "gzip", "x-gzip"):
        raise RequestError("UNSUPPORTED_MEDIA_TYPE", f"not a coding of the body: {coding[:40]} (gzip is)")
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS) if coding != "identity" else None
    parts, size, sent = [], 0, 0
    async for part in request.stream():
        sent += len(part)
        if size <= limit:
            if unpacker:
                part = _unpack(unpacker, part, limit + 1 - size)
            size += len(part)
            parts.append(part)
        if sent > 2 * limit:
            break
    if max(size, sent) > limit:
        raise RequestError("TOO_LARGE", f"too large: the body (at most {limit} bytes)")
    if unpacker and (not unpacker.eof or unpacker.unused_data):
        raise RequestError("INVALID_ARGUMENT", "not gzip: the body")
    return b"".join(parts)


def _unpack(unpacker: Any, part: bytes, most: int) -> bytes:
    """At most `most` unpacked bytes: the body must not grow beyond its limit before it is checked."""
    try:
        return unpacker.decompress(part, most)
    except zlib.error as error:
        raise RequestError("INVALID_ARGUMENT", f"not gzip: the body: {error}") from None


class Api:
    """The functions behind the paths. Models are found by name and version; `versions/0` is the newest."""

    def __init__(self, models: Models, gate: Gate, flags: argparse.Namespace) -> None:
        self.models, self.gate = models, gate
        self.seconds, self.most_bytes = flags.seconds, flags.max_request_bytes
        self.description = json.loads((HERE / "openapi.json").read_text())

    def call(self, method: str, parse: Callable[..., Any], write: Callable[..., bytes]) -> Callable[..., Any]:
        """Returns a function that answers requests for a method."""
        timer = metrics.Timer(self.models, method.capitalize(), "REST")

        async def call(request: Request) -> Response:
            with timer.measure(request.path_params["name"]) as outcome, self.gate:
                try:
                    with Deadline(self.seconds):
                        body = await read_body(request, self.most_bytes)
                except TimeoutError:
                    raise RequestError("REQUEST_TIMEOUT", f"the body did not come within {self.seconds:g} s") from None
                except ClientDisconnect:
                    raise RequestError("INVALID_ARGUMENT", "the client went away") from None
                with self.models.use(*_asked(request), outcome) as model:
                    document = rest_json.parse(body)
                    signature = model.find_signature(rest_json.signature_name(document), f"tensorflow/serving/{method}")
                    feed, rows = parse(document, model, signature)
                    work = model.check_feed(signature, feed, rows)
                    return reply(write(await self.gate.run(model, work, self.seconds), rows))

        return call

    async def metadata(self, request: Request) -> Response:
        model = self.models.find(*_asked(request))
        signatures = {key: _describe(model, key) for key in model.signatures}
        spec = {"name": model.name, "signature_name": "", "version": str(model.version)}
        return reply({"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}})

    async def status(self, request: Request) -> Response:
        return reply({"model_version_status": [
            {
                "version": str(number),
                "state": state.state,
                "status": {"error_code": "UNKNOWN" if state.error else "OK", "error_message": state.error},
            }
            for number, state in self.models.states(*_asked(request))
        ]})  # fmt: skip

    async def list_models(self, _: Request) -> Response:
        return reply({"models": self.models.names})

    async def describe(self, _: Request) -> Response:
        self.description["components"]["parameters"]["name"]["schema"]["enum"] = self.models.names
        return reply(self.description)

    async def metrics(self, _: Request) -> Response:
        return Response(metrics.text(self.models, self.gate), media_type=metrics.CONTENT_TYPE)

    async def page(self, _: Request) -> Response:
        return FileResponse(HERE / "page.html")


def build_app(models: Models, gate: Gate, flags: argparse.Namespace) -> Starlette:
    """Builds the application."""
    api = Api(models, gate, flags)
    routes = []  # the first match answers, so the most frequent come first
    for method, parse, write in (
        ("predict", _parse_predict, rest_json.predict_reply),
        ("classify", _parse_examples, lambda results, _: rest_json.classify_reply(results)),
        ("regress", _parse_examples, lambda results, _: rest_json.regress_reply(results)),
    ):
        routes += [Route(f"{path}:{method}", api.call(method, parse, write), methods=["POST"]) for path in PATHS]
    for ending, function in (("/metadata", api.metadata), ("", api.status)):
        routes += [Route(f"{path}{ending}", function) for path in PATHS]
    routes += [Route("/", api.page), Route("/openapi.json", api.describe), Route("/v1/models", api.list_models)]
    if flags.metrics_path:
        routes.append(Route(flags.metrics_path, api.metrics))
    return Starlette(
        routes=routes,
        exception_handlers={
            RequestError: lambda _, error: reply({"error": str(error)}, STATUS[error.code]),
            HTTPException: _refuse,
            Exception: _fail,
        },
    )


def _asked(request: Request) -> tuple[str, int, str]:
    """The model, version and label that a path names. Raises RequestError."""
    asked = request.path_params
    return asked["name"], _version(asked.get("version", "0")), asked.get("label", "")


def _version(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) < 1 << 63):
        raise RequestError("INVALID_ARGUMENT", f"not a version: {text[:40]} (a number; 0 is the newest)")
    return int(text)


def _parse_predict(document: dict[str, Any], model: Servable, signature: str) -> tuple[dict[str, np.ndarray], int]:
    return rest_json.parse_predict(document, model.inputs[signature])


def _parse_examples(document: dict[str, Any], model: Servable, signature: str) -> tuple[dict[str, np.ndarray], int]:
    examples = np.array(rest_json.parse_examples(document), object)
    return dict.fromkeys(model.inputs[signature], examples), 0


def _describe(model: Servable, signature: str) -> dict[str, Any]:
    described = json_format.MessageToDict(
        model.signatures[signature], always_print_fields_with_no_presence=True, preserving_proto_field_name=True
    )
    return {key: described[key] for key in ("inputs", "outputs", "method_name")}


def _refuse(request: Request, error: HTTPException) -> Response:
    path = request.url.path[:200]
    message = f"no such path: {path}" if error.status_code == 404 else f"not a method of {path}: {request.method[:40]}"
    return reply({"error": f"{message} (/openapi.json describes the API)"}, error.status_code, error.headers)


def _fail(_: Request, error: Exception) -> Response:
    command_line.warn(f"{type(error).__name__}: {error}")
    return reply({"error": "the server failed; its log says why"}, 500)
