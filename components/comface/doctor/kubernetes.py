"""The cluster: its version, the kinds that a run needs, permissions, the secret, GPUs, images.

In: the Kubernetes API as the account that asks sees it. Out: checks. Nothing is changed; a secret's values are not
looked at. Permissions are those of who asks: run it in a pod of the steps' account to know theirs.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import Any

from comface.cluster import Cluster, NotPermitted, gpus_in_use, gpus_per_node
from comface.config import RunConfig
from comface.doctor.rows import Check, Row, State
from comface.resolve.gpus import shortage

SECTION = "cluster"
TESTED = (32, 36)
"""Minor versions of Kubernetes 1 that the manifests are validated for."""
SECRET = "comface-store"
NEEDED_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
KINDS = {
    "pytorchjob": ("kubeflow.org/v1", "pytorchjobs", "install the Kubeflow Training Operator 1.9"),
    "trainjob": ("trainer.kubeflow.org/v1alpha1", "trainjobs", "install Kubeflow Trainer 2"),
}
QUEUE = ("kueue.x-k8s.io/v1beta2", "localqueues")
REGISTRY_S = 6
MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in ("oci.image.index.v1", "oci.image.manifest.v1", "docker.distribution.manifest.list.v2",
                 "docker.distribution.manifest.v2")
)  # fmt: skip


def cluster_checks(cluster: Cluster, config: RunConfig, namespace: str, images: Iterable[str]) -> list[Check]:
    trains = config.pretrain.gpus_per_node > 0
    reach = "check the kubeconfig and the network"
    return [
        Check(SECTION, "version", lambda: [version_row(cluster)], reach),
        Check(SECTION, "job kind", lambda: kind_rows(cluster, config), reach),
        Check(SECTION, "permissions", lambda: [permission_row(cluster, config, namespace)], reach),
        Check(SECTION, "secret", lambda: [secret_row(cluster, namespace, config.store)], reach),
        Check(SECTION, "GPUs", lambda: gpu_rows(cluster, config) if trains else [_no_gpus()], reach),
        *(Check(SECTION, "image", lambda image=image: [image_row(cluster, image)], reach) for image in images),  # type: ignore[misc]
    ]


def version_row(cluster: Cluster) -> Row:
    version = (cluster.get("/version") or {}).get("gitVersion", "")
    match = re.match(r"v1\.(\d+)", version)
    if match and TESTED[0] <= int(match[1]) <= TESTED[1]:
        return Row(SECTION, "version", "ok", f"Kubernetes {version}")
    found = (
        f"Kubernetes {version or 'of unknown version'}; the manifests are validated for 1.{TESTED[0]} to 1.{TESTED[1]}"
    )
    return Row(SECTION, "version", "note", found)


def kind_rows(cluster: Cluster, config: RunConfig) -> list[Row]:
    """Asked by discovery, which everybody may do; listing CRDs is often not allowed."""
    api, plural, todo = KINDS[config.pretrain.job.kind]
    there = _served(cluster, api, plural)
    wanted = config.pretrain.gpus_per_node > 0
    state: State = "ok" if there else "red" if wanted else "note"
    found = f"{plural}.{api}" if there else f"{plural}.{api} is not served"
    rows = [Row(SECTION, "job kind", state, found, "" if there else todo)]
    queued = _served(cluster, *QUEUE)
    if config.pretrain.job.queue and not queued:
        rows.append(Row(SECTION, "queue", "red", "Kueue is not served, but pretrain.job.queue is set", "install Kueue"))
    else:
        rows.append(Row(SECTION, "queue", "ok" if queued else "note", "Kueue" if queued else "no Kueue (an option)"))
    return rows


def permission_row(cluster: Cluster, config: RunConfig, namespace: str) -> Row:
    """What the launcher does (pretrain in a pod)."""
    api, plural, _ = KINDS[config.pretrain.job.kind]
    group = api.partition("/")[0]
    asked = [(group, plural, "", verb) for verb in ("create", "get", "list", "watch", "patch", "delete")]
    asked += [("", "pods", "", verb) for verb in ("get", "list")] + [("", "pods", "log", "get")]
    refused = [
        f"{verb} {resource}{f'/{part}' if part else ''}"
        for group, resource, part, verb in asked
        if not _may(cluster, namespace, group, resource, part, verb)
    ]
    if refused:
        todo = f"bind a Role with these verbs in the namespace '{namespace}' (k8s/base/accounts.yaml)"
        return Row(SECTION, "permissions", "red", f"in '{namespace}' you may not {', '.join(refused)}", todo)
    return Row(SECTION, "permissions", "ok", f"in '{namespace}' you may do what the training's launcher does")


def secret_row(cluster: Cluster, namespace: str, store: str) -> Row:
    if store.startswith("file:"):
        todo = "give --store s3://bucket/prefix, as the run's parameter `store`"
        return Row(
            SECTION, "store of pods", "note", f"{store} is on each pod's own disk, where no other step looks", todo
        )
    secret = cluster.get(f"/api/v1/namespaces/{namespace}/secrets/{SECRET}")
    todo = f"make the secret '{SECRET}' in '{namespace}' with {', '.join(NEEDED_KEYS)} and AWS_ENDPOINT_URL"
    if secret is None:
        return Row(SECTION, "secret", "red", f"'{SECRET}' is not in the namespace '{namespace}'", todo)
    missing = [key for key in NEEDED_KEYS if key not in (secret.get("data") or {})]
    if missing:
        return Row(SECTION, "secret", "red", f"'{SECRET}' lacks {', '.join(missing)}", todo)
    return Row(SECTION, "secret", "ok", f"'{SECRET}' has {', '.join(sorted(secret['data']))}")


def gpu_rows(cluster: Cluster, config: RunConfig) -> list[Row]:
    wanted = config.pretrain
    found = gpus_per_node(cluster)
    problem = shortage(found, wanted)
    there = f"{sum(found.values())} on {len(found)} nodes"
    if problem:
        todo = "lower pretrain.nodes or pretrain.gpus_per_node, or add nodes (check_gpus=false where that is automatic)"
        state: State = "red" if config.check_gpus else "note"
        return [Row(SECTION, "GPUs", state, problem, todo)]
    rows = [Row(SECTION, "GPUs", "ok", f"{there}; asked for are {wanted.nodes} × {wanted.gpus_per_node}")]
    try:
        used = gpus_in_use(cluster)
    except NotPermitted:
        return [*rows, Row(SECTION, "free GPUs", "note", "you may not list all pods, so it is unknown")]
    free = {node: count - used.get(node, 0) for node, count in found.items()}
    enough = sum(count >= wanted.gpus_per_node for count in free.values()) >= wanted.nodes
    wait = "" if enough else "; a run would wait for more"
    return [*rows, Row(SECTION, "free GPUs", "ok" if enough else "note", f"{sum(free.values())} of {there}{wait}")]


def image_row(cluster: Cluster, image: str) -> Row:
    """A digest that a node holds, or that its registry shows to everybody, can be pulled; more cannot be known from
    here, since the nodes' credentials are theirs."""
    name, _, digest = image.partition("@")
    if not digest:
        todo = "name it by digest: make images"
        return Row(SECTION, "image", "note", f"{image} is named by its tag, so it cannot be judged", todo)
    try:
        holders = sum(image in _names(node) for node in cluster.items("/api/v1/nodes"))
    except NotPermitted:
        holders = 0
    if holders:
        return Row(SECTION, "image", "ok", f"{image} is on {holders} nodes")
    status = manifest_status(name, digest)
    if status == 200:
        return Row(SECTION, "image", "ok", f"{image} is in its registry")
    if status == 404:
        return Row(SECTION, "image", "red", f"{image} is not in its registry", "push it, or compile anew: make images")
    why = f"its registry answers {status}" if status else "its registry cannot be reached from here"
    return Row(SECTION, "image", "note", f"{image}: {why}, so it cannot be judged")


