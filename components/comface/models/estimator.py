"""A registered model at work: two aligned faces in, the estimated change of every task out.

d = l(ReLU(h_y - h_x)) on standardised features (section 3.4), or half of the difference of both orders where a head
says so; the mean over the faces and their mirror images, since a mirrored face has changed as much, and of
(d(x,y) - d(y,x)) / 2, so that the change back is the change with the other sign. Tasks of linear evaluation share the
pre-trained network, those of fine-tuning have one each.

Legend: S = H = W side length, D feature width, 2 = before and after.
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
from comface.faces.framing import shown
from comface.models import format as package

if TYPE_CHECKING:
    from torch import Tensor, nn

SHARED = "model.safetensors"
Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Estimator:
    uri: str
    preprocessing: package.Preprocessing
    networks: Mapping[str, nn.Module]
    """By the name of their file in the package."""
    network_of: Mapping[str, str]
    """Task -> which of them."""
    heads: Mapping[str, Arrays]
    """Task -> mean, scale, weight, bias, antisymmetric."""
    record: Mapping[str, package.Task]

    def changes(self, before_SS3: NDArray[np.uint8], after_SS3: NDArray[np.uint8]) -> dict[str, float]:
        """The change of every task, from faces aligned at preprocessing's `aligned_px`. Raises DataError where one is
        not finite."""
        faces = [before_SS3, after_SS3]
        if self.preprocessing.mirrored:
            faces += [face[:, ::-1] for face in faces]
        features = {name: self.features(np.stack(faces), name) for name in self.networks}
        found = {}
        for task, head in self.heads.items():
            h_ND = features[self.network_of[task]]
            pairs = [(h_ND[i], h_ND[i + 1]) for i in range(0, len(h_ND), 2)]
            with np.errstate(all="ignore"):
                both = [(change(head, x_D, y_D) - change(head, y_D, x_D)) / 2 for x_D, y_D in pairs]
                found[task] = float(np.mean(both))
            if not math.isfinite(found[task]):
                raise DataError(
                    f"The model at {self.uri} gives no finite figure for '{task}': its weights are damaged; "
                    "register it again."
                )
        return found

    def features(self, faces_NSS3: NDArray[np.uint8], name: str = SHARED) -> NDArray[np.float64]:
        import torch

        described = self.preprocessing
        mean, std = np.asarray(described.mean, np.float32), np.asarray(described.std, np.float32)
        views_NSS3 = shown(faces_NSS3, described.view_share, described.size_px)
        x_NSS3 = (views_NSS3.astype(np.float32) / 255 - mean) / std
        with torch.inference_mode():
            h_ND = self.networks[name](torch.from_numpy(x_NSS3.transpose(0, 3, 1, 2).copy()))
        return h_ND.double().numpy()


def change(head: Arrays, h_x_D: NDArray[np.float64], h_y_D: NDArray[np.float64]) -> float:
    """One head on one pair of features."""
    difference_D = (h_y_D - h_x_D) / head["scale"]  # the mean cancels
    antisymmetric = bool(head["antisymmetric"][0])
    seen_D = difference_D / 2 if antisymmetric else np.maximum(difference_D, 0)
    return float(seen_D @ head["weight"] + head["bias"][0])


def load_estimator(model: Artifact) -> Estimator:
    """Raises DataError when a file of the model is not what its manifest names, or not of a model's format."""
    backbone, record = package.read_backbone_name(model), package.read_tasks(model)
    described = package.read_preprocessing(model)
    if backbone == "vit_b_16" and described.size_px != VIT_SIDE_PX:
        raise DataError(f"The model at {model.uri} cannot be used: vit_b_16 takes {VIT_SIDE_PX} px; register it again.")
    network_of = {
        task: f"backbones/{task}.safetensors" if entry.mode == "finetune" else SHARED for task, entry in record.items()
    }
    networks = {name: _network(model, backbone, name) for name in dict.fromkeys(network_of.values())}
    width = networks[next(iter(networks))][1]
    heads = {task: package.head_of(model, task, width) for task in record}
    return Estimator(model.uri, described, {name: n for name, (n, _) in networks.items()}, network_of, heads, record)


VIT_SIDE_PX = 224


def _network(model: Artifact, backbone: str, name: str) -> tuple[nn.Module, int]:
    """f with the weights of one file of the package, in evaluation mode, and its width."""
    from comface.networks.backbones import build_backbone

    network, width = build_backbone(backbone)
    wanted = network.state_dict()
    limit_bytes = 2 * sum(tensor.numel() * tensor.element_size() for tensor in wanted.values()) + package.SPARE_BYTES
    tensors = package.read_tensors(model, name, limit_bytes)
    prefix = "backbone."
    state = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    if _format(state) != _format(wanted):
        raise DataError(f"The weights of {model.uri} do not fit '{backbone}' ({name}); register it again.")
    network.load_state_dict(state)
    return network.eval(), width


def _format(state: Mapping[str, Tensor]) -> dict[str, tuple[object, ...]]:
    """Shape of each tensor, and whether it holds floats (of any precision) or of which kind it is."""
    return {key: (v.shape, "float" if v.is_floating_point() else v.dtype) for key, v in state.items()}
