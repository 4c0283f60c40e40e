"""Where pre-training runs, and its job on a cluster: part of the section `pretrain`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from comface.config.names import Resource
from comface.config.section import Count, Section, Small


class JobConfig(Section):
    """The training job on a cluster (docs/launcher.md). Settings of the pipeline's task take precedence."""

    kind: Literal["pytorchjob", "trainjob"] = Field(
        default="pytorchjob",
        description="kind of job: kubeflow.org/v1 (training operator) or trainer.kubeflow.org/v1alpha1",
    )
    runtime: Resource = Field(default="torch-distributed", description="ClusterTrainingRuntime of a TrainJob")
    image: Resource = Field(default="", description="image of the job's pods; empty: the image of the step's own pod")
    cpus: Small = Field(default=64, description="CPU cores requested per node")
    memory_gib: Count = Field(default=512, description="memory per node in GiB, including shared memory")
    shared_memory_gib: Count = Field(
        default=64, description="size of /dev/shm per node in GiB; NCCL uses it, the loader does not"
    )
    scratch_gib: Count = Field(default=1000, description="local disk per node in GiB, for copies of shards")
    rdma: Resource = Field(
        default="",
        description="RDMA resource, one per node, e.g. rdma/hca_shared_devices_a; it needs IPC_LOCK, which Pod "
        "Security 'restricted' and 'baseline' do not allow",
    )
    queue: Resource = Field(default="", description="Kueue's LocalQueue; the job is created suspended")
    gang: bool = Field(
        default=False, description="start all pods or none, with the operator's gang scheduler; not with Kueue"
    )
    scheduler: Resource = Field(default="", description="scheduler of the job's pods, e.g. volcano")
    priority_class: Resource = Field(default="", description="PriorityClass of the job's pods")
    service_account: Resource = Field(
        default="", description="service account of the job's pods; empty: the namespace's default"
    )
    deadline_s: int = Field(
        default=1_209_600, ge=1, le=31_536_000, description="longest training in seconds; queued time does not count"
    )
    restarts: int = Field(default=5, ge=1, le=1000, description="restarts per node before the job ends")
    resubmissions: int = Field(
        default=3, ge=0, le=1000, description="number of new jobs after an eviction or preemption"
    )
    keep_s: int = Field(
        default=86_400,
        ge=0,
        le=31_536_000,
        description="how long a finished PyTorchJob and its logs are kept, in seconds",
    )

    @model_validator(mode="after")
    def _one_gang_scheduler(self) -> JobConfig:
        if self.queue and self.gang:
            raise ValueError("queue (Kueue) and gang (the operator's scheduler) exclude each other; choose one")
        if self.kind == "trainjob" and (self.gang or self.scheduler or self.priority_class):
            raise ValueError("gang, scheduler and priority_class of a TrainJob belong in its runtime; unset them")
        return self


class Placement(Section):
    """Where pre-training runs: on how many nodes and GPUs, and as which job."""

    nodes: int = Field(default=4, ge=1, le=1000, description="nodes of the training job")
    gpus_per_node: int = Field(default=8, ge=0, le=64, description="GPUs per node; 0 trains on the CPU")
    processes: int | None = Field(
        default=1,
        ge=1,
        le=64,
        description="training processes on the CPU of one machine (nodes 1, gpus_per_node 0), which share its cores; "
        "null: one per core, which needs batchnorm: global",
    )
    job: JobConfig = Field(default=JobConfig(), description="the training job on a cluster (docs/launcher.md)")
