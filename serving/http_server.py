"""HTTP for the REST API: uvicorn's server, plus limits that it lacks, and checks on who may ask.

A web page on another site can make a browser send requests to a server on this machine. Headers that browsers always
send expose them: a page whose name resolves to this machine sends its own name as `Host`, and a POST carries the
page's site as `Origin`.
"""

import argparse
import asyncio
import contextlib
import json
from typing import Any
from urllib.parse import urlsplit

from in_flight import Gate
from models import Models
from rest_api import build_app
from worker import listen

import uvicorn
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD = 64 << 10  # bytes of a request's line and headers
LOOPBACK = ("127.0.0.1", "localhost", "::1")
REASONS = {400: b"Bad Request", 408: b"Request Timeout", 413: b"Content Too Large",
           431: b"Request Header Fields Too Large"}  # fmt: skip


class Protocol(HttpToolsProtocol):
    """A connection that limits the size of headers, the time for them, and the size of bodies."""

    seconds, most_bytes = 30.0, 32 << 20  # for the headers; in a body

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.received, self.lengths, self.in_head = 0, 0, True
        self.timer = self.loop.call_later(self.seconds, self._end, 408, "the headers did not come in time")

    def connection_lost(self, exc: Exception | None) -> None:
        self.timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)  # including what the parser buffers until it is complete
        super().data_received(data)
        if self.in_head and self.received > MOST_HEAD:
            self._end(431, f"too large: the headers (at most {MOST_HEAD} bytes)")
        elif self.received > 4 * self.most_bytes + MOST_HEAD:
            self._end(413, f"too large: the request (at most {self.most_bytes} bytes)")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.timer.cancel()
        self.timer = self.loop.call_later(self.seconds, self._end, 408, "the headers did not come in time")
        self.received, self.lengths, self.in_head = 0, 0, True

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(name + value)
        super().on_header(name, value)

    def _count(self, part: bytes) -> None:
        self.lengths += len(part)
        if self.lengths > MOST_HEAD:
            self._end(431, f"too large: the headers (at most {MOST_HEAD} bytes)")
            raise ValueError  # stops the parser

    def on_headers_complete(self) -> None:
        self.timer.cancel()
        self.in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._end(400, f"not HTTP: {msg}")

    def _end(self, status: int, message: str) -> None:
        """Sends an error reply and closes the connection."""
        if self.transport.is_closing():
            return
        body = json.dumps({"error": message}).encode() + b"\n"
        self.transport.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (status, REASONS[status], len(body), body)
        )
        self.transport.close()


class HttpServer:
    """The HTTP server, in the running event loop."""

    def __init__(self, server: uvicorn.Server) -> None:
        self.server = server

    @classmethod
    async def start(cls, models: Models, gate: Gate, flags: argparse.Namespace) -> "HttpServer":
        """Starts listening. Raises OSError if the address is taken."""
        app: Any = Packing(build_app(models, gate, flags))
        if flags.cors_origin:
            app = CORSMiddleware(app, allow_origins=flags.cors_origin, allow_methods=["*"], allow_headers=["*"])
        if flags.host in LOOPBACK:
            app = Guard(app, [*LOOPBACK, *flags.allowed_host], flags.cors_origin)
        else:
            app = Guard(app, None, flags.cors_origin)
        protocol = type("Limited", (Protocol,), {"seconds": flags.seconds, "most_bytes": flags.max_request_bytes})
        config = uvicorn.Config(
            app, http=protocol, ws="none", lifespan="off", log_level="critical", access_log=False, server_header=False
        )
        config.timeout_graceful_shutdown = 30
        server = _Server(config)
        server.task = asyncio.create_task(server.serve([listen(flags.host, flags.rest_api_port)]))
        await asyncio.wait([server.task, asyncio.create_task(server.listening.wait())], return_when="FIRST_COMPLETED")
        if server.task.done():
            server.task.result()
        return cls(server)

    async def update(self) -> None:
        """Does nothing: each request looks at the models."""

    async def stop(self, seconds: float) -> None:
        """Takes no more requests, and waits for the running ones to end."""
        self.server.config.timeout_graceful_shutdown = int(seconds)
        self.server.should_exit = True
        await self.server.task


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening, self.task = asyncio.Event(), None
        self.capture_signals = contextlib.nullcontext  # the supervisor handles them

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.listening.set()


class Packing:
    """Compresses replies for clients that accept gzip, at no cost for others."""

    def __init__(self, app: Any) -> None:
        self.app, self.packing = app, GZipMiddleware(app, minimum_size=1000, compresslevel=1)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        takes = any(name == b"accept-encoding" and b"gzip" in value for name, value in scope["headers"])
        await (self.packing if takes else self.app)(scope, receive, send)


class Guard:
    """Refuses requests that a page on another site makes a browser send."""

    def __init__(self, app: Any, hosts: list[str] | None, origins: list[str]) -> None:
        self.app, self.hosts, self.origins = app, hosts, frozenset(origins)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if self.hosts is not None and host and _name(host) not in self.hosts:
            status, message = 421, f"not this server: {host[:100]} (--allowed_host allows a name)"
        elif scope["method"] == "POST" and origin and origin not in self.origins and _site(origin) != host:
            status, message = 403, f"not asked by a page of this server: {origin[:100]} (--cors_origin allows a site)"
        else:
            await self.app(scope, receive, send)
            return
        body = json.dumps({"error": message}).encode() + b"\n"
        fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": [*fields, (b"connection", b"close")]})
        await send({"type": "http.response.body", "body": body})


def _name(host: str) -> str:
    """A host name without its port."""
    with contextlib.suppress(ValueError):
        return urlsplit(f"//{host}").hostname or ""
    return ""


def _site(origin: str) -> str:
    """The host and port of an origin, as in a `Host` header."""
    return origin.partition("://")[2]
