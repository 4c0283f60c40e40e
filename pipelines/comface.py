"""The pipeline: synthesize -> shard -> pretrain -> transfer -> evaluate -> gate -> register.

`python pipelines/comface.py [REGISTRY]` compiles it to comface.yaml; REGISTRY (host/path) is where the nodes find the
images, which are built and pushed first (docs/images.md). The KFP UI, `kfp run submit -e comface -f
pipelines/comface.yaml` and `comface run` all accept this file.
"""

import sys
from pathlib import Path

# This file has the name of the package. If it is run as a script, its folder would hide the package.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

# ruff: noqa: E402
from kfp import compiler, dsl, kubernetes

from comface.evaluate.component import evaluate
from comface.execution.container_image import locked
from comface.launch.place import FIELD_PATHS, REGISTER_KEYS, STORE_KEYS, STORE_SECRET
from comface.launch.podspec import STAYS
from comface.launch.request import METRICS_PORT
from comface.plan.component import resolve
from comface.plan.cost import PARTS_AT_ONCE
from comface.plan.finish import finish
from comface.pretrain.component import pretrain
from comface.register.component import gate, register
from comface.runtime.monitoring import METRICS_LABEL, PORT
from comface.shard.component import shard
from comface.synthesize.component import synthesize
from comface.transfer.component import align, complete, features, finetune, transfer

RUN_ID = dsl.PIPELINE_JOB_ID_PLACEHOLDER
IMAGES = Path(__file__).resolve().parents[1] / "docker" / "images.lock"
"""`make images` writes this file after it has pushed the images; the tasks then name the images by their digests."""
REGISTRY = sys.argv[1] if __name__ == "__main__" and len(sys.argv) > 1 else ""
"""Where the nodes find the images by their version, if not by the digests of that file."""
LOOPS = {"features": "features to compute", "linear": "linear evaluations", "finetune": "fine-tunings"}
TRAININGS = 1
"""Trainings at once. Two jobs that wait for each other's nodes would never start; with gang scheduling (k8s/components:
kueue, volcano) and more GPUs than one training uses, raise it."""


