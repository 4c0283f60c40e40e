"""What a running step tells Prometheus: /metrics on the port in COMFACE_METRICS_PORT; without that nothing, at no cost.

In: what happens in a step, told by name. Out: the metrics in METRICS and no others; the alert rules and the dashboard
of k8s/components/monitoring read them (a test compares the names).
"""

from __future__ import annotations

import functools
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from comface.errors import ConfigurationError
from comface.execution import scratch_folder

T = TypeVar("T")
PORT = "COMFACE_METRICS_PORT"
METRICS_LABEL = "comface-metrics-port"
"""Pods that serve metrics carry it; its value is the port."""
LINGER_S = 45.0
"""Three scrapes of the PodMonitor: how long a process that is about to end waits for its last word to be read."""


class Metric(NamedTuple):
    kind: str
    text: str
    labels: tuple[str, ...] = ()


METRICS: Mapping[str, Metric] = {
    "comface_pretrain_epoch": Metric("gauge", "epoch under way, from 1"),
    "comface_pretrain_step": Metric("gauge", "steps done of the epoch under way"),
    "comface_pretrain_loss": Metric("gauge", "mean loss of the epoch so far, of one process", ("kind",)),
    "comface_pretrain_pairs_total": Metric("counter", "pairs trained on by the whole job since this process started"),
    "comface_pretrain_data_wait_seconds_total": Metric("counter", "time that training waited for images"),
    "comface_pretrain_last_step_timestamp_seconds": Metric("gauge", "when the last step ended, or training started"),
    "comface_pretrain_last_checkpoint_timestamp_seconds": Metric("gauge", "when the last checkpoint was written"),
    "comface_pretrain_checkpoint_every_seconds": Metric("gauge", "how often a checkpoint is due"),
    "comface_pretrain_nonfinite_losses_total": Metric("counter", "losses that were infinite or not a number"),
    "comface_synthesize_tracks_total": Metric("counter", "tracks rendered"),
    "comface_synthesize_images_total": Metric("counter", "images rendered"),
    "comface_scratch_free_bytes": Metric("gauge", "free room on the scratch disk"),
    "comface_scratch_size_bytes": Metric("gauge", "size of the scratch disk"),
}


class Monitor:
    """The metrics of this process. One without metrics serves nothing and ignores what it is told."""

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
        """`items`; the seconds that each of them was waited for are added to `name`."""
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
        """Waits until the metrics as they are now have been read: a process that ends takes them with it."""
        if self._scraped is not None:
            self._scraped.clear()
            if self._scraped.wait(longest_s):
                time.sleep(0.5)  # the answer is under way


def open_monitor(environment: Mapping[str, str] = os.environ, scratch: Path | None = None) -> Monitor:
    """This process's monitor; serves from now on where a port is set. Raises ConfigurationError for a port that is
    none, or taken."""
    port = environment.get(PORT, "")
    if not port:
        return Monitor()
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
        raise ConfigurationError(f"{PORT} is '{port}', which is no port; set a number from 1 to 65535, or unset it.")
    return _serve(int(port), scratch or scratch_folder())


@functools.cache
def _serve(port: int, scratch: Path) -> Monitor:
    import prometheus_client

    prometheus_client.disable_created_metrics()
    registry = prometheus_client.CollectorRegistry()
    scraped = threading.Event()
    registry.register(_Scrapes(scraped))  # first: what is told before it is set is in that answer
    metrics = {
        name: getattr(prometheus_client, metric.kind.title())(name, metric.text, metric.labels, registry=registry)
        for name, metric in METRICS.items()
    }
    metrics["comface_scratch_free_bytes"].set_function(lambda: shutil.disk_usage(scratch).free)
    metrics["comface_scratch_size_bytes"].set_function(lambda: shutil.disk_usage(scratch).total)
    try:
        prometheus_client.start_http_server(port, registry=registry)
    except OSError as error:
        raise ConfigurationError(
            f"The metrics port {port} cannot be opened ({error.strerror}); set {PORT} to another, or unset it."
        ) from None
    return Monitor(metrics, scraped)


class _Scrapes:
    """A collector that has no metrics and notes that it was asked."""

    def __init__(self, scraped: threading.Event) -> None:
        self._scraped = scraped

    def collect(self) -> Iterable[Any]:
        self._scraped.set()
        return ()
