"""Where a method looks: its Eigen-CAM for one image (Figure 4 of the paper).

In: an encoder, and an aligned face or an image that is taken as it is. Out: a `Saliency`: the map at the resolution of
the network's last feature map, and the part of the image that the network saw.

Legend: H, W sides of an image, h, w sides of a feature map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from comface.errors import ConfigurationError, DataError
from comface.methods.encoder import Encoder
from comface.networks.eigencam import Floats, heat, projection

if TYPE_CHECKING:
    import torch

Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]
COLOURS = "cividis"
"""Of all overlays: colour-blind readers see the same order."""
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Saliency:
    title: str
    """The method's name in the picture."""
    map_hw: Floats
    """The projection on the first principal component; its largest absolute value is positive."""
    box: Box = WHOLE
    """What the network saw: left, top, right, bottom as shares of the image. It can extend beyond the image."""

    def on_image(self, height: int, width: int) -> Floats:
        """The map from 0 to 1 at the pixels (H,W) of the image; NaN where the network saw nothing."""
        left, top, right, bottom = (
            round(share * side) for share, side in zip(self.box, (width, height) * 2, strict=True)
        )
        seen = heat(self.map_hw, right - left, bottom - top)
        placed_HW = np.full((height, width), np.nan, np.float32)
        rows, columns = slice(max(top, 0), min(bottom, height)), slice(max(left, 0), min(right, width))
        placed_HW[rows, columns] = seen[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        return placed_HW


def opacity(strength: Floats) -> Floats:
    """How opaque an overlay is where the map has this strength, from 0 to 1: a face stays visible below."""
    return np.asarray(0.85 * np.nan_to_num(strength) ** 0.8, np.float32)


def saliency_of_face(encoder: Encoder, face_SS3: Pixels, name: str, title: str = "") -> Saliency:
    """The map of an aligned face, preprocessed as in evaluation. Raises ConfigurationError if the method has no feature
    map."""
    return _saliency(encoder, encoder.preprocessing(face_SS3[None]), name, title, _box(*encoder.preprocessing.seen))


def saliency_of_image(encoder: Encoder, image_HW3: Pixels, name: str, title: str = "") -> Saliency:
    """The map of an image that is taken as it is: no face is looked for. Raises as `saliency_of_face`."""
    return _saliency(encoder, encoder.input_of(image_HW3), name, title, _seen_of(encoder, image_HW3))


def _saliency(encoder: Encoder, x_1CHW: torch.Tensor, name: str, title: str, box: Box) -> Saliency:
    from comface.networks.activations import last_map

    network = encoder.for_inference()
    weight = next(network.parameters(), x_1CHW)
    activation_1CHW = last_map(network, x_1CHW.to(weight.device))
    if activation_1CHW is None:
        raise ConfigurationError(
            f"The method '{name}' has no feature map, from which a saliency map is computed; choose another method."
        )
    activation_CHW = activation_1CHW[0].cpu().numpy()
    if not np.isfinite(activation_CHW).all():
        raise DataError(
            f"The feature map of the method '{name}' is not finite: its weights are damaged; get them again."
        )
    return Saliency(title or name, projection(activation_CHW), box)


def _box(left: float, top: float, side: float) -> Box:
    return left, top, left + side, top + side


def _seen_of(encoder: Encoder, image_HW3: Pixels) -> Box:
    """The part of an image that the network sees (Encoder.input_of)."""
    height, width = image_HW3.shape[:2]
    if encoder.crop is not None:
        return encoder.crop.seen(height, width, encoder.preprocessing.size_px)
    side = min(height, width)
    left, top, right, bottom = _box(*encoder.preprocessing.seen)
    x, y = (width - side) // 2, (height - side) // 2
    return (
        (x + left * side) / width,
        (y + top * side) / height,
        (x + right * side) / width,
        (y + bottom * side) / height,
    )
