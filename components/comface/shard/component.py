"""The KFP component of shard."""

from kfp import dsl

from comface.execution.container_image import GPU_IMAGE


@dsl.component(base_image=GPU_IMAGE, packages_to_install=[], install_kfp_package=False)
def shard(plan: str, tracks: list, summary: dsl.Output[dsl.Markdown]) -> str:
    """Pack all tracks into shards, split 90/10 by identity. Returns the URI of the `shards` artifact."""
    from comface.shard.from_plan import shard_tracks

    return shard_tracks(plan, tracks, summary.path)
