"""Prometheus metrics of the service, on a port of their own. No label holds anything that a client sent."""

from __future__ import annotations

from collections.abc import Callable

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from comface.runtime.monitoring import address_of_metrics, serve_metrics

SECONDS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30)


class Metrics:
    def __init__(self) -> None:
        prometheus_client.disable_created_metrics()
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "comface_serve_requests", "requests by path of the API and status", ("path", "status"), registry=registry
        )
        self.seconds = Histogram(
            "comface_serve_request_seconds", "time from a request's header to its answer", ("path",),
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.refusals = Counter("comface_serve_refusals", "refused requests by reason", ("reason",), registry=registry)
        self.restarts = Counter("comface_serve_worker_restarts", "workers that were replaced", registry=registry)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        Gauge(f"comface_serve_{name}", text, registry=self.registry).set_function(value)

    def open(self, port: int) -> None:
        serve_metrics(address_of_metrics(), port, self.registry, "choose another --metrics-port")
