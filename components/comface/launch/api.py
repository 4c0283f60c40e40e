"""The Kubernetes API as the launcher needs it: every call retries while the server is unreachable, and raises one
message if the server refuses.

In: names in one namespace. Out: objects as plain dictionaries with Kubernetes' field names. Retried: no answer, a
truncated answer, 429 (as its Retry-After says), 5xx, 401 (a token is renewed while a training runs), and for a limited
time 403 (an API server that has just started denies everything). A final refusal is not retried.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from comface.cluster.client import (
    Cluster,
    NoAnswer,
    answered,
    network_fault,
    open_cluster,
    parts,
    retry_after_s,
    words_of,
)
from comface.errors import ComfaceError, ConfigurationError, TryAgain
from comface.launch import KEEPS_RUNNING
from comface.launch.answers import (
    Conflict,
    NotFound,
    is_away,
    is_change,
    is_forbidden,
    is_webhook_down,
    lines_of,
    refusal,
    webhook_advice,
    whole,
    whole_items,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")
NO_ANSWER = (HTTPError, OSError, ValueError)
"""Connection refused or reset, time-out, truncated answer, a proxy's page instead of JSON."""


@dataclass(frozen=True)
class Timing:
    """Waiting times of the launcher, in seconds. Only tests change them."""

    poll_s: float = 20.0
    """Longest time between two checks of the job and its pods."""
    request_s: float = 30.0
    backoff_s: float = 1.0
    """First pause after an unanswered call; doubles up to `poll_s`."""
    patience_s: float = 1800.0
    """How long the API may be unreachable: an upgrade of a control plane takes less."""
    forbidden_s: float = 120.0
    """How long a verb that was never allowed before may be denied: an API server loads its Roles in less."""
    unseen_s: float = 300.0
    """How long an operator may take to accept a job, or its webhook to answer."""
    stuck_s: float = 900.0
    """How long a container may wait for an image or a secret that is not available, or a pod may be refused."""
    tell_s: float = 300.0
    """How often the log reports a wait for a quota."""
    gone_s: float = 300.0
    """How long the deletion of a job may take."""
    last_words_s: float = 5.0
    """How long the log of an ended job may still arrive."""
    cleanup_s: float = 5.0
    """KFP's wrapper process ends at once when it is asked to stop, so the cleanup has only this time."""


def connect(environment: Mapping[str, str] = os.environ) -> Cluster:
    """As the service account of this pod, or with a kubeconfig. Raises ConfigurationError if there is neither."""
    try:
        cluster = open_cluster(environment)
    except NoAnswer as error:
        told = str(error)
        raise ConfigurationError(f"{told[0].upper()}{told[1:]}; {error.todo}.") from None
    if cluster is None:
        raise ConfigurationError(
            "There are no credentials for Kubernetes; give the pod a service account, or set KUBECONFIG."
        )
    return cluster


class Request(NamedTuple):
    method: str
    path: str
    query: Mapping[str, Any] | None = None
    body: Mapping[str, Any] | None = None


