"""Where pre-training runs, and the job that it becomes on a cluster: part of the section `pretrain`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from comface.config.names import Resource
from comface.config.section import Count, Section, Small


class JobConfig(Section):
    """The job that pre-training becomes on a cluster (docs/launcher.md). What the task itself asks for goes first."""

    kind: Literal["pytorchjob", "trainjob"] = Field(
        default="pytorchjob", description="kubeflow.org/v1 (training operator) or trainer.kubeflow.org/v1alpha1"
    )
    runtime: Resource = Field(default="torch-distributed", description="TrainJob: its ClusterTrainingRuntime")
    image: Resource = Field(default="", description="image of its pods; empty: that of the step's own pod")
    cpus: Small = Field(default=64, description="cores requested per node")
    memory_gib: Count = Field(default=512, description="memory per node, shared memory included")
    shared_memory_gib: Count = Field(default=64, description="size of /dev/shm per node")
    scratch_gib: Count = Field(default=1000, description="local disk per node, for copies of shards")
    rdma: Resource = Field(
        default="",
        description="RDMA resource, one per node, e.g. rdma/hca_shared_devices_a; its IPC_LOCK is more than Pod "
        "Security 'restricted' and 'baseline' allow",
    )
    queue: Resource = Field(default="", description="Kueue's LocalQueue; the job starts suspended")
    gang: bool = Field(default=False, description="all or nothing by the operator's gang scheduler, not with Kueue")
    scheduler: Resource = Field(default="", description="scheduler of its pods, e.g. volcano")
    priority_class: Resource = Field(default="", description="PriorityClass of its pods")
    service_account: Resource = Field(
        default="", description="service account of its pods; empty: the namespace's default"
    )
    deadline_s: int = Field(
        default=1_209_600, ge=1, le=31_536_000, description="longest training; queued time does not count"
    )
    restarts: int = Field(default=5, ge=1, le=1000, description="restarts per node before the job is given up")
    resubmissions: int = Field(
        default=3, ge=0, le=1000, description="new jobs after one that failed by eviction or preemption"
    )
    keep_s: int = Field(
        default=86_400, ge=0, le=31_536_000, description="how long a finished PyTorchJob and its logs are kept"
    )

    @model_validator(mode="after")
    def _one_gang_scheduler(self) -> JobConfig:
        if self.queue and self.gang:
            raise ValueError("queue (Kueue) and gang (the operator's scheduler) exclude each other; choose one")
        if self.kind == "trainjob" and (self.gang or self.scheduler or self.priority_class):
            raise ValueError("gang, scheduler and priority_class of a TrainJob belong into its runtime; unset them")
        return self


class Placement(Section):
    """Where pre-training runs: on how many nodes and GPUs, and as which job."""

    nodes: int = Field(default=4, ge=1, le=1000, description="nodes of the PyTorchJob")
    gpus_per_node: int = Field(default=8, ge=0, le=64, description="GPUs per node; 0 trains on the CPU")
    job: JobConfig = Field(
        default=JobConfig(), description="the job that training becomes on a cluster (docs/launcher.md)"
    )
