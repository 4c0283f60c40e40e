"""The parts that tests play beside the API: an operator that reports on its job, a kubelet that reports on pods.

Pods, labels and conditions are those of training-operator 1.9 and Kubeflow Trainer 2.3 with JobSet (read in their
sources); what a job and its pods go through is scripted by each test.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from kubernetes_api import Cluster
from launching import NAMESPACE

FALSE_FOR = {"Running": "Restarting", "Restarting": "Running"}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Played:
    """One job under an operator's hand."""

    def __init__(self, cluster: Cluster, job: dict[str, Any]) -> None:
        self.cluster, self.name = cluster, job["metadata"]["name"]
        self.pytorch = job["kind"] == "PyTorchJob"
        self.plural = "pytorchjobs" if self.pytorch else "trainjobs"
        if self.pytorch:
            replicas = job["spec"]["pytorchReplicaSpecs"]
            workers = replicas.get("Worker", {"replicas": 0})["replicas"]
            self.pods = [f"{self.name}-master-0", *(f"{self.name}-worker-{i}" for i in range(workers))]
        else:
            self.pods = [f"{self.name}-node-0-{i}" for i in range(job["spec"]["trainer"]["numNodes"])]

    def condition(self, name: str, status: str = "True", reason: str = "", message: str = "") -> None:
        """As the operator sets it: replaced and appended; Running and Restarting replace each other."""
        with self.cluster.changed:
            job = self.cluster.get(self.plural, self.name)
            if job is None:
                return
            old = job.get("status", {}).get("conditions", [])
            kept = [c for c in old if c["type"] not in (name, FALSE_FOR.get(name))]
            new = {
                "type": name,
                "status": status,
                "reason": reason or f"Job{name}",
                "message": message or f"job is {name}",
            }
            status_ = {**job.get("status", {}), "conditions": [*kept, {**new, "lastTransitionTime": now()}]}
            self.cluster.put(self.plural, {**job, "status": {"startTime": now(), **status_}})

    def suspend(self, value: bool) -> None:
        """What Kueue does."""
        with self.cluster.changed:
            job = json.loads(json.dumps(self.cluster.get(self.plural, self.name)))
            if self.pytorch:
                job["spec"]["runPolicy"]["suspend"] = value
            else:
                job["spec"]["suspend"] = value
            self.cluster.put(self.plural, job)

    def start(self, phase: str = "Running") -> None:
        for index, pod in enumerate(self.pods):
            self.pod(pod, index, phase)
        if self.pytorch:
            self.condition("Created")
            self.condition("Running")
        else:
            with self.cluster.changed:
                job = self.cluster.get(self.plural, self.name)
                part = {"name": "node", "ready": 1, "active": 1, "failed": 0, "succeeded": 0, "suspended": 0}
                self.cluster.put(self.plural, {**job, "status": {**job.get("status", {}), "jobsStatus": [part]}})

    def pod(self, name: str, index: int, phase: str = "Running", **status: Any) -> None:
        role = "master" if name.endswith("-master-0") else "worker"
        labels = {
            "training.kubeflow.org/job-name": self.name,
            "training.kubeflow.org/replica-type": role,
            "training.kubeflow.org/replica-index": str(max(0, index - 1)),
        } if self.pytorch else {
            "jobset.sigs.k8s.io/jobset-name": self.name,
            "batch.kubernetes.io/job-completion-index": str(index),
        }  # fmt: skip
        made = {"uid": str(uuid.uuid4()), "creationTimestamp": "2099-01-01T00:00:00Z"}
        metadata = {"name": name, "namespace": NAMESPACE, "labels": labels, **made}
        self.cluster.put("pods", {"metadata": metadata, "spec": {}, "status": {"phase": phase, **status}}, "ADDED")

    def report(self, index: int, **status: Any) -> None:
        """A kubelet's word on a pod."""
        with self.cluster.changed:
            pod = self.cluster.get("pods", self.pods[index])
            if pod is None:  # its job was deleted
                return
            self.cluster.put("pods", {**pod, "status": {**pod["status"], **status}})

    def end_container(self, index: int, code: int, restarts: int = 0, **terminated: Any) -> None:
        name = "pytorch" if self.pytorch else "node"
        end = {
            "terminated": {
                "exitCode": code,
                "finishedAt": now(),
                "reason": "Error" if code else "Completed",
                **terminated,
            }
        }
        running = {"state": {"running": {}}, "lastState": end} if restarts else {"state": end}
        phase = "Running" if restarts else "Failed" if code else "Succeeded"
        self.report(index, phase=phase, containerStatuses=[{"name": name, "restartCount": restarts, **running}])
        if not restarts:
            self.cluster.end_log(self.pods[index])

    def event(self, reason: str, message: str, about: str = "", at: str = "") -> None:
        """What the operator, the Job controller or the scheduler tells in an event, and nowhere else."""
        kind = ("Job", f"{self.name}-node-0") if not self.pytorch and not about else ("Pod", about or self.name)
        event = {
            "metadata": {"name": f"{self.name}.{uuid.uuid4().hex[:12]}", "namespace": NAMESPACE, "uid": "event"},
            "involvedObject": {"kind": kind[0], "name": kind[1]}, "type": "Warning", "reason": reason,
            "message": message, "eventTime": None, "series": None, "lastTimestamp": at or now(),
        }  # fmt: skip
        self.cluster.put("events", event, "ADDED")

    def seen(self) -> None:
        """Returns when the launcher has read the job as it is now, and its pods."""
        before = self.cluster.asked("^GET .*jobs/")
        self.cluster.wait(lambda: self.cluster.asked("^GET .*jobs/") > before + 1, 60)

    def succeed(self) -> None:
        for index in range(len(self.pods)):
            self.end_container(index, 0)
        self.condition("Succeeded" if self.pytorch else "Complete")

    def fail(self, reason: str = "PyTorchJobFailed", message: str = "has reached the specified backoff limit") -> None:
        for pod in self.pods:
            self.cluster.end_log(pod)
        self.condition("Failed", reason=reason, message=message)


Script = Callable[[Played], None]


class Operator:
    """Plays one script for each job that is created, in order; the last one again and again."""

    def __init__(self, cluster: Cluster, *scripts: Script) -> None:
        self.cluster, self.scripts, self.jobs = cluster, list(scripts), list[Played]()
        self.failures: list[BaseException] = []
        self._lock = threading.Lock()

    def __call__(self, job: dict[str, Any]) -> None:
        with self._lock:
            script = self.scripts[min(len(self.jobs), len(self.scripts) - 1)]
            played = Played(self.cluster, job)
            self.jobs.append(played)
        try:
            script(played)
        except BaseException as failure:
            self.failures.append(failure)


def told(code: int, sentence: str) -> str:
    """What comface.pretrain.worker leaves in its container's termination message."""
    return json.dumps({"exit_code": code, "sentence": sentence})


WORKFLOW = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "comface-x7", "uid": "workflow-uid"}


def own_pod(image: str = "registry.example/comface-python@sha256:" + "a" * 64) -> dict[str, Any]:
    containers: Iterable[dict[str, Any]] = [{"name": "wait", "image": "argoexec"}, {"name": "main", "image": image}]
    spec = {"containers": list(containers), "imagePullSecrets": [{"name": "pull"}]}
    return {"metadata": {"name": "launcher-1", "namespace": NAMESPACE, "uid": "uid-1"}, "spec": spec, "status": {}}
