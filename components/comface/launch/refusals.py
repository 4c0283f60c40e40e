"""Pods of a job that the cluster refuses to create: quota, Pod Security, LimitRange, a webhook.

In: events of the namespace, as the API shows them. Out: the newest refusal of a job's pods, and the error that ends the
wait for them. The operator sets no condition for a refusal, so watching the job alone would wait forever.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from comface.cluster.client import part
from comface.errors import ComfaceError, ConfigurationError, TryAgain
from comface.launch.answers import OverQuota, never_fits
from comface.launch.api import Api
from comface.launch.logs import comparable
from comface.launch.request import JobRequest

logger = logging.getLogger(__name__)

REFUSED = {"FailedCreatePod", "FailedCreate"}
"""Reasons of events from the training operator, and from the Job controller of a JobSet."""
HOLDING = {"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"}
"""A pod with these events waits and holds its GPUs; the events repeat every few minutes."""
INFORMING = {*HOLDING, "FailedScheduling", "NotTriggerScaleUp"}
ADVICE = (
    ("exceeded quota", "raise the quota, or lower pretrain.nodes, pretrain.gpus_per_node or the sizes in pretrain.job"),
    ("must specify", "give the namespace a LimitRange with defaults, or name the resource on the pretrain task"),
    ("violates PodSecurity", "see step 3 of docs/cluster.md, and the component rdma if pretrain.job.rdma is set"),
    ("denied the request", "ask the owner of that webhook"),
    ("denied request", "change that ValidatingAdmissionPolicy, or the field that it refuses"),
    ("usage per", "change the LimitRange of the namespace, or the sizes in pretrain.job"),
)


def create_when_room(api: Api, body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result of `api.create`, as soon as the quota of the namespace has room for the job."""
    told_s = -api.timing.tell_s
    while True:
        try:
            return api.create(body)
        except OverQuota as full:
            if never_fits(str(full), 1):
                raise ConfigurationError(
                    f"A quota of the namespace '{api.namespace}' is too small for the job ({full}); raise it."
                ) from None
            if time.monotonic() - told_s >= api.timing.tell_s:
                told_s = time.monotonic()
                logger.warning(
                    f"the job '{body['metadata']['name']}' waits for room in a quota of the namespace ({full})"
                )
        time.sleep(api.timing.poll_s)


class Refusals:
    """The events about the pods of one job. Its lifetime is one attempt of the step."""

    def __init__(self, api: Api, request: JobRequest) -> None:
        self.api, self.request = api, request
        self.forget()

    def forget(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.why, self.there = "", 0
        self.since_s: float | None = None
        """When the current refusal was seen first."""
        self._told_s = -self.api.timing.tell_s
        self._came: dict[str, tuple[str, float]] = {}
        """Pod -> when the newest of its HOLDING events happened, and when that was seen first."""

    def look(self, job: Mapping[str, Any], pods: list[dict[str, Any]]) -> None:
        """Reads events only while a pod is missing or does not start."""
        phases = [part(pod, "status").get("phase") for pod in pods]
        missing = self.request.nodes - sum(phase != "Failed" for phase in phases)
        self.events = of_job(self.api.warnings(), job) if missing > 0 or "Pending" in phases else []
        self.there, self.why = self.request.nodes - missing, newest_refusal(self.events) if missing > 0 else ""
        now_s = time.monotonic()
        for pod, event in informing(self.events).items():
            if event["reason"] in HOLDING and self._came.get(pod, ("", 0.0))[0] != happened(event):
                self._came[pod] = happened(event), now_s
        if not self.why:
            self.since_s, self._told_s = None, -self.api.timing.tell_s
            return
        self.since_s = self.since_s or now_s
        if now_s - self._told_s >= self.api.timing.tell_s:
            self._told_s = now_s
            logger.warning(f"a pod of the job '{self.request.name}' is refused: {self.why}")

    def final(self) -> ComfaceError | None:
        """The error that ends a job if one of its pods cannot be created, so that the others do not hold their GPUs. If
        no pod exists and only a quota is exhausted, the job waits as in a queue."""
        if self.since_s is None or time.monotonic() - self.since_s <= self.api.timing.stuck_s:
            return None
        passes = "exceeded quota" in self.why and not never_fits(self.why, self.request.nodes)
        if passes and not self.there:
            return None
        return (TryAgain if passes else ConfigurationError)(
            f"A pod of the job '{self.request.name}' is refused ({self.why}); {advice(self.why)}, then run the step "
            "again."
        )

    def waiting(self, pods: Iterable[Mapping[str, Any]]) -> dict[str, str]:
        """Pod -> why it does not start, if only an event gives the reason."""
        told = informing(self.events)
        names = (pod["metadata"]["name"] for pod in pods if part(pod, "status").get("phase") == "Pending")
        return {name: f"{told[name]['reason']}: {words(told[name])}" for name in names if name in told}

    def holding(self, pods: Iterable[Mapping[str, Any]]) -> dict[str, str]:
        """Those that hold GPUs and wait in vain: their events repeat."""
        until_s = time.monotonic() - self.api.timing.stuck_s / 2
        return {pod: why for pod, why in self.waiting(pods).items() if self._came.get(pod, ("", until_s))[1] > until_s}


def words(event: Mapping[str, Any]) -> str:
    return " ".join(str(event.get("message", "")).split())[:800]


def of_job(events: Iterable[Mapping[str, Any]], job: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Events of a job and of its objects (their names start with its name) since it was created; newest first."""
    name, made = job["metadata"]["name"], comparable(str(job["metadata"].get("creationTimestamp", "")))
    found = []
    for event in events:
        about = part(event, "involvedObject")
        whose = str(about.get("name", ""))
        if (whose == name or whose.startswith(f"{name}-")) and happened(event) >= made:
            found.append(event)
    return sorted(found, key=happened, reverse=True)


def newest_refusal(events: Iterable[Mapping[str, Any]]) -> str:
    return next((words(event) for event in events if event.get("reason") in REFUSED), "")


def informing(events: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Pod -> the newest event about why it does not start."""
    found: dict[str, Mapping[str, Any]] = {}
    for event in events:
        if event.get("reason") in INFORMING:
            found.setdefault(str(part(event, "involvedObject").get("name", "")), event)
    return found


def advice(message: str) -> str:
    return next((advice for sign, advice in ADVICE if sign in message), "remove the cause")


def happened(event: Mapping[str, Any]) -> str:
    """When it last happened; the field depends on the component that reports it."""
    times = [event.get("lastTimestamp"), part(event, "series").get("lastObservedTime"), event.get("eventTime"),
             part(event, "metadata").get("creationTimestamp")]  # fmt: skip
    return max((comparable(str(time)) for time in times if time), default="~")
