"""The KFP component of shard."""

from kfp import dsl

from comface.execution.container_image import GPU_IMAGE


@dsl.component(base_image=GPU_IMAGE, packages_to_install=[], install_kfp_package=False)
def shard(plan: str, tracks: list, trainings: list, summary: dsl.Output[dsl.Markdown]) -> list:
    """Pack all tracks into shards, split 90/10 by identity. Returns the items of the loop over trainings, which read
    these shards."""
    from comface.artifacts.plans import items_with
    from comface.shard.from_plan import shard_tracks

    return items_with(shard_tracks(plan, tracks, summary.path), trainings)
