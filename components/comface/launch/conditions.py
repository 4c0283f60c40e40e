"""Reads a job's conditions. A condition holds if its status is "True", whatever its position in the list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from comface.cluster.client import part, parts


class Phase(Enum):
    UNSEEN = "not accepted yet"
    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True)
class Reading:
    phase: Phase
    reason: str = ""
    message: str = ""


def holding(job: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Type -> condition, for the conditions that hold."""
    conditions = parts(part(job, "status"), "conditions")
    return {str(each.get("type")): each for each in conditions if each.get("status") == "True"}


def ended(holds: Mapping[str, Mapping[str, Any]], success: str) -> Reading | None:
    """Failed is final, whatever other condition still holds."""
    for name, phase in (("Failed", Phase.FAILED), (success, Phase.SUCCEEDED)):
        if name in holds:
            return Reading(phase, str(holds[name].get("reason", "")), str(holds[name].get("message", "")))
    return None
