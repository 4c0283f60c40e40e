"""The parts of a job's pods that both kinds of job share: security, resources, volumes, environment.

In: a JobRequest. Out: fragments of a pod's specification (Pod Security `restricted`, except RDMA's IPC_LOCK). Settings
of the pipeline's task take precedence over the configuration.
"""

from __future__ import annotations

from typing import Any

from comface.cluster.client import GPU
from comface.launch.place import CREDENTIALS, STORE_KEYS, STORE_SECRET
from comface.launch.request import METRICS_PORT, JobRequest
from comface.runtime.monitoring import METRICS_LABEL, PORT

TOLERATIONS = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
GRACE_S = 90
"""Seconds for a process to finish its step and write a checkpoint after SIGTERM; torchrun gives it 30 s."""
STAYS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
SHARED_MEMORY, SCRATCH = "comface-shm", "comface-scratch"


def pod_metadata(request: JobRequest) -> dict[str, Any]:
    """Labels for the NetworkPolicies and the PodMonitor. No service mesh: its sidecar would keep a finished pod alive
    and intercept the traffic between the processes. STAYS keeps an autoscaler from moving the pods."""
    labels = {**request.labels(), METRICS_LABEL: str(METRICS_PORT), "sidecar.istio.io/inject": "false"}
    return {"labels": labels, "annotations": {"sidecar.istio.io/inject": "false", **STAYS}}


def pod_security(request: JobRequest) -> dict[str, Any]:
    user = {"runAsUser": request.user} if request.user else {}
    return {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, **user}


def container_security(request: JobRequest) -> dict[str, Any]:
    added = {"add": ["IPC_LOCK"]} if request.job.rdma else {}
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], **added},
        "readOnlyRootFilesystem": True,
    }


def resources(request: JobRequest) -> dict[str, Any]:
    """Per node. An extended resource of the task names the accelerator. Its number comes from the configuration: it is
    the number of processes."""
    job, asked = request.job, request.forwarded.resources
    limits, requests = (dict(asked.get(part) or {}) for part in ("limits", "requests"))
    accelerators = [name for name in limits if "/" in name and name != job.rdma]
    for name in accelerators:
        del limits[name]
        requests.pop(name, None)
    memory, scratch = f"{job.memory_gib}Gi", f"{job.scratch_gib}Gi"
    limits.setdefault("memory", requests.get("memory", memory))
    requests.setdefault("memory", limits["memory"])
    if "cpu" not in limits:
        requests.setdefault("cpu", str(job.cpus))
    limits.setdefault("ephemeral-storage", requests.get("ephemeral-storage", scratch))
    requests.setdefault("ephemeral-storage", limits["ephemeral-storage"])
    if request.gpus_per_node:
        limits[accelerators[0] if accelerators else GPU] = str(request.gpus_per_node)
    if job.rdma:
        limits.setdefault(job.rdma, "1")
    return {"limits": limits, "requests": requests}


def volumes(request: JobRequest) -> list[dict[str, Any]]:
    own = [mount["name"] for mount in _own_mounts(request)]
    shared = {"medium": "Memory", "sizeLimit": f"{request.job.shared_memory_gib}Gi"}
    kinds = {SHARED_MEMORY: shared, SCRATCH: {"sizeLimit": f"{request.job.scratch_gib}Gi"}}
    return [*request.forwarded.volumes, *({"name": name, "emptyDir": kinds[name]} for name in own)]


def volume_mounts(request: JobRequest) -> list[dict[str, Any]]:
    return [*request.forwarded.volume_mounts, *_own_mounts(request)]


def _own_mounts(request: JobRequest) -> list[dict[str, Any]]:
    """/dev/shm (NCCL needs more than the 64 MiB of a container) and a writable /tmp, unless
    the task mounts its own."""
    taken = {mount["mountPath"] for mount in request.forwarded.volume_mounts}
    own = [(SHARED_MEMORY, "/dev/shm"), (SCRATCH, "/tmp")]
    return [{"name": name, "mountPath": path} for name, path in own if path not in taken]


def environment(request: JobRequest) -> list[dict[str, Any]]:
    """What the task forwards (credentials as references to a secret), a writable home, the metrics' port. If no task
    forwards a key to the store, as from a laptop, the key comes from the pipeline's own secret."""
    own = {"HOME": "/tmp", PORT: str(METRICS_PORT)}
    given = {item["name"] for item in request.forwarded.env}
    keys = () if CREDENTIALS & given else (key for key in STORE_KEYS if key not in given)
    secret = [
        {"name": k, "valueFrom": {"secretKeyRef": {"name": STORE_SECRET, "key": k, "optional": True}}} for k in keys
    ]
    return [*request.forwarded.env, *secret, *({"name": k, "value": v} for k, v in own.items() if k not in given)]


def arguments(request: JobRequest) -> list[str]:
    """Escapes $(NAME), which Kubernetes would replace in arguments."""
    return [argument.replace("$(", "$$(") for argument in request.arguments]


def placement(request: JobRequest) -> dict[str, Any]:
    """Where the pods may run, without empty fields. The pipeline's task tolerates the taint of GPU nodes; so does a job
    without a task."""
    found = {
        "nodeSelector": request.forwarded.node_selector,
        "tolerations": request.forwarded.tolerations or (TOLERATIONS if request.gpus_per_node else []),
        "affinity": request.forwarded.affinity,
        "imagePullSecrets": request.pull_secrets,
        "serviceAccountName": request.job.service_account,
    }
    return {name: value for name, value in found.items() if value}