class Api:
    """Jobs of one kind (`pytorchjob` or `trainjob`, the module) and pods, in one namespace."""

    def __init__(self, cluster: Cluster, namespace: str, kind: ModuleType, timing: Timing) -> None:
        self.cluster, self.namespace, self.kind, self.timing = cluster, namespace, kind, timing
        self._jobs = f"/apis/{kind.GROUP}/{kind.VERSION}/namespaces/{namespace}/{kind.PLURAL}"
        self._core = f"/api/v1/namespaces/{namespace}"
        self._worked: set[str] = set()
        """Verbs that have succeeded in this attempt, so this account is allowed them."""
        self._told_blind = False

    def job(self, name: str) -> dict[str, Any] | None:
        with contextlib.suppress(NotFound):
            return self._ask(f"get {self.kind.PLURAL}", whole, Request("GET", f"{self._jobs}/{name}"))
        return None

    def jobs(self, selector: str) -> list[dict[str, Any]]:
        """Empty if the kind is not installed."""
        request = Request("GET", self._jobs, {"labelSelector": selector})
        with contextlib.suppress(NotFound):
            return self._ask(f"list {self.kind.PLURAL}", whole_items, request)
        return []

    def create(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """The new job; None if one of that name exists (perhaps ours: an answer may have been lost). Raises OverQuota
        if the namespace has no room for it now."""
        try:
            return self._ask(f"create {self.kind.PLURAL}", whole, Request("POST", self._jobs, body=body))
        except Conflict:
            return None
        except NotFound:
            raise ConfigurationError(
                f"The kind {self.kind.KIND} ({self.kind.GROUP}/{self.kind.VERSION}) is not installed in the cluster; "
                f"install {self.kind.OPERATOR}, or choose another pretrain.job.kind."
            ) from None

    def patch(self, name: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """The changed job; None if it has changed since it was read, or no longer exists."""
        request = Request("PATCH", f"{self._jobs}/{name}", body=body)
        with contextlib.suppress(Conflict, NotFound):
            return self._ask(f"patch {self.kind.PLURAL}", whole, request)
        return None

    def delete(self, name: str, uid: str, patience_s: float | None = None) -> None:
        """Deletes the job with this uid and its pods; does nothing if it no longer exists."""
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        request = Request("DELETE", f"{self._jobs}/{name}", body=options)
        with contextlib.suppress(NotFound, Conflict):
            self._ask(f"delete {self.kind.PLURAL}", answered, request, patience_s)

    def pod(self, name: str, patience_s: float | None = None) -> dict[str, Any]:
        try:
            return self._ask("get pods", whole, Request("GET", f"{self._core}/pods/{name}"), patience_s)
        except NotFound:
            raise ConfigurationError(
                f"The pod '{name}', which should own the job, does not exist in the namespace '{self.namespace}'; "
                "check what sets COMFACE_POD_NAME."
            ) from None

    def pods(self, selector: str) -> list[dict[str, Any]]:
        request = Request("GET", f"{self._core}/pods", {"labelSelector": selector})
        with contextlib.suppress(NotFound):
            return self._ask("list pods", whole_items, request)
        return []

    def warnings(self) -> list[dict[str, Any]]:
        """Warning events of the namespace. They only explain a failure, so without an answer the list is empty."""
        try:
            answer = self._once(f"{self._core}/events", {"fieldSelector": "type=Warning"}, self.timing.request_s)
            return parts(answered(answer.data), "items")
        except ApiException as error:
            if error.status == 403 and not self._told_blind:
                self._told_blind = True
                logger.warning(
                    f"this account may not list events, so the log cannot say why a pod is refused ({words_of(error)})"
                )
        except NO_ANSWER:
            pass
        return []

    def log_tail(self, pod: str, lines: int, previous: bool) -> str:
        """The last lines of a pod's log (`previous`: before its container was restarted); empty if it is not
        available."""
        query = {"container": self.kind.CONTAINER, "tailLines": lines, "previous": previous}
        try:
            answer = self._once(f"{self._core}/pods/{pod}/log", query, self.timing.request_s)
            return bytes(answer.data).decode(errors="replace")
        except (ApiException, *NO_ANSWER):
            return ""

    def follow_log(self, pod: str, since_s: int | None) -> Iterator[str]:
        """Lines with their time, as they arrive. Raises the client's exceptions: the caller opens the log again."""
        query = {"container": self.kind.CONTAINER, "follow": True, "timestamps": True}
        query |= {} if since_s is None else {"sinceSeconds": since_s}
        answer = self._once(f"{self._core}/pods/{pod}/log", query, self.timing.poll_s)
        with contextlib.closing(answer):
            for line in lines_of(answer):
                yield line.decode(errors="replace")

    def wait_for_change(self, name: str, version: str) -> None:
        """Returns when the job may have changed since `version`, or after `poll_s`. A watch is only a hint: if it fails
        (410, reset, refused), the caller checks again."""
        started = time.monotonic()
        query = {
            "fieldSelector": f"metadata.name={name}", "resourceVersion": version, "watch": True,
            "timeoutSeconds": max(1, round(self.timing.poll_s)),
        }  # fmt: skip
        try:
            answer = self._once(self._jobs, query, self.timing.poll_s)
            with contextlib.closing(answer):
                for line in lines_of(answer):
                    if is_change(line):
                        return
                    break  # an ERROR event, mostly 410
        except (ApiException, *NO_ANSWER):
            pass
        time.sleep(max(0.0, min(self.timing.poll_s, self.timing.backoff_s) - (time.monotonic() - started)))

    def _once(self, path: str, query: Mapping[str, Any], read_s: float) -> Any:
        return self.cluster.call("GET", path, query, timeout_s=(self.timing.request_s, read_s))

    def _ask(self, verb: str, read: Callable[[bytes], T], request: Request, patience_s: float | None = None) -> T:
        """What `read` makes of the answer, as soon as there is one. `verb`: what a Role must allow, e.g. "get pods"."""
        patience_s = patience_s or self.timing.patience_s
        request_s = min(self.timing.request_s, patience_s)
        trouble, since_s, wait_s = Trouble("", "", 0), 0.0, self.timing.backoff_s
        while True:
            try:
                answer = self.cluster.call(*request, timeout_s=(request_s, request_s))
                found = read(answer.data)
                self._worked.add(verb)
                return found
            except ApiException as error:
                new = self._trouble(error, verb, patience_s)
                asked_s = retry_after_s(error)
            except NO_ANSWER as error:
                new, asked_s = Trouble("does not answer", network_fault(error), patience_s), None
            now_s = time.monotonic()
            if new.what != trouble.what:  # another kind of failure has its own time limit
                since_s = now_s
            trouble, pause_s = new, wait_s if asked_s is None else asked_s
            if now_s - since_s + pause_s > trouble.longest_s:
                raise self._lasting(trouble, verb)
            logger.warning(f"the Kubernetes API {trouble.what} '{verb}' ({trouble.why}); retrying in {pause_s:.1f} s")
            time.sleep(pause_s)
            wait_s = min(2 * wait_s, self.timing.poll_s)

    def _trouble(self, error: ApiException, verb: str, patience_s: float) -> Trouble:
        """A failure that may be temporary; raises a final one."""
        words = words_of(error)
        if is_forbidden(error):
            longest_s = patience_s if verb in self._worked else min(patience_s, self.timing.forbidden_s)
            return Trouble("denies", words, longest_s)
        if is_webhook_down(error):
            return Trouble("gets no answer from a webhook for", words, min(patience_s, self.timing.unseen_s))
        if error.status == 401:  # a pod's token is renewed while it is used
            return Trouble("refuses the token for", words, patience_s)
        if is_away(error):
            return Trouble("does not answer", f"{error.status or 'no connection'} {words}", patience_s)
        raise refusal(error, verb, self.namespace) from None

    def _lasting(self, trouble: Trouble, verb: str) -> ComfaceError:
        lasted = f"for {trouble.longest_s:.0f} s ({trouble.why})"
        if trouble.what == "gets no answer from a webhook for":
            advice = webhook_advice(trouble.why, self.kind)
            return TryAgain(f"Kubernetes could not {verb} {lasted}; {advice}. Then run the step again.")
        if trouble.what == "denies" and verb not in self._worked:
            return Forbidden(
                f"Kubernetes has denied '{verb}' in the namespace '{self.namespace}' {lasted}; give the step's service "
                f"account the Role of docs/launcher.md ({KEEPS_RUNNING})."
            )
        what = {"refuses the token for": "refused the token for", "denies": "denied"}.get(trouble.what)
        return TryAgain(
            f"The Kubernetes API {what or 'did not answer'} '{verb}' {lasted}; {KEEPS_RUNNING}, and running the "
            "step again reattaches to it."
        )


@dataclass(frozen=True)
class Trouble:
    """Why a call failed, and how long to retry it."""

    what: str
    why: str
    longest_s: float


class Forbidden(ConfigurationError):
    """A permission is missing, and not only while the API server starts."""
