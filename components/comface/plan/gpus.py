"""Can the cluster ever run the training? Checked in a pod, before a pod waits for GPUs that do not exist.

In: the configuration, the cluster. Out: None, or notes if the answer is unknown or the run will wait; raises
ConfigurationError. The check uses the nodes' allocatable GPUs and the quotas' limits, not what is free: a run may wait.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from comface.cluster.client import (
    Cluster,
    GpuNode,
    NoAnswer,
    NotPermitted,
    Refused,
    gpu_nodes,
    gpus_in_use,
    open_cluster,
    own_namespace,
)
from comface.errors import ConfigurationError
from comface.plan.configuration import RunConfig
from comface.pretrain.config import PretrainConfig
from comface.runtime.logs import in_pod


def check_gpus_of_pod(config: RunConfig, environment: Mapping[str, str] = os.environ) -> str | None:
    """Checks nothing outside a pod: a kubeconfig says nothing about a run on this machine."""
    if not in_pod(environment):
        return None
    try:
        return check_gpus(config, open_cluster(environment), own_namespace(environment))
    except (NoAnswer, Refused) as error:
        return f"It is unknown whether the GPUs exist: the request to the Kubernetes API failed ({error})."


def check_gpus(config: RunConfig, cluster: Cluster | None, namespace: str = "") -> str | None:
    """Raises all problems together. Nodes may be added on demand (check_gpus=false); quotas may not."""
    from comface.launch.quota import launches_job

    if cluster is None or not launches_job(config.pretrain):
        return None
    problems, notes = list[str](), list[str]()
    for ask in (_ask_nodes, _ask_quotas) if config.check_gpus else (_ask_quotas,):
        problem, note = ask(cluster, config.pretrain, namespace)
        problems += [problem] if problem else []
        notes += [note] if note else []
    if problems:
        raise ConfigurationError(" ".join(f"{problem}." for problem in problems))
    return " ".join(notes) or None


def _ask_nodes(cluster: Cluster, wanted: PretrainConfig, _: str) -> tuple[str | None, str | None]:
    if not wanted.gpus_per_node:
        return None, None
    try:
        found = gpu_nodes(cluster)
    except NotPermitted:
        return None, "It is unknown whether the GPUs exist: this account may not list nodes."
    if (problem := shortage(found, wanted)) is not None:
        advice = "lower `nodes` or `gpus_per_node`, or set check_gpus=false if nodes are added on demand"
        return f"{problem}; {advice}", None
    try:
        used = gpus_in_use(cluster)
    except (NotPermitted, NoAnswer, Refused):
        return None, None  # the shipped Role does not allow it; the GPUs exist
    if free_nodes(found, used, wanted) < wanted.nodes:
        return None, "Other pods use GPUs that the training needs; it will wait for them."
    return None, None


def _ask_quotas(cluster: Cluster, wanted: PretrainConfig, namespace: str) -> tuple[str | None, str | None]:
    from comface.launch.quota import room

    if not namespace:
        return None, None
    try:
        found = room(wanted, cluster.items(f"/api/v1/namespaces/{namespace}/resourcequotas"))
    except (NotPermitted, Refused):
        return None, "It is unknown whether the quota has room: this account may not list resourcequotas."
    if found.never:
        asked = f"The training requests {'; '.join(found.never)} (namespace '{namespace}')"
        return f"{asked}; raise the quota, or lower `nodes`, `gpus_per_node` or the sizes in pretrain.job", None
    if found.now:
        return (
            None,
            f"The training will wait for room in the namespace '{namespace}': it requests {'; '.join(found.now)}.",
        )
    return None, None


def free_nodes(found: Sequence[GpuNode], used: Mapping[str, int], wanted: PretrainConfig) -> int:
    """How many nodes have enough free GPUs."""
    return sum(not each.unusable and each.gpus - used.get(each.name, 0) >= wanted.gpus_per_node for each in found)


def shortage(found: Sequence[GpuNode], wanted: PretrainConfig) -> str | None:
    """What is missing, without a full stop."""
    enough = [each for each in found if each.gpus >= wanted.gpus_per_node and not each.unusable]
    if len(enough) >= wanted.nodes:
        return None
    ordered = sorted(found, key=lambda each: (not each.unusable, each.name))
    there = ", ".join(
        f"{each.name} has {each.gpus}{f' but {each.unusable}' if each.unusable else ''}" for each in ordered[:4]
    )
    more = f" and {len(found) - 4} more nodes" if len(found) > 4 else ""
    return (
        f"The run requests {wanted.nodes} nodes with {wanted.gpus_per_node} GPUs each, and the cluster has "
        f"{len(enough)} ({there or 'no node has a GPU'}{more})"
    )
