"""The cluster: its version, namespace, the kinds that a run needs, permissions, the secret, images.

In: the Kubernetes API, with the permissions of the current account. Out: checks. They change nothing and read no secret
values. To check the permissions of the steps' account, run the doctor in a pod of that account.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

from comface.cluster.client import NETWORK, Cluster, NotPermitted, part, parts
from comface.doctor.room import SECTION, dry_run_rows, gpu_rows, operator_rows, queue_rows, quota_rows, served
from comface.doctor.rows import Check, Row, State
from comface.launch.place import STORE_SECRET
from comface.launch.quota import launches_job
from comface.plan.configuration import RunConfig

TESTED = (32, 36)
"""Minor versions of Kubernetes 1 for which the manifests are validated."""
NEEDED_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"
KINDS = {
    "pytorchjob": ("kubeflow.org/v1", "pytorchjobs", "install the Kubeflow Training Operator 1.9"),
    "trainjob": ("trainer.kubeflow.org/v1alpha1", "trainjobs", "install Kubeflow Trainer 2"),
}
REGISTRY_S = 6
MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in ("oci.image.index.v1", "oci.image.manifest.v1", "docker.distribution.manifest.list.v2",
                 "docker.distribution.manifest.v2")
)  # fmt: skip


def cluster_checks(cluster: Cluster, config: RunConfig, namespace: str, images: Iterable[str]) -> list[Check]:
    trains = launches_job(config.pretrain)
    image = next(iter(images := list(images)), "sample")
    asked: list[tuple[str, Callable[[], list[Row]]]] = [
        ("version", lambda: [version_row(cluster)]),
        ("namespace", lambda: namespace_rows(cluster, namespace)),
        ("job kind", lambda: [kind_row(cluster, config)]),
        ("queue", lambda: queue_rows(cluster, config, namespace)),
        ("permissions", lambda: [permission_row(cluster, config, namespace)]),
        ("secret", lambda: [secret_row(cluster, namespace, config.store)]),
        ("GPUs", lambda: gpu_rows(cluster, config)),
    ]
    if trains:
        asked += [
            ("quota", lambda: quota_rows(cluster, config, namespace)),
            ("operator", lambda: operator_rows(cluster, config)),
            ("dry run", lambda: dry_run_rows(cluster, config, namespace, image)),
        ]
    asked += [("image", lambda image=image: [image_row(cluster, image)]) for image in images]  # type: ignore[misc]
    return [Check(SECTION, name, ask, NETWORK) for name, ask in asked]


def version_row(cluster: Cluster) -> Row:
    version = str((cluster.get("/version") or {}).get("gitVersion", ""))
    match = re.match(r"v1\.(\d+)", version)
    if match and TESTED[0] <= int(match[1]) <= TESTED[1]:
        return Row(SECTION, "version", "ok", f"Kubernetes {version}")
    found = (
        f"Kubernetes {version or 'of unknown version'}; the manifests are validated for 1.{TESTED[0]} to 1.{TESTED[1]}"
    )
    return Row(SECTION, "version", "note", found)


def namespace_rows(cluster: Cluster, namespace: str) -> list[Row]:
    """No row if this account may not read namespaces, which is common."""
    try:
        found = cluster.get(f"/api/v1/namespaces/{namespace}")
    except NotPermitted:
        return []
    if found is None:
        todo = "create it (docs/cluster.md, step 4), or name another: --namespace NAME"
        return [Row(SECTION, "namespace", "red", f"there is no namespace '{namespace}'", todo)]
    if part(found, "status").get("phase") == "Terminating":
        return [Row(SECTION, "namespace", "red", f"'{namespace}' is being deleted", "wait, then create it again")]
    return [Row(SECTION, "namespace", "ok", namespace)]


def kind_row(cluster: Cluster, config: RunConfig) -> Row:
    """Uses discovery, which every account may do; listing CRDs is often not allowed."""
    api, plural, todo = KINDS[config.pretrain.job.kind]
    if served(cluster, api, plural):
        return Row(SECTION, "job kind", "ok", f"{plural}.{api}")
    state: State = "red" if launches_job(config.pretrain) else "note"
    return Row(SECTION, "job kind", state, f"{plural}.{api} is not served", todo)


def permission_row(cluster: Cluster, config: RunConfig, namespace: str) -> Row:
    """The verbs that the launcher uses (pretrain in a pod)."""
    api, plural, _ = KINDS[config.pretrain.job.kind]
    group = api.partition("/")[0]
    asked = [(group, plural, "", verb) for verb in ("create", "get", "list", "watch", "patch", "delete")]
    asked += [("", "pods", "", verb) for verb in ("get", "list")] + [("", "pods", "log", "get")]
    asked += [("", "events", "", "list"), ("", "resourcequotas", "", "list")]
    refused = [
        f"{verb} {resource}{f'/{sub}' if sub else ''}"
        for group, resource, sub, verb in asked
        if not _may(cluster, namespace, group, resource, sub, verb)
    ]
    if refused:
        todo = f"bind a Role with these verbs in the namespace '{namespace}' (k8s/base/accounts.yaml)"
        return Row(SECTION, "permissions", "red", f"in '{namespace}' you may not {', '.join(refused)}", todo)
    return Row(SECTION, "permissions", "ok", f"in '{namespace}' you may do everything that the launcher does")


def secret_row(cluster: Cluster, namespace: str, store: str) -> Row:
    if store.startswith("file:"):
        todo = "give --store s3://bucket/prefix, as the run's parameter `store`"
        return Row(
            SECTION, "store of pods", "note", f"{store} is on each pod's own disk, which other steps cannot read", todo
        )
    secret = cluster.get(f"/api/v1/namespaces/{namespace}/secrets/{STORE_SECRET}")
    todo = f"create the secret '{STORE_SECRET}' in '{namespace}' with {', '.join(NEEDED_KEYS)} and AWS_ENDPOINT_URL"
    data = part(secret or {}, "data")
    if not data.keys() & set(NEEDED_KEYS) and (account := _with_identity(cluster, namespace)):
        said = f"no keys in '{STORE_SECRET}'; pods of the service account '{account}' have a workload identity"
        return Row(SECTION, "secret", "note", f"{said}, which cannot be tested from here")
    if secret is None:
        return Row(SECTION, "secret", "red", f"'{STORE_SECRET}' is not in the namespace '{namespace}'", todo)
    missing = [key for key in NEEDED_KEYS if key not in data]
    if missing:
        return Row(SECTION, "secret", "red", f"'{STORE_SECRET}' has no {', '.join(missing)}", todo)
    return Row(SECTION, "secret", "ok", f"'{STORE_SECRET}' has {', '.join(sorted(data))}")


def _with_identity(cluster: Cluster, namespace: str) -> str | None:
    """A service account with an identity by IRSA (docs/cluster.md); None also if accounts may not be listed."""
    try:
        accounts = cluster.items(f"/api/v1/namespaces/{namespace}/serviceaccounts")
    except NotPermitted:
        return None
    named = (part(each, "metadata") for each in accounts)
    return next((str(each.get("name")) for each in named if ROLE_ANNOTATION in part(each, "annotations")), None)


def image_row(cluster: Cluster, image: str) -> Row:
    """A digest that a node has, or that its registry shows without credentials, can be pulled. More cannot be checked
    from here, because only the nodes have the credentials."""
    name, _, digest = image.partition("@")
    if not digest:
        held = _held(cluster, image)
        if held:
            return Row(SECTION, "image", "ok", f"{image} is on {held} nodes")
        if "/" not in image:
            return Row(
                SECTION,
                "image",
                "red",
                f"{image} names no registry, and no node is known to have it",
                "build and push the images first: make images REGISTRY=host/path",
            )
        todo = "name it by digest: make images REGISTRY=host/path"
        return Row(SECTION, "image", "note", f"{image} is named by its tag, so it cannot be checked", todo)
    if holders := _held(cluster, image):
        return Row(SECTION, "image", "ok", f"{image} is on {holders} nodes")
    status = manifest_status(name, digest)
    if status == 200:
        return Row(SECTION, "image", "ok", f"{image} is in its registry")
    if status == 404:
        return Row(
            SECTION,
            "image",
            "red",
            f"{image} is not in its registry",
            "push it, or build and compile again: make images",
        )
    why = f"its registry answers {status}" if status else "its registry cannot be reached from here"
    return Row(SECTION, "image", "note", f"{image}: {why}, so it cannot be checked")


def manifest_status(name: str, digest: str) -> int:
    """HTTP status of the registry for a manifest, without credentials; 0 if the registry is unreachable."""
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


def _held(cluster: Cluster, image: str) -> int:
    """How many nodes are known to have the image."""
    try:
        return sum(image in _names(node) for node in cluster.items("/api/v1/nodes"))
    except NotPermitted:
        return 0


def _names(node: dict[str, Any]) -> set[str]:
    """Names of images; the engine adds `docker.io/library/` to a name without a registry."""
    return {
        str(name).removeprefix("docker.io/library/")
        for image in parts(part(node, "status"), "images")
        for name in image.get("names") or []
    }


def _may(cluster: Cluster, namespace: str, group: str, resource: str, sub: str, verb: str) -> bool:
    attributes = {"namespace": namespace, "group": group, "resource": resource, "subresource": sub, "verb": verb}
    kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    review = {**kind, "spec": {"resourceAttributes": attributes}}
    answer = cluster.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    return part(answer, "status").get("allowed") is True