def manifest_status(name: str, digest: str) -> int:
    """HTTP status of the registry for a manifest, asked without credentials; 0 where it cannot be reached."""
    host, _, path = name.partition("/")
    if not path or not re.search(r"[.:]|^localhost$", host):
        host, path = "registry-1.docker.io", name if "/" in name else f"library/{name}"
    path = re.sub(r":[\w.-]+$", "", path)
    scheme = "http" if re.match(r"localhost|127\.", host) else "https"
    request = urllib.request.Request(
        f"{scheme}://{host}/v2/{path}/manifests/{digest}", method="HEAD", headers={"Accept": MANIFESTS}
    )
    try:
        with urllib.request.urlopen(request, timeout=REGISTRY_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _no_gpus() -> Row:
    return Row(SECTION, "GPUs", "ok", "none is asked for")


def _names(node: dict[str, Any]) -> set[str]:
    return {name for image in (node.get("status") or {}).get("images") or [] for name in image.get("names") or []}


def _served(cluster: Cluster, api: str, plural: str) -> bool:
    found = cluster.get(f"/apis/{api}")
    return any(resource["name"] == plural for resource in (found or {}).get("resources", []))


def _may(cluster: Cluster, namespace: str, group: str, resource: str, part: str, verb: str) -> bool:
    attributes = {"namespace": namespace, "group": group, "resource": resource, "subresource": part, "verb": verb}
    kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    review = {**kind, "spec": {"resourceAttributes": attributes}}
    answer = cluster.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    return bool(answer.get("status", {}).get("allowed"))
