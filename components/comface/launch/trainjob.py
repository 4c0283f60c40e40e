"""TrainJob of trainer.kubeflow.org/v1alpha1 (Kubeflow Trainer 2.3), on a runtime with the replicated job `node`.

In: a JobRequest. Out: the job to create; and the phase of a job that the API shows. A TrainJob has no fields for the
restart policy, the priority, and how long a finished job is kept: its runtime sets them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comface.cluster.client import part, parts
from comface.launch import podspec
from comface.launch.conditions import Phase, Reading, ended, holding
from comface.launch.request import JobRequest

GROUP, VERSION, PLURAL, KIND = "trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob"
CONTAINER = "node"
OPERATOR = "the Kubeflow Trainer"
DEPLOYMENT = "kubeflow-trainer-controller-manager"
JOB_NAME, RANK_0 = "jobset.sigs.k8s.io/jobset-name", ("batch.kubernetes.io/job-completion-index", "0")
"""Labels of the pods: the name of their job; and what the first of them has."""
MANAGER = "comface.io/launcher"


def render(request: JobRequest) -> dict[str, Any]:
    job = request.job
    pod = {
        "containers": [
            {
                "name": CONTAINER,
                "securityContext": podspec.container_security(request),
                "volumeMounts": podspec.volume_mounts(request),
            }
        ],
        "volumes": podspec.volumes(request),
        "securityContext": podspec.pod_security(request),
        "terminationGracePeriodSeconds": podspec.GRACE_S,
        **podspec.placement(request),
    }
    template = {"metadata": podspec.pod_metadata(request), "spec": pod}
    patch = {"replicatedJobs": [{"name": "node", "template": {"spec": {"template": template}}}]}
    suspended = {"suspend": True} if job.queue else {}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": request.metadata(),
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": "ClusterTrainingRuntime", "name": job.runtime},
            "activeDeadlineSeconds": job.deadline_s,
            "trainer": {
                "image": request.image,
                "command": request.command,
                "args": podspec.arguments(request),
                "env": podspec.environment(request),
                "numNodes": request.nodes,
                "numProcPerNode": request.processes_per_node,
                "resourcesPerNode": podspec.resources(request),
            },
            "runtimePatches": [{"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": patch}}}],
            **suspended,
        },
    }


def read(job: Mapping[str, Any]) -> Reading:
    """There is no condition for a running job: the status of its job sets shows it."""
    holds = holding(job)
    if (end := ended(holds, "Complete")) is not None:
        return end
    if job["spec"].get("suspend") or "Suspended" in holds:
        return Reading(Phase.QUEUED)
    status = part(job, "status")
    jobs = parts(status, "jobsStatus")
    if any(part.get("ready") for part in jobs):
        return Reading(Phase.RUNNING)
    return Reading(Phase.STARTING if jobs or status.get("conditions") else Phase.UNSEEN)
