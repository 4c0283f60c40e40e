"""What the Kubernetes API's answers mean to the launcher: complete objects, and the reason of a refusal.

In: answers and ApiExceptions of the client. Out: objects with the fields that every object has, or ValueError; our own
exceptions. A 403 has many causes: a Role without the verb, an API server that has not loaded its Roles yet, an
exhausted quota, a webhook that denies the request. Only its text distinguishes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from comface.cluster.client import answered, cleaned, is_page, part, parts, words_of
from comface.errors import ConfigurationError

AWAY = (401, 408, 410, 429, 500, 502, 503, 504)
REQUIRED = ("name", "uid", "resourceVersion")
QUOTA = re.compile(r"exceeded quota: (?P<quota>\S+), requested: (?P<asked>.+?), used: .+?, limited: (?P<limit>.+)")


class NotFound(Exception):
    pass


class Conflict(Exception):
    pass


class OverQuota(Exception):
    """A quota of the namespace has no room for the object now. The text is the server's."""


def whole(data: bytes) -> dict[str, Any]:
    """One object. Raises ValueError for an incomplete one."""
    found = answered(data)
    if not is_whole(found):
        raise ValueError("not an object of Kubernetes")
    return found


def whole_items(data: bytes) -> list[dict[str, Any]]:
    """The objects of a list. Raises ValueError for an answer that is no list."""
    found = answered(data)
    if "metadata" not in found and "items" not in found:
        raise ValueError("not a list of Kubernetes")
    return [each for each in parts(found, "items") if is_whole(each)]


def is_whole(value: dict[str, Any]) -> bool:
    """Whether it has the fields that every object has. Adds an empty specification and status if they are missing."""
    for field in ("spec", "status"):
        value[field] = part(value, field)
    metadata = part(value, "metadata")
    for field in ("labels", "annotations"):
        metadata[field] = part(metadata, field)
    return all(isinstance(metadata.get(field), str) for field in REQUIRED)


def is_away(error: Any) -> bool:
    """Whether the same request may succeed soon."""
    if not error.status:
        return "CERTIFICATE_VERIFY_FAILED" not in words_of(error)
    return error.status in AWAY or is_page(error)


def is_forbidden(error: Any) -> bool:
    """Whether this is a 403 because of permissions. An API server that has just started answers the same."""
    words = words_of(error)
    return error.status == 403 and not re.search(r"exceeded quota|denied (the )?request", words)


def is_webhook_down(error: Any) -> bool:
    """Whether creation fails because a webhook (usually the operator's own) does not answer."""
    return error.status in (500, 503, 504) and "calling webhook" in words_of(error)


def refusal(error: Any, verb: str, namespace: str) -> Exception:
    """The exception for an answer that a retry does not change."""
    words = words_of(error)
    if error.status == 404:
        if re.search(r'namespaces? "', words):
            return ConfigurationError(
                f"The cluster has no namespace '{namespace}'; create it (docs/cluster.md), or use another."
            )
        return NotFound(words)
    if error.status == 409:
        return Conflict(words)
    if error.status == 403 and "exceeded quota" in words:
        return OverQuota(words)
    if not error.status:
        return ConfigurationError(
            "The certificate of the Kubernetes API server is not trusted; set certificate-authority in the kubeconfig."
        )
    return ConfigurationError(
        f"Kubernetes refuses to {verb} ({error.status}: {words}); change pretrain.job or the pretrain task."
    )


def webhook_advice(words: str, kind: ModuleType) -> str:
    """Whose webhook it is, and what to check."""
    if kind.DEPLOYMENT in words:
        return f"{kind.OPERATOR} does not run: kubectl get deployments --all-namespaces | grep {kind.DEPLOYMENT}"
    return "check that the service of the webhook runs"


def never_fits(words: str, objects: int) -> bool:
    """Whether the quota of this message is too small for so many equal objects, even if nothing else uses it."""
    from kubernetes.utils.quantity import parse_quantity

    found = QUOTA.search(words)
    if found is None:
        return False
    asked, limits = (dict(re.findall(r"([^=,\s]+)=([^=,\s]+)", found[name])) for name in ("asked", "limit"))
    try:
        return any(
            objects * parse_quantity(asked[name]) > parse_quantity(limits[name]) for name in asked if name in limits
        )
    except ValueError:
        return False


def lines_of(answer: Any) -> Iterator[bytes]:
    """Lines of a streamed answer, each as soon as it is complete; the last one also without a newline."""
    buffer = b""
    for piece in answer.stream(amt=None, decode_content=False):
        *complete, buffer = (buffer + piece).split(b"\n")
        yield from complete
    if buffer:
        yield buffer


def is_change(line: bytes) -> bool:
    """Whether a line of a watch reports a change; an ERROR event (usually 410) does not."""
    event = cleaned(answered(line))
    return event.get("type") in ("ADDED", "MODIFIED", "DELETED")
