"""Computes the features of all faces of a data set with one method, once for all tasks.

In: a `faces` artifact and the weights of a method. Out: an artifact `features` with features.npy, float32 (N,D) (N
faces, D feature width). If the artifact exists, torch is not imported, so linear evaluation runs without torch.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.arrays import array_bytes, read_array
from comface.artifacts.facts import FacesFacts
from comface.artifacts.manifest import Artifact, Draft
from comface.errors import DataError
from comface.methods import REVISION, load_method
from comface.methods import method as method_called
from comface.methods.encoder import Sources, best_device, encode
from comface.runtime.progress import counted
from comface.store import Store

logger = logging.getLogger(__name__)


def features(store: Store, method: str, faces: Artifact, sources: Sources) -> Artifact:
    """Publish the features of `faces`, or return them if they exist. Raises DataError if a feature is not finite."""
    made, inputs = method_called(method).inputs(sources)
    draft = Draft(store, "features", {"method": method} | made, {"faces": faces} | inputs, {"methods": REVISION})
    return draft.published() or _make(draft, method, faces, sources)


def read_features(artifact: Artifact) -> NDArray[np.float32]:
    return read_array(artifact, "features.npy")


def _make(draft: Draft, method: str, faces: Artifact, sources: Sources) -> Artifact:
    images_NSSC = read_array(faces, "faces.npy")
    encoder = load_method(method, sources)
    device = best_device()
    where = "on the GPU" if device == "cuda" else "on the CPU"
    what = f"{counted(len(images_NSSC), 'face')} of {faces.facts_as(FacesFacts).dataset}"
    logger.info(f"features of {method}: {what}, {where}")
    h_ND = encode(encoder, images_NSSC, device)
    if not np.isfinite(h_ND).all():
        raise DataError(
            f"The method '{method}' returns features that are not finite: its weights are damaged; get them again."
        )
    draft.write("features.npy", array_bytes(h_ND))
    return draft.publish(
        {
            "method": method,
            "preprocessing": encoder.preprocessing.described(),
            "photos": len(h_ND),
            "width": int(h_ND.shape[1]),
        }
    )
