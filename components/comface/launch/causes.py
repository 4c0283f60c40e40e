"""Why a job failed, according to its pods: the pod that failed first, and a message that a person can act on.

In: pods as the API shows them. Out: a `Cause` or None. Our processes write their message and exit code to the
container's termination message (worker.py); torchrun itself always ends with 1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from comface.cluster.client import part, parts
from comface.errors import EXIT_CODES, ComfaceError, ConfigurationError, DataError, Preempted, TryAgain
from comface.launch.crash import last_error, signal_in

EVICTED = {"Evicted", "Preempting", "Preempted", "NodeLost", "NodeShutdown", "Terminated", "Shutdown", "NodeAffinity",
           "UnexpectedAdmissionError", "OutOfcpu", "OutOfmemory", "OutOfpods"}  # fmt: skip
"""status.reason of a pod that was evicted by its node or the scheduler."""
STUCK = {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError",
         "CreateContainerError", "RunContainerError"}  # fmt: skip
"""Only a person can end these waits."""


@dataclass(frozen=True)
class Cause:
    pod: str
    sentence: str
    error: type[ComfaceError]
    rank: int
    """How well it explains the failure, 0 is best: when one process ends, its peers lose their connections and end."""
    at: str = ""
    restarted: bool = False
    """Whether its container has been restarted since."""

    @property
    def final(self) -> bool:
        """Whether a restart would fail in the same way."""
        return self.error in (ConfigurationError, DataError)

    @property
    def taken_away(self) -> bool:
        """Whether the pod was evicted, preempted or asked to stop: nothing is wrong with the training."""
        return self.error in (TryAgain, Preempted)


def find_cause(pods: Iterable[Mapping[str, Any]]) -> Cause | None:
    causes = [cause for pod in pods for cause in _causes(pod)]
    return min(causes, key=lambda cause: (cause.rank, cause.at or "~", cause.pod), default=None)


def _causes(pod: Mapping[str, Any]) -> Iterator[Cause]:
    name, status = pod["metadata"]["name"], part(pod, "status")
    for container, end, restarted in _ends(status):
        at, message = str(end.get("finishedAt", "")), str(end.get("message", ""))
        told = _told(message)
        if told is not None:
            sentence, error = told
            yield Cause(name, sentence, error, 0 if error in (ConfigurationError, DataError) else 3, at, restarted)
        elif end.get("reason") == "OOMKilled":
            sentence = f"The pod '{name}' exceeded its memory limit (OOMKilled); raise pretrain.job.memory_gib."
            yield Cause(name, sentence, ConfigurationError, 1, at, restarted)
        else:
            code = end["exitCode"]
            what = f"the container '{container}' ended with exit code {code}"
            last = last_error(message) or signal_in(code)
            yield Cause(name, f"{what}{f': {last}' if last else ''}", ComfaceError, 4, at, restarted)
    if (reason := taken_away(status)) is not None:
        yield Cause(name, f"The pod '{name}' was taken away ({reason}).", TryAgain, 2)


def _ends(status: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Terminations with an error: of the current containers, and (True) of those before their last restart."""
    for field in ("initContainerStatuses", "containerStatuses"):
        for container in parts(status, field):
            for when in ("state", "lastState"):
                end = part(part(container, when), "terminated")
                if isinstance(end.get("exitCode"), int) and end["exitCode"]:
                    yield str(container.get("name")), end, when == "lastState"


def _told(message: str) -> tuple[str, type[ComfaceError]] | None:
    """What one of our processes wrote, see `last_words`."""
    try:
        found = json.loads(message)
        return found["sentence"], EXIT_CODES[found["exit_code"]]
    except (ValueError, KeyError, TypeError):
        return None


def last_words(error: ComfaceError) -> str:
    """One JSON object in UTF-8, shorter than the 4 KiB that Kubernetes keeps."""
    return json.dumps({"exit_code": error.exit_code, "sentence": str(error)[:1000]}, ensure_ascii=False)


def taken_away(status: Mapping[str, Any]) -> str | None:
    """Why a pod was, or is being, removed from its node."""
    if (reason := status.get("reason")) in EVICTED:
        return str(reason)
    for condition in parts(status, "conditions"):
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return str(condition.get("reason", "DisruptionTarget"))
    return None


def waiting(pods: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Pod -> why it does not start, for pods whose status gives a reason."""
    found = {}
    for pod in pods:
        status = part(pod, "status")
        for condition in parts(status, "conditions"):
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                found[pod["metadata"]["name"]] = f"{condition.get('reason')}: {condition.get('message', '')}"
        for field in ("initContainerStatuses", "containerStatuses"):
            for container in parts(status, field):
                wait = part(part(container, "state"), "waiting")
                if wait.get("reason") in STUCK:
                    found[pod["metadata"]["name"]] = f"{wait['reason']}: {wait.get('message', '')}"
    return found


def is_stuck(why: str) -> bool:
    return why.partition(":")[0] in STUCK


def restarts(pods: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """uid of the pod -> restarts of its containers."""
    return {
        pod["metadata"]["uid"]: sum(
            container["restartCount"]
            for field in ("initContainerStatuses", "containerStatuses")
            for container in parts(part(pod, "status"), field)
            if isinstance(container.get("restartCount"), int)
        )
        for pod in pods
    }
