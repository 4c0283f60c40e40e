"""Rank 0's log, line by line, as it arrives: the log of the training becomes the log of the step.

In: the pods of a job. Out: log lines, each once, even if the stream, the container or the pod is interrupted.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from kubernetes.client.exceptions import ApiException

from comface.cluster.client import part
from comface.launch.api import NO_ANSWER, Api
from comface.runtime.logs import relay

logger = logging.getLogger(__name__)


class LogFollower:
    """Follows the pod of rank 0, and its successors, until `stop`. Its lifetime is one job's."""

    def __init__(self, api: Api, pods: Callable[[], list[dict[str, Any]]]) -> None:
        self._api, self._pods = api, pods
        self._ending = threading.Event()
        self._last = ""
        self._last_at = 0.0
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> LogFollower:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Reads the log of an ended container to its end, but waits only `last_words_s` for it."""
        self._ending.set()
        self._thread.join(self._api.timing.last_words_s)

    def _follow(self) -> None:
        while True:
            ending = self._ending.is_set()
            pod = next((pod for pod in self._pods() if self._is_rank_0(pod) and _has_log(pod)), None)
            if pod is not None:
                self._read(pod["metadata"]["name"])
            if ending:
                return
            self._ending.wait(min(1.0, self._api.timing.poll_s))

    def _is_rank_0(self, pod: Mapping[str, Any]) -> bool:
        label, value = self._api.kind.RANK_0
        return bool(part(pod["metadata"], "labels").get(label) == value)

    def _read(self, pod: str) -> None:
        since_s = math.ceil(time.monotonic() - self._last_at) + 2 if self._last else None
        try:
            for line in self._api.follow_log(pod, since_s):
                stamp, _, text = line.partition(" ")
                if (moment := comparable(stamp)) > self._last:
                    self._last, self._last_at = moment, time.monotonic()
                    relay(text, logger, "[rank 0] ")
        except (ApiException, *NO_ANSWER):
            pass  # the log is opened again; a failure to show it must not end a training


def _has_log(pod: Mapping[str, Any]) -> bool:
    return part(pod, "status").get("phase") in ("Running", "Succeeded", "Failed")


def comparable(stamp: str) -> str:
    """An RFC 3339 time with nine digits of fraction (Go drops trailing zeros), so that texts compare as times."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return f"{whole}.{fraction:0<9}"
