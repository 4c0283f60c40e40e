"""A launcher as a step has it, with short waits: called by tests, and run by them as a process of its own:
`python launching.py URL FOLDER` (COMFACE_POD_NAME and COMFACE_POD_UID name its pod)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubernetes import client as kubernetes

from comface.artifacts.plans import Plan
from comface.cluster.client import Cluster
from comface.execution import execute
from comface.launch import Work
from comface.launch.api import Timing
from comface.launch.cluster_launcher import ClusterLauncher
from comface.launch.config import JobConfig
from comface.launch.place import Forwarded, Place
from comface.pretrain.config import PretrainConfig

FAST = Timing(
    poll_s=0.05, request_s=5, backoff_s=0.02, patience_s=20, forbidden_s=0.3, unseen_s=20, stuck_s=20, tell_s=0.5,
    gone_s=20, last_words_s=1, cleanup_s=1,
)  # fmt: skip
"""What a test is about it shortens further; everything else must not end a life on a busy machine."""
NAMESPACE = "research"
PLAN = '{"store":"s3://bucket/artifacts"}'
SECRET = {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "comface-store", "key": "secret"}}}


def work_for(job: JobConfig, done: Callable[[], bool] = lambda: False, run: str = "run-7", nodes: int = 2) -> Work:
    config = PretrainConfig(nodes=nodes, gpus_per_node=1, job=job)
    return Work(run, PLAN, "s3://bucket/artifacts/shards/1", "s3://bucket/artifacts/backbone/1", config, done)


def launcher_for(url: str, folder: Path, timing: Timing = FAST, pod: str = "launcher-1", uid: str = "uid-1") -> Any:
    def client() -> Cluster:
        settings = kubernetes.Configuration(host=url)
        settings.retries = False
        return Cluster(kubernetes.ApiClient(settings))

    forwarded = Forwarded(env=[SECRET])
    return ClusterLauncher(Place(pod, uid, NAMESPACE), forwarded, folder / "job.yaml", client, timing)


def main() -> None:
    url, folder = sys.argv[1], Path(sys.argv[2])
    pod = {"pod": os.environ["COMFACE_POD_NAME"], "uid": os.environ["COMFACE_POD_UID"]}
    plan = f'{{"store":"{folder.as_uri()}","run":"run-7"}}'
    execute("pretrain", plan, Plan, lambda *_: launcher_for(url, folder, **pod).train(work_for(JobConfig())))


if __name__ == "__main__":
    main()
