"""Backbones f: image -> feature vector h (section 3.2), and the change head l (section 3.2, "intra-personal").

Legend: N images, D feature width, H = W side length. Inputs are float32 (N,3,H,W), RGB in [-1, 1].
"""

from __future__ import annotations

import copy
import itertools

import torch
from torch import Tensor, nn

NARROW_WIDTHS = (24, 48, 96, 160)
CELLS = 3
"""Cells of the final pooling per side."""


class NarrowResNet(nn.Module):
    """A ResNet for laptops: 5x5/2 stem, three residual blocks of stride 2, average pooling to 3 x 3. D = 1440.

    A first block at the stem's resolution would double the time of a step and add only 3 % more weights. Pooling to
    cells separates brow and mouth; a mean over the face does not. With settings close to the profile `laptop` and one
    training each, correlations with 3 x 3 and 2 x 2 cells: AU6 0.53 and 0.51, AU12 0.87 and 0.83, Edema-A 0.84 and
    0.78, age 0.69 and 0.64 (rehearsal data)."""

    def __init__(self) -> None:
        super().__init__()
        first = NARROW_WIDTHS[0]
        self.stem = nn.Sequential(nn.Conv2d(3, first, 5, 2, 2, bias=False), nn.BatchNorm2d(first), nn.ReLU())
        self.stages = nn.Sequential(*(ResidualBlock(a, b, 2) for a, b in itertools.pairwise(NARROW_WIDTHS)))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        h_NCHW: Tensor = self.stages(self.stem(x_NCHW))
        if h_NCHW.shape[2:] != (CELLS, CELLS):  # 48 px give 3 x 3 cells, and the pooling would cost 3 % of a step
            h_NCHW = nn.functional.adaptive_avg_pool2d(h_NCHW, CELLS)
        return h_NCHW.flatten(1)


class ResidualBlock(nn.Module):
    def __init__(self, width_in: int, width_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width_in, width_out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width_out),
            nn.ReLU(),
            nn.Conv2d(width_out, width_out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width_out),
        )
        self.skip = (
            nn.Sequential(nn.Conv2d(width_in, width_out, 1, stride, bias=False), nn.BatchNorm2d(width_out))
            if stride != 1 or width_in != width_out
            else nn.Identity()
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return torch.relu(self.body(x_NCHW) + self.skip(x_NCHW))


def build_backbone(name: str, image_size_px: int = 224) -> tuple[nn.Module, int]:
    """(f with random weights, its feature width D). Views have the side `image_size_px`; only vit_b_16 depends on it,
    which learns a position embedding for each of its patches. Raises ValueError for an unknown name."""
    if name == "narrow":
        return NarrowResNet(), CELLS**2 * NARROW_WIDTHS[-1]
    import torchvision  # takes two seconds

    if name in ("resnet18", "resnet50", "resnet101"):
        network = getattr(torchvision.models, name)(weights=None)
        width = network.fc.in_features
        network.fc = nn.Identity()
        return network, width
    if name == "vit_b_16":
        network = torchvision.models.vit_b_16(weights=None, image_size=image_size_px)
        width = network.hidden_dim
        network.heads = nn.Identity()
        return network, width
    raise ValueError(f"there is no backbone {name}")


def folded(network: nn.Module) -> nn.Module:
    """A copy for inference with every BatchNorm folded into the convolution registered directly before it (true of
    every network here). The outputs are equal up to rounding; EfficientNet-Lite0 needs half the time on a CPU. A
    network without BatchNorm is returned itself."""
    if not any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        return network.eval()
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        for (name, layer), (norm_name, norm) in itertools.pairwise(list(module.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, nn.utils.fusion.fuse_conv_bn_eval(layer, norm))
                setattr(module, norm_name, getattr(norm, "act", nn.Identity()))  # timm's norms bring the activation
    return network


class ChangeHead(nn.Module):
    """d = l(ReLU(h_y - h_x)), a linear layer on the rectified difference (section 3.2), for training; networks/head.py
    has the head for inference. (N,D), (N,D) -> (N,)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, h_x_ND: Tensor, h_y_ND: Tensor) -> Tensor:
        d_N: Tensor = self.linear(torch.relu(h_y_ND - h_x_ND)).squeeze(1)
        return d_N
