"""TensorFlow Serving's REST API: status, metadata, predict, classify, regress. Every error is `{"error": "..."}`.

Source: https://www.tensorflow.org/tfx/serving/api_rest
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from fastapi.routing import APIRoute
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import rest_json
from in_flight import Gate
from model_import_export import command_line
from servable import Models, RequestError, Servable

STATUS = {
    "INVALID_ARGUMENT": 400,
    "NOT_FOUND": 404,
    "TOO_LARGE": 413,
    "RESOURCE_EXHAUSTED": 429,
    "DEADLINE_EXCEEDED": 503,
}
PATHS = [f"/v1/models/{{name:name}}{ending}" for ending in ("", "/versions/{version:name}", "/labels/{label:name}")]
PAGE = Path(__file__).parent / "page.html"


class _Name(Convertor):
    """A model's name: a colon ends it, so that GET of `M:predict` is 405 and no model of that name."""

    regex = "[^/:]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("name", _Name())


class _Route(APIRoute):
    """A route whose function takes the request as it is: FastAPI describes it, and leaves its parameters alone."""

    def get_route_handler(self) -> Callable[..., Any]:
        return self.endpoint


class Deadline:
    """Ends what is awaited within it with TimeoutError when the time is over. (`asyncio.timeout` needs Python 3.11.)"""

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


