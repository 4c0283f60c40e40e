"""Prometheus metrics of a running step: /metrics on the port in COMFACE_METRICS_PORT; if it is unset, no server.

In: values by metric name. Out: the metrics in METRICS and no others. The alert rules and the dashboard in
k8s/components/monitoring read them (a test compares the names).
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from comface.errors import ConfigurationError
from comface.runtime.folders import scratch_folder
from comface.runtime.logs import in_pod

T = TypeVar("T")
PORT = "COMFACE_METRICS_PORT"
METRICS_LABEL = "comface-metrics-port"
"""The label of pods that serve metrics; its value is the port."""
ADDRESS = "COMFACE_METRICS_ADDRESS"
"""The variable with the address to listen on. Default: all interfaces in a pod (Prometheus connects from outside),
otherwise loopback."""
MOST_CONNECTIONS = 8
"""A scrape needs one connection. The oldest excess connection is closed, so that idle connections cannot exhaust the
file descriptors."""
IDLE_S = 5.0
"""Timeout of an idle connection."""
LINGER_S = 45.0
"""Three scrape intervals of the PodMonitor: how long an ending process waits for a last scrape."""


class Metric(NamedTuple):
    kind: str
    text: str
    labels: tuple[str, ...] = ()


METRICS: Mapping[str, Metric] = {
    "comface_pretrain_epoch": Metric("gauge", "current epoch, from 1"),
    "comface_pretrain_step": Metric("gauge", "completed steps of the current epoch"),
    "comface_pretrain_epochs": Metric("gauge", "epochs of the training"),
    "comface_pretrain_steps_per_epoch": Metric("gauge", "steps of an epoch"),
    "comface_pretrain_loss": Metric("gauge", "mean loss of the current epoch so far, over all processes", ("kind",)),
    "comface_pretrain_change_range": Metric("gauge", "range S of the changes in the current epoch, equation (2)"),
    "comface_pretrain_view_pixels": Metric("gauge", "side length of the views in the current epoch"),
    "comface_pretrain_learning_rate": Metric("gauge", "learning rate of f and g"),
    "comface_pretrain_gradient_norm": Metric("gauge", "Euclidean norm of the gradient of the last step read"),
    "comface_pretrain_gpu_memory_bytes": Metric(
        "gauge", "memory of the first GPU of the node: most used by tensors, reserved by PyTorch, size", ("kind",)
    ),
    "comface_pretrain_held_out_correlation": Metric(
        "gauge",
        "estimated and true change on held-out identities, within the whole range or that of the epoch",
        ("range",),
    ),
    "comface_pretrain_held_out_loss": Metric(
        "gauge", "loss on held-out identities within the epoch's range", ("kind",)
    ),
    "comface_pretrain_held_out_same_face": Metric("gauge", "share of held-out x whose nearest y is their own"),
    "comface_pretrain_pairs_total": Metric("counter", "pairs trained on by the whole job since this process started"),
    "comface_pretrain_data_wait_seconds_total": Metric("counter", "time that training waited for images"),
    "comface_pretrain_last_step_timestamp_seconds": Metric("gauge", "end time of the last step, or start of training"),
    "comface_pretrain_last_checkpoint_timestamp_seconds": Metric("gauge", "time of the last checkpoint"),
    "comface_pretrain_checkpoint_every_seconds": Metric("gauge", "checkpoint interval"),
    "comface_pretrain_nonfinite_losses_total": Metric("counter", "losses that were infinite or NaN"),
    "comface_synthesize_tracks_total": Metric("counter", "tracks rendered"),
    "comface_synthesize_images_total": Metric("counter", "images rendered"),
    "comface_scratch_free_bytes": Metric("gauge", "free space on the scratch disk"),
    "comface_scratch_size_bytes": Metric("gauge", "size of the scratch disk"),
}


class Monitor:
    """The metrics of this process. A monitor without metrics serves nothing and ignores all values."""

    def __init__(self, metrics: Mapping[str, Any] | None = None, scraped: threading.Event | None = None) -> None:
        self._metrics, self._scraped = metrics or {}, scraped

    def __bool__(self) -> bool:
        return bool(self._metrics)

    def set(self, name: str, value: float, **labels: str) -> None:
        if self:
            metric = self._metrics[name]
            (metric.labels(**labels) if labels else metric).set(value)

    def add(self, name: str, amount: float = 1) -> None:
        if self:
            self._metrics[name].inc(amount)

    def now(self, name: str) -> None:
        self.set(name, time.time())

    def waiting(self, name: str, items: Iterator[T]) -> Iterator[T]:
        """Yield `items`; add the seconds spent waiting for each to the counter `name`."""
        return self._timed(name, items) if self else items

    def _timed(self, name: str, items: Iterator[T]) -> Iterator[T]:
        while True:
            started = time.monotonic()
            try:
                item = next(items)
            except StopIteration:
                return
            self.add(name, time.monotonic() - started)
            yield item

    def linger(self, longest_s: float = LINGER_S) -> None:
        """Wait until the current metrics were scraped, at most `longest_s`: they are lost when the process ends."""
        if self._scraped is not None:
            self._scraped.clear()
            if self._scraped.wait(longest_s):
                time.sleep(0.5)  # time to send the response


def open_monitor(environment: Mapping[str, str] = os.environ, scratch: Path | None = None) -> Monitor:
    """This process's monitor; starts the server if a port is set. Raises ConfigurationError for a port that is invalid
    or in use."""
    port = environment.get(PORT, "")
    if not port:
        return Monitor()
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ConfigurationError(f"{PORT} is '{port}', not a port number; set it to 1 to 65535, or unset it.")
    return _serve(address_of_metrics(environment), int(port), scratch or scratch_folder())


@functools.cache
def _serve(address: str, port: int, scratch: Path) -> Monitor:
    import prometheus_client

    prometheus_client.disable_created_metrics()
    registry = prometheus_client.CollectorRegistry()
    scraped = threading.Event()
    registry.register(_Scrapes(scraped))  # first, so that the response has every value set before the event
    metrics = {
        name: getattr(prometheus_client, metric.kind.title())(name, metric.text, metric.labels, registry=registry)
        for name, metric in METRICS.items()
    }
    metrics["comface_scratch_free_bytes"].set_function(lambda: shutil.disk_usage(scratch).free)
    metrics["comface_scratch_size_bytes"].set_function(lambda: shutil.disk_usage(scratch).total)
    serve_metrics(address, port, registry)
    return Monitor(metrics, scraped)


def serve_metrics(
    address: str, port: int, registry: Any, todo: str = f"set {PORT} to another port or unset it"
) -> None:
    """Serve a registry of prometheus_client in a thread. Raises ConfigurationError if the port cannot be opened;
    `todo`: how to choose another."""
    import prometheus_client

    try:
        server = _Server(address, port, prometheus_client.MetricsHandler.factory(registry))
    except OSError as error:
        raise ConfigurationError(
            f"The metrics port {port} cannot be opened ({error.strerror}) at {address}; {todo}, and set "
            f"{ADDRESS} to an address of this machine."
        ) from None
    threading.Thread(target=server.serve_forever, daemon=True).start()


def address_of_metrics(environment: Mapping[str, str] = os.environ) -> str:
    return environment.get(ADDRESS) or ("0.0.0.0" if in_pod(environment) else "127.0.0.1")


class _Server(ThreadingHTTPServer):
    """An HTTP server with at most MOST_CONNECTIONS connections and an idle timeout of IDLE_S."""

    daemon_threads = True
    request_queue_size = 64  # the default of 5 makes every further client wait a second

    def __init__(self, address: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        super().__init__((address, port), type("Handler", (handler,), {"timeout": IDLE_S}))

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.append(request)
            for oldest in self._open[:-MOST_CONNECTIONS]:
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)  # its thread reads EOF and closes it
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._open.remove(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do not log aborted connections."""


class _Scrapes:
    """A collector without metrics that sets an event at each scrape."""

    def __init__(self, scraped: threading.Event) -> None:
        self._scraped = scraped

    def collect(self) -> Iterable[Any]:
        self._scraped.set()
        return ()
