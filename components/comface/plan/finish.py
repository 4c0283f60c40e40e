"""The exit handler: shows the report, or the message of the step that failed."""

from kfp import dsl

from comface.execution.container_image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def finish(
    status: dsl.PipelineTaskFinalStatus, profile: str, store: str, run_id: str, report: dsl.Output[dsl.HTML]
) -> str:
    """Runs at the end of every run: shows its report, and returns one line on how it ended."""
    from comface.plan.from_parameters import ending

    return ending(status.state, profile, store, run_id, report.path)
