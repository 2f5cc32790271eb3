"""Serves SavedModels over TensorFlow Serving's REST and gRPC APIs; its clients work against it unchanged.

    python serving/model_server.py --model_name linear_regression --model_base_path exports/linear_regression

Reads MODEL_BASE_PATH/VERSION, a SavedModel each. The newest version is served; one that comes later is picked up.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import time
from typing import Any

from model_import_export import command_line, trial


def read_configs(flags: argparse.Namespace) -> list[Any]:
    """The models to serve: of `--model_config_file`, a ModelServerConfig in text form, or the one that flags name.

    Raises:
        ValueError: it is no such configuration, or says what this server does not have.
        OSError: the file cannot be read.
    """
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    from servable import Config, Policy

    if not flags.model_config_file:
        return [Config(flags.model_name, flags.model_base_path)]
    with open(flags.model_config_file, encoding="utf-8") as file:
        text = file.read()
    try:
        parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except text_format.ParseError as error:
        raise ValueError(f"not a ModelServerConfig: {flags.model_config_file}: {error}") from None
    configs = []
    for model in parsed.model_config_list.config:
        policy = model.model_version_policy
        kind = policy.WhichOneof("policy_choice")
        if not model.name or not model.base_path or model.model_platform not in ("", "tensorflow"):
            raise ValueError(
                f"not a model of TensorFlow with name and base_path: {flags.model_config_file}: {model.name}"
            )
        latest = None if kind == "all" else policy.latest.num_versions or 1
        chosen = Policy(latest, frozenset(policy.specific.versions))
        configs.append(Config(model.name, model.base_path, chosen, dict(model.version_labels)))
    names = [config.name for config in configs]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"no models, or two of one name: {flags.model_config_file} ({', '.join(names) or 'none'})")
    return configs


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError that names the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise OSError(f"cannot listen on: {host}:{port}: {error.strerror} (give --rest_api_port)") from None
    return listener


async def serve(flags: argparse.Namespace, models: Any) -> None:
    """Serves until SIGTERM or Ctrl-C; then takes no new requests, and ends when the running ones have."""
    import uvicorn

    from in_flight import Gate
    from rest_api import build_app

    gate = Gate(flags.max_in_flight)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    servers, tasks = [], []
    if flags.port:
        from grpc_api import start_server

        address = f"{flags.host}:{flags.port}"
        servers.append(await start_server(models, gate, address, flags.max_request_bytes))
        print(f"gRPC on {address}", flush=True)
    if flags.rest_api_port:
        listener = listen(flags.host, flags.rest_api_port)
        app = build_app(models, gate, flags.max_request_bytes)
        config = uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=30)
        web = uvicorn.Server(config)
        web.capture_signals = contextlib.nullcontext  # they are handled here
        tasks.append(asyncio.create_task(web.serve([listener])))
        print(f"REST on http://{flags.host}:{flags.rest_api_port}", flush=True)

    await stop.wait()
    tasks += [asyncio.create_task(server.stop(30)) for server in servers]
    if flags.rest_api_port:
        web.should_exit = True
    await asyncio.gather(*tasks)


def watch(models: Any, seconds: float) -> None:
    """Keeps the models in step with their folders."""
    while True:
        time.sleep(seconds)
        try:
            models.refresh()
        except Exception as error:  # a folder that changes while it is read: the next look finds it whole
            command_line.warn(error)


def number(text: str) -> float:
    """The type of a flag that takes a number above zero."""
    if not 0 < float(text) < 1e9:
        raise argparse.ArgumentTypeError(f"not a number above zero: {text}")
    return float(text) if "." in text else int(text)


def port(text: str) -> int:
    """The type of a flag that takes a port; 0 is none."""
    if not 0 <= int(text) < 1 << 16:
        raise argparse.ArgumentTypeError(f"not a port: {text}")
    return int(text)


def parse_arguments() -> argparse.Namespace:
    parser = command_line.ArgumentParser(__doc__)
    add = parser.add_argument
    add("--port", metavar="PORT", type=port, default=8500, help="of gRPC; 0 for none")
    add("--rest_api_port", metavar="PORT", type=port, default=8501, help="of REST; 0 for none")
    add("--host", metavar="ADDRESS", default="127.0.0.1", help="to listen on; 0.0.0.0 for all interfaces")
    add("--model_name", metavar="NAME", default="linear_regression", help="what clients call it")
    add("--model_base_path", metavar="DIR", default="exports/linear_regression", help="where its versions are")
    add("--model_config_file", metavar="FILE", help="a ModelServerConfig: several models, versions, labels")
    add("--file_system_poll_wait_seconds", metavar="S", type=number, default=1, help="between looks at the folders")
    add("--max_request_bytes", metavar="N", type=number, default=32 << 20, help="of a request's body")
    add("--max_rows", metavar="N", type=number, default=10_000, help="a request")
    add("--max_seconds", metavar="S", type=number, default=30, help="a request")
    add("--max_in_flight", metavar="N", type=number, default=64, help="requests at a time; more are told to come again")
    add("--trust", metavar="MODEL", action="append", default=[], help="one you made yourself: not checked; repeatable")
    return parser.parse_args()


def main() -> None:
    flags = parse_arguments()
    trial.start()  # before there are threads
    import uvloop

    from servable import Limits, Models

    configs = read_configs(flags)
    unknown = set(flags.trust) - {config.name for config in configs}
    if unknown:
        raise ValueError(f"no such model: {min(unknown)} in --trust (there are: {', '.join(c.name for c in configs)})")
    models = Models(configs, Limits(flags.max_rows, flags.max_seconds), flags.trust)
    models.refresh()
    missing = [config for config in configs if not models.servables[config.name]]
    if missing:
        for config in missing:
            states = models.statuses[config.name].values()
            why = "; ".join(state.error for state in states if state.error) or f"no version in {config.base_path}"
            command_line.warn(f"no model: {config.name}: {why} (run make exports first, or give --model_base_path)")
        raise SystemExit(1)
    threading.Thread(target=watch, args=(models, flags.file_system_poll_wait_seconds), daemon=True).start()
    gc.collect()
    gc.freeze()  # else a full collection walks TensorFlow's hundreds of thousands of objects, in the midst of a request
    uvloop.run(serve(flags, models))
    sys.stdout.flush()
    os._exit(0)  # a run whose caller was told 503 may go on for ever: it must not keep the process


if __name__ == "__main__":
    command_line.run(main)
