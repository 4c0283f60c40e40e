"""The KFP component of resolve: a few parameters in, one plan per step out."""

from typing import NamedTuple

from kfp import dsl

from comface.execution.container_image import GPU_IMAGE


@dsl.component(base_image=GPU_IMAGE, packages_to_install=[], install_kfp_package=False)
def resolve(
    profile: str,
    overrides: dict,
    run_name: str,
    run_id: str,
    store: str,
    weights: str,
    data: dict,
    tasks: list,
    methods: list,
    nodes: int,
    gpus_per_node: int,
    price_per_gpu_hour: float,
    page: dsl.Output[dsl.HTML],
) -> NamedTuple(  # type: ignore[valid-type]
    "Plans",
    [
        ("synthesize", str),
        ("parts", list),
        ("shard", str),
        ("pretrain", str),
        ("trainings", list),
        ("datasets", list),
        ("items", str),
        ("evaluate", str),
        ("register", str),
        ("synthesize_gpus", str),
        ("features_gpus", str),
        ("finetune_gpus", str),
    ],
):
    """Check the whole run, plan its steps and show what they cost, before anything expensive starts."""
    from comface.plan.from_parameters import resolve_parameters
    from comface.plan.parameters import Parameters

    parameters = Parameters(
        profile=profile, overrides=overrides, store=store, weights=weights, data=data, tasks=tasks, methods=methods,
        nodes=nodes, gpus_per_node=gpus_per_node, run_name=run_name,
    )  # fmt: skip
    return resolve_parameters(parameters, run_id, page.path, price_per_gpu_hour)
