"""Does the namespace have room for the training job? Compares the job's requests with the ResourceQuotas.

In: the configuration of pre-training, quotas as the API shows them. Out: in words, what a quota never allows, and what
has to wait until others are done.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import ModuleType
from typing import Any

from comface.cluster.client import part, parts
from comface.launch import podspec, pytorchjob, trainjob
from comface.launch.config import Placement
from comface.launch.place import Forwarded, Place
from comface.launch.request import JobRequest

KINDS: dict[str, ModuleType] = {"pytorchjob": pytorchjob, "trainjob": trainjob}
STANDARD = ("cpu", "memory", "ephemeral-storage")
"""Resources that a quota may also name without `requests.`, and whose limits it may restrict."""
NEVER_OURS = {"Terminating", "BestEffort", "CrossNamespacePodAffinity"}
"""Scopes of quotas that do not count the pods of a training."""


def launches_job(config: Placement) -> bool:
    """Whether pre-training becomes a job when it runs in a cluster."""
    return config.nodes > 1 or config.gpus_per_node > 0


def sample_request(config: Placement, namespace: str, image: str = "sample") -> JobRequest:
    """A job of the right size that trains nothing: for checks before a run."""
    place = Place("doctor", "0", namespace)
    owner = {"apiVersion": "v1", "kind": "Pod", "name": place.pod, "uid": "00000000-0000-4000-8000-000000000000"}
    return JobRequest(
        name="comface-doctor", digest="0", run="doctor", training="", place=place, owner=owner,
        image=config.job.image or image,
        pull_secrets=[], user=0, arguments=[], nodes=config.nodes, gpus_per_node=config.gpus_per_node,
        job=config.job, forwarded=Forwarded(),
    )  # fmt: skip


def needs(config: Placement) -> dict[str, Decimal]:
    """Name in a quota -> how much of it the whole job uses."""
    from kubernetes.utils.quantity import parse_quantity

    asked, kind = podspec.resources(sample_request(config, "")), KINDS[config.job.kind]
    limits, requests = asked["limits"], {**asked["limits"], **asked["requests"]}
    found = {f"requests.{name}": config.nodes * parse_quantity(amount) for name, amount in requests.items()}
    found |= {name: found[f"requests.{name}"] for name in STANDARD if f"requests.{name}" in found}
    found |= {f"limits.{name}": config.nodes * parse_quantity(limits[name]) for name in STANDARD if name in limits}
    nodes = Decimal(config.nodes)
    return {**found, "pods": nodes, "count/pods": nodes, f"count/{kind.PLURAL}.{kind.GROUP}": Decimal(1)}


@dataclass
class Room:
    """`never`: the quota is too small; `now`: others use it. Phrases, e.g. "32 of requests.cpu, of which …"."""

    never: list[str] = field(default_factory=list)
    now: list[str] = field(default_factory=list)


def room(config: Placement, quotas: Iterable[Mapping[str, Any]]) -> Room:
    found, wanted = Room(), needs(config)
    for quota in quotas:
        if not _counts(quota, config.job.priority_class):
            continue
        name, status = part(quota, "metadata").get("name"), part(quota, "status")
        used = part(status, "used")
        for resource, limit in (part(quota, "spec").get("hard") or part(status, "hard")).items():
            hard, taken = _amount(limit), _amount(used.get(resource, 0))
            if hard is None or (need := wanted.get(resource)) is None:
                continue
            asked = f"{shown(resource, need)} of {resource}"
            if need > hard:
                found.never.append(f"{asked}, of which the quota '{name}' allows {shown(resource, hard)}")
            elif taken is not None and need > hard - taken:
                left = shown(resource, max(Decimal(0), hard - taken))
                found.now.append(f"{asked}, of which the quota '{name}' has {left} left")
    return found


def _counts(quota: Mapping[str, Any], priority_class: str) -> bool:
    """Whether a quota counts the pods of the job."""
    spec = part(quota, "spec")
    scopes = spec.get("scopes")
    if NEVER_OURS & set(scopes if isinstance(scopes, list) else []):
        return False
    for rule in parts(part(spec, "scopeSelector"), "matchExpressions"):
        scope, operator, values = rule.get("scopeName"), rule.get("operator"), rule.get("values") or []
        if scope in NEVER_OURS:
            return False
        if scope == "PriorityClass":
            inside = bool(priority_class) if operator in ("Exists", "DoesNotExist") else priority_class in values
            if inside != (operator in ("Exists", "In")):
                return False
    return True


def _amount(quantity: Any) -> Decimal | None:
    from kubernetes.utils.quantity import parse_quantity

    try:
        return Decimal(parse_quantity(quantity))
    except (ValueError, ArithmeticError):
        return None


def shown(resource: str, amount: Decimal) -> str:
    if "memory" in resource or "storage" in resource:
        return f"{float(amount) / 2**30:,.4g} GiB"
    return f"{float(amount):,.6g}"
