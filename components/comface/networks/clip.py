"""The image tower of CLIP (ViT-B/16), the network of FaRL.

In: RGB (N,3,224,224), normalised by CLIP's mean and std. Out: ln_post of the class token (N,768), or its projection
(N,512). It differs from torchvision's and timm's ViT: no bias in the first convolution, a LayerNorm before the blocks,
QuickGELU, epsilon 1e-5. The module names are those of the published file.

Legend: N images, L tokens (class token first, then 14 x 14 patches), C width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SIDE_PX, PATCH_PX = 224, 16
WIDTH, HEADS, BLOCKS, JOINT_WIDTH = 768, 12, 12, 512


class QuickGelu(nn.Module):
    def forward(self, x_NLC: Tensor) -> Tensor:
        return x_NLC * torch.sigmoid(1.702 * x_NLC)


class ClipBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mlp = nn.Sequential()
        for name, layer in (
            ("c_fc", nn.Linear(WIDTH, 4 * WIDTH)),
            ("gelu", QuickGelu()),
            ("c_proj", nn.Linear(4 * WIDTH, WIDTH)),
        ):
            self.mlp.add_module(name, layer)

    def forward(self, x_NLC: Tensor) -> Tensor:
        normed_NLC = self.ln_1(x_NLC)
        x_NLC = x_NLC + self.attn(normed_NLC, normed_NLC, normed_NLC, need_weights=False)[0]
        y_NLC: Tensor = x_NLC + self.mlp(self.ln_2(x_NLC))
        return y_NLC


class ClipTransformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(ClipBlock() for _ in range(BLOCKS)))

    def forward(self, x_NLC: Tensor) -> Tensor:
        y_NLC: Tensor = self.resblocks(x_NLC)
        return y_NLC


class ClipVisual(nn.Module):
    """The features (N,D) of one `output` (cls, proj). `proj` is loaded with either, so that a file is loaded whole."""

    def __init__(self, output: str = "cls") -> None:
        super().__init__()
        self.output = output
        self.conv1 = nn.Conv2d(3, WIDTH, PATCH_PX, PATCH_PX, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(WIDTH))
        self.positional_embedding = nn.Parameter(torch.zeros((SIDE_PX // PATCH_PX) ** 2 + 1, WIDTH))
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.transformer = ClipTransformer()
        self.proj = nn.Parameter(torch.zeros(WIDTH, JOINT_WIDTH))

    @property
    def width(self) -> int:
        return JOINT_WIDTH if self.output == "proj" else WIDTH

    @property
    def map_layer(self) -> nn.Module:
        """The module whose output is the feature map, as tokens."""
        block: ClipBlock = self.transformer.resblocks[-1]  # type: ignore[assignment]
        return block.ln_1

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NLC = self.conv1(x_NCHW).flatten(2).transpose(1, 2)
        first_N1C = self.class_embedding.expand(len(x_NLC), 1, -1)
        x_NLC = self.ln_pre(torch.cat((first_N1C, x_NLC), dim=1) + self.positional_embedding)
        h_ND: Tensor = self.ln_post(self.transformer(x_NLC)[:, 0])
        return h_ND @ self.proj if self.output == "proj" else h_ND
