"""An encoder: the loaded network of a method with its preprocessing (section 4.3).

In: uint8 RGB faces (N,S,S,3). Out: features (N,D). All methods use the same framing of faces.

Legend: N images, S = H = W side length, C = 3 channels, D feature width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comface.errors import ConfigurationError, DataError
from comface.faces.preprocessing import Crop, Preprocessing
from comface.methods.layouts import Origin

if TYPE_CHECKING:
    import torch
    from torch import nn

    from comface.artifacts.manifest import Artifact
    from comface.methods.config import UntrainedConfig

Faces = NDArray[np.uint8]
TRIAL_PX = 64
BATCH = 16
"""Batch size on the CPU. With 16, the feature maps of a 224 px network fit into the cache of a core; 32 took 1.7 times
as long per face."""
GPU_BATCH = 256
"""Batch size on the GPU. The feature maps of a ResNet-50 at 224 px take 2 GB."""


@dataclass(frozen=True)
class Sources:
    """Everything that a method can be loaded from. `backbone`: artifact of pre-training. `weights`: file of a published
    method. `network`, `image_size_px`, `view_share`, `seed`: settings of 'scratch' and 'pixels'."""

    backbone: Artifact | None = None
    weights: Path | None = None
    network: str = "resnet50"
    image_size_px: int = 224
    view_share: float = 1.0
    seed: int = 0

    @classmethod
    def of(cls, backbone: Artifact | None, weights: Path | None, config: UntrainedConfig, seed: int = 0) -> Sources:
        return cls(backbone, weights, config.backbone, config.image_size_px, config.view_share, seed)


@dataclass(frozen=True)
class Encoder:
    """`preprocessing` converts faces to the network's input; `network` maps it to features (N,D) of width D =
    `width`."""

    width: int
    preprocessing: Preprocessing
    network: nn.Module
    head: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """`weight` (1,D) and `bias` (1,) of the change head l; empty if the method has none. Only ComFace has one."""
    folds: bool = False
    """Whether each BatchNorm follows the convolution registered right before it, so that it can be folded into it
    (networks.backbones.folded)."""

    crop: Crop | None = None
    """The crop of images that are taken as they are; None: their central square is taken for an aligned face."""
    origin: Origin | None = None
    """What was read from a weight file."""

    def input_of(self, image_HW3: NDArray[np.uint8]) -> torch.Tensor:
        """The network's input (1,3,H,W) from an image that is taken as it is: no face is looked for."""
        if self.crop is None:
            height, width = image_HW3.shape[:2]
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            return self.preprocessing(image_HW3[None, top : top + side, left : left + side])
        return self.preprocessing.colours(self.crop(image_HW3, self.preprocessing.size_px)[None])

    def for_inference(self) -> nn.Module:
        """Return the network in evaluation mode, with BatchNorm folded if `folds`."""
        from comface.networks.backbones import folded

        return folded(self.network) if self.folds else self.network.eval()


def best_device() -> str:
    """Return "cuda" if a GPU is available, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def encode(encoder: Encoder, faces_NSSC: Faces, device: str = "cpu") -> NDArray[np.float32]:
    """Compute the features (N,D) of faces (N,S,S,3) in batches."""
    return encoding(encoder, device)(faces_NSSC)


def encode_images(encoder: Encoder, images: Iterable[Faces], device: str = "cpu") -> NDArray[np.float32]:
    """Compute the features (N,D) of images (H,W,3) of any size, taken as they are (Encoder.input_of)."""
    return _forward(encoder, device)(map(encoder.input_of, images))


def encoding(encoder: Encoder, device: str = "cpu") -> Callable[[Faces], NDArray[np.float32]]:
    """Return the function from faces (N,S,S,3) to features (N,D), computed in batches."""
    forward = _forward(encoder, device)
    size = BATCH if device == "cpu" else GPU_BATCH

    def features(faces_NSSC: Faces) -> NDArray[np.float32]:
        starts = range(0, len(faces_NSSC), size)
        return forward(encoder.preprocessing(np.asarray(faces_NSSC[start : start + size])) for start in starts)

    return features


def _forward(encoder: Encoder, device: str) -> Callable[[Iterable[torch.Tensor]], NDArray[np.float32]]:
    """Return the function from inputs (N,C,H,W) to all their features (N,D), without gradients. BatchNorm uses its
    stored statistics. TF32 is disabled on a GPU, because it would change the third digit."""
    import torch

    network = encoder.for_inference().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(batches: Iterable[torch.Tensor]) -> NDArray[np.float32]:
        parts = [np.empty((0, encoder.width), dtype=np.float32)]
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for x_NCHW in batches:
                x_NCHW = x_NCHW.to(device, memory_format=torch.channels_last)
                parts.append(network(x_NCHW).float().cpu().numpy())
        return np.concatenate(parts)

    return features


def tried(encoder: Encoder, name: str) -> Encoder:
    """Return `encoder` after a trial with one black image. Raises ConfigurationError if it fails or its output does not
    have the shape (1, width): a user's network may state a wrong width or return feature maps."""
    import torch

    try:
        encoder.network.eval()
        with torch.inference_mode():
            found = tuple(encoder.network(encoder.preprocessing(np.zeros((1, TRIAL_PX, TRIAL_PX, 3), np.uint8))).shape)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(
            f"The method '{name}' cannot encode a face ({str(error).splitlines()[0][:200]}); correct its preprocessing "
            "or its network."
        ) from error
    if found != (1, encoder.width):
        raise ConfigurationError(
            f"The method '{name}' returns features of shape {found} for one face, not (1, {encoder.width}); correct "
            "its network or its width."
        )
    return encoder


def load_whole(network: nn.Module, state: Mapping[str, Any], where: str) -> None:
    """Load `state` into `network`. Raises DataError if a tensor is missing, unknown or of another shape; `where` names
    the source in the message."""
    wanted = network.state_dict()
    lacking = [k for k in wanted if k not in state and not k.endswith("num_batches_tracked")]
    wrong = [k for k in state if k not in wanted or state[k].shape != wanted[k].shape]
    if lacking or wrong:
        raise DataError(
            f"The weights of {where} do not fit the network ({len(lacking)} missing, {len(wrong)} unknown or of "
            f"another shape, first '{(lacking + wrong)[0]}'); pass the weights of this network."
        )
    network.load_state_dict(dict(state), strict=False)
