"""The typed KFP face of pretrain."""

from kfp import dsl

from comface.image import IMAGE


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def pretrain(plan: str, shards: str, curve: dsl.Output[dsl.HTML], metrics: dsl.Output[dsl.Metrics]) -> str:
    """Learn backbone and change head from the shards; returns the URI of the `backbone` artifact."""
    from comface.pretrain.entry import pretrain_backbone

    uri, values = pretrain_backbone(plan, shards, curve.path)
    for name, value in values.items():
        metrics.log_metric(name, value)
    return uri
