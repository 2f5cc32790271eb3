"""A process that answers requests over REST and gRPC, with the versions that the supervisor tells it to load."""

import argparse
import asyncio
import gc
import os
import socket
import threading
from multiprocessing.connection import Connection
from typing import Any

from model_import_export import command_line
from plan import Plan, Terms
from servable import Key, Servable

SECONDS_TO_FINISH = 30  # for the requests that are running when the server stops
SECONDS_TO_RETRY = 1.0  # before loading again what could not be loaded


def address(host: str, port: int) -> str:
    """A host and a port as written in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def listen(host: str, port: int) -> socket.socket:
    """A socket for a port that several processes share. Raises OSError that names the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise OSError(f"cannot listen on: {address(host, port)}: {error.strerror}") from None
    return listener


def reserve(host: str, port: int, flag: str) -> socket.socket:
    """A socket that holds a port for the workers. Raises OSError if another program listens on it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind((host, port))
        return listen(host, port)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"cannot listen on: {address(host, port)}: {reason} (give {flag})") from None


class Control:
    """The thread that follows the supervisor, while the event loop answers requests."""

    def __init__(self, pipe: Connection, flags: argparse.Namespace, plan: Plan, counts: Any, place: int) -> None:
        from in_flight import Gate
        from models import Models

        self.pipe, self.flags, self.plan = pipe, flags, plan
        self.sending = threading.Lock()
        self.models = Models(self._load, self.send)
        self.gate = Gate(flags.max_in_flight, counts, place)
        self.servers: list[Any] = []
        self.reloads: dict[int, asyncio.Future] = {}
        self.loop, self.stopped = asyncio.get_running_loop(), asyncio.Event()

    def send(self, message: Any) -> None:
        """Sends a message to the supervisor."""
        with self.sending:
            self.pipe.send(message)

    def _load(self, key: Key, terms: Terms) -> Servable:
        from versions import looks_of
        from warm_up import warm_up

        if terms.looks != looks_of(key.path):
            raise ValueError("its files are not those that were judged")
        servable = Servable(key, self.flags.saved_model_tags, terms.rows, self.flags.max_rows)
        if self.flags.enable_model_warmup:
            warm_up(servable, self.flags.num_request_iterations_for_warmup)
        return servable

    def follow(self) -> None:
        """Follows the supervisor's messages until it says stop."""
        while True:
            is_complete = self.models.apply(self.plan)
            gc.collect()
            gc.freeze()  # otherwise a full collection walks the models' graphs during a request
            if is_complete and self.plan.is_open and not self.models.is_open:
                self._on_loop(self._open())
            if self.servers:
                self._on_loop(self.servers[-1].update())
            while is_complete or self.pipe.poll(SECONDS_TO_RETRY):
                kind, *rest = self.pipe.recv()
                if kind == "plan":
                    self.plan = rest[0]
                    break
                self.loop.call_soon_threadsafe(self.stopped.set if kind == "stop" else self._answer, *rest)

    def _on_loop(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result()

    async def _open(self) -> None:
        """Listens on the ports."""
        flags = self.flags
        try:
            if flags.rest_api_port:
                from http_server import HttpServer

                self.servers.append(await HttpServer.start(self.models, self.gate, flags))
            if flags.port:
                from grpc_api import GrpcServer

                self.servers.append(await GrpcServer.start(self.models, self.gate, flags, self.reload))
        except OSError as error:
            self.send(("failed", command_line.one_line(error)))
            os._exit(1)
        self.models.is_open = True
        self.models.tell()

    async def reload(self, config: bytes) -> str:
        """Passes a new configuration on to the supervisor. Returns what is wrong with it; nothing if it is served."""
        number = max(self.reloads, default=0) + 1
        future = self.reloads[number] = self.loop.create_future()
        self.send(("reload", number, config))
        return await future

    def _answer(self, number: int, error: str) -> None:
        future = self.reloads.pop(number)
        if not future.done():
            future.set_result(error)

    async def serve(self) -> None:
        """Serves until the supervisor says stop. Then takes no new requests, and ends after the running ones."""
        threading.Thread(target=self._follow_or_end, daemon=True).start()
        await self.stopped.wait()
        await asyncio.gather(*(server.stop(SECONDS_TO_FINISH) for server in self.servers))

    def _follow_or_end(self) -> None:
        try:
            self.follow()
        except (EOFError, OSError):  # the supervisor has ended
            os._exit(1)
        except BaseException as error:
            command_line.warn(f"{type(error).__name__}: {error}")
            os._exit(1)


def work(pipe: Connection, flags: argparse.Namespace, plan: Plan, counts: Any, place: int) -> None:
    """Runs a worker from start to end. `counts` and `place` are those of `in_flight.Gate`."""
    from model_import_export import graph_mode

    import uvloop

    graph_mode.load()

    async def serve() -> None:
        await Control(pipe, flags, plan, counts, place).serve()

    uvloop.run(serve())
    os._exit(0)  # a run whose caller got a 503 may never end, and must not keep the process alive
