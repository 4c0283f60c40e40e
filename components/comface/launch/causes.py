"""Why a job failed, as its pods tell: the one that failed first, in words a person can act on.

In: pods as the API shows them. Out: a `Cause` or None. A process of ours that ends with an error writes its sentence
and exit code where Kubernetes reads a container's last words (worker.py); torchrun itself always ends with 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from comface.errors import ComfaceError, ConfigurationError, DataError, Preempted, TryAgain

EVICTED = {"Evicted", "Preempting", "Preempted", "NodeLost", "NodeShutdown", "Terminated", "Shutdown", "NodeAffinity",
           "UnexpectedAdmissionError", "OutOfcpu", "OutOfmemory", "OutOfpods"}  # fmt: skip
"""status.reason of a pod that its node or the scheduler took away."""
STUCK = {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError",
         "CreateContainerError", "RunContainerError"}  # fmt: skip
"""A container that waits for one of these waits for a person."""
TOLD_AS = {kind.exit_code: kind for kind in (ConfigurationError, DataError, TryAgain, Preempted)}


@dataclass(frozen=True)
class Cause:
    pod: str
    sentence: str
    error: type[ComfaceError]
    rank: int
    """How well it explains the failure, 0 best: where one process ends, its peers lose their connections and end."""
    at: str = ""
    restarted: bool = False
    """Its container has been started again since."""

    @property
    def final(self) -> bool:
        """The same would come again."""
        return self.error in (ConfigurationError, DataError)

    @property
    def taken_away(self) -> bool:
        """Nothing is wrong with the training: its pod was evicted, preempted, or asked to stop."""
        return self.error in (TryAgain, Preempted)


def find_cause(pods: Iterable[Mapping[str, Any]]) -> Cause | None:
    causes = [cause for pod in pods for cause in _causes(pod)]
    return min(causes, key=lambda cause: (cause.rank, cause.at or "~", cause.pod), default=None)


def _causes(pod: Mapping[str, Any]) -> Iterator[Cause]:
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    for container, end, restarted in _ends(status):
        at = end.get("finishedAt") or ""
        told = _told(end.get("message") or "")
        if told is not None:
            sentence, error = told
            yield Cause(name, sentence, error, 0 if error in (ConfigurationError, DataError) else 3, at, restarted)
        elif end.get("reason") == "OOMKilled":
            sentence = f"The pod '{name}' needed more memory than its limit (OOMKilled); raise pretrain.job.memory_gib."
            yield Cause(name, sentence, ConfigurationError, 1, at, restarted)
        else:
            what = f"the container '{container}' ended with exit code {end['exitCode']}"
            last = last_error(end.get("message") or "")
            yield Cause(name, f"{what}{f': {last}' if last else ''}", ComfaceError, 4, at, restarted)
    if (reason := _taken(status)) is not None:
        yield Cause(name, f"The pod '{name}' was taken away ({reason}).", TryAgain, 2)


def _ends(status: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    """Ends with an error, of the containers as they are or (True) were before their last restart."""
    for part in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(part) or []:
            for when in ("state", "lastState"):
                end = (container.get(when) or {}).get("terminated")
                if end and end.get("exitCode"):
                    yield container["name"], end, when == "lastState"


def _told(message: str) -> tuple[str, type[ComfaceError]] | None:
    """What a process of ours wrote, see `last_words`."""
    try:
        found = json.loads(message)
        return found["sentence"], TOLD_AS[found["exit_code"]]
    except (ValueError, KeyError, TypeError):
        return None


def last_words(error: ComfaceError) -> str:
    """One JSON object of less than the 4 KiB that Kubernetes keeps, in UTF-8."""
    return json.dumps({"exit_code": error.exit_code, "sentence": str(error)[:1000]}, ensure_ascii=False)


def _taken(status: Mapping[str, Any]) -> str | None:
    if status.get("reason") in EVICTED:
        return status["reason"]
    for condition in status.get("conditions") or []:
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return condition.get("reason") or "DisruptionTarget"
    return None


def waiting(pods: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Pod -> why it does not start, for those that say so."""
    found = {}
    for pod in pods:
        status = pod.get("status") or {}
        for condition in status.get("conditions") or []:
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                found[pod["metadata"]["name"]] = f"{condition.get('reason')}: {condition.get('message', '')}"
        for part in ("initContainerStatuses", "containerStatuses"):
            for container in status.get(part) or []:
                wait = (container.get("state") or {}).get("waiting") or {}
                if wait.get("reason") in STUCK:
                    found[pod["metadata"]["name"]] = f"{wait['reason']}: {wait.get('message', '')}"
    return found


def is_stuck(why: str) -> bool:
    return why.partition(":")[0] in STUCK


def restarts(pods: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """uid of the pod -> restarts of its containers."""
    return {
        pod["metadata"]["uid"]: sum(
            container.get("restartCount", 0)
            for part in ("initContainerStatuses", "containerStatuses")
            for container in (pod.get("status") or {}).get(part) or []
        )
        for pod in pods
    }


ERROR_LINE = re.compile(r"(?:\[rank\d+\]: ?)?((?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b: .+)")
OURS = re.compile(r"error in \w+: (.+)")


def last_error(log: str) -> str:
    """The line of a log that says what was wrong: ours, else the last exception's but torchrun's own, else the last."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for pattern in (OURS, ERROR_LINE):
        for line in reversed(lines):
            if (found := pattern.search(line)) and "ChildFailedError" not in line:
                return found[1][:500]
    return lines[-1][:500] if lines else ""
