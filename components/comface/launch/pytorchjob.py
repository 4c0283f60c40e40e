"""PyTorchJob of kubeflow.org/v1, as training-operator 1.9 reads and reports it.

In: a JobRequest. Out: the job to create; and the phase of a job that the API shows. The operator injects PET_*
into the container `pytorch`, so that `torchrun` without arguments finds its peers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comface.cluster.client import part
from comface.launch import podspec
from comface.launch.conditions import Phase, Reading, ended, holding
from comface.launch.request import JobRequest

GROUP, VERSION, PLURAL, KIND = "kubeflow.org", "v1", "pytorchjobs", "PyTorchJob"
CONTAINER = "pytorch"
OPERATOR = "the training operator"
DEPLOYMENT = "training-operator"
JOB_NAME, RANK_0 = "training.kubeflow.org/job-name", ("training.kubeflow.org/replica-type", "master")
"""Labels of the pods: the name of their job; and what the first of them has."""


def render(request: JobRequest) -> dict[str, Any]:
    """One master and nodes - 1 workers. OnFailure: the operator's `ExitCode` recreates pods without limit."""
    job = request.job
    replicas = {"Master": 1, "Worker": request.nodes - 1}
    policy: dict[str, Any] = {
        "backoffLimit": request.restart_limit,
        "activeDeadlineSeconds": job.deadline_s,
        "cleanPodPolicy": "Running",
        "ttlSecondsAfterFinished": job.keep_s,
    }
    if job.queue:
        policy["suspend"] = True
    if job.gang:
        gang = {"minAvailable": request.nodes, "priorityClass": job.priority_class}
        policy["schedulingPolicy"] = {name: value for name, value in gang.items() if value}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": request.metadata(),
        "spec": {
            "nprocPerNode": str(request.processes_per_node),
            "runPolicy": policy,
            "pytorchReplicaSpecs": {
                role: {"replicas": count, "restartPolicy": "OnFailure", "template": _template(request)}
                for role, count in replicas.items()
                if count
            },
        },
    }


def _template(request: JobRequest) -> dict[str, Any]:
    container = {
        "name": CONTAINER,
        "image": request.image,
        "command": request.command,
        "args": podspec.arguments(request),
        "env": podspec.environment(request),
        "resources": podspec.resources(request),
        "volumeMounts": podspec.volume_mounts(request),
        "securityContext": podspec.container_security(request),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    scheduling = {"schedulerName": request.job.scheduler, "priorityClassName": request.job.priority_class}
    return {
        "metadata": podspec.pod_metadata(request),
        "spec": {
            "containers": [container],
            "volumes": podspec.volumes(request),
            "securityContext": podspec.pod_security(request),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": podspec.GRACE_S,
            **podspec.placement(request),
            **{name: value for name, value in scheduling.items() if value},
        },
    }


def read(job: Mapping[str, Any]) -> Reading:
    """A suspended job is queued, even if its conditions still describe the time before."""
    holds = holding(job)
    if (end := ended(holds, "Succeeded")) is not None:
        return end
    if part(job["spec"], "runPolicy").get("suspend") or "Suspended" in holds:
        return Reading(Phase.QUEUED)
    if "Running" in holds:
        return Reading(Phase.RUNNING)
    return Reading(Phase.STARTING if {"Created", "Restarting"} & holds.keys() else Phase.UNSEEN)
