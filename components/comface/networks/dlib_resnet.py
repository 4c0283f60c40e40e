"""dlib's face recognition network (dlib_face_recognition_resnet_model_v1), so that it can be batched and fine-tuned.

In: RGB face chips of 150 px, (x - mean) / 256. Out: descriptors (N,128). 29 convolutions; dlib's affine layers (scale
and shift per channel, no statistics) are folded into the convolution before each.

Legend: N images, C channels, H = W side length.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

STEM, WIDTH = 32, 128
BLOCKS = (
    (32, False), (32, False), (32, False),
    (64, True), (64, False), (64, False), (64, False),
    (128, True), (128, False), (128, False),
    (256, True), (256, False), (256, False),
    (256, True),
)  # fmt: skip
"""(channels, whether it halves the side) of each residual block."""


class DlibBlock(nn.Module):
    """ReLU(conv2(ReLU(conv1(x))) + x). Where it halves the side, x is averaged over 2 x 2 pixels. If one of the two has
    more channels or pixels, the other is padded with zeros on the right and at the bottom, as dlib does."""

    def __init__(self, width_in: int, width_out: int, halves: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width_out, 3, 2 if halves else 1, 0 if halves else 1)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, 1, 1)
        self.halves = halves

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y_NCHW = self.conv2(torch.relu(self.conv1(x_NCHW)))
        if self.halves:
            x_NCHW = nn.functional.avg_pool2d(x_NCHW, 2)
            x_NCHW, y_NCHW = _padded(x_NCHW, y_NCHW), _padded(y_NCHW, x_NCHW)
        return torch.relu(x_NCHW + y_NCHW)


class DlibResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, STEM, 7, 2)
        widths = [STEM, *(width for width, _ in BLOCKS)]
        self.blocks = nn.Sequential(*(DlibBlock(widths[i], *block) for i, block in enumerate(BLOCKS)))
        self.fc = nn.Linear(BLOCKS[-1][0], WIDTH, bias=False)

    def convolutions(self) -> Iterator[tuple[str, nn.Conv2d]]:
        """All convolutions with their names, from input to output."""
        return ((name, each) for name, each in self.named_modules() if isinstance(each, nn.Conv2d))

    @property
    def map_layer(self) -> nn.Module:
        """The module whose output is the feature map, of 4 x 4 pixels. The last block has 2 x 2, padded from one."""
        return self.blocks[-2]

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = nn.functional.max_pool2d(torch.relu(self.conv1(x_NCHW)), 3, 2)
        h_ND: Tensor = self.fc(self.blocks(x_NCHW).mean((2, 3)))
        return h_ND


def _padded(small_NCHW: Tensor, large_NCHW: Tensor) -> Tensor:
    more_c, more_h, more_w = (
        max(0, have - need) for have, need in zip(large_NCHW.shape[1:], small_NCHW.shape[1:], strict=True)
    )
    return nn.functional.pad(small_NCHW, (0, more_w, 0, more_h, 0, more_c))
