"""A client of the Kubernetes API, for requests that end in seconds.

In: the environment (KUBECONFIG, else a pod's service account, else ~/.kube/config). Out: a client, or None if there is
no cluster. Every failure becomes one of three exceptions with a message. An answer is an object without nulls; the
callers interpret it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comface.errors import ComfaceError
from comface.files import read_bounded
from comface.runtime.logs import in_pod

GPU = "nvidia.com/gpu"
CONNECT_AND_ANSWER_S = (3, 6)
KUBECONFIG_BYTES = 4_000_000
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
NETWORK = "check the kubeconfig and the network"


class NotPermitted(Exception):
    """The account is not allowed this request (403). `words`: the server's message."""

    def __init__(self, words: str = "") -> None:
        super().__init__("403")
        self.words = words


class NoAnswer(Exception):
    """The API is unreachable or failed. `todo`: what to do. `words`: the server's message."""

    def __init__(self, found: str, todo: str = NETWORK, words: str = "") -> None:
        super().__init__(found)
        self.todo, self.words = todo, words


class Refused(Exception):
    """The API rejects the request (400, 409, 422), with its reason."""


@dataclass(frozen=True)
class Cluster:
    """The one client of Kubernetes. `get`, `post` and `items` ask once and raise NotPermitted, NoAnswer or Refused;
    `call` is the request below them, for a caller that retries (launch/api.py)."""

    client: Any

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_s: tuple[float, float] = CONNECT_AND_ANSWER_S,
    ) -> Any:
        """The response, not yet read: `data` reads all of it, iteration reads a stream. `timeout_s`: to connect, and
        between two reads. Raises the client's ApiException, or HTTPError and OSError of the connection."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        return self.client.call_api(
            path, method, query_params=[(name, _text(value)) for name, value in (query or {}).items()],
            body=None if body is None else dict(body), auth_settings=["BearerToken"],
            header_params={"Accept": "application/json, */*", "Content-Type": kind},
            _return_http_data_only=True, _preload_content=False, _request_timeout=timeout_s,
        )  # fmt: skip

    def get(self, path: str, **query: str) -> dict[str, Any] | None:
        """The answer to GET `path`; None if it does not exist (404)."""
        return self._ask("GET", path, query)

    def post(self, path: str, body: Mapping[str, Any], **query: str) -> dict[str, Any]:
        """The answer to POST `path`; a 404 (no such namespace or kind) is a refusal."""
        return self._ask("POST", path, query, dict(body)) or {}

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        """All items of a list, page by page: all pods of a large cluster in one answer would exceed the time limit."""
        found: list[dict[str, Any]] = []
        more: dict[str, str] = {}
        while True:
            page = self.get(path, limit="500", **query, **more) or {}
            found += parts(page, "items")
            token = part(page, "metadata").get("continue")
            if not token or more == {"continue": str(token)}:
                return found
            more = {"continue": str(token)}

    def _ask(
        self, method: str, path: str, query: Mapping[str, str], body: dict[str, Any] | None = None
    ) -> dict[str, Any] | None:
        from kubernetes.client.rest import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return answered(self.call(method, path, query, body).data)
        except ApiException as error:
            if error.status == 404 and method == "GET" and not is_page(error):
                return None
            raise refusal(error) from None
        except ValueError:
            raise NoAnswer("the server is not a Kubernetes API (perhaps a proxy answers)") from None
        except (HTTPError, OSError) as error:
            raise NoAnswer(f"no answer: {network_fault(error)}") from None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def refusal(error: Any) -> Exception:
    """The exception for an ApiException, without retries."""
    words = words_of(error)
    if error.status == 401:
        todo = "log in again, or change the user's token in the kubeconfig; in a pod, check its service account"
        return NoAnswer("the API server refused the token (401)", todo, words)
    if error.status == 403:
        return NotPermitted(words)
    if error.status in (400, 409, 422) or (error.status == 404 and not is_page(error)):
        return Refused(words)
    if not error.status:  # the client sets no status if there was no connection
        return NoAnswer(f"no answer: {words}", NETWORK, words)
    later = retry_after_s(error)
    todo = f"retry in {later:.0f} s" if later else "check the API server, then retry"
    return NoAnswer(f"the API server answers {error.status}: {words}", todo, words)


def answered(data: bytes) -> dict[str, Any]:
    """The object in an answer. Raises ValueError for anything else: a truncated answer, or a proxy's page."""
    found = cleaned(json.loads(data))
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def cleaned(value: Any) -> Any:
    """Without nulls: Kubernetes writes an empty field as null, or leaves it out."""
    if isinstance(value, dict):
        return {name: cleaned(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [cleaned(each) for each in value if each is not None]
    return value


def part(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A field that is an object; empty if it is anything else."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def parts(value: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """A field that is a list of objects, without items of other types."""
    found = value.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def words_of(error: Any) -> str:
    """The server's message on one line; for a proxy's page, its status."""
    try:
        message = json.loads(error.body)["message"]
    except (TypeError, ValueError, KeyError):
        message = error.reason or str(error.status)
    return " ".join(str(message).split())[:600]


def is_page(error: Any) -> bool:
    """Whether an error comes from a proxy in front of the API server: the server itself sends JSON, or (for a group
    that it does not serve) the text "404 page not found"."""
    body = error.body if isinstance(error.body, str) else (error.body or b"").decode(errors="replace")
    return not (body.lstrip().startswith("{") or body.strip() in ("", "404 page not found"))


def retry_after_s(error: Any) -> float | None:
    value = str((error.headers or {}).get("Retry-After", ""))
    return float(value) if value.isdecimal() else None


def network_fault(error: Exception) -> str:
    """In words, why a connection failed."""
    text = f"{type(error).__name__} {error}"
    for sign, words in (
        ("CERTIFICATE_VERIFY_FAILED", "the server's certificate is not trusted"),
        ("NameResolution", "the server's name is unknown"),
        ("Name or service not known", "the server's name is unknown"),
        ("refused", "the connection was refused"),
        ("timed out", "the request timed out"),
    ):
        if sign in text:
            return words
    return type(error).__name__


def open_cluster(environment: Mapping[str, str] = os.environ) -> Cluster | None:
    """Raises NoAnswer for a kubeconfig that is not usable."""
    from kubernetes import client

    configuration = configure(environment)
    return Cluster(client.ApiClient(configuration)) if configuration else None


def configure(environment: Mapping[str, str]) -> Any:
    """The client's settings; None if there are no credentials for a cluster. Raises NoAnswer."""
    from kubernetes import client, config

    settings = client.Configuration()
    named = environment.get("KUBECONFIG", "")
    place = named or str(Path(environment.get("HOME", "/")) / ".kube" / "config")
    try:
        if not named and in_pod(environment):
            todo = "give the pod a service account with its token (automountServiceAccountToken)"
            config.load_incluster_config(client_configuration=settings)
        elif named or os.path.lexists(place):
            todo = f"run `kubectl --kubeconfig {place} get --raw /version`, which prints more"
            check_kubeconfig(place)
            config.load_kube_config(config_file=place, client_configuration=settings)
        else:
            return None
    except NoAnswer:
        raise
    except Exception as error:  # the library raises the errors of its YAML, files and plugins
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise NoAnswer(f"the credentials for Kubernetes are not usable: {told}", todo) from None
    settings.retries = False
    return settings


def check_kubeconfig(place: str) -> None:
    """Raises NoAnswer with the problem in words. `place`: files, as KUBECONFIG lists them."""
    current, contexts, there = "", list[str](), False
    for path in (Path(each) for each in place.split(os.pathsep) if each):
        if len(place.split(os.pathsep)) > 1 and not path.exists():
            continue  # as kubectl does with several files
        there = True
        values = _kubeconfig(path)
        current = current or str(values.get("current-context", ""))
        contexts += [str(context.get("name")) for context in parts(values, "contexts")]
    known = ", ".join(contexts) or "none"
    if not there:
        raise NoAnswer(f"KUBECONFIG names {place}, and no such file exists", "set KUBECONFIG to a file that exists")
    if not current:
        raise NoAnswer(f"the kubeconfig {place} has no current context (it has: {known})",
                       "kubectl config use-context NAME")  # fmt: skip
    if current not in contexts:
        raise NoAnswer(f"the kubeconfig {place} has no context '{current}', its current one (it has: {known})",
                       "kubectl config use-context NAME")  # fmt: skip


def _kubeconfig(path: Path) -> dict[str, Any]:
    import yaml

    todo = "set KUBECONFIG to a kubeconfig"
    try:
        values = yaml.safe_load(read_bounded(path, KUBECONFIG_BYTES, "The kubeconfig"))
    except ComfaceError as error:
        found, _, told = str(error).partition("; ")
        raise NoAnswer(found, told.rstrip(".") or todo) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise NoAnswer(f"the kubeconfig {path} is not valid YAML{where}", todo) from None
    if not isinstance(values, dict):
        raise NoAnswer(f"the kubeconfig {path} is not a mapping", todo)
    return dict(cleaned(values))


def own_namespace(environment: Mapping[str, str] = os.environ, file: Path = NAMESPACE_FILE) -> str:
    """The namespace of this process's pod; empty outside a pod."""
    try:
        return environment.get("COMFACE_POD_NAMESPACE") or file.read_text("utf-8").strip()
    except OSError:
        return ""


@dataclass(frozen=True)
class GpuNode:
    name: str
    gpus: int
    unusable: str = ""
    """Why our pods cannot run there; empty if they can."""


def gpu_nodes(cluster: Cluster) -> list[GpuNode]:
    """The nodes with GPUs that pods may use (allocatable)."""
    found = []
    for node in cluster.items("/api/v1/nodes"):
        count = whole_number(part(part(node, "status"), "allocatable").get(GPU, 0))
        if count:
            found.append(GpuNode(str(part(node, "metadata").get("name")), count, _unusable(node)))
    return found


def _unusable(node: Mapping[str, Any]) -> str:
    """The pipeline's tasks tolerate the taint nvidia.com/gpu:NoSchedule, and no other."""
    spec = part(node, "spec")
    if spec.get("unschedulable"):
        return "is cordoned"
    ready = [each.get("status") for each in parts(part(node, "status"), "conditions") if each.get("type") == "Ready"]
    if ready and ready[-1] != "True":
        return "is not ready"
    for taint in parts(spec, "taints"):
        effect = taint.get("effect")
        if effect == "NoExecute" or (effect == "NoSchedule" and taint.get("key") != GPU):
            return f"has the taint {taint.get('key')}:{effect}"
    return ""


def gpus_in_use(cluster: Cluster) -> dict[str, int]:
    """Node -> GPUs that its pods request."""
    used: dict[str, int] = {}
    for pod in cluster.items("/api/v1/pods", fieldSelector="status.phase!=Succeeded,status.phase!=Failed"):
        spec = part(pod, "spec")
        node, asked = spec.get("nodeName"), sum(_gpus_of(spec, "containers"))
        asked = max([asked, *_gpus_of(spec, "initContainers")])
        if node and asked:
            used[node] = used.get(node, 0) + asked
    return used


def _gpus_of(spec: Mapping[str, Any], field: str) -> Iterator[int]:
    for container in parts(spec, field):
        yield whole_number(part(part(container, "resources"), "limits").get(GPU, 0))


def whole_number(quantity: Any) -> int:
    """The quantity of a device; 0 if it is not a whole number."""
    return int(quantity) if re.fullmatch(r"\d{1,9}", str(quantity)) else 0
