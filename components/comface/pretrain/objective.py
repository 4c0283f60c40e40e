"""The objective of a training step: augments a batch, applies f, g and l, and computes both losses and their weighted
sum.

Legend: N pairs of this process, P projection width, H = W side length of a stored image (uint8) or of a view (float32).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from comface.pretrain.augment import Draws, augment
from comface.pretrain.config import PretrainConfig
from comface.pretrain.data import Batch
from comface.pretrain.losses import inter_personal_loss, intra_personal_loss
from comface.pretrain.network import Outputs, Views
from comface.pretrain.processes import Processes


class Losses(NamedTuple):
    """Scalar losses. `inter` or `intra` is None if that loss is not used."""

    total: Tensor
    """The weighted sum, which is differentiated."""
    inter: Tensor | None
    intra: Tensor | None
    d_N: Tensor | None
    """The estimated changes; None if L_intra is not used."""


def losses_of(network: nn.Module, batch: Batch, config: PretrainConfig, processes: Processes, draws: Draws) -> Losses:
    """Compute the losses of a batch. `network`: ComFace, or its wrapper for several processes. `draws`: the random
    numbers for the views."""
    # Copied before the forward pass and without waiting: otherwise the CPU would wait for the GPU between both passes.
    alpha_x_N, alpha_y_N = (
        alpha_N.to(processes.device, non_blocking=True) for alpha_N in (batch.alpha_x_N, batch.alpha_y_N)
    )
    views = views_of(batch, config, draws, processes.device)
    with torch.autocast(processes.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        z_2NP, d_N = Outputs(*network(*views))
    total = torch.zeros((), device=processes.device)
    inter = intra = None
    if z_2NP is not None:
        inter = inter_personal_loss(processes.gather_views(z_2NP), config.temperature)
        total = total + processes.count * inter  # the gradient flows into this process's rows only: see gather_views
    if d_N is not None:
        intra = intra_personal_loss(d_N, alpha_x_N, alpha_y_N, config.target)
        total = total + config.intra_weight * intra
    return Losses(total, inter, intra, d_N)


def views_of(batch: Batch, config: PretrainConfig, draws: Draws, device: torch.device) -> Views:
    """Return two views of every x for L_inter and one of every y for L_intra, drawn independently (augment.py)."""
    x_NCHW, y_NCHW = (to_device(images_NHWC, device) for images_NHWC in (batch.x_NHWC, batch.y_NHWC))

    def view(images_NCHW: Tensor) -> Tensor:
        seen = augment(images_NCHW, config.image_size_px, config.augmentation, draws, config.view_share)
        return seen.contiguous(memory_format=torch.channels_last)

    x1_NCHW = view(x_NCHW)
    x2_NCHW = view(x_NCHW) if config.learning != "intra" else None
    return Views(x1_NCHW, x2_NCHW, view(y_NCHW) if config.learning != "inter" else None)


def to_device(images_NHWC: Tensor, device: torch.device) -> Tensor:
    """Convert uint8 (N,H,W,3) to float32 (N,3,H,W) in [-1, 1] on the device, channels last."""
    x = images_NHWC.to(device, non_blocking=True).permute(0, 3, 1, 2)
    return x.float().div_(127.5).sub_(1)
