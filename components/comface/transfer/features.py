"""Features of all faces of a data set under one method, made once and shared by its tasks.

In: a `faces` artifact and a method's weights. Out: an artifact `features` with features.npy, float32 (N,D). Where
that is already published nothing heavy is imported: linear evaluation then runs without torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.config import TransferConfig
from comface.errors import DataError
from comface.manifest import Artifact, Draft, file_sha256
from comface.progress import say
from comface.store import Store
from comface.transfer.arrays import array_bytes, read_array
from comface.transfer.methods import Sources, best_device, default_weights, encode, load_method


def features(
    store: Store,
    method: str,
    faces: Artifact,
    backbone: Artifact | None,
    weights: Path | None,
    config: TransferConfig,
) -> Artifact:
    """`backbone` serves the method 'comface' alone, `weights` the published ones (None: what `comface fetch` took)."""
    made, inputs = method_inputs(method, backbone, weights, config)
    draft = Draft(store, "features", {"method": method} | made, {"faces": faces} | inputs, step=__name__)
    return draft.published() or _make(draft, method, faces, backbone, weights, config)


def read_features(artifact: Artifact) -> NDArray[np.float32]:
    return read_array(artifact, "features.npy")


def method_inputs(
    method: str, backbone: Artifact | None, weights: Path | None, config: TransferConfig
) -> tuple[dict[str, Any], dict[str, Artifact]]:
    """What a method's network depends on, no more, so that as much as can be is shared: part of the configuration, and
    input artifacts."""
    if method == "comface":
        return {}, {"backbone": backbone} if backbone is not None else {}
    if method == "pixels":
        return {"view_share": config.view_share}, {}
    if method == "scratch":
        fields = {"backbone", "image_size_px", "view_share", "seed"}
        return {f"network_{name}": value for name, value in config.model_dump(include=fields).items()}, {}
    path = weights or default_weights(method)
    if not path.is_file():
        raise DataError(f"The weights of '{method}' are not at '{path}'; run `comface fetch`, or give their place.")
    return {"weights_sha256": file_sha256(path)}, {}


def _make(
    draft: Draft,
    method: str,
    faces: Artifact,
    backbone: Artifact | None,
    weights: Path | None,
    config: TransferConfig,
) -> Artifact:
    images_NSSC = read_array(faces, "faces.npy")
    encoder = load_method(method, Sources.of(backbone, weights, config))
    device = best_device()
    where = "on the GPU" if device == "cuda" else "on the CPU"
    say(f"features: {method}, {len(images_NSSC)} faces of {faces.facts.get('dataset', 'a data set')}, {where}")
    h_ND = encode(encoder, images_NSSC, device)
    if not np.isfinite(h_ND).all():
        raise DataError(f"The method '{method}' gives features that are not finite; its weights are damaged.")
    draft.write("features.npy", array_bytes(h_ND))
    return draft.publish(
        {
            "method": method,
            "preprocessing": dict(encoder.preprocessing),
            "photos": len(h_ND),
            "width": int(h_ND.shape[1]),
        }
    )
