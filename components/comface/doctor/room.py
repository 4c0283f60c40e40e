"""Would the training start? Free GPUs, quota, queue, the operator, and a dry run of the training job.

In: the Kubernetes API, with the permissions of the current account; the configuration. Out: rows. A dry run makes every
check of the API server (schema, quota, webhooks) and stores nothing.
"""

from __future__ import annotations

from comface.cluster.client import Cluster, NoAnswer, NotPermitted, Refused, gpu_nodes, gpus_in_use, part, parts
from comface.doctor.rows import Row, State
from comface.launch.answers import never_fits
from comface.launch.quota import KINDS, room, sample_request
from comface.plan.configuration import RunConfig
from comface.plan.gpus import free_nodes, shortage

SECTION = "cluster"
QUEUE = ("kueue.x-k8s.io/v1beta2", "localqueues")
OPERATORS = ("kubeflow", "kubeflow-system")
"""Namespaces in which operators are installed."""


def served(cluster: Cluster, api: str, plural: str) -> bool:
    return any(each.get("name") == plural for each in parts(cluster.get(f"/apis/{api}") or {}, "resources"))


def gpu_rows(cluster: Cluster, config: RunConfig) -> list[Row]:
    wanted = config.pretrain
    if not wanted.gpus_per_node:
        return [Row(SECTION, "GPUs", "ok", "none requested")]
    found = gpu_nodes(cluster)
    usable = [each for each in found if not each.unusable]
    there = f"{sum(each.gpus for each in usable)} on {len(usable)} nodes"
    if (problem := shortage(found, wanted)) is not None:
        todo = "lower pretrain.nodes or pretrain.gpus_per_node, or add nodes (check_gpus=false if they come on demand)"
        state: State = "red" if config.check_gpus else "note"
        return [Row(SECTION, "GPUs", state, problem, todo)]
    left_out = "".join(f"; {each.name} {each.unusable}" for each in found if each.unusable)
    rows = [Row(SECTION, "GPUs", "ok", f"{there}; requested: {wanted.nodes} × {wanted.gpus_per_node}{left_out}")]
    try:
        used = gpus_in_use(cluster)
    except NotPermitted:
        return [*rows, Row(SECTION, "free GPUs", "note", "unknown, because you may not list all pods")]
    enough = free_nodes(found, used, wanted) >= wanted.nodes
    free = sum(max(0, each.gpus - used.get(each.name, 0)) for each in usable)
    wait = "" if enough else "; a run would wait for more"
    return [*rows, Row(SECTION, "free GPUs", "ok" if enough else "note", f"{free} of {there}{wait}")]


def quota_rows(cluster: Cluster, config: RunConfig, namespace: str) -> list[Row]:
    quotas = cluster.items(f"/api/v1/namespaces/{namespace}/resourcequotas")
    if not quotas:
        return [Row(SECTION, "quota", "ok", f"'{namespace}' has none")]
    found = room(config.pretrain, quotas)
    if found.never:
        todo = "raise the quota (k8s/components/production-size), or request less"
        return [Row(SECTION, "quota", "red", f"the training requests {'; '.join(found.never)}", todo)]
    if found.now:
        wait = f"the training requests {'; '.join(found.now)}; it would wait for more"
        return [Row(SECTION, "quota", "note", wait)]
    names = ", ".join(f"'{part(quota, 'metadata').get('name')}'" for quota in quotas)
    return [Row(SECTION, "quota", "ok", f"{names} has room for the training")]


def queue_rows(cluster: Cluster, config: RunConfig, namespace: str) -> list[Row]:
    name, there = config.pretrain.job.queue, served(cluster, *QUEUE)
    if not name:
        return [Row(SECTION, "queue", "ok" if there else "note", "Kueue" if there else "no Kueue (an option)")]
    if not there:
        return [Row(SECTION, "queue", "red", "Kueue is not served, but pretrain.job.queue is set", "install Kueue")]
    queue = cluster.get(f"/apis/{QUEUE[0]}/namespaces/{namespace}/localqueues/{name}")
    if queue is None:
        todo = "create it (k8s/components/kueue), or set pretrain.job.queue to one that exists"
        return [Row(SECTION, "queue", "red", f"there is no LocalQueue '{name}' in '{namespace}'", todo)]
    for condition in parts(part(queue, "status"), "conditions"):
        if condition.get("type") == "Active" and condition.get("status") == "False":
            found = f"the LocalQueue '{name}' is not active: {condition.get('message', condition.get('reason'))}"
            return [Row(SECTION, "queue", "red", found, "check its ClusterQueue: kubectl describe clusterqueues")]
    return [Row(SECTION, "queue", "ok", f"the LocalQueue '{name}'")]


def operator_rows(cluster: Cluster, config: RunConfig) -> list[Row]:
    """The operator's deployment, if this account may read it. The dry run tests its webhook for every account."""
    kind = KINDS[config.pretrain.job.kind]
    for namespace in OPERATORS:
        try:
            found = cluster.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{kind.DEPLOYMENT}")
        except NotPermitted:
            continue
        if found is None:
            continue
        if part(found, "status").get("availableReplicas"):
            return [Row(SECTION, "operator", "ok", f"{kind.DEPLOYMENT} runs in '{namespace}'")]
        todo = f"kubectl --namespace {namespace} describe deployment {kind.DEPLOYMENT}"
        return [Row(SECTION, "operator", "red", f"{kind.OPERATOR} does not run: none of its pods is ready", todo)]
    return []


def dry_run_rows(cluster: Cluster, config: RunConfig, namespace: str, image: str) -> list[Row]:
    """No row if the kind is not installed; that has its own row."""
    kind = KINDS[config.pretrain.job.kind]
    there = served(cluster, f"{kind.GROUP}/{kind.VERSION}", kind.PLURAL)
    return [dry_run_row(cluster, config, namespace, image)] if there else []


def dry_run_row(cluster: Cluster, config: RunConfig, namespace: str, image: str) -> Row:
    """The job as the launcher would send it; the server checks it and stores nothing."""
    kind = KINDS[config.pretrain.job.kind]
    path = f"/apis/{kind.GROUP}/{kind.VERSION}/namespaces/{namespace}/{kind.PLURAL}"
    body = kind.render(sample_request(config.pretrain, namespace, image))
    try:
        cluster.post(path, body, dryRun="All", fieldValidation="Strict")
    except NotPermitted as error:
        return _forbidden(error.words)
    except Refused as error:
        if "dry run" in str(error).lower():
            return Row(SECTION, "dry run", "note", f"is not possible: {error}")
        return Row(
            SECTION,
            "dry run",
            "red",
            f"the job is refused: {error}",
            "change pretrain.job, or ask the owner of the rule",
        )
    except NoAnswer as error:
        if "webhook" not in error.words:
            raise
        todo = f"check that {kind.OPERATOR} runs: kubectl get deployments --all-namespaces | grep {kind.DEPLOYMENT}"
        return Row(SECTION, "dry run", "red", f"no job can be created: {error.words}", todo)
    return Row(SECTION, "dry run", "ok", f"the API server accepts the {kind.KIND}")


def _forbidden(words: str) -> Row:
    if "exceeded quota" in words:
        if never_fits(words, 1):
            return Row(SECTION, "dry run", "red", f"the quota is too small for the job: {words}", "raise that quota")
        return Row(SECTION, "dry run", "note", f"a job would wait: {words}")
    if "denied the request" in words:
        return Row(SECTION, "dry run", "red", f"the job is refused: {words}", "ask the owner of that webhook")
    return Row(SECTION, "dry run", "note", f"unknown, because you may not create jobs ({words})")
