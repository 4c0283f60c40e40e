"""The exit handler: reports how the run ended, with the message of the step that failed."""

from kfp import dsl

from comface.execution.container_image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def finish(status: dsl.PipelineTaskFinalStatus, profile: str, store: str, run_id: str) -> str:
    """Runs at the end of every run; returns one line on how it ended."""
    from comface.plan.from_parameters import ending

    return ending(status.state, profile, store, run_id)
