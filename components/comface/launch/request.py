"""What the launcher requests from the cluster, independent of the kind of job; and the job's name.

In: work, place, configuration. Out: a `JobRequest`. The same work of the same run always has the same name and digest,
so that a restarted launcher finds its job.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comface.cluster.client import part, parts
from comface.config.canonical import canonical_json
from comface.launch import Work
from comface.launch.config import JobConfig
from comface.launch.place import Forwarded, Place

RUN_LABEL = "comface.io/run"
TRAINING_LABEL = "comface.io/training"
"""Of the jobs of a run that has several trainings."""
WORK_ANNOTATION = "comface.io/work"
MODULE = "comface.pretrain.worker"
METRICS_PORT = 9400
SAFE = 50
"""Longest name of a job: its pods and services add `-worker-31`, and the whole is a DNS label (63)."""


@dataclass(frozen=True)
class JobRequest:
    name: str
    digest: str
    """Identifies the work: it distinguishes this job from another of the same name."""
    run: str
    training: str
    """Empty if the run has one training."""
    place: Place
    owner: dict[str, Any]
    """Reference to the owner: the job is deleted with it."""
    image: str
    pull_secrets: list[dict[str, str]]
    user: int
    """Numeric user of the pods; 0: the image's own."""
    arguments: list[str]
    nodes: int
    gpus_per_node: int
    job: JobConfig
    forwarded: Forwarded

    @property
    def processes_per_node(self) -> int:
        return max(1, self.gpus_per_node)

    @property
    def command(self) -> list[str]:
        return ["torchrun", "-m", MODULE]

    @property
    def restart_limit(self) -> int:
        """Of containers, summed over all pods, as the operator's backoffLimit counts."""
        return self.nodes * self.job.restarts

    def metadata(self) -> dict[str, Any]:
        """With the owner reference: the job is deleted with its owner."""
        queue = {"kueue.x-k8s.io/queue-name": self.job.queue} if self.job.queue else {}
        return {
            "name": self.name,
            "namespace": self.place.namespace,
            "labels": {**self.labels(), **queue},
            "annotations": {WORK_ANNOTATION: self.digest},
            "ownerReferences": [self.owner],
        }

    def labels(self) -> dict[str, str]:
        training = {TRAINING_LABEL: label_value(self.training)} if self.training else {}
        return {
            "app.kubernetes.io/name": "comface",
            "app.kubernetes.io/component": "pretrain",
            RUN_LABEL: label_value(self.run),
            **training,
        }


def owner_reference(place: Place, pod: Mapping[str, Any]) -> dict[str, Any]:
    """The run's workflow if KFP started the step: draining the node of the step's pod must not delete a training of
    days. Otherwise the pod itself."""
    for owner in parts(part(pod, "metadata"), "ownerReferences"):
        if owner.get("kind") == "Workflow" and {"apiVersion", "name", "uid"} <= owner.keys():
            return {field: owner[field] for field in ("apiVersion", "kind", "name", "uid")}
    return {"apiVersion": "v1", "kind": "Pod", "name": place.pod, "uid": place.uid}


def work_digest(work: Work) -> str:
    return hashlib.sha256(canonical_json([work.run, work.plan, work.shards, work.result]).encode()).hexdigest()


def job_name(run: str, digest: str) -> str:
    """A DNS-1035 label of at most 50 characters: `comface-RUN-DIGEST`."""
    slug = re.sub("[^a-z0-9]+", "-", run.lower())[: SAFE - len("comface--") - 10].strip("-")
    return "-".join(part for part in ("comface", slug, digest[:10]) if part)


def label_value(run: str) -> str:
    """`run` as a label value: at most 63 characters, alphanumeric at both ends."""
    return re.sub("[^A-Za-z0-9_.-]+", "-", run)[:63].strip("-_.")
