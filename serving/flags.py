"""The model server's command line: TensorFlow Serving's flags, and its own."""

import argparse
import math
import sys
from typing import Any

from model_import_export import command_line

# TensorFlow Serving's flags that this server does not have, and why.
BATCHING = "requests are not batched here; where that pays, TensorFlow Serving is the server to use"
THREADS = "a request is calculated in the thread that takes it; --workers uses more processors"
CPU = "models are calculated on the processor, one thread each"
REFUSED = {
    "batching_parameters_file": BATCHING,
    "enable_per_model_batching_parameters": BATCHING,
    "rest_api_enable_cors_support": "that answers the pages of every site; --cors_origin names those that may ask",
    "rest_api_num_threads": THREADS,
    "grpc_max_threads": THREADS,
    "num_load_threads": "versions are loaded one after the other",
    "num_unload_threads": "versions are unloaded as their last requests end",
    "max_num_load_retries": "a version is tried again when its files change",
    "load_retry_interval_micros": "a version is tried again when its files change",
    "tensorflow_session_parallelism": THREADS,
    "tensorflow_session_config_file": THREADS,
    "tensorflow_intra_op_parallelism": THREADS,
    "tensorflow_inter_op_parallelism": THREADS,
    "per_process_gpu_memory_fraction": CPU,
    "platform_config_file": "TensorFlow is the only platform",
    "grpc_socket_path": "it listens only on ports",
    "grpc_channel_arguments": "--max_request_bytes, --max_seconds and --max_in_flight are its limits",
    "ssl_config_file": "it has no encryption; put it behind a proxy that has",
    "thread_pool_factory_config_file": THREADS,
    "num_tflite_pools": "it serves only SavedModels",
    "num_tflite_interpreters_per_pool": "it serves only SavedModels",
    "mixed_precision": CPU,
}
# Flags that can be given only with the value that this server has anyway.
FIXED = {
    "enable_batching": (False, BATCHING),
    "use_alts_credentials": (False, "it has no encryption; put it behind a proxy that has"),
    "prefer_tflite_model": (False, "it serves only SavedModels"),
    "xla_cpu_compilation_enabled": (False, CPU),
    "xla_gpu_compilation_enabled": (False, CPU),
    "enable_profiler": (False, "it has no profiler"),
    "skip_initialize_tpu": (True, CPU),
    "enable_grpc_healthcheck_service": (True, "it always answers health checks"),
    "enable_signature_method_name_check": (True, "it always compares the method with the signature's"),
    "allow_version_labels_for_unavailable_models": (True, "a label can name any version"),
    "enable_serialization_as_tensor_content": (False, "outputs are written as values"),
    "remove_unused_fields_from_bundle_metagraph": (True, "it keeps what it uses"),
    "flush_filesystem_caches": (True, "it leaves the file system's caches to the kernel"),
}


def _number(text: str) -> float:
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return math.nan  # outside every range


def number(text: str) -> float:
    """The argparse type of a flag that takes a number above zero."""
    if not 0 < _number(text) < 1e9:
        raise argparse.ArgumentTypeError(f"not a number above zero: {text}")
    return _number(text)


def wait(text: str) -> float:
    """The argparse type of a flag that takes the seconds between scans; 0 means never again."""
    if not 0 <= _number(text) < 1e9:
        raise argparse.ArgumentTypeError(f"not a number of seconds, or 0: {text}")
    return _number(text)


def port(text: str) -> int:
    """The argparse type of a flag that takes a port; 0 means none."""
    if _number(text) not in range(1 << 16):
        raise argparse.ArgumentTypeError(f"not a port from 0 to 65535: {text}")
    return int(_number(text))


def yes_or_no(text: str) -> bool:
    """The argparse type of a flag that takes true or false."""
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"not true or false: {text}")
    return text.lower() in ("true", "1")


