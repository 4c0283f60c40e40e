"""Pods that a job should have and that the cluster refuses to make: quota, Pod Security, LimitRange, a webhook.

In: events of the namespace, as the API shows them. Out: the newest refusal of a job's pods. The operator sets no
condition for it: who watches the job alone waits for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from comface.cluster import part
from comface.launch.logs import comparable

REFUSED = {"FailedCreatePod", "FailedCreate"}
"""Of the training operator, and of the Job controller below a JobSet."""
INFORMING = {"FailedScheduling", "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox", "NotTriggerScaleUp"}
ADVICE = (
    ("exceeded quota", "raise the quota, or lower pretrain.nodes, pretrain.gpus_per_node or the sizes in pretrain.job"),
    ("must specify", "give the namespace a LimitRange with defaults, or name the resource on the pretrain task"),
    ("violates PodSecurity", "see step 3 of docs/cluster.md, and the component rdma where pretrain.job.rdma is set"),
    ("denied the request", "ask who runs that webhook"),
    ("denied request", "change that ValidatingAdmissionPolicy, or what it refuses"),
    ("usage per", "change the LimitRange of the namespace, or the sizes in pretrain.job"),
)


def words(event: Mapping[str, Any]) -> str:
    return " ".join(str(event.get("message", "")).split())[:800]


def of_job(events: Iterable[Mapping[str, Any]], job: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those of a job and of what is made for it (whose names begin with its own), since it was made; newest first."""
    name, made = job["metadata"]["name"], comparable(str(job["metadata"].get("creationTimestamp", "")))
    found = []
    for event in events:
        about = part(event, "involvedObject")
        whose = str(about.get("name", ""))
        if (whose == name or whose.startswith(f"{name}-")) and _at(event) >= made:
            found.append(event)
    return sorted(found, key=_at, reverse=True)


def newest_refusal(events: Iterable[Mapping[str, Any]]) -> str | None:
    return next((words(event) for event in events if event.get("reason") in REFUSED), None)


def informing(events: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Pod -> the newest that keeps it from starting."""
    found: dict[str, str] = {}
    for event in events:
        if event.get("reason") in INFORMING:
            name = str(part(event, "involvedObject").get("name", ""))
            found.setdefault(name, f"{event['reason']}: {words(event)}")
    return found


def advice(message: str) -> str:
    return next((advice for sign, advice in ADVICE if sign in message), "remove the reason")


def _at(event: Mapping[str, Any]) -> str:
    """When it happened last; which field says so depends on who made it."""
    times = [event.get("lastTimestamp"), part(event, "series").get("lastObservedTime"), event.get("eventTime"),
             part(event, "metadata").get("creationTimestamp")]  # fmt: skip
    return max((comparable(str(time)) for time in times if time), default="~")