def on_cluster(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Set image, credentials, security context and retries. The credentials of the store come from a secret (not needed
    for file://). KFP retries after every failure; after a permanent failure, further attempts end immediately
    (execution/). run_as_non_root is the only setting of Pod Security `restricted` that KFP does not set itself."""
    task.set_container_image(locked(task.container_spec.image, IMAGES, REGISTRY))
    kubernetes.use_secret_as_env(task, STORE_SECRET, {key: key for key in STORE_KEYS}, optional=True)
    kubernetes.set_security_context(task, run_as_non_root=True)
    return task.set_retry(3, backoff_duration="20s", backoff_factor=2, backoff_max_duration="600s")


def sized(task: dsl.PipelineTask, cpu: tuple[str, str], memory: tuple[str, str]) -> dsl.PipelineTask:
    """Set requests and limits. The requests are small, so that one node can run the profile laptop; the limits are high
    enough for the profile paper."""
    task.set_cpu_request(cpu[0]).set_cpu_limit(cpu[1]).set_memory_request(memory[0]).set_memory_limit(memory[1])
    return on_cluster(task)


def light(task: dsl.PipelineTask) -> dsl.PipelineTask:
    return sized(task, ("250m", "2"), ("1Gi", "8Gi"))


def medium(task: dsl.PipelineTask) -> dsl.PipelineTask:
    return sized(task, ("1", "8"), ("4Gi", "32Gi"))


def heavy(task: dsl.PipelineTask, gpus: object) -> dsl.PipelineTask:
    task.register_pipeline_channels([gpus])  # the compiler does this for arguments, but not for resources
    task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(gpus)
    kubernetes.add_toleration(task, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
    return sized(task, ("2", "8"), ("6Gi", "48Gi"))


def observed(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Add the label by which Prometheus finds the pod. Its value is the port of the metrics."""
    kubernetes.add_pod_label(task, METRICS_LABEL, str(METRICS_PORT))
    kubernetes.use_field_path_as_env(task, PORT, f"metadata.labels['{METRICS_LABEL}']")
    return task


def knows_its_pod(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Pass the name and uid of its pod to a step. The step that launches the training job owns it, and `finish` deletes
    it."""
    for name, path in FIELD_PATHS.items():
        kubernetes.use_field_path_as_env(task, name, path)
    return task


def launching(task: dsl.PipelineTask) -> dsl.PipelineTask:
    """Configure a step that launches the training job. Settings made here, or on the task in your own pipeline
    (resources, selectors, affinity, volumes), apply to the job; by default, its size comes from pretrain.job. The
    step's own pod only monitors the job, and autoscalers must not evict it."""
    for name, value in STAYS.items():
        kubernetes.add_pod_annotation(task, name, value)
    kubernetes.add_toleration(task, key="nvidia.com/gpu", operator="Exists", effect="NoSchedule")
    return on_cluster(knows_its_pod(task))


def called(task: dsl.PipelineTask, name: str) -> dsl.PipelineTask:
    """Name the tile of a task in the UI. (Up to KFP 2.5, a loop did not find a task that was renamed.)"""
    return task.set_display_name(name)


def all_of(task: dsl.PipelineTask) -> dsl.Collected:
    """The results of all iterations of a loop. The compiler changes this object, so each consumer needs its own."""
    return dsl.Collected(task.outputs["Output"])


def items_of(
    loop: str,
    plans: dsl.PipelineTask,
    aligned: dsl.PipelineTask,
    trained: dsl.PipelineTask,
    encoded: dsl.PipelineTask | None = None,
) -> dsl.PipelineTask:
    """The items of a loop over features or transfers, with the artifacts that they read."""
    task = complete(
        plan=plans.outputs["items"],
        loop=loop,
        faces=all_of(aligned),
        backbones=all_of(trained),
        features=all_of(encoded) if encoded else [],
    )
    return light(called(task, f"List the {LOOPS[loop]}"))


@dsl.pipeline(
    name="comface", description="Learn changes within a person's face from synthetic faces (ComFace, WACV 2025)."
)
def comface(
    profile: str = "paper",
    overrides: dict = {},  # noqa: B006 (KFP takes the default from the signature)
    run_name: str = "comface",
    store: str = "",
    weights: str = "",
    data: dict = {},  # noqa: B006
    tasks: list = [],  # noqa: B006
    methods: list = [],  # noqa: B006
    nodes: int = 4,
    gpus_per_node: int = 8,
    price_per_gpu_hour: float = 0.0,
):
    """Train, evaluate and register a model on synthetic faces.

    Args:
        profile: Base of the configuration: 'paper' (250,000 identities, 32 GPUs), 'workstation' (one GPU, hours) or
            'laptop' (minutes).
        overrides: Fields that differ from the profile, e.g. {"pretrain.epochs": 4, "transfer.modes": ["linear"]}.
        run_name: Name under which the model is registered.
        store: Object store for artifacts, s3://bucket/prefix. Empty: from the profile.
        weights: Location of the weights of generators and methods, s3://bucket/prefix. Empty: from the profile.
        data: Data sets, e.g. {"fgnet": {"layout": "fgnet", "uri": "s3://bucket/fgnet"}}. Empty: rehearsal data sets.
        tasks: Tasks to evaluate, e.g. ["au12", "age"]. Empty: from the profile.
        methods: Methods to compare, e.g. ["scratch", "comface"]. Empty: from the profile.
        nodes: Number of nodes of the pre-training job.
        gpus_per_node: Number of GPUs per node; 0 runs everything on CPUs.
        price_per_gpu_hour: Price of one GPU for one hour, for the estimate that the first step shows. 0: no price.
    """
    plans = resolve(
        profile=profile, overrides=overrides, run_name=run_name, run_id=RUN_ID, store=store, weights=weights,
        data=data, tasks=tasks, methods=methods, nodes=nodes, gpus_per_node=gpus_per_node,
        price_per_gpu_hour=price_per_gpu_hour,
    )  # fmt: skip
    medium(called(plans, "Check everything, show plan and cost"))
    ended = called(finish(profile=profile, store=store, run_id=RUN_ID), "Show the report, or why the run failed")
    with dsl.ExitHandler(light(knows_its_pod(ended)), name="The run"):
        with dsl.ParallelFor(
            plans.outputs["parts"], name="For each part of the faces", parallelism=PARTS_AT_ONCE
        ) as part:
            drawn = synthesize(plan=plans.outputs["synthesize"], part=part)
            called(drawn, "Render faces")
            tracks = observed(heavy(drawn, plans.outputs["synthesize_gpus"]))
        packed = shard(plan=plans.outputs["shard"], tracks=all_of(tracks), trainings=plans.outputs["trainings"])
        ready = medium(called(packed, "Screen the faces, pack them into shards"))
        with dsl.ParallelFor(ready.outputs["Output"], name="For each pre-training", parallelism=TRAININGS) as item:
            # The configuration sets the size of its job (pretrain.job).
            trained = launching(called(pretrain(plan=plans.outputs["pretrain"], item=item), "Pre-train on the faces"))
        with dsl.ParallelFor(plans.outputs["datasets"], name="For each data set", parallelism=8) as dataset:
            aligned = medium(called(align(plan=dataset), "Find and align the faces of people"))
        todo = items_of("features", plans, aligned, trained)
        with dsl.ParallelFor(todo.output, name="For each method", parallelism=16) as item:
            encoded = called(features(plan=plans.outputs["items"], item=item), "Compute features")
            heavy(encoded, plans.outputs["features_gpus"])
        todo = items_of("linear", plans, aligned, trained, encoded)
        with dsl.ParallelFor(todo.output, name="For each linear evaluation", parallelism=16) as item:
            fitted = medium(called(transfer(plan=plans.outputs["items"], item=item), "Evaluate with a linear head"))
        todo = items_of("finetune", plans, aligned, trained)
        with dsl.ParallelFor(todo.output, name="For each fine-tuning", parallelism=16) as item:
            tuned = called(finetune(plan=plans.outputs["items"], item=item), "Evaluate by fine-tuning")
            heavy(tuned, plans.outputs["finetune_gpus"])
        report = evaluate(
            plan=plans.outputs["evaluate"],
            linear=all_of(fitted),
            finetuned=all_of(tuned),
            backbones=all_of(trained),
        )
        medium(called(report, "Write the report"))
        evaluation = report.outputs["Output"]
        decided = light(
            called(gate(plan=plans.outputs["register"], evaluation=evaluation), "Gate: compare with the champion")
        )
        with dsl.If(decided.outputs["Output"] != "keep", name="If the gate does not reject it"):
            model = register(plan=plans.outputs["register"], evaluation=evaluation, backbones=all_of(trained))
            light(called(model, "Register the model"))
            kubernetes.use_secret_as_env(model, STORE_SECRET, {key: key for key in REGISTER_KEYS}, optional=True)


def compile_pipeline(path: Path) -> None:
    compiler.Compiler().compile(comface, str(path))


if __name__ == "__main__":
    compile_pipeline(Path(__file__).with_suffix(".yaml"))
