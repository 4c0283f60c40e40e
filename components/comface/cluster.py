"""The Kubernetes API of the cluster that is at hand, for questions that end in seconds.

In: the environment (a pod's service account, else KUBECONFIG or ~/.kube/config). Out: a client, or None where there is
no cluster. What a question gives is shaped by those who ask; here, a refusal becomes one of two exceptions.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GPU = "nvidia.com/gpu"
CONNECT_AND_ANSWER_S = (3, 6)


class NotPermitted(Exception):
    """The account may not ask this (403)."""


class NoAnswer(Exception):
    """The API is not there, or failed; says how."""


@dataclass(frozen=True)
class Cluster:
    client: Any

    def get(self, path: str, **query: str) -> dict[str, Any] | None:
        """The answer to GET `path`; None where there is no such thing (404)."""
        return self._ask("GET", path, query=list(query.items()))

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        answer = self._ask("POST", path, body=dict(body))
        if answer is None:
            raise NoAnswer(f"{path} is unknown")
        return answer

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        """All items of a list, page by page: a large cluster's pods in one answer would run into the time limit."""
        found: list[dict[str, Any]] = []
        more: dict[str, str] = {}
        while True:
            page = self.get(path, limit="500", **query, **more) or {}
            found += page.get("items") or []
            token = page.get("metadata", {}).get("continue")
            if not token:
                return found
            more = {"continue": token}

    def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any] | None:
        from kubernetes.client.rest import ApiException
        from urllib3.exceptions import HTTPError

        options = {"query_params": options.get("query", []), "body": options.get("body")}
        try:
            answer: dict[str, Any] = self.client.call_api(
                path, method, header_params={"Accept": "application/json", "Content-Type": "application/json"},
                response_type="object", auth_settings=["BearerToken"], _return_http_data_only=True,
                _request_timeout=CONNECT_AND_ANSWER_S, **options,
            )  # fmt: skip
        except ApiException as error:
            if error.status == 404:
                return None
            if error.status == 403:
                raise NotPermitted("403") from None
            raise NoAnswer(f"{error.status} {error.reason or ''}".strip()) from None
        except (HTTPError, OSError) as error:
            raise NoAnswer(type(getattr(error, "reason", None) or error).__name__) from None
        return answer


def open_cluster(environment: Mapping[str, str] = os.environ) -> Cluster | None:
    """Raises NoAnswer for a kubeconfig that cannot be used."""
    from kubernetes import client, config

    configuration = client.Configuration()
    place = environment.get("KUBECONFIG") or str(Path(environment.get("HOME", "/")) / ".kube" / "config")
    try:
        if "KUBERNETES_SERVICE_HOST" in environment:
            config.load_incluster_config(client_configuration=configuration)
        elif any(Path(part).is_file() for part in place.split(os.pathsep)):
            config.load_kube_config(config_file=place, client_configuration=configuration)
        else:
            return None
    except Exception as error:  # the library raises what its YAML, its files and its plugins raise
        raise NoAnswer(f"its configuration cannot be used: {' '.join(str(error).split())[:200]}") from None
    configuration.retries = False
    return Cluster(client.ApiClient(configuration))


def gpus_per_node(cluster: Cluster) -> dict[str, int]:
    """Node -> GPUs that pods may use on it (allocatable), for nodes that have some."""
    found = {}
    for node in cluster.items("/api/v1/nodes"):
        count = int((node.get("status") or {}).get("allocatable", {}).get(GPU, 0))
        if count:
            found[node["metadata"]["name"]] = count
    return found


def gpus_in_use(cluster: Cluster) -> dict[str, int]:
    """Node -> GPUs that its pods ask for."""
    used: dict[str, int] = {}
    for pod in cluster.items("/api/v1/pods", fieldSelector="status.phase!=Succeeded,status.phase!=Failed"):
        node = pod["spec"].get("nodeName")
        asked = sum(int(_limits(container).get(GPU, 0)) for container in pod["spec"].get("containers", []))
        if node and asked:
            used[node] = used.get(node, 0) + asked
    return used


def _limits(container: Mapping[str, Any]) -> dict[str, Any]:
    return (container.get("resources") or {}).get("limits") or {}
