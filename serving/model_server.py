"""Serves SavedModels over TensorFlow Serving's REST and gRPC APIs; its clients work against it unchanged.

    python serving/model_server.py
    python serving/model_server.py --model_name cnn --model_base_path exports/cnn
    python serving/model_server.py --model_config_file serving/models.config

Reads the SavedModels MODEL_BASE_PATH/VERSION. The newest version is served; later ones are picked up.
"""

import contextlib
import gc
import os
import shutil
import signal
import sys
import tempfile

import flags as command
from model_import_export import command_line, graph_mode


def main() -> None:
    flags = command.parse()
    graph_mode.load()  # once, for all processes forked from this one
    from configuration import METRICS, Config, read_configs, read_monitoring
    from supervisor import Supervisor
    from worker import reserve

    single = Config(flags.model_name, flags.model_base_path)
    configs = read_configs(flags.model_config_file) if flags.model_config_file else [single]
    flags.metrics_path = read_monitoring(flags.monitoring_config_file) if flags.monitoring_config_file else METRICS
    unknown = set(flags.trust) - {config.name for config in configs}
    if unknown:
        raise ValueError(f"no such model: {min(unknown)} in --trust (there are: {', '.join(c.name for c in configs)})")
    gc.collect()
    gc.freeze()  # otherwise a full collection walks TensorFlow's hundreds of thousands of objects during a request
    # The workers' grpcio reads this. Its newer listener passes each request to another thread: a third slower.
    os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="model_server.")  # read by the workers
    try:
        with contextlib.ExitStack() as ports:
            for flag, port in (("--port", flags.port), ("--rest_api_port", flags.rest_api_port)):
                if port:
                    ports.enter_context(reserve(flags.host, port, flag))
            number = Supervisor(flags, configs).run()
    finally:
        shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
    if number == signal.SIGINT:
        sys.stdout.flush()
        command_line.interrupted()


if __name__ == "__main__":
    command_line.run(main)
