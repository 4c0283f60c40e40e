"""The network of figure 2: backbone f, projection head g (two-layer MLP), change head l.

Legend: N pairs, D feature width, P projection width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from comface.networks.backbones import ChangeHead, build_backbone
from comface.pretrain.config import PretrainConfig
from comface.pretrain.curriculum import MEAN_CHANGE
from comface.pretrain.draws import X1, X2, Y
from comface.seeds import derive_seed

VIEWS = {"both": (X1, X2, Y), "inter": (X1, X2), "intra": (X1, Y)}
"""The views of a pair that the losses need, in the order of the network's input (`PretrainConfig.learning`)."""


class Outputs(NamedTuple):
    z_2NP: Tensor | None
    """Projections for equation (1): rows i and i + N are the two views of x_i. None without L_inter."""
    d_N: Tensor | None
    """l(ReLU(h_y - h_x)), the estimated changes. None without L_intra."""


class ComFace(nn.Module):
    """f, g and l. `projection_hidden`: hidden width of g (None: the width of the features). `learning`: the losses in
    use, which decide the views."""

    def __init__(
        self,
        backbone: str,
        projection_hidden: int | None,
        projection_width: int,
        image_size_px: int = 224,
        learning: str = "both",
    ) -> None:
        super().__init__()
        self.backbone, width = build_backbone(backbone, image_size_px)
        hidden = projection_hidden or width
        self.projection = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, projection_width))
        self.head = ChangeHead(width)
        self.views = VIEWS[learning]

    def forward(self, views_VCHW: Tensor) -> Outputs:
        """Pass all views through f in one batch: the first views of all pairs, then the second, then those of y, as far
        as they are in use. BatchNorm then uses the same statistics for x and y, and one pass launches fewer kernels
        than three (docs/reproduction.md)."""
        h = dict(zip(self.views, self.backbone(views_VCHW).chunk(len(self.views)), strict=True))
        z_2NP = self.projection(torch.cat([h[X1], h[X2]])) if X2 in h else None
        d_N = self.head(h[X1], h[Y]) if Y in h else None
        return Outputs(z_2NP, d_N)


def build_network(config: PretrainConfig, s_max: float) -> ComFace:
    """Build f, g and l with random weights from the seed. `s_max`: the largest change within a track."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(config.seed, "weights") & (2**63 - 1))  # torch takes 63 bits
        network = ComFace(
            config.backbone,
            config.projection_hidden,
            config.projection_width,
            config.image_size_px,
            config.learning,
        )
    if config.learning != "inter":
        # l starts at the mean change of the first epoch. Otherwise the bias needs the first epochs to reach it.
        mean = s_max * MEAN_CHANGE[config.partner] if config.target == "absolute" else 0.0
        nn.init.constant_(network.head.linear.bias, mean)
    return network
