"""The server's configuration: models, their versions and labels, and where its metrics are.

The files are TensorFlow Serving's, a ModelServerConfig and a MonitoringConfig in text form.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from model_import_export import ModelError, model_file

METRICS = "/monitoring/prometheus/metrics"


class Policy(NamedTuple):
    """Which versions of a model are served: the newest `latest`, all (None), or only `specific`."""

    latest: int | None = 1
    specific: frozenset[int] = frozenset()

    def choose(self, versions: Collection[int]) -> set[int]:
        """The versions to serve, out of those that exist."""
        if self.specific:
            return self.specific.intersection(versions)
        return set(versions) if self.latest is None else set(sorted(versions)[-self.latest :])


class Config(NamedTuple):
    """A model to serve."""

    name: str
    base_path: str
    policy: Policy = Policy()
    labels: Mapping[str, int] = {}


def read_configs(path: str) -> list[Config]:
    """The models in a `--model_config_file`. Raises ModelError if it is not such a configuration, or OSError."""
    from tensorflow_serving.config import model_server_config_pb2

    return configs_of(_parse(model_server_config_pb2.ModelServerConfig(), path), path)


def configs_of(message: Any, source: str) -> list[Config]:
    """The models in a ModelServerConfig.

    Raises:
        ModelError: it names no model, two with the same name, or something that this server lacks.
    """
    if message.WhichOneof("config") == "custom_model_config":
        raise ModelError(f"not a model_config_list: {source} (this server has no custom_model_config)")
    configs = []
    for model in message.model_config_list.config:
        if not model.name or not model.base_path or model.model_platform not in ("", "tensorflow"):
            raise ModelError(f"not a model of TensorFlow with name and base_path: {source}: {model.name}")
        if model.HasField("logging_config"):
            raise ModelError(f"not a configuration for this server, which records no requests: {source}: {model.name}")
        policy = model.model_version_policy
        latest = None if policy.WhichOneof("policy_choice") == "all" else policy.latest.num_versions or 1
        chosen = Policy(latest, frozenset(policy.specific.versions))
        configs.append(Config(model.name, model.base_path, chosen, dict(model.version_labels)))
    names = [config.name for config in configs]
    if not names or len(set(names)) < len(names):
        raise ModelError(f"no models, or two of one name: {source} ({', '.join(names) or 'none'})")
    return configs


def read_monitoring(path: str) -> str | None:
    """The metrics' path in URLs; None if metrics are off. Raises ModelError or OSError."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    # The protocol buffer of tensorflow_serving/config/monitoring_config.proto, which the Python package lacks.
    kinds = descriptor_pb2.FieldDescriptorProto
    package = "model_import_export.monitoring"
    file = descriptor_pb2.FileDescriptorProto(name="monitoring_config", package=package, syntax="proto3")
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, type=kinds.TYPE_BOOL, label=kinds.LABEL_OPTIONAL)
    prometheus.field.add(name="path", number=2, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    config = file.message_type.add(name="MonitoringConfig").field.add(name="prometheus_config", number=1)
    config.type, config.type_name, config.label = kinds.TYPE_MESSAGE, f".{package}.PrometheusConfig", 1
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.MonitoringConfig"))()
    found = _parse(message, path).prometheus_config
    if found.path and not found.path.startswith("/"):
        raise ModelError(f"not a path that begins with /: {found.path} in {path}")
    return (found.path or METRICS) if found.enable else None


def _parse(message: Any, path: str) -> Any:
    from google.protobuf import text_format

    try:
        return text_format.Parse(model_file.read_regular(path), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ModelError(f"not a {message.DESCRIPTOR.name}: {path}: {error}") from None
