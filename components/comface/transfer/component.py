"""The typed KFP faces of transfer: faces of each data set found and aligned once, then one transfer per item."""

from kfp import dsl

from comface.image import GPU_IMAGE, IMAGE


@dsl.component(base_image=GPU_IMAGE, packages_to_install=[], install_kfp_package=False)
def align(plan: str, summary: dsl.Output[dsl.Markdown]) -> str:
    """Find and align the faces of one data set (rehearsed where none is given); returns its `faces` artifact."""
    from comface.transfer.entry import align_faces

    return align_faces(plan, summary.path)


@dsl.component(base_image=IMAGE, packages_to_install=[], install_kfp_package=False)
def complete(items: list, faces: list, backbone: str) -> list:
    """Give each planned transfer just the faces and the backbone that it reads, so that caching is exact per item."""
    from comface.transfer.entry import complete_items

    return complete_items(items, faces, backbone)


@dsl.component(base_image=GPU_IMAGE, packages_to_install=[], install_kfp_package=False)
def transfer(plan: str, metrics: dsl.Output[dsl.Metrics]) -> str:
    """Evaluate one method on one task in one mode; returns the URI of its `transfer` artifact."""
    from comface.transfer.entry import transfer_item

    uri, values = transfer_item(plan)
    for name, value in values.items():
        metrics.log_metric(name, value)
    return uri
