"""The pipeline on one screen: synthesize -> shard -> pretrain -> transfer -> evaluate -> gate -> register.

`python pipelines/comface.py` compiles it to comface.yaml, which the KFP UI, `kfp run submit -e comface -f
pipelines/comface.yaml` and `comface run` all take as it is.
"""

import sys
from pathlib import Path

# This file has the package's name: run as a script, its folder would hide the package.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

# ruff: noqa: E402
from kfp import compiler, dsl

from comface.evaluate.component import evaluate
from comface.pretrain.component import pretrain
from comface.register.component import gate, register
from comface.resolve.component import resolve
from comface.resolve.finish import finish
from comface.shard.component import shard
from comface.synthesize.component import synthesize
from comface.transfer.component import align, complete, transfer

RUN_ID = dsl.PIPELINE_JOB_ID_PLACEHOLDER


@dsl.pipeline(
    name="comface", description="Learn from synthetic faces how one person's face changes (ComFace, WACV 2025)."
)
def comface(
    profile: str = "paper",
    overrides: str = "",
    run_name: str = "comface",
    store: str = "",
    weights: str = "",
    data: str = "",
    tasks: str = "",
    methods: str = "",
    nodes: int = 4,
    gpus_per_node: int = 8,
):
    """From synthetic faces to a registered model.

    Args:
        profile: Where the configuration starts from: 'paper' (250,000 identities, 32 GPUs) or 'laptop' (minutes).
        overrides: Fields that differ from the profile, one 'section.field=value' a line, e.g. 'pretrain.epochs=4'.
        run_name: Name under which the model is registered.
        store: Object store for artifacts, s3://bucket/prefix. Empty: the profile's.
        weights: Where generator and method weights lie, s3://bucket/prefix. Empty: the profile's.
        data: Data sets, a mapping {name: {layout: disfa|fgnet|edema|pairs, uri: ...}}. Empty: rehearsal data sets.
        tasks: Tasks to evaluate, comma-separated. Empty: the profile's.
        methods: Pre-trainings to compare, comma-separated. Empty: the profile's.
        nodes: Nodes of the pre-training job.
        gpus_per_node: GPUs on each of them; 0 trains on CPUs.
    """
    plans = resolve(
        profile=profile, overrides=overrides, run_name=run_name, run_id=RUN_ID, store=store, weights=weights,
        data=data, tasks=tasks, methods=methods, nodes=nodes, gpus_per_node=gpus_per_node,
    )  # fmt: skip
    with dsl.ExitHandler(finish(profile=profile, store=store, run_id=RUN_ID)):
        with dsl.ParallelFor(plans.outputs["parts"], name="parts") as part:
            tracks = synthesize(plan=plans.outputs["synthesize"], part=part)
        shards = shard(plan=plans.outputs["shard"], tracks=dsl.Collected(tracks.outputs["Output"]))
        trained = pretrain(plan=plans.outputs["pretrain"], shards=shards.outputs["Output"])
        backbone = trained.outputs["Output"]
        with dsl.ParallelFor(plans.outputs["datasets"], name="datasets") as dataset:
            aligned = align(plan=dataset)
        items = complete(
            items=plans.outputs["items"], faces=dsl.Collected(aligned.outputs["Output"]), backbone=backbone
        )
        with dsl.ParallelFor(items.output, name="task-method-mode") as item:
            result = transfer(plan=item)
        report = evaluate(
            plan=plans.outputs["evaluate"], results=dsl.Collected(result.outputs["Output"]), backbone=backbone
        )
        evaluation = report.outputs["Output"]
        decided = gate(plan=plans.outputs["register"], evaluation=evaluation)
        with dsl.If(decided.outputs["Output"] == "passed", name="gate-passed"):
            register(plan=plans.outputs["register"], evaluation=evaluation, backbone=backbone)


def compile_pipeline(path: Path) -> None:
    compiler.Compiler().compile(comface, str(path))


if __name__ == "__main__":
    compile_pipeline(Path(__file__).with_suffix(".yaml"))