def reply(document: Any, status: int = 200) -> Response:
    """A reply of JSON."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return Response(body + b"\n", status, {"Retry-After": "1"} if status in (429, 503) else None, "application/json")


def error_reply(message: str, status: int) -> Response:
    """An error as TensorFlow Serving words it."""
    return reply({"error": message}, status)


async def read_body(request: Request, limit: int) -> bytes:
    """A request's body. Raises RequestError where it is longer than `limit` bytes.

    Up to twice as much is read and dropped then, for a client that reads no answer before it has sent all.
    """
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size <= limit:
            parts.append(part)
        else:
            parts.clear()
        if size > 2 * limit:
            break
    if size > limit:
        raise RequestError("TOO_LARGE", f"too large: the body (at most {limit} bytes)")
    return b"".join(parts)


def build_app(models: Models, gate: Gate, most_bytes: int) -> FastAPI:
    """The application: models are found by name and version, `versions/0` is the newest."""
    app = FastAPI(title="model server", description="TensorFlow Serving's REST API", version="1")
    app.router.route_class = _Route
    # The framework's own errors too.
    app.add_exception_handler(RequestError, lambda _, error: error_reply(str(error), STATUS[error.code]))
    app.add_exception_handler(HTTPException, lambda _, error: error_reply(_detail(error), error.status_code))
    app.add_exception_handler(RequestValidationError, lambda _, error: error_reply(_validation(error), 422))
    app.add_exception_handler(ClientDisconnect, lambda *_: error_reply("the client went away", 400))
    app.add_exception_handler(Exception, _unexpected)
    app.add_exception_handler(404, lambda request, error: error_reply(f"no such path: {request.url.path}", 404))

    @app.get("/", include_in_schema=False)
    async def page(_: Request) -> FileResponse:
        return FileResponse(PAGE)

    @app.get("/v1/models", responses=_responses({"type": "object"}))
    async def list_models(_: Request) -> Response:
        return reply({"models": sorted(models.configs)})

    def serve(method: str, parse: Callable[..., Any], write: Callable[..., bytes]) -> None:
        """Adds the paths of a method, without a version, with one, and with a label."""

        async def call(request: Request) -> Response:
            with gate:
                try:
                    with Deadline(models.limits.seconds):
                        body = await read_body(request, most_bytes)
                except TimeoutError:
                    return error_reply(f"the body did not come within {models.limits.seconds} s", 408)
                with models.use(*_asked(request)) as model:
                    document = rest_json.parse(body)
                    signature = model.find_signature(rest_json.signature_name(document), f"tensorflow/serving/{method}")
                    feed, way = parse(document, model, signature)
                    rows = model.check_feed(signature, feed)
                    results = await gate.run(model, signature, feed, rows)
                    return reply(write(results, way))

        for path in PATHS:
            extra = {"required": True, "content": {"application/json": SCHEMAS[method]}}
            app.add_api_route(
                f"{path}:{method}",
                call,
                methods=["POST"],
                operation_id=f"{method} {path}",
                openapi_extra={"requestBody": extra, "parameters": _parameters(path, sorted(models.configs))},
                responses=_responses({"type": "object"}),
            )

    serve("predict", _parse_predict, rest_json.predict_reply)
    serve("classify", _parse_examples, lambda results, _: rest_json.classify_reply(results))
    serve("regress", _parse_examples, lambda results, _: rest_json.regress_reply(results))

    async def metadata(request: Request) -> Response:
        model = models.find(*_asked(request))
        signatures = {key: _describe(model, key) for key in model.signatures}
        spec = {"name": model.name, "signature_name": "", "version": str(model.version)}
        return reply({"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}})

    async def status(request: Request) -> Response:
        return reply({"model_version_status": [
            {
                "version": str(number),
                "state": state.state,
                "status": {"error_code": "UNKNOWN" if state.error else "OK", "error_message": state.error},
            }
            for number, state in models.states(*_asked(request))
        ]})  # fmt: skip

    for ending, function in (("/metadata", metadata), ("", status)):
        for path in PATHS:
            app.add_api_route(
                f"{path}{ending}",
                function,
                methods=["GET"],
                operation_id=f"{function.__name__} {path}",
                openapi_extra={"parameters": _parameters(path, sorted(models.configs))},
                responses=_responses({"type": "object"}),
            )
    return app


def _parameters(path: str, models: list[str]) -> list[dict[str, Any]]:
    """The parameters in a path, for the description; the functions read them off the request."""
    described = {
        "name": ("the model's name", {"enum": models}),
        "version": ("0 is the newest", {"pattern": "^[0-9]+$", "examples": ["0", "1"]}),
        "label": ("of the model's configuration", {}),
    }
    return [
        {"in": "path", "name": key, "required": True, "description": text, "schema": {"type": "string", **schema}}
        for key, (text, schema) in described.items()
        if f"{{{key}" in path
    ]


def _asked(request: Request) -> tuple[str, int, str]:
    """The model, version and label that a path names. Raises RequestError."""
    asked = request.path_params
    return asked["name"], _version(asked.get("version", "0")), asked.get("label", "")


def _version(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text[:20]) < 1 << 63):
        raise RequestError("INVALID_ARGUMENT", f"not a version: {text[:40]} (a number; 0 is the newest)")
    return int(text)


def _parse_predict(document: dict[str, Any], model: Servable, signature: str) -> tuple[dict[str, np.ndarray], bool]:
    return rest_json.parse_predict(document, model.inputs[signature])


def _parse_examples(document: dict[str, Any], model: Servable, signature: str) -> tuple[dict[str, np.ndarray], None]:
    examples = np.array(rest_json.parse_examples(document), object)
    return dict.fromkeys(model.inputs[signature], examples), None


def _describe(model: Servable, signature: str) -> dict[str, Any]:
    from google.protobuf import json_format

    described = json_format.MessageToDict(
        model.signatures[signature], always_print_fields_with_no_presence=True, preserving_proto_field_name=True
    )
    return {key: described[key] for key in ("inputs", "outputs", "method_name")}


def _detail(error: HTTPException) -> str:
    return f"{error.detail} (the API is described at /docs)"


def _unexpected(_: Request, error: Exception) -> Response:
    command_line.warn(f"{type(error).__name__}: {error}")
    return error_reply("the server failed; its log says why", 500)


def _validation(error: RequestValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())


def _responses(schema: dict[str, Any]) -> dict[int | str, Any]:
    content = {"application/json": {"schema": schema}}
    failed = {"application/json": {"schema": {"type": "object", "properties": {"error": {"type": "string"}}}}}
    codes = {400: "a bad request", 404: "no such model", 413: "too large", 429: "busy", 503: "too slow"}
    return {200: {"description": "done", "content": content}} | {
        code: {"description": text, "content": failed} for code, text in codes.items()
    }


SCHEMAS: dict[str, Any] = {
    "predict": {
        "schema": {
            "type": "object",
            "properties": {"signature_name": {"type": "string"}, "instances": {"type": "array"}, "inputs": {}},
        },
        "example": {"instances": [[0, 1, -1, 2]]},
    },
    **{
        method: {
            "schema": {
                "type": "object",
                "required": ["examples"],
                "properties": {
                    "signature_name": {"type": "string"},
                    "context": {"type": "object"},
                    "examples": {"type": "array", "minItems": 1, "items": {"type": "object"}},
                },
            },
            "example": {"signature_name": method, "examples": [{"x": 1.5}]},
        }
        for method in ("classify", "regress")
    },
}
