"""The typed KFP faces of gate and register."""

from kfp import dsl

from comface.execution.container_image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def gate(plan: str, evaluation: str, decision: dsl.Output[dsl.Markdown]) -> str:
    """Compare the challenger with thresholds and champion; returns 'passed' or 'refused', and records why."""
    from comface.register.from_plan import decide

    return decide(plan, evaluation, decision.path)


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def register(
    plan: str,
    evaluation: str,
    backbone: str,
    card: dsl.Output[dsl.Markdown],
    model: dsl.Output[dsl.Model],
) -> str:
    """Publish the model as the registry's next version; returns its reference, NAME@vN."""
    from comface.register.from_plan import register_model

    reference, pinned = register_model(plan, evaluation, backbone, card.path)
    model.uri, model.metadata["reference"] = pinned, reference
    return reference
