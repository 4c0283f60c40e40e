"""Are there as many GPUs as the run asks for? Asked in a pod, before a pod waits for GPUs that will never come.

In: the configuration, the cluster. Out: None, or one note where it cannot be told; raises ConfigurationError. Nodes are
asked for what they can give (allocatable), not for what is free: a run may well wait for its turn.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from comface.cluster import Cluster, NoAnswer, NotPermitted, gpus_per_node, open_cluster
from comface.config import PretrainConfig, RunConfig
from comface.errors import ConfigurationError


def check_gpus_of_pod(config: RunConfig, environment: Mapping[str, str] = os.environ) -> str | None:
    """Outside a pod nothing is checked: a person's kubeconfig says nothing about a run on the person's machine."""
    if "KUBERNETES_SERVICE_HOST" not in environment:
        return None
    try:
        return check_gpus(config, open_cluster(environment))
    except NoAnswer as error:
        return f"Whether the GPUs exist is unknown: the Kubernetes API cannot be asked ({error})."


def check_gpus(config: RunConfig, cluster: Cluster | None) -> str | None:
    wanted = config.pretrain
    if cluster is None or not wanted.gpus_per_node or not config.check_gpus:
        return None
    try:
        found = gpus_per_node(cluster)
    except NotPermitted:
        return "Whether the GPUs exist is unknown: this account may not list nodes."
    problem = shortage(found, wanted)
    if problem:
        raise ConfigurationError(
            f"{problem}; lower `nodes` or `gpus_per_node`, or set check_gpus=false where nodes are added on demand."
        )
    return None


def shortage(found: Mapping[str, int], wanted: PretrainConfig) -> str | None:
    """What is missing, without a full stop. `found`: node -> its GPUs."""
    enough = [node for node, count in found.items() if count >= wanted.gpus_per_node]
    if len(enough) >= wanted.nodes:
        return None
    there = ", ".join(f"{node} has {count}" for node, count in sorted(found.items())[:4]) or "no node has a GPU"
    more = f" and {len(found) - 4} more nodes" if len(found) > 4 else ""
    return (
        f"The run asks for {wanted.nodes} nodes with {wanted.gpus_per_node} GPUs each, and the cluster has "
        f"{len(enough)} ({there}{more})"
    )
