"""Metrics for Prometheus, summed over all workers, under TensorFlow Serving's names where those exist.

`prometheus_client` keeps them in files, one per process, in the folder that PROMETHEUS_MULTIPROC_DIR names when it is
imported. What an ended worker counted stays counted.
"""

import time
from collections.abc import Iterator
from typing import Any

from in_flight import Gate
from models import Models
from servable import RequestError

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COUNT = ":tensorflow:serving:request_count"
LABELS = ["model_name", "version", "API", "entrypoint"]
BUCKETS = [10 * 1.8**i for i in range(33)]  # microseconds, like TensorFlow Serving's

requests = Counter(COUNT, "The total number of requests.", [*LABELS, "status"])
latency = Histogram(
    ":tensorflow:serving:request_latency",
    "Distribution of wall time (in microseconds) for a request.",
    LABELS,
    buckets=BUCKETS,
)


class Timer:
    """Measures the requests for one method over one protocol."""

    def __init__(self, models: Models, api: str, entrypoint: str) -> None:
        self.models, self.api, self.entrypoint = models, api, entrypoint
        self.known: dict[tuple[str, ...], tuple[Counter, Histogram]] = {}  # looking labels up is slow

    def measure(self, name: str) -> "Outcome":
        """Counts a request under its model's name if that exists: clients must not be able to make up labels."""
        return Outcome(self, name if name in self.models.plan.models else "")

    def count(self, model: str, version: str, status: str, seconds: float) -> None:
        """Counts an ended request."""
        known = self.known.get((model, version, status))
        if known is None:
            labels = model, version, self.api, self.entrypoint
            known = requests.labels(*labels, status), latency.labels(*labels)
            self.known[model, version, status] = known
        known[0].inc()
        known[1].observe(seconds * 1e6)


class Outcome:
    """A request from start to end."""

    def __init__(self, timer: Timer, model: str) -> None:
        self.timer, self.model, self.version = timer, model, ""

    def __enter__(self) -> "Outcome":  # noqa: D105
        self.started = time.perf_counter()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, _: object) -> None:  # noqa: D105
        status = "OK" if error is None else error.code if isinstance(error, RequestError) else "INTERNAL"
        self.timer.count(self.model, self.version, status, time.perf_counter() - self.started)


class State:
    """What every worker knows about all of them: the offered versions, and the number of requests in flight."""

    def __init__(self, models: Models, gate: Gate) -> None:
        self.models, self.gate = models, gate

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yields the metrics, for prometheus_client."""
        family = GaugeMetricFamily(
            "model_server_loaded_version", "1 for each version that is served.", labels=["model_name", "version"]
        )
        for name, model in self.models.plan.models.items():
            for version in model.offered:
                family.add_metric([name, str(version)], 1)
        yield family
        running = sum(self.gate.counts)
        yield GaugeMetricFamily("model_server_requests_in_flight", "Requests that are being worked on.", running)


def text(models: Models, gate: Gate) -> bytes:
    """All metrics in Prometheus's text form."""
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    registry.register(State(models, gate))
    # TensorFlow Serving's counter lacks the suffix that prometheus_client gives every counter.
    return generate_latest(registry).replace(f"{COUNT}_total".encode(), COUNT.encode())
