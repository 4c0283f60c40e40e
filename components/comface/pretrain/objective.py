"""The objective of a training step: augments a batch, applies f, g and l, and computes both losses and their weighted
sum.

Legend: N pairs of this process, V views of them, P projection width, H = W side length of a stored image (uint8) or of
a view (float32).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from comface.networks.kernels import fused
from comface.pretrain.augment import apply_views
from comface.pretrain.config import PretrainConfig
from comface.pretrain.data import Batch
from comface.pretrain.draws import X1, Draws, Y, draw_views
from comface.pretrain.losses import inter_personal_loss, intra_personal_loss
from comface.pretrain.network import VIEWS, Outputs
from comface.pretrain.processes import Processes

CACHED_PIXELS = 4 * 224**2
"""Views are made this many pixels at a time on a CPU: the memory is then used again, not requested anew. That saves a
fifth of the time at 224 px (docs/performance.md)."""


class Losses(NamedTuple):
    """Scalar losses. `inter` or `intra` is None if that loss is not used."""

    total: Tensor
    """The weighted sum, which is differentiated."""
    inter: Tensor | None
    intra: Tensor | None
    d_N: Tensor | None
    """The estimated changes; None if L_intra is not used."""


def losses_of(
    network: nn.Module,
    views_VCHW: Tensor,
    alphas: tuple[Tensor, Tensor],
    config: PretrainConfig,
    processes: Processes,
) -> Losses:
    """Compute the losses of the views. `network`: ComFace, or its wrapper for several processes. `alphas`: of x and of
    y, (N,) each, on the device."""
    return losses_of_outputs(outputs_of(network, views_VCHW, config), alphas, config, processes)


def outputs_of(network: nn.Module, views_VCHW: Tensor, config: PretrainConfig) -> Outputs:
    with torch.autocast(views_VCHW.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        return Outputs(*network(views_VCHW))


def losses_of_outputs(
    outputs: Outputs, alphas: tuple[Tensor, Tensor], config: PretrainConfig, processes: Processes
) -> Losses:
    """Compute the losses of the network's outputs for all pairs of this process."""
    z_2NP, d_N = outputs
    total = torch.zeros((), device=processes.device)
    inter = intra = None
    if z_2NP is not None:
        inter = inter_personal_loss(processes.gather_views(z_2NP), config.temperature)
        total = total + processes.count * inter  # the gradient flows into this process's rows only: see gather_views
    if d_N is not None:
        intra = intra_personal_loss(d_N, *alphas, config.target)
        total = total + config.intra_weight * intra
    return Losses(total, inter, intra, d_N)


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Within it, float32 is float32 on a GPU too. PyTorch's default rounds the inputs of convolutions to TF32 (10 bits
    of mantissa), which changes the gradient of an untrained ResNet-18 by a tenth (docs/pretraining.md). bf16 is not
    affected."""
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, False
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        matmul.allow_tf32 = before


def views_of(batch: Batch, config: PretrainConfig, draws: Draws, size_px: int, device: torch.device) -> Tensor:
    """Return the views that the losses need, (V,3,H,W) with H = W = size_px, channels last: the first and second views
    of every x, then the view of every y (draws.py). The table of draws is copied to the device
    at once. On a GPU one kernel makes all views, in bf16 if the network starts with it."""
    kinds, lit = VIEWS[config.learning], config.augmentation.side_light > 0
    table_KNC = draw_views(config.augmentation, draws, config.view_share)[list(kinds)]
    if device.type == "cuda":
        table_KNC = table_KNC.pin_memory().to(device, non_blocking=True)
    x_NHWC, y_NHWC = (images.to(device, non_blocking=True) for images in (batch.x_NHWC, batch.y_NHWC))
    if fused(x_NHWC):
        from comface.pretrain.view_kernels import all_views

        images_IHWC, index_I = torch.cat([x_NHWC, y_NHWC]), torch.arange(2 * len(x_NHWC), device=device)
        of_x_N, of_y_N = index_I.chunk(2)
        source_V = torch.cat([of_y_N if kind == Y else of_x_N for kind in kinds])
        dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        return all_views(images_IHWC, source_V, table_KNC.flatten(0, 1), size_px, lit, dtype)
    views_KNHWC = torch.empty(*table_KNC.shape[:2], size_px, size_px, 3, device=device)
    rows = max(1, CACHED_PIXELS // size_px**2) if device.type == "cpu" else len(x_NHWC)
    for at in (slice(first, first + rows) for first in range(0, len(x_NHWC), rows)):
        images = {side: to_device(of[at], device) for side, of in ((X1, x_NHWC), (Y, y_NHWC)) if side in kinds}
        for kind, table_NC, out_NHWC in zip(kinds, table_KNC, views_KNHWC, strict=True):
            apply_views(images[Y if kind == Y else X1], table_NC[at], size_px, lit, out_NHWC[at])
    return views_KNHWC.flatten(0, 1).permute(0, 3, 1, 2)


def alphas_of(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the alphas of x and of y on the device, without waiting for the copy."""
    alpha_x_N, alpha_y_N = (t.to(device, non_blocking=True) for t in (batch.alpha_x_N, batch.alpha_y_N))
    return alpha_x_N, alpha_y_N


def to_device(images_NHWC: Tensor, device: torch.device) -> Tensor:
    """Convert uint8 (N,H,W,3) to contiguous float32 (N,3,H,W) in [-1, 1] on the device."""
    x_NCHW = images_NHWC.to(device, non_blocking=True).permute(0, 3, 1, 2)
    return x_NCHW.to(torch.float32, memory_format=torch.contiguous_format).div_(127.5).sub_(1)
