"""The two launchers of a cluster: a PyTorchJob or a TrainJob, made from the step's own pod.

In: place, what KFP forwards, a Work. Out: the rendered job as YAML (the step's artifact), then the result of
`attend.py`. Only this module combines the parts. It is imported only in a cluster.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Set
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from comface.errors import ComfaceError
from comface.execution.pages import write_text
from comface.launch import Work
from comface.launch.api import Api, Forbidden, Timing, connect
from comface.launch.attend import JobLauncher
from comface.launch.conditions import Phase
from comface.launch.place import Forwarded, Place, image_of, pull_secrets_of
from comface.launch.quota import KINDS
from comface.launch.request import (
    RUN_LABEL,
    TRAINING_LABEL,
    JobRequest,
    job_name,
    label_value,
    owner_reference,
    work_digest,
)

logger = logging.getLogger(__name__)

CALM, HURRIED = Timing(), Timing(patience_s=60)


class ClusterLauncher:
    """`job_path`: where the rendered job is written before it is created; None: nowhere."""

    def __init__(
        self,
        place: Place,
        forwarded: Forwarded,
        job_path: Path | None,
        client: Callable[[], Any] = connect,
        timing: Timing = CALM,
    ) -> None:
        self.place, self.forwarded, self.job_path = place, forwarded, job_path
        self.client, self.timing = client, timing

    def train(self, work: Work) -> None:
        kind = KINDS[work.config.job.kind]
        api = Api(self.client(), self.place.namespace, kind, self.timing)
        own = api.pod(self.place.pod)
        request = make_request(work, self.place, self.forwarded, own, user=os.getuid())
        body = kind.render(request)
        if self.job_path is not None:
            write_text(str(self.job_path), yaml.safe_dump(body, sort_keys=False))
        JobLauncher(api, request, body, work.done).run()


def make_request(work: Work, place: Place, forwarded: Forwarded, own_pod: dict[str, Any], user: int) -> JobRequest:
    """Image, user and pull secrets are those of the step's own pod, unless the configuration names an image."""
    config, digest = work.config, work_digest(work)
    return JobRequest(
        name=job_name(work.run, digest),
        digest=digest,
        run=work.run,
        training=work.item,
        place=place,
        owner=owner_reference(place, own_pod),
        image=config.job.image or image_of(own_pod),
        pull_secrets=pull_secrets_of(own_pod),
        user=user,
        arguments=work.arguments(),
        nodes=config.nodes,
        gpus_per_node=config.gpus_per_node,
        job=config.job,
        forwarded=forwarded,
    )


def end_jobs(
    run: str, place: Place, client: Callable[[], Any] = connect, timing: Timing = HURRIED, kept: Set[str] = frozenset()
) -> None:
    """Deletes the jobs that a run leaves when it ends, except those of the trainings `kept`; for the exit handler. An
    account may be allowed only one kind of job: a warning appears only if it may list none."""
    labels = {label_value(item) for item in kept}
    try:
        forbidden = [
            kind
            for kind in KINDS.values()
            if not _end(kind, run, place, labels, client(), replace(timing, forbidden_s=0))
        ]
        if len(forbidden) == len(KINDS):  # perhaps by an API server that has just started
            for kind in KINDS.values():
                if _end(kind, run, place, labels, client(), timing):
                    return
            logger.warning("jobs of the run were not searched, because this account may list none (docs/launcher.md)")
    except ComfaceError as error:
        logger.warning(f"jobs of the run were not searched: {error}")


def _end(kind: ModuleType, run: str, place: Place, kept: Set[str], client: Any, timing: Timing) -> bool:
    """Deletes the jobs of this kind that the run still has, except those with a label in `kept`. False if this account
    may not list them."""
    api = Api(client, place.namespace, kind, timing)
    try:
        found = api.jobs(f"{RUN_LABEL}={label_value(run)}")
    except Forbidden:
        return False
    for job in found:
        training = job["metadata"].get("labels", {}).get(TRAINING_LABEL, "")
        if training not in kept and kind.read(job).phase not in (Phase.SUCCEEDED, Phase.FAILED):
            logger.info(f"deleting the job '{job['metadata']['name']}', which still runs after its step")
            api.delete(job["metadata"]["name"], job["metadata"]["uid"])
    return True
