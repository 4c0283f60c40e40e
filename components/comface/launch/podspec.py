"""The parts of a job's pods that both kinds of job have: security, resources, volumes, environment.

In: a JobRequest. Out: fragments of a pod's specification (Pod Security `restricted`, but for RDMA's IPC_LOCK). What the
pipeline's task forwards goes before what the configuration says.
"""

from __future__ import annotations

from typing import Any

from comface.launch.place import CREDENTIALS, STORE_KEYS, STORE_SECRET
from comface.launch.request import METRICS_PORT, JobRequest
from comface.runtime.monitoring import METRICS_LABEL, PORT

GPU = "nvidia.com/gpu"
TOLERATIONS = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
GRACE_S = 90
"""A process that is asked to stop ends its step and writes a checkpoint; torchrun gives it 30 s."""
STAYS = {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", "karpenter.sh/do-not-disrupt": "true"}
SHARED_MEMORY, SCRATCH = "comface-shm", "comface-scratch"


def pod_metadata(request: JobRequest) -> dict[str, Any]:
    """Labels that the NetworkPolicies and the PodMonitor select by. A service mesh's sidecar would keep a finished pod
    alive and stand between the processes. An autoscaler that tidies its nodes leaves a training alone."""
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
    """Per node. An extended resource that the task asks for names the accelerator; how many is the configuration's
    word, since the processes are as many."""
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
    """/dev/shm (NCCL and the decoding processes need more than the 64 MiB of a container) and a writable /tmp, unless
    the task brings its own."""
    taken = {mount["mountPath"] for mount in request.forwarded.volume_mounts}
    own = [(SHARED_MEMORY, "/dev/shm"), (SCRATCH, "/tmp")]
    return [{"name": name, "mountPath": path} for name, path in own if path not in taken]


def environment(request: JobRequest) -> list[dict[str, Any]]:
    """What the task forwards (credentials as references to a secret), a home that can be written, the metrics' port.
    Where no task forwards a key to the store, as from a laptop, it is that of the pipeline's own secret."""
    own = {"HOME": "/tmp", PORT: str(METRICS_PORT)}
    given = {item["name"] for item in request.forwarded.env}
    keys = () if CREDENTIALS & given else (key for key in STORE_KEYS if key not in given)
    secret = [
        {"name": k, "valueFrom": {"secretKeyRef": {"name": STORE_SECRET, "key": k, "optional": True}}} for k in keys
    ]
    return [*request.forwarded.env, *secret, *({"name": k, "value": v} for k, v in own.items() if k not in given)]


def arguments(request: JobRequest) -> list[str]:
    """Kubernetes replaces $(NAME) in arguments; a plan is taken as it is."""
    return [argument.replace("$(", "$$(") for argument in request.arguments]


def placement(request: JobRequest) -> dict[str, Any]:
    """Where the pods may run. Empty parts are left out. The pipeline's task tolerates the taint of GPU nodes; so does a
    job that no task made."""
    found = {
        "nodeSelector": request.forwarded.node_selector,
        "tolerations": request.forwarded.tolerations or (TOLERATIONS if request.gpus_per_node else []),
        "affinity": request.forwarded.affinity,
        "imagePullSecrets": request.pull_secrets,
        "serviceAccountName": request.job.service_account,
    }
    return {name: value for name, value in found.items() if value}
