"""The KFP component of pretrain. The settings of its task apply to the training job; the pod of the step stays
small."""

from kfp import dsl

from comface.execution.container_image import GPU_IMAGE

TO_THE_JOB = [
    dsl.TaskConfigField.RESOURCES,
    dsl.TaskConfigField.KUBERNETES_NODE_SELECTOR,
    dsl.TaskConfigField.KUBERNETES_TOLERATIONS,
    dsl.TaskConfigField.KUBERNETES_AFFINITY,
    dsl.TaskConfigField.KUBERNETES_VOLUMES,
    dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.ENV, apply_to_task=True),  # both read and write the store
]


@dsl.component(
    base_image=GPU_IMAGE, packages_to_install=[], install_kfp_package=False, task_config_passthroughs=TO_THE_JOB
)
def pretrain(
    plan: str,
    item: str,
    curve: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    job: dsl.Output[dsl.Artifact],
    task_config: dsl.TaskConfig,
) -> str:
    """Train one backbone and change head on the shards. Returns the key of the `backbone` artifact."""
    from comface.artifacts.plans import item_of, split_item
    from comface.pretrain.from_plan import pretrain_backbone

    training, shards = split_item(item)
    key, name, values = pretrain_backbone(item_of(plan, training), shards, curve.path, job.path, task_config)
    for output, what in ((curve, "curve"), (metrics, "metrics"), (job, "job")):
        output.metadata["display_name"] = f"{name} {what}"  # the UI shows it; a loop's tasks all have one name
    for metric, value in values.items():
        metrics.log_metric(metric, value)
    return key
