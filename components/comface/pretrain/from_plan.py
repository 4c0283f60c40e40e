"""Entry point of the component `pretrain`.

In: a plan and the shards. Out: the backbone, a plot and metrics. A run may have several trainings (variants,
seeds), each with its own plan, checkpoint and job. In a pod of a cluster, if the
configuration asks for GPUs or several nodes, the step launches a training job (docs/launcher.md); otherwise it trains
on the local machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import html
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from comface.artifacts.manifest import Artifact
from comface.artifacts.plans import Plan, hand_on, handed
from comface.errors import ConfigurationError, DataError
from comface.execution import execute, share_cores
from comface.execution.pages import metric_prefix, picture_page, write_text
from comface.launch import Launcher, Work
from comface.launch.local import local_launcher
from comface.launch.place import forwarded, place_of
from comface.pretrain.config import PretrainConfig
from comface.pretrain.draft import cpu_processes, draft_backbone
from comface.runtime.folders import cache_folder
from comface.store import Store

NO_JOB = "# The step trained the backbone itself, without a job.\n"


class PretrainPlan(Plan):
    """All trainings of a run. `chosen` names the one of a step in a loop."""

    trainings: dict[str, PretrainConfig]
    """METHOD/SEED → configuration; the first is that of the model which is registered."""
    chosen: str = ""

    @property
    def name(self) -> str:
        return self.chosen or next(iter(self.trainings))

    @property
    def alone(self) -> bool:
        return len(self.trainings) == 1

    @property
    def item(self) -> str:
        return "" if self.alone else self.name

    @property
    def pretrain(self) -> PretrainConfig:
        """The chosen training. Raises ConfigurationError if there is none of this name."""
        if self.name not in self.trainings:
            raise ConfigurationError(f"The plan has no training '{self.name}'; it has {', '.join(self.trainings)}.")
        return self.trainings[self.name]


def pretrain_backbone(
    plan: str, shards: str, curve_path: str, job_path: str = "", task: Any = None
) -> tuple[str, str, dict[str, float]]:
    """Return (key of the backbone, name of the training, metrics for the KFP UI). `job_path`: output file for the
    rendered job. `task`: the `dsl.TaskConfig` from KFP on a cluster."""

    def work(store: Store, planned: PretrainPlan) -> tuple[str, str, dict[str, float]]:
        config = planned.pretrain
        if config.reuse:
            return _reused(store, planned, curve_path, job_path)
        if not planned.alone:
            share_cores()  # the local runner trains two at a time
        (source,) = handed(store, planned.run, [shards], "shards")
        draft = draft_backbone(store, config, source)
        if job_path:
            write_text(job_path, NO_JOB)
        if draft.published() is None:
            wanted = Work(
                planned.run, plan, source.pinned, draft.uri, config, lambda: draft.published() is not None, planned.item
            )
            with contextlib.nullcontext() if planned.alone else turns_on_gpus():
                choose_launcher(store, config, source, task, job_path).train(wanted)
        backbone = draft.published()
        if backbone is None:
            raise DataError(f"The training job succeeded but did not publish a backbone at {draft.uri}; see its log.")
        validation = backbone.facts["validation"]
        note = f"{config.backbone}, {backbone.facts['steps']} steps of {config.pairs_per_step} pairs"
        title = "Pre-training" if planned.alone else f"Pre-training of {planned.name}"
        write_text(curve_path, picture_page(title, backbone.read("curve.png"), note))
        prefix = "" if planned.alone else f"{metric_prefix(planned.name)}_"
        metrics = {f"{prefix}held_out_{k}": v for k, v in validation.items() if v is not None}
        return hand_on(store, planned.run, backbone), planned.name, metrics

    return execute("pretrain", plan, PretrainPlan, work, shares_cores=False)


def _reused(store: Store, planned: PretrainPlan, curve_path: str, job_path: str) -> tuple[str, str, dict[str, float]]:
    """No training: the backbone of the model that the plan names."""
    from comface.pretrain.reuse import reused_backbone

    backbone = reused_backbone(store, planned.pretrain.reuse)
    if job_path:
        write_text(job_path, NO_JOB)
    write_text(curve_path, f"<p>The backbone of {html.escape(planned.pretrain.reuse)} was reused, not trained.</p>")
    return hand_on(store, planned.run, backbone), planned.name, {}


@contextlib.contextmanager
def turns_on_gpus() -> Iterator[None]:
    """Outside a cluster, wait until no other training uses the GPUs of this machine: the local runner starts two
    trainings at a time, which may not fit the memory of a GPU together."""
    from torch.cuda import is_available

    if place_of(os.environ) is not None or not is_available():
        yield
        return
    with (cache_folder() / "gpus.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def choose_launcher(store: Store, config: PretrainConfig, shards: Artifact, task: Any, job_path: str) -> Launcher:
    place = place_of(os.environ)
    if place is not None and (config.nodes > 1 or config.gpus_per_node > 0):
        from comface.launch.cluster_launcher import ClusterLauncher

        return ClusterLauncher(place, forwarded(task), Path(job_path) if job_path else None)

    def pretrain() -> None:
        from comface.pretrain.step import pretrain

        pretrain(store, config, shards, cache_folder())

    return local_launcher(config.nodes, config.gpus_per_node, pretrain, cpu_processes=cpu_processes(config))
