"""The KFP components of transfer: align the faces of each data set once, compute the features of each method and data
set once, then run one transfer per item."""

from kfp import dsl

from comface.execution.container_image import GPU_IMAGE, IMAGE


@dsl.component(base_image=GPU_IMAGE, packages_to_install=[], install_kfp_package=False)
def align(plan: str, summary: dsl.Output[dsl.Markdown]) -> str:
    """Detect and align the faces of one data set (or its rehearsal if it has no URI). Returns the key of its
    `faces`."""
    from comface.transfer.from_plan import align_faces

    return align_faces(plan, summary.path)


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def complete(plan: str, loop: str, faces: list, backbones: list, features: list) -> list:
    """Add to the planned items the artifacts that they read. Returns the items of one loop: 'features', 'linear' or
    'finetune'."""
    from comface.transfer.from_plan import complete_items

    return complete_items(plan, loop, faces, backbones, features)


@dsl.component(base_image=GPU_IMAGE, packages_to_install=[], install_kfp_package=False)
def features(plan: str, item: str) -> str:
    """Compute the features of one method, for all its transfers. Returns the key of the `features` artifacts."""
    from comface.artifacts.plans import item_of, split_item
    from comface.transfer.from_plan import encode_faces

    return encode_faces(item_of(plan, *split_item(item)))


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def transfer(plan: str, item: str, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Evaluate one method on one task, with a linear head on frozen features. Returns the key of its `transfer`
    artifact."""
    from comface.artifacts.plans import item_of, split_item
    from comface.transfer.from_plan import transfer_item

    key, name, values = transfer_item(item_of(plan, *split_item(item)))
    metrics.metadata["display_name"] = name  # the UI shows it; a loop's tasks all have one name
    for metric, value in values.items():
        metrics.log_metric(metric, value)
    return key


@dsl.component(base_image=GPU_IMAGE, packages_to_install=[], install_kfp_package=False)
def finetune(plan: str, item: str, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Evaluate one method on one task by fine-tuning. Returns the key of its `transfer` artifact."""
    from comface.artifacts.plans import item_of, split_item
    from comface.transfer.from_plan import transfer_item

    key, name, values = transfer_item(item_of(plan, *split_item(item)), "finetune")
    metrics.metadata["display_name"] = name
    for metric, value in values.items():
        metrics.log_metric(metric, value)
    return key
