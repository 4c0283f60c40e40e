"""The KFP component of synthesize."""

from kfp import dsl

from comface.execution.container_image import GPU_IMAGE


@dsl.component(base_image=GPU_IMAGE, packages_to_install=[], install_kfp_package=False)
def synthesize(plan: str, part: int, contact_sheet: dsl.Output[dsl.HTML]) -> str:
    """Generate one part of the synthetic faces. Returns the key of its `part` artifact."""
    from comface.synthesize.from_plan import synthesize_part

    return synthesize_part(plan, part, contact_sheet.path)
