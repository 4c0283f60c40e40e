"""A registered model at work: two aligned faces in, the estimated change of every task out.

d = l(ReLU(h_y - h_x)) on standardised features (section 3.4), or half of the difference of both orders where a head
says so; the mean over the faces and their mirror images, since a mirrored face has changed as much, and of
(d(x,y) - d(y,x)) / 2, so that the change back is the change with the other sign.

Legend: S = H = W side length, D feature width, 2 = before and after.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comface.errors import DataError
from comface.manifest import Artifact
from comface.views import shown

if TYPE_CHECKING:
    from torch import nn

HEAD_KEYS = ("mean", "scale", "weight", "bias", "antisymmetric")


@dataclass(frozen=True)
class Estimator:
    network: nn.Module
    preprocessing: Mapping[str, Any]
    heads: Mapping[str, Mapping[str, NDArray[np.float32]]]
    """Keys as transfer writes them: HEAD_KEYS."""
    record: Mapping[str, Mapping[str, Any]]
    """heads.json: unit, interval_half_width, … per task."""

    def changes(self, before_SS3: NDArray[np.uint8], after_SS3: NDArray[np.uint8]) -> dict[str, float]:
        """The change of every task, from faces aligned at preprocessing's `aligned_px`."""
        faces = [before_SS3, after_SS3]
        if self.preprocessing["mirrored"]:
            faces += [face[:, ::-1] for face in faces]
        h_ND = self._features(np.stack(faces))
        pairs = [(h_ND[i], h_ND[i + 1]) for i in range(0, len(h_ND), 2)]
        return {
            task: float(np.mean([(change(head, x_D, y_D) - change(head, y_D, x_D)) / 2 for x_D, y_D in pairs]))
            for task, head in self.heads.items()
        }

    def _features(self, faces_NSS3: NDArray[np.uint8]) -> NDArray[np.float64]:
        import torch

        mean, std = (np.asarray(self.preprocessing[name], np.float32) for name in ("mean", "std"))
        views_NSS3 = shown(faces_NSS3, self.preprocessing["view_share"], self.preprocessing["size_px"])
        x_NSS3 = (views_NSS3.astype(np.float32) / 255 - mean) / std
        with torch.inference_mode():
            h_ND = self.network(torch.from_numpy(x_NSS3.transpose(0, 3, 1, 2).copy()))
        return h_ND.double().numpy()


def change(head: Mapping[str, NDArray[np.float32]], h_x_D: NDArray[np.float64], h_y_D: NDArray[np.float64]) -> float:
    """One head on one pair of features."""
    difference_D = (h_y_D - h_x_D) / head["scale"]  # the mean cancels
    antisymmetric = bool(head["antisymmetric"][0])
    seen_D = difference_D / 2 if antisymmetric else np.maximum(difference_D, 0)
    return float(seen_D @ head["weight"] + head["bias"][0])


def load_estimator(model: Artifact) -> Estimator:
    """Raises DataError when a file of the model is not what its manifest names or does not fit."""
    import safetensors.numpy
    import safetensors.torch

    from comface.backbones import build_backbone

    config = json.loads(model.read("config.json"))["pretrain"]
    network, width = build_backbone(config["backbone"])
    state = safetensors.torch.load(model.read("model.safetensors"))
    prefix = "backbone."
    try:
        network.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    except RuntimeError:
        raise DataError(f"The weights of {model.uri} do not fit '{config['backbone']}'; register it again.") from None
    record = model.read_json("heads.json")
    heads = {task: safetensors.numpy.load(model.read(f"heads/{task}.safetensors")) for task in record}
    for task, head in heads.items():
        if set(HEAD_KEYS) - set(head) or head["weight"].shape != (width,):
            raise DataError(f"The head of '{task}' in {model.uri} does not fit the backbone; register it again.")
    return Estimator(network.eval(), model.read_json("preprocessing.json"), heads, record)
