"""A job from the launcher's side: create it or reattach to it, watch it to its end, clean up.

In: a JobRequest and an Api. Out: nothing if the job succeeds; otherwise the error that ended it. The job runs without
its launcher: a launcher that is started again, for whatever reason, reattaches to its job. docs/launcher.md lists how
each failure ends.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from comface.cluster.client import part
from comface.errors import ComfaceError, ConfigurationError, Preempted, TryAgain
from comface.launch.api import Api
from comface.launch.causes import Cause, find_cause, is_stuck, restarts, taken_away, waiting
from comface.launch.conditions import Phase, Reading
from comface.launch.crash import last_error
from comface.launch.logs import LogFollower
from comface.launch.refusals import Refusals, create_when_room
from comface.launch.request import WORK_ANNOTATION, JobRequest
from comface.launch.termination import termination_as_preempted
from comface.runtime.logs import readable

logger = logging.getLogger(__name__)
TAIL_LINES, SHOWN_LINES = 400, 40
"""The output of torchrun and a C++ stack can take a hundred lines; the error message is above them."""


class Disrupted(Exception):
    """The job failed, but not because of the training: a new job resumes from the last checkpoint."""


class JobLauncher:
    """Watches one job. `done`: whether the result is published. Its lifetime is one attempt of the step."""

    def __init__(self, api: Api, request: JobRequest, body: dict[str, Any], done: Callable[[], bool]) -> None:
        self.api, self.request, self.body, self.done = api, request, body, done
        self.uid = ""
        self.pods: list[dict[str, Any]] = []
        self.refused = Refusals(api, request)
        self._told_phase: Phase | None = None
        self._told_waits: dict[str, str] = {}
        self._forget()

    def run(self) -> None:
        """Raises Preempted after SIGTERM, with the job deleted: terminating a run frees its GPUs. If only this step's
        pod is taken from its node, the job keeps running, and the next attempt reattaches to it."""
        with termination_as_preempted():
            try:
                for attempt in range(1 + self.request.job.resubmissions):
                    job = self._obtain()
                    try:
                        return self._attend(job)
                    except Disrupted as disrupted:
                        left = self.request.job.resubmissions - attempt
                        logger.warning(f"{disrupted} Training resumes from its last checkpoint ({left} new jobs left).")
                raise TryAgain(
                    f"The job '{self.request.name}' was disrupted {attempt + 1} times; check the nodes, then run the "
                    "step again: it resumes from the last checkpoint."
                )
            except Preempted:
                started_s = time.monotonic()
                if why := self._is_evicted():
                    raise Preempted(
                        f"The step's pod was taken from its node ({why}); its job '{self.request.name}' keeps running, "
                        "and the next attempt of the step reattaches to it."
                    ) from None
                self._delete_at_once(started_s + self.api.timing.cleanup_s)
                raise

    def _obtain(self) -> dict[str, Any]:
        """This work's job, running or new. A job that has ended without a result is replaced: whoever starts the step
        again wants another attempt."""
        name = self.request.name
        while True:
            found = self.api.job(name)
            if found is None:
                logger.info(f"creating the {self.api.kind.KIND} '{name}'")
                found = create_when_room(self.api, self.body)
                if found is not None:
                    self.uid = found["metadata"]["uid"]
                    return found
                continue
            self._refuse_other(found)
            if found["metadata"].get("deletionTimestamp"):
                self._wait_gone(found)
            elif self.api.kind.read(found).phase in (Phase.FAILED, Phase.SUCCEEDED) and not self.done():
                logger.info(f"the job '{name}' of an earlier attempt has ended without a result; replacing it")
                self._remove(found)
            elif (adopted := self._adopt(found)) is not None:
                self.uid = adopted["metadata"]["uid"]
                return adopted

    def _refuse_other(self, found: dict[str, Any]) -> None:
        if part(found["metadata"], "annotations").get(WORK_ANNOTATION) != self.request.digest:
            raise ConfigurationError(
                f"The {self.api.kind.KIND} '{self.request.name}' belongs to another run; delete or rename it."
            )

    def _adopt(self, found: dict[str, Any]) -> dict[str, Any] | None:
        """The job with this attempt's owner: a pod that created it may be deleted at any time, and the job with it."""
        owner = self.request.owner
        if found["metadata"].get("ownerReferences") == [owner]:
            return found
        phase = self.api.kind.read(found).phase.value
        logger.info(f"reattaching to the job '{self.request.name}' of an earlier attempt ({phase})")
        version = found["metadata"]["resourceVersion"]
        return self.api.patch(self.request.name, {"metadata": {"ownerReferences": [owner], "resourceVersion": version}})

    def _attend(self, job: dict[str, Any]) -> None:
        self._forget()
        self._started_s = time.monotonic() - _running_for_s(job)
        with LogFollower(self.api, lambda: self.pods):
            while True:
                reading = self.api.kind.read(job)
                self.pods = self._pods_of(job)
                if reading.phase is not Phase.QUEUED:
                    self.refused.look(job, self.pods)
                self._tell(reading)
                if reading.phase is Phase.SUCCEEDED:
                    return
                if reading.phase is Phase.FAILED:
                    return self._fail(job, reading)
                if self._is_done_unsaid(job):
                    return
                self._check_life(job, reading)
                self.api.wait_for_change(self.request.name, job["metadata"]["resourceVersion"])
                seen = self.api.job(self.request.name)
                if not self._is_mine(seen):
                    if self.done():
                        return
                    raise TryAgain(
                        f"The job '{self.request.name}' was deleted from outside; run the step again to resume from "
                        "its last checkpoint."
                    )
                assert seen is not None
                job = seen

    def _pods_of(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        """Without those of an earlier job of the same name, which may still be terminating."""
        made = job["metadata"].get("creationTimestamp", "")
        pods = self.api.pods(f"{self.api.kind.JOB_NAME}={self.request.name}")
        return [pod for pod in pods if pod["metadata"].get("creationTimestamp", "") >= made]

    def _is_mine(self, seen: dict[str, Any] | None) -> bool:
        if seen is None or seen["metadata"]["uid"] != self.uid:
            return False
        return not seen["metadata"].get("deletionTimestamp")

    def _forget(self) -> None:
        """Resets the counters: a job that starts, or was queued again, starts from zero."""
        self._counts: dict[str, int] = {}
        self._started_s = time.monotonic()
        self._stuck_since_s: float | None = None
        self._ended_since_s: float | None = None
        self.refused.forget()

    def _tell(self, reading: Reading) -> None:
        if reading.phase is not self._told_phase:
            self._told_phase = reading.phase
            logger.info(f"the job '{self.request.name}' is {reading.phase.value}")
        waits = {**self.refused.waiting(self.pods), **waiting(self.pods)}
        for pod, why in sorted(waits.items() - self._told_waits.items()):
            logger.info(f"the pod '{pod}' is waiting: {why}")
        self._told_waits = waits

    def _check_life(self, job: dict[str, Any], reading: Reading) -> None:
        """Ends a job that cannot, or must not, continue. Queued time does not count."""
        if reading.phase is Phase.QUEUED:
            self._forget()
            return
        cause, alive_s = find_cause(self.pods), time.monotonic() - self._started_s
        if cause is not None and cause.final:
            self._give_up(job, cause.error(self._tail(cause)))
        if (refusal := self.refused.final()) is not None:
            self._give_up(job, refusal)
        if (
            reading.phase is Phase.UNSEEN
            and not (self.pods or self.refused.since_s)
            and alive_s > self.api.timing.unseen_s
        ):
            self._give_up(job, TryAgain(
                f"No operator accepted the job '{self.request.name}' for {alive_s:.0f} s; check that "
                f"{self.api.kind.OPERATOR} runs, then run the step again."
            ))  # fmt: skip
        self._check_stuck(job)
        self._check_restarts(job, cause)
        if alive_s > self.request.job.deadline_s:
            self._give_up(job, TryAgain(
                f"The job '{self.request.name}' exceeded its deadline of {self.request.job.deadline_s} s; run the step "
                "again to resume from its last checkpoint, or raise pretrain.job.deadline_s."
            ))  # fmt: skip

    def _is_done_unsaid(self, job: dict[str, Any]) -> bool:
        """Whether all pods have succeeded and the result exists, although no operator reports it: it may not run."""
        phases = [part(pod, "status").get("phase") for pod in self.pods]
        if phases.count("Succeeded") < self.request.nodes:
            self._ended_since_s = None
            return False
        self._ended_since_s = self._ended_since_s or time.monotonic()
        if time.monotonic() - self._ended_since_s <= self.api.timing.unseen_s:
            return False
        kind = self.api.kind
        if not self.done():
            self._give_up(job, TryAgain(
                f"The pods of the job '{self.request.name}' ended without a result, and {kind.OPERATOR} reports no "
                "reason; check that it runs, then run the step again."
            ))  # fmt: skip
        logger.warning(
            f"{kind.OPERATOR} does not report that the job '{self.request.name}' has ended; its result is published"
        )
        return True

    def _check_stuck(self, job: dict[str, Any]) -> None:
        stuck = {pod: why for pod, why in waiting(self.pods).items() if is_stuck(why)} | self.refused.holding(self.pods)
        if not stuck:
            self._stuck_since_s = None
            return
        self._stuck_since_s = self._stuck_since_s or time.monotonic()
        if time.monotonic() - self._stuck_since_s > self.api.timing.stuck_s:
            pod, why = next(iter(stuck.items()))
            self._give_up(
                job,
                ConfigurationError(f"The pod '{pod}' cannot start ({why}); remove the cause, then run the step again."),
            )

    def _check_restarts(self, job: dict[str, Any], cause: Cause | None) -> None:
        """The operator counts only restarts within a pod; pods that it recreates count here too."""
        for uid, count in restarts(self.pods).items():
            self._counts[uid] = max(count, self._counts.get(uid, 0))
        made_anew = max(0, len(self._counts) - self.request.nodes)
        total = sum(self._counts.values()) + made_anew
        if total >= self.request.restart_limit:
            why = f" ({self._tail(cause)})" if cause is not None else ""
            error = TryAgain if cause is None or cause.taken_away else ComfaceError
            self._give_up(job, error(
                f"The job '{self.request.name}' was restarted {total} times, the limit{why}; remove the cause, then "
                "run the step again: it resumes from the last checkpoint."
            ))  # fmt: skip

    def _fail(self, job: dict[str, Any], reading: Reading) -> None:
        if self.done():  # the result was published before the failure
            return
        cause = find_cause(self.pods)
        told = f"{reading.reason}: {reading.message}".strip(": ")
        late = "DeadlineExceeded" in reading.reason or "longer than specified deadline" in reading.message
        if late:
            raise TryAgain(
                f"The job '{self.request.name}' exceeded its deadline ({told}); run the step again to resume from its "
                "last checkpoint, or raise pretrain.job.deadline_s."
            )
        if cause is None:
            raise ComfaceError(
                f"The job '{self.request.name}' failed ({told}), and no pod is left with its log; run the step again."
            )
        sentence = self._tail(cause)
        if cause.final:
            raise cause.error(sentence)
        if cause.taken_away:
            self._remove(job)
            raise Disrupted(f"The job '{self.request.name}' failed: {sentence}")
        raise ComfaceError(
            f"The job '{self.request.name}' failed in its pod '{cause.pod}': {sentence}; the end of its log is above."
        )

    def _tail(self, cause: Cause) -> str:
        """Logs the end of the failing pod's log, and returns the cause."""
        tail = self.api.log_tail(cause.pod, TAIL_LINES, cause.restarted)
        for line in readable(tail).splitlines()[-SHOWN_LINES:]:
            logger.info(f"[{cause.pod}] {line}")
        if cause.error is ComfaceError and (found := last_error(tail)):
            return f"{cause.sentence.partition(':')[0]}: {found}"
        return cause.sentence

    def _give_up(self, job: dict[str, Any], error: ComfaceError) -> None:
        logger.info(f"deleting the job '{self.request.name}'")
        self.api.delete(self.request.name, job["metadata"]["uid"])
        raise error

    def _remove(self, job: dict[str, Any]) -> None:
        self.api.delete(self.request.name, job["metadata"]["uid"])
        self.uid, self.pods = "", []
        self._wait_gone(job)

    def _wait_gone(self, job: dict[str, Any]) -> None:
        started = time.monotonic()
        while (found := self.api.job(self.request.name)) is not None and found["metadata"]["uid"] == (
            job["metadata"]["uid"]
        ):
            if time.monotonic() - started > self.api.timing.gone_s:
                raise TryAgain(
                    f"The deletion of the job '{self.request.name}' does not finish; check its finalizers, then run "
                    "the step again."
                )
            self.api.wait_for_change(self.request.name, found["metadata"]["resourceVersion"])

    def _is_evicted(self) -> str | None:
        """Why this step's own pod is taken away, if the job outlives that pod (the workflow owns it)."""
        if self.request.owner["kind"] == "Pod":
            return None
        with contextlib.suppress(ComfaceError):
            return taken_away(self.api.pod(self.request.place.pod, self.api.timing.cleanup_s)["status"])
        return None

    def _delete_at_once(self, until_s: float) -> None:
        """Deletes the job, so that its pods write a checkpoint and stop. What cannot be done in time is left to the
        exit handler, the owner reference and the deadline."""
        with contextlib.suppress(ComfaceError):
            found = None if self.uid else self.api.job(self.request.name)
            if found is not None and part(found["metadata"], "annotations").get(WORK_ANNOTATION) == self.request.digest:
                self.uid = found["metadata"]["uid"]
            if self.uid:
                self.api.delete(self.request.name, self.uid, max(0.5, until_s - time.monotonic()))


def _running_for_s(job: dict[str, Any]) -> float:
    """How long an existing job has been running (the operator resets the time after a queue)."""
    try:
        start = datetime.fromisoformat(part(job, "status")["startTime"])
        return max(0.0, (datetime.now(UTC) - start).total_seconds())
    except (KeyError, TypeError, ValueError):
        return 0.0
