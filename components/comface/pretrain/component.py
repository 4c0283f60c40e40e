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
    shards: str,
    curve: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    job: dsl.Output[dsl.Artifact],
    task_config: dsl.TaskConfig,
) -> str:
    """Train backbone and change head on the shards. Returns the URI of the `backbone` artifact."""
    from comface.pretrain.from_plan import pretrain_backbone

    uri, values = pretrain_backbone(plan, shards, curve.path, job.path, task_config)
    for name, value in values.items():
        metrics.log_metric(name, value)
    return uri
