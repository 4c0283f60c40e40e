"""The network of figure 2: backbone f, projection head g (two-layer MLP), change head l.

Legend: N pairs, D feature width, P projection width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, cat, nn

from comface.networks.backbones import ChangeHead, build_backbone
from comface.pretrain.config import PretrainConfig
from comface.seeds import derive_seed


class Views(NamedTuple):
    """The network's input for a batch of pairs: two views of x, one of y; None if no loss needs it."""

    x1_NCHW: Tensor
    x2_NCHW: Tensor | None
    y_NCHW: Tensor | None


class Outputs(NamedTuple):
    z_2NP: Tensor | None
    """Projections for equation (1): rows i and i + N are the two views of x_i. None without a second view."""
    d_N: Tensor | None
    """l(ReLU(h_y - h_x)), the estimated changes. None without y."""


class ComFace(nn.Module):
    """f, g and l. `projection_hidden`: hidden width of g (None: the width of the features)."""

    def __init__(
        self, backbone: str, projection_hidden: int | None, projection_width: int, image_size_px: int = 224
    ) -> None:
        super().__init__()
        self.backbone, width = build_backbone(backbone, image_size_px)
        hidden = projection_hidden or width
        self.projection = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, projection_width))
        self.head = ChangeHead(width)

    def forward(self, x1_NCHW: Tensor, x2_NCHW: Tensor | None, y_NCHW: Tensor | None) -> Outputs:
        """Pass all views through f in one batch. BatchNorm then uses the same statistics for x and y, and one pass
        launches fewer kernels than three (docs/reproduction.md)."""
        count = x1_NCHW.shape[0]
        views = [x1_NCHW, *(v for v in (x2_NCHW, y_NCHW) if v is not None)]
        h = self.backbone(cat(views)).split(count)
        z_2NP = self.projection(cat(h[:2])) if x2_NCHW is not None else None
        d_N = self.head(h[0], h[-1]) if y_NCHW is not None else None
        return Outputs(z_2NP, d_N)


def build_network(config: PretrainConfig, s_max: float) -> ComFace:
    """Build f, g and l with random weights from the seed. `s_max`: the largest change within a track."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(config.seed, "weights") & (2**63 - 1))  # torch takes 63 bits
        network = ComFace(config.backbone, config.projection_hidden, config.projection_width, config.image_size_px)
    if config.learning != "inter":
        # l starts at the mean change of the first epoch (the mean distance of two uniform alphas is a third of their
        # range). Otherwise the bias needs the first epochs to reach it.
        nn.init.constant_(network.head.linear.bias, s_max / 3 if config.target == "absolute" else 0.0)
    return network
