"""Inference with a registered model. In: two aligned faces. Out: the estimated change for every task.

Preprocessing, features and heads are those that transfer evaluates (faces/preprocessing.py, methods/encoder.py,
networks/head.py). An estimate is the mean of d(x,y) and -d(y,x), so swapping the photos flips its sign. It is also the
mean over the faces and their mirror images, because mirroring does not alter the change. Tasks of mode linear share the
pre-trained network; each task of mode finetune has its own network.

Legend: S = H = W side length, D feature width, V views of one face, P pairs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.manifest import Artifact
from comface.errors import DataError
from comface.methods.encoder import Encoder, encode
from comface.models import format as package
from comface.models.seen import Seen
from comface.models.signing import check_signature
from comface.networks import PATCH_PX
from comface.networks.head import Head
from comface.tasks.config import base

if TYPE_CHECKING:
    from torch import Tensor

SHARED = "model.safetensors"
Features = Mapping[str, NDArray[np.float32]]
"""Name of an encoder's weight file → features (V,D) of the face and, if `mirrored`, of its mirror image."""


@dataclass(frozen=True)
class Estimator:
    uri: str
    preprocessing: package.Preprocessing
    encoders: Mapping[str, Encoder]
    """Name of the weight file in the model → encoder."""
    encoder_of: Mapping[str, str]
    """Task → name of the weight file of its encoder."""
    heads: Mapping[str, Head]
    record: Mapping[str, package.Task]
    seen: Seen | None = None
    """The distribution of the features (of SHARED) of the photos that the heads were fitted on, if it is known."""

    def features(self, face_SS3: NDArray[np.uint8]) -> Features:
        """The features of a face aligned at `preprocessing.aligned_px`, by each encoder."""
        views = [face_SS3, face_SS3[:, ::-1]] if self.preprocessing.mirrored else [face_SS3]
        return {name: encode(encoder, np.stack(views)) for name, encoder in self.encoders.items()}

    def changes(self, before_SS3: NDArray[np.uint8], after_SS3: NDArray[np.uint8]) -> dict[str, float]:
        """The changes between two faces, as `changes_between` their features."""
        return self.changes_between(self.features(before_SS3), self.features(after_SS3))

    def changes_between(self, before: Features, after: Features) -> dict[str, float]:
        """Estimate the change of every task, in its unit. Raises DataError if an estimate is not finite."""
        found = {}
        for task, head in self.heads.items():
            h_x_VD, h_y_VD = before[self.encoder_of[task]], after[self.encoder_of[task]]
            found[task] = float(np.mean(symmetric(head, h_x_VD, h_y_VD)))
            if not math.isfinite(found[task]):
                raise DataError(
                    f"The estimate of the model at {self.uri} for '{task}' is not finite: its weights are damaged; "
                    "register it again."
                )
        return found


def symmetric(head: Head, h_x_PD: NDArray[np.floating], h_y_PD: NDArray[np.floating]) -> NDArray[np.float64]:
    """The estimates (P,): the mean of d(x,y) and -d(y,x)."""
    with np.errstate(all="ignore"):
        return (head(h_x_PD, h_y_PD) - head(h_y_PD, h_x_PD)) / 2


def load_estimator(model: Artifact) -> Estimator:
    """Load a registered model. Raises DataError if no trusted key signed it, or if a file differs from the manifest or
    does not have the expected format."""
    check_signature(model)
    package.check_format(model)
    backbone, record = package.read_backbone_name(model), package.read_tasks(model)
    described = package.read_preprocessing(model)
    patch_px = PATCH_PX.get(backbone, 1)
    if described.size_px % patch_px:
        raise DataError(
            f"The model at {model.uri} cannot be used: {backbone} takes multiples of {patch_px} px, not "
            f"{described.size_px}; register it again."
        )
    encoder_of = {
        task: f"backbones/{task}.safetensors" if base(entry.mode) == "finetune" else SHARED
        for task, entry in record.items()
    }
    encoders = {name: _encoder(model, backbone, name, described) for name in dict.fromkeys(encoder_of.values())}
    heads = {task: package.read_head(model, task, encoders[encoder_of[task]].width) for task in record}
    seen = package.read_seen(model, encoders[SHARED].width) if SHARED in encoders else None
    return Estimator(model.uri, described, encoders, encoder_of, heads, record, seen)


def shared_encoder(model: Artifact, estimator: Estimator) -> Encoder:
    """The encoder of the pre-trained backbone, which every model contains, whether one of its tasks uses it or not."""
    if SHARED in estimator.encoders:
        return estimator.encoders[SHARED]
    return _encoder(model, package.read_backbone_name(model), SHARED, estimator.preprocessing)


def _encoder(model: Artifact, backbone: str, name: str, described: package.Preprocessing) -> Encoder:
    """Build the backbone f and load its weights from one file of the model."""
    from comface.networks.backbones import build_backbone, folded

    network, width = build_backbone(backbone, described.size_px)
    wanted = network.state_dict()
    limit_bytes = 2 * sum(tensor.numel() * tensor.element_size() for tensor in wanted.values()) + package.SPARE_BYTES
    tensors = package.read_tensors(model, name, limit_bytes)
    prefix = "backbone."
    state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    if _format(state) != _format(wanted):
        raise DataError(f"The weights of {model.uri} do not fit '{backbone}' ({name}); register it again.")
    network.load_state_dict(state)
    return Encoder(width, described, folded(network))


def _format(state: Mapping[str, Tensor]) -> dict[str, tuple[object, ...]]:
    """Return the shape and type of each tensor; all floating-point types count as one."""
    return {key: (v.shape, "float" if v.is_floating_point() else v.dtype) for key, v in state.items()}
