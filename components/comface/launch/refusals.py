"""Pods that a job should have and that the cluster refuses to make: quota, Pod Security, LimitRange, a webhook.

In: events of the namespace, as the API shows them. Out: the newest refusal of a job's pods, and the error that ends the
wait for them. The operator sets no condition for it: who watches the job alone waits for ever.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from comface.cluster.client import part
from comface.errors import ComfaceError, ConfigurationError, TryAgain
from comface.launch.answers import OverQuota, never_fits
from comface.launch.api import Api
from comface.launch.logs import comparable
from comface.launch.request import JobRequest
from comface.runtime.progress import say

REFUSED = {"FailedCreatePod", "FailedCreate"}
"""Of the training operator, and of the Job controller below a JobSet."""
HOLDING = {"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"}
"""A pod that waits for these holds its GPUs; they come again every few minutes as long as it does."""
INFORMING = {*HOLDING, "FailedScheduling", "NotTriggerScaleUp"}
ADVICE = (
    ("exceeded quota", "raise the quota, or lower pretrain.nodes, pretrain.gpus_per_node or the sizes in pretrain.job"),
    ("must specify", "give the namespace a LimitRange with defaults, or name the resource on the pretrain task"),
    ("violates PodSecurity", "see step 3 of docs/cluster.md, and the component rdma where pretrain.job.rdma is set"),
    ("denied the request", "ask who runs that webhook"),
    ("denied request", "change that ValidatingAdmissionPolicy, or what it refuses"),
    ("usage per", "change the LimitRange of the namespace, or the sizes in pretrain.job"),
)


def create_when_room(api: Api, body: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `api.create` gives, as soon as the quota of the namespace has room for the job."""
    told_s = -api.timing.tell_s
    while True:
        try:
            return api.create(body)
        except OverQuota as full:
            if never_fits(str(full), 1):
                raise ConfigurationError(
                    f"A quota of the namespace '{api.namespace}' never has room for the job ({full}); raise it."
                ) from None
            if time.monotonic() - told_s >= api.timing.tell_s:
                told_s = time.monotonic()
                say(f"the job '{body['metadata']['name']}' waits for room in a quota of the namespace ({full})")
        time.sleep(api.timing.poll_s)


class Refusals:
    """What events tell of the pods of one job. Its lifetime is one attempt of the step."""

    def __init__(self, api: Api, request: JobRequest) -> None:
        self.api, self.request = api, request
        self.forget()

    def forget(self) -> None:
        self.events: list[Mapping[str, Any]] = []
        self.why, self.there = "", 0
        self.since_s: float | None = None
        """When a refusal that still stands was seen first."""
        self._told_s = -self.api.timing.tell_s
        self._came: dict[str, tuple[str, float]] = {}
        """Pod -> when the newest of its HOLDING events happened, and when that was seen first."""

    def look(self, job: Mapping[str, Any], pods: list[dict[str, Any]]) -> None:
        """Events are asked for only while a pod is not there, or does not start."""
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
            say(f"a pod of the job '{self.request.name}' is refused: {self.why}")

    def final(self) -> ComfaceError | None:
        """What ends a job of which a pod cannot be made, rather than let the others hold their GPUs. Where there are
        none, and only a quota is used up, it waits as for a queue."""
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
        """Pod -> why it does not start, for those of which only an event tells."""
        told = informing(self.events)
        names = (pod["metadata"]["name"] for pod in pods if part(pod, "status").get("phase") == "Pending")
        return {name: f"{told[name]['reason']}: {words(told[name])}" for name in names if name in told}

    def holding(self, pods: Iterable[Mapping[str, Any]]) -> dict[str, str]:
        """Those of them that hold GPUs and wait in vain: what is told of them is told again and again."""
        until_s = time.monotonic() - self.api.timing.stuck_s / 2
        return {pod: why for pod, why in self.waiting(pods).items() if self._came.get(pod, ("", until_s))[1] > until_s}


def words(event: Mapping[str, Any]) -> str:
    return " ".join(str(event.get("message", "")).split())[:800]


def of_job(events: Iterable[Mapping[str, Any]], job: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those of a job and of what is made for it (whose names begin with its own), since it was made; newest first."""
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
    return next((advice for sign, advice in ADVICE if sign in message), "remove the reason")


def happened(event: Mapping[str, Any]) -> str:
    """When it happened last; which field says so depends on who made it."""
    times = [event.get("lastTimestamp"), part(event, "series").get("lastObservedTime"), event.get("eventTime"),
             part(event, "metadata").get("creationTimestamp")]  # fmt: skip
    return max((comparable(str(time)) for time in times if time), default="~")
