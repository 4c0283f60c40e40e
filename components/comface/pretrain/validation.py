"""Validation after each epoch on pairs of held-out identities: losses at the S of the epoch, and over the whole range
of changes the correlation and error of d, and retrieval.

Legend: N pairs of a batch, V pairs of all batches, D feature width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from comface.pretrain.augment import augment
from comface.pretrain.config import Augmentation, PretrainConfig
from comface.pretrain.data import Batch, PairImages
from comface.pretrain.draws import Draws
from comface.pretrain.network import ComFace
from comface.pretrain.objective import alphas_of, losses_of, to_device, views_of
from comface.pretrain.processes import Processes
from comface.seeds import derive_seed

UNCHANGED = Augmentation(crop_min_area=1, flip=0, brightness=0, contrast=0, saturation=0, hue=0, grayscale=0)
"""No augmentation, as in transfer."""


def validated_ranges(held_out: PairImages, s: float) -> tuple[float, ...]:
    """Return the ranges of changes of a validation: the whole range and, if it is another one, S."""
    return tuple(dict.fromkeys((held_out.range_E[0], s)))


def validate_epoch(
    network: ComFace,
    held_out: Callable[[float], Iterable[Batch]],
    ranges: Sequence[float],
    size_px: int,
    config: PretrainConfig,
    device: torch.device,
) -> dict[str, Any]:
    """Return `validation` over the whole range of changes, the same pairs after each epoch, and `held_out`: losses and
    correlation on pairs of the epoch's range S, like those of training. Over the whole range a loss is larger, and
    beside the training loss of a late epoch it would look like overfitting. `held_out`: reads the pairs of a range;
    `ranges`: of `validated_ranges`; `size_px`: the side of a view in this epoch."""
    each = [validate(network, held_out(s), size_px, config, device) for s in ranges]
    whole, same = each[0], each[-1]
    return {"validation": whole, "held_out": {name: same[name] for name in ("loss_inter", "loss_intra", "corr")}}


@torch.no_grad()
def validate(
    network: ComFace, pairs: Iterable[Batch], size_px: int, config: PretrainConfig, device: torch.device
) -> dict[str, Any]:
    """Return `loss_inter` and `loss_intra`, `corr` and `mae` of the estimated change, and `top1`, the share of x whose
    nearest y is their own. A value is None if its loss is not used. Only the first process validates."""
    network.eval()
    alone = Processes(0, 1, device)
    estimated, true, inter_sum, hits, rows = list[Tensor](), list[Tensor](), 0.0, 0, 0
    for number, batch in enumerate(pairs):
        count = len(batch.alpha_x_N)
        draw = torch.Generator().manual_seed(derive_seed(config.seed, "validation views", number))
        views_VCHW = views_of(batch, config, Draws(draw, count), size_px, device)
        losses = losses_of(network, views_VCHW, alphas_of(batch, device), config, alone)
        if losses.d_N is not None:
            change_N = batch.alpha_y_N - batch.alpha_x_N
            estimated.append(losses.d_N.float().cpu())
            true.append((change_N.abs() if config.target == "absolute" else change_N).cpu())
        if losses.inter is not None:
            inter_sum += float(losses.inter) * count
            rows += count
            hits += _own_found(network.backbone, batch, size_px, config.view_share)
    found = {"loss_inter": inter_sum / rows if rows else None, "top1": hits / rows if rows else None}
    if not estimated:
        return found | {"corr": None, "mae": None, "loss_intra": None}
    return found | _of_changes(torch.cat(estimated), torch.cat(true))


def _of_changes(d_V: Tensor, change_V: Tensor) -> dict[str, Any]:
    varies = bool(d_V.std() > 0) and bool(change_V.std() > 0)
    return {
        "corr": float(torch.corrcoef(torch.stack([d_V, change_V]))[0, 1]) if varies else 0.0,
        "mae": float((d_V - change_V).abs().mean()),
        "loss_intra": float((d_V - change_V).square().mean()),
    }


def _own_found(backbone: nn.Module, batch: Batch, size_px: int, view_share: float) -> int:
    """Return the number of x whose nearest y in the batch, by cosine of h, is their own (same identity, other
    alpha)."""
    device = next(backbone.parameters()).device

    def unit_features(images_NHWC: Tensor) -> Tensor:
        x_NCHW = to_device(images_NHWC, device)
        seen = augment(x_NCHW, size_px, UNCHANGED, torch.Generator(), view_share)
        return nn.functional.normalize(backbone(seen), dim=1)

    h_x_ND, h_y_ND = unit_features(batch.x_NHWC), unit_features(batch.y_NHWC)
    return int(((h_x_ND @ h_y_ND.T).argmax(1).cpu() == torch.arange(len(h_x_ND))).sum())


def describe(record: dict[str, Any]) -> str:
    """Return one line for the log with the losses and held-out metrics of an epoch."""
    validation = record["validation"]
    values = {
        "L_inter": record["loss_inter"], "L_intra": record["loss_intra"], "held-out corr": validation["corr"],
        "at this S": record["held_out"]["corr"], "same face found": validation["top1"],
    }  # fmt: skip
    return ", ".join(f"{name} {value:.3f}" for name, value in values.items() if value is not None)
