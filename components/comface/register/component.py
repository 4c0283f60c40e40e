"""The KFP components of gate and register."""

from kfp import dsl

from comface.execution.container_image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def gate(
    plan: str,
    evaluation: str,
    decision: dsl.Output[dsl.Markdown],
    report: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Check the challenger against the thresholds, a baseline method and the champion. Returns 'promote', 'keep' or
    'cannot tell'."""
    from comface.register.from_plan import decide

    outcome, values = decide(plan, evaluation, decision.path, report.path)
    for metric, value in values.items():
        metrics.log_metric(metric, value)
    return outcome


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def register(
    plan: str,
    evaluation: str,
    backbones: list,
    card: dsl.Output[dsl.Markdown],
    model: dsl.Output[dsl.Model],
) -> str:
    """Publish the model as the next version in the registry. Returns its reference, NAME@vN."""
    from comface.register.from_plan import register_model

    reference, pinned = register_model(plan, evaluation, backbones, card.path)
    model.uri, model.metadata["reference"] = pinned, reference
    return reference
