"""Preprocessing for a network: the view of an aligned face and its size, or the crop of an image; then the colours.

In: uint8 RGB faces (N,S,S,3), framed as in comface.faces.framing, or images of any size. Out: float32 (N,3,H,W).
Features, fine-tuning and registered models use `Preprocessing`; artifacts record its values. `Crop` is for images that
are taken as they are (`comface features`): the crop of the method's official code.

Legend: N faces, S side length of an aligned face, H = W = `size_px`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from comface.errors import DataError
from comface.faces.framing import Square, shown, square_of_view

if TYPE_CHECKING:
    import torch

Channel = Annotated[float, Field(ge=-100, le=100)]
Spread = Annotated[float, Field(ge=1e-3, le=100)]
Edge = Annotated[float, Field(ge=-1, le=1)]
Side = Annotated[float, Field(ge=0.3, le=2)]
TO_UNIT_RANGE = (0.5, 0.5, 0.5)
"""Mean and std that map [0, 1] to [-1, 1], the input range of pre-training."""


MOST_PIXELS = 2**26
"""An image that is resized by its short side can need more memory than there is."""


@dataclass(frozen=True)
class Crop:
    """Resizes the short side of an image to `short_px` with Pillow's antialiasing, and cuts out the centre, as
    torchvision's Resize and CenterCrop do. An image that has the network's size already is taken as it is."""

    short_px: int
    size_px: int
    bicubic: bool = False
    """Bicubic instead of bilinear interpolation."""
    rounded_up: bool = False
    """Round the long side up, and the margins of the centre down, as the official code of VGGFace2 does."""

    def __call__(self, image_HW3: NDArray[np.uint8], network_px: int) -> NDArray[np.uint8]:
        from PIL import Image

        height, width = image_HW3.shape[:2]
        if height == width == network_px:
            return image_HW3
        height_px, width_px = self._resized(height, width)
        if height_px * width_px > MOST_PIXELS:
            raise DataError(
                f"An image of {width} x {height} px is too narrow to be resized to {self.short_px} px on its short "
                "side; crop it."
            )
        how = Image.Resampling.BICUBIC if self.bicubic else Image.Resampling.BILINEAR
        resized_HW3 = np.asarray(Image.fromarray(image_HW3).resize((width_px, height_px), how))
        top, left = (self._margin(side) for side in (height_px, width_px))
        return resized_HW3[top : top + self.size_px, left : left + self.size_px]

    def seen(self, height: int, width: int, network_px: int) -> tuple[float, float, float, float]:
        """The part of an image that is cut out: left, top, right, bottom as shares of the image."""
        if height == width == network_px:
            return 0.0, 0.0, 1.0, 1.0
        height_px, width_px = self._resized(height, width)
        top, left = (self._margin(side) for side in (height_px, width_px))
        return left / width_px, top / height_px, (left + self.size_px) / width_px, (top + self.size_px) / height_px

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        short = min(height, width)
        if self.rounded_up:
            ratio = float(self.short_px) / short
            return int(np.ceil(height * ratio)), int(np.ceil(width * ratio))
        return self.short_px * height // short, self.short_px * width // short

    def _margin(self, side_px: int) -> int:
        spare_px = side_px - self.size_px
        return spare_px // 2 if self.rounded_up else round(spare_px / 2)


class Preprocessing(BaseModel):
    """(x / 255 - mean) / std per channel of the view, resized to `size_px`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    view_share: float = Field(default=1.0, gt=0.3, le=1, description="share of the aligned frame that is shown")
    square: tuple[Edge, Edge, Side] | None = Field(
        default=None,
        description="left, top and side of another part of the frame, as shares of it; replaces view_share",
    )
    size_px: int = Field(ge=8, le=1024, description="side length of the input")
    channels: Literal["RGB", "BGR"] = "RGB"
    """Order of the network's input, of `mean` and of `std`."""
    mean: tuple[Channel, Channel, Channel] = TO_UNIT_RANGE
    std: tuple[Spread, Spread, Spread] = TO_UNIT_RANGE

    def __call__(self, faces_NSSC: NDArray[np.uint8], device: str = "cpu") -> torch.Tensor:
        return self.colours(shown(faces_NSSC, self.view_share, self.size_px, self.square), device)

    def colours(self, views_NHWC: NDArray[np.uint8], device: str = "cpu") -> torch.Tensor:
        """The scaled colours of RGB images that have their final size. They are moved to `device` as bytes, which are a
        quarter of the numbers."""
        import torch

        ordered_NHWC = views_NHWC if self.channels == "RGB" else views_NHWC[..., ::-1]
        x_NHWC = torch.from_numpy(np.array(ordered_NHWC, order="C")).to(device).float() / 255
        mean_C, std_C = (torch.tensor(values, device=device) for values in (self.mean, self.std))
        return ((x_NHWC - mean_C) / std_C).permute(0, 3, 1, 2).contiguous()

    @property
    def seen(self) -> Square:
        """The part of an aligned face that is shown: left, top and side as shares of the frame."""
        return self.square or square_of_view(self.view_share)

    def described(self) -> dict[str, Any]:
        """The values, as an artifact records them."""
        return self.model_dump(mode="json", include=set(Preprocessing.model_fields))
