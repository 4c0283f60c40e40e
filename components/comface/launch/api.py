"""The Kubernetes API as the launcher needs it: every call patient with a server that is away, and one sentence where
it refuses.

In: names in one namespace. Out: objects as plain dictionaries, as Kubernetes spells them. Retried: no answer, 429 (as
its Retry-After says), 5xx, and 401 (a token is renewed while a training runs); nothing that would be refused again.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from kubernetes import client as kubernetes
from kubernetes import config as kubernetes_config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from comface.errors import ConfigurationError, TryAgain
from comface.progress import say

NO_ANSWER = (HTTPError, OSError, ValueError)
"""Connection refused or cut, time-out, half an answer, a proxy's page instead of JSON."""
AWAY = (401, 408, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Timing:
    """How the launcher waits, in seconds. Tests make it short; nothing else changes it."""

    poll_s: float = 20.0
    """Longest time between two looks at the job and its pods."""
    request_s: float = 30.0
    backoff_s: float = 1.0
    """First wait after an unanswered call; doubles up to `poll_s`."""
    patience_s: float = 1800.0
    """How long the API may be away: control planes are upgraded in less."""
    unseen_s: float = 300.0
    """How long an operator may take to notice a job."""
    stuck_s: float = 900.0
    """How long a container may be waiting for an image or a secret that cannot be had."""
    gone_s: float = 300.0
    """How long a deleted job may take to be gone."""
    last_words_s: float = 5.0
    """How long an ended job's log may still come in."""


def connect(environment: Mapping[str, str] = os.environ) -> kubernetes.ApiClient:
    """As the service account of this pod, or with the KUBECONFIG of a person. Raises ConfigurationError without."""
    settings = kubernetes.Configuration()
    try:
        if environment.get("KUBECONFIG"):
            kubernetes_config.load_kube_config(environment["KUBECONFIG"], client_configuration=settings)
        else:
            kubernetes_config.load_incluster_config(client_configuration=settings)
    except kubernetes_config.ConfigException as error:
        raise ConfigurationError(
            f"There is no way to Kubernetes from here ({error}); give the pod a service account, or set KUBECONFIG."
        ) from None
    settings.retries = False  # this module retries, and says so
    return kubernetes.ApiClient(settings)


class Api:
    """Jobs of one kind (`pytorchjob` or `trainjob`, the module) and pods, in one namespace."""

    def __init__(self, client: kubernetes.ApiClient, namespace: str, kind: ModuleType, timing: Timing) -> None:
        self.namespace, self.kind, self.timing = namespace, kind, timing
        self._jobs, self._core = kubernetes.CustomObjectsApi(client), kubernetes.CoreV1Api(client)
        self._place = (kind.GROUP, kind.VERSION, namespace, kind.PLURAL)

    def job(self, name: str) -> dict[str, Any] | None:
        with contextlib.suppress(NotFound):
            return self._ask(f"get {self.kind.PLURAL}", self._jobs.get_namespaced_custom_object, *self._place, name)
        return None

    def jobs(self, selector: str) -> list[dict[str, Any]]:
        """None where the cluster knows no such kind."""
        verb, call = f"list {self.kind.PLURAL}", self._jobs.list_namespaced_custom_object
        with contextlib.suppress(NotFound):
            return self._ask(verb, call, *self._place, label_selector=selector)["items"]
        return []

    def create(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """The new job; None where one of that name is there (perhaps ours: an answer may have been lost)."""
        verb, call = f"create {self.kind.PLURAL}", self._jobs.create_namespaced_custom_object
        try:
            return self._ask(verb, call, *self._place, body)
        except Conflict:
            return None
        except NotFound:
            raise ConfigurationError(
                f"The cluster knows no {self.kind.KIND} ({self.kind.GROUP}/{self.kind.VERSION}); install "
                f"{self.kind.OPERATOR}, or choose another pretrain.job.kind."
            ) from None

    def patch(self, name: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """The changed job; None where it has changed since it was read, or is gone."""
        verb, call = f"patch {self.kind.PLURAL}", self._jobs.patch_namespaced_custom_object
        with contextlib.suppress(Conflict, NotFound):
            return self._ask(verb, call, *self._place, name, body)
        return None

    def delete(self, name: str, uid: str, patience_s: float | None = None) -> None:
        """Deletes that very job and its pods; quiet where it is gone, or another has its name."""
        options = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        verb, call = f"delete {self.kind.PLURAL}", self._jobs.delete_namespaced_custom_object
        with contextlib.suppress(NotFound, Conflict):
            self._ask(verb, call, *self._place, name, body=options, patience_s=patience_s)

    def pod(self, name: str) -> dict[str, Any]:
        try:
            return self._ask("get pods", self._core.read_namespaced_pod, name, self.namespace)
        except NotFound:
            raise ConfigurationError(
                f"There is no pod '{name}' in the namespace '{self.namespace}', which should own the job; see what "
                "sets COMFACE_POD_NAME."
            ) from None

    def pods(self, selector: str) -> list[dict[str, Any]]:
        call = self._core.list_namespaced_pod
        return self._ask("list pods", call, self.namespace, label_selector=selector)["items"]

    def log_tail(self, pod: str, lines: int, previous: bool) -> str:
        """The last lines of a pod's log (`previous`: before its container was restarted); empty where none are to be
        had."""
        try:
            answer = self._core.read_namespaced_pod_log(
                pod, self.namespace, container=self.kind.CONTAINER, tail_lines=lines, previous=previous,
                _preload_content=False,
                _request_timeout=(self.timing.request_s, self.timing.request_s),
            )  # fmt: skip
            return answer.data.decode(errors="replace")
        except (ApiException, *NO_ANSWER):
            return ""

    def follow_log(self, pod: str, since_s: int | None) -> Iterator[str]:
        """Lines with their time, as they come. Raises what the client raises: the caller opens it again."""
        answer = self._core.read_namespaced_pod_log(
            pod, self.namespace, container=self.kind.CONTAINER, follow=True, timestamps=True, since_seconds=since_s,
            _preload_content=False, _request_timeout=(self.timing.request_s, self.timing.poll_s),
        )  # fmt: skip
        with contextlib.closing(answer):
            for line in lines_of(answer):
                yield line.decode(errors="replace")

    def wait_for_change(self, name: str, version: str) -> None:
        """Returns when the job may have changed since `version`, or after `poll_s`. A watch is but a hint: whatever it
        fails with (410, cut, refused), the caller looks again."""
        started = time.monotonic()
        try:
            answer = self._jobs.list_namespaced_custom_object(
                *self._place, field_selector=f"metadata.name={name}", resource_version=version, watch=True,
                timeout_seconds=max(1, round(self.timing.poll_s)), _preload_content=False,
                _request_timeout=(self.timing.request_s, self.timing.poll_s),
            )  # fmt: skip
            with contextlib.closing(answer):
                for line in lines_of(answer):
                    if json.loads(line).get("type") in ("ADDED", "MODIFIED", "DELETED"):
                        return
                    break  # an ERROR event, mostly 410
        except (ApiException, *NO_ANSWER):
            pass
        time.sleep(max(0.0, min(self.timing.poll_s, self.timing.backoff_s) - (time.monotonic() - started)))

    def _ask(self, verb: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> dict[str, Any]:
        """The answer, as soon as there is one. `verb`: what a Role must allow, e.g. "get pods"."""
        patience_s = options.pop("patience_s", None) or self.timing.patience_s
        request_s = min(self.timing.request_s, patience_s)
        options |= {"_preload_content": False, "_request_timeout": (request_s, request_s)}
        started, wait_s = time.monotonic(), self.timing.backoff_s
        while True:
            try:
                return _dictionary(call(*arguments, **options).data)
            except ApiException as error:
                if error.status not in AWAY:
                    raise refusal(error, verb, self.namespace) from None
                why, asked_s = f"{error.status} {error.reason}", retry_after_s(error)
            except NO_ANSWER as error:
                why, asked_s = type(error).__name__, None
            pause_s = wait_s if asked_s is None else asked_s
            if time.monotonic() - started + pause_s > patience_s:
                raise TryAgain(
                    f"The Kubernetes API did not answer '{verb}' for {patience_s:.0f} s ({why}); what runs there goes "
                    "on, run the step again to take it up."
                )
            say(f"the Kubernetes API does not answer '{verb}' ({why}); again in {pause_s:.1f} s")
            time.sleep(pause_s)
            wait_s = min(2 * wait_s, self.timing.poll_s)


class NotFound(Exception):
    pass


class Conflict(Exception):
    pass


def refusal(error: ApiException, verb: str, namespace: str) -> Exception:
    """What a final answer means."""
    message = _message(error)
    if error.status == 404:
        return NotFound(message)
    if error.status == 409:
        return Conflict(message)
    if error.status == 403:
        return ConfigurationError(
            f"Kubernetes forbids to {verb} in the namespace '{namespace}' ({message}); give the step's service account "
            "the Role of docs/launcher.md."
        )
    return ConfigurationError(
        f"Kubernetes refuses to {verb} ({error.status}: {message}); mend pretrain.job or the pretrain task."
    )


def _dictionary(data: bytes) -> dict[str, Any]:
    found = json.loads(data)
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _message(error: ApiException) -> str:
    try:
        return json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        return error.reason or str(error.status)


def retry_after_s(error: ApiException) -> float | None:
    value = (error.headers or {}).get("Retry-After", "")
    return float(value) if value.isdigit() else None


def lines_of(answer: Any) -> Iterator[bytes]:
    """Lines of a streamed answer, as soon as each is whole; the last one also without its end."""
    buffer = b""
    for part in answer.stream(amt=None, decode_content=False):
        *whole, buffer = (buffer + part).split(b"\n")
        yield from whole
    if buffer:
        yield buffer