class Refuse(argparse.Action):
    """Says why this server lacks a flag, unless it is given with the value that the server has anyway."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        has, reason = FIXED.get(self.dest, (None, REFUSED.get(self.dest)))
        if has is None or values != has:
            parser.error(f"argument {option_string}: not in this server: {reason}")


def parse() -> argparse.Namespace:
    """Parses the command line; flags may also be written with hyphens. Exits with status 2 if it is wrong."""
    parser = command_line.ArgumentParser(sys.modules["__main__"].__doc__)
    add = parser.add_argument
    add("--port", metavar="PORT", type=port, default=8500, help="gRPC port; 0 disables it")
    add("--rest_api_port", metavar="PORT", type=port, default=8501, help="REST port; 0 disables it")
    add("--host", metavar="ADDRESS", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all interfaces")
    add("--workers", metavar="N", type=command_line.count, default=1, help="processes that answer requests")
    add("--model_name", metavar="NAME", default="linear_regression", help="name by which clients ask for the model")
    add(
        "--model_base_path",
        metavar="DIR",
        default="exports/linear_regression",
        help="folder that holds the model's versions",
    )
    add("--model_config_file", metavar="FILE", help="file that lists models, versions and labels (a ModelServerConfig)")
    add("--model_config_file_poll_wait_seconds", metavar="S", type=wait, default=0.0,
        help="seconds between readings of --model_config_file; 0 reads it only at the start and on SIGHUP")  # fmt: skip
    add("--file_system_poll_wait_seconds", metavar="S", type=wait, default=1.0,
        help="seconds between scans of the model folders; 0 scans once")  # fmt: skip
    add("--saved_model_tags", metavar="TAGS", default="serve", help="comma-separated tags of the graph to load")
    add("--enable_model_warmup", metavar="BOOL", type=yes_or_no, nargs="?", const=True, default=True,
        help="run a version's assets.extra/tf_serving_warmup_requests before it is offered")  # fmt: skip
    add("--num_request_iterations_for_warmup", metavar="N", type=command_line.count, default=1,
        help="number of times that each warm-up request is run")  # fmt: skip
    add(
        "--monitoring_config_file",
        metavar="FILE",
        help="file that says where the metrics for Prometheus are (a MonitoringConfig)",
    )
    add("--rest_api_timeout_in_ms", metavar="MS", type=number,
        help="maximum milliseconds per REST request (default: those of --max_seconds)")  # fmt: skip
    add("--max_request_bytes", metavar="N", type=number, default=32 << 20, help="maximum bytes of a request's body")
    add("--max_rows", metavar="N", type=command_line.count, default=10_000, help="maximum rows per request")
    add("--max_seconds", metavar="S", type=number, default=30, help="maximum seconds per request")
    add("--max_in_flight", metavar="N", type=command_line.count, default=64,
        help="maximum requests at a time in each worker; further ones are told to retry")  # fmt: skip
    add("--cors_origin", metavar="URL", action="append", default=[],
        help="web site whose pages may send requests, such as https://example.com; repeatable")  # fmt: skip
    add("--allowed_host", metavar="NAME", action="append", default=[],
        help="host name, besides localhost, that a request may use; repeatable")  # fmt: skip
    add("--trust", metavar="MODEL", action="append", default=[],
        help="model to load without checks: one you made yourself; repeatable")  # fmt: skip
    for name in REFUSED:
        add(f"--{name}", action=Refuse, nargs="?", help=argparse.SUPPRESS)
    for name in FIXED:
        add(f"--{name}", action=Refuse, nargs="?", const=True, type=yes_or_no, help=argparse.SUPPRESS)
    flags = parser.parse_args([_with_underscores(word) for word in sys.argv[1:]])
    flags.seconds = flags.rest_api_timeout_in_ms / 1000 if flags.rest_api_timeout_in_ms else flags.max_seconds
    flags.saved_model_tags = frozenset(filter(None, flags.saved_model_tags.split(",")))
    return flags


def _with_underscores(word: str) -> str:
    name, separator, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + separator + value if name.startswith("--") else word
