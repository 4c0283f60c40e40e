"""The KFP components of transfer: align the faces of each data set once, then run one transfer per item."""

from kfp import dsl

from comface.execution.container_image import GPU_IMAGE, IMAGE


@dsl.component(base_image=GPU_IMAGE, packages_to_install=[], install_kfp_package=False)
def align(plan: str, summary: dsl.Output[dsl.Markdown]) -> str:
    """Detect and align the faces of one data set (or its rehearsal if it has no URI). Returns the key of its
    `faces`."""
    from comface.transfer.from_plan import align_faces

    return align_faces(plan, summary.path)


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def complete(items: str, faces: list, backbone: str) -> list:
    """Draw the folds and pairs of each task, and add to each planned transfer what it reads. Returns the keys of the
    plans."""
    from comface.transfer.from_plan import complete_items

    return complete_items(items, faces, backbone)


@dsl.component(base_image=GPU_IMAGE, packages_to_install=[], install_kfp_package=False)
def transfer(plan: str, item: str, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Evaluate one method on one task in one mode. Returns the key of its `transfer` artifact."""
    from comface.artifacts.plans import item_of
    from comface.transfer.from_plan import metrics_of_item, transfer_item

    planned = item_of(plan, item)
    key = transfer_item(planned)
    for name, value in metrics_of_item(planned, key).items():
        metrics.log_metric(name, value)
    return key
