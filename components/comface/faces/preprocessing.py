"""Preprocessing of aligned faces for a network: the view, its size, and the scaling of its colours.

In: uint8 RGB faces (N,S,S,3), framed as in comface.faces.framing. Out: float32 (N,3,H,W). Features, fine-tuning and
registered models use this class; artifacts record its values.

Legend: N faces, S side length of an aligned face, H = W = `size_px`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from comface.faces.framing import shown

if TYPE_CHECKING:
    import torch

Channel = Annotated[float, Field(ge=-100, le=100)]
Spread = Annotated[float, Field(ge=1e-3, le=100)]
TO_UNIT_RANGE = (0.5, 0.5, 0.5)
"""Mean and std that map [0, 1] to [-1, 1], the input range of pre-training."""


class Preprocessing(BaseModel):
    """(x / 255 - mean) / std per channel of the view, resized to `size_px`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    view_share: float = Field(default=1.0, gt=0.3, le=1, description="share of the aligned frame that is shown")
    size_px: int = Field(ge=8, le=1024, description="side length of the input")
    channels: Literal["RGB"] = "RGB"
    mean: tuple[Channel, Channel, Channel] = TO_UNIT_RANGE
    std: tuple[Spread, Spread, Spread] = TO_UNIT_RANGE

    def __call__(self, faces_NSSC: NDArray[np.uint8]) -> torch.Tensor:
        import torch

        views_NHWC = np.ascontiguousarray(shown(faces_NSSC, self.view_share, self.size_px))
        x_NHWC = torch.from_numpy(views_NHWC).float() / 255
        return ((x_NHWC - torch.tensor(self.mean)) / torch.tensor(self.std)).permute(0, 3, 1, 2).contiguous()

    def described(self) -> dict[str, Any]:
        """The values, as an artifact records them."""
        return self.model_dump(mode="json", include=set(Preprocessing.model_fields))
