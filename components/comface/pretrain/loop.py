"""One epoch of training, and its validation on held-out identities (sections 3.2, 3.3 and 4.1).

Legend: N pairs of this process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from comface.pretrain.augment import Draws, augment
from comface.pretrain.config import Augmentation, PretrainConfig
from comface.pretrain.data import Batch, to_device
from comface.pretrain.losses import inter_personal_loss, intra_personal_loss
from comface.pretrain.processes import Processes
from comface.seeds import derive_seed


@dataclass
class Sums:
    """Running sums of an epoch, so that a resumed epoch reports what an uninterrupted one does."""

    steps: int = 0
    inter: float = 0.0
    intra: float = 0.0

    def record(self) -> dict[str, float | None]:
        steps = max(1, self.steps)
        return {"loss_inter": self.inter / steps or None, "loss_intra": self.intra / steps or None}


def build_optimizer(network: nn.Module, config: PretrainConfig) -> torch.optim.Optimizer:
    head = [p for name, p in network.named_parameters() if "head." in name]
    rest = [p for name, p in network.named_parameters() if "head." not in name]
    groups = [{"params": rest, "factor": 1.0}, {"params": head, "factor": config.head_rate_factor}]
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


def learning_rate(config: PretrainConfig, epoch: int, step: int, steps_per_epoch: int) -> float:
    """The rate of a step: constant and halved from `halve_at_epoch` on (section 4.1), or cosine after 5 % warm-up."""
    if not config.cosine:
        halved = config.halve_at_epoch is not None and epoch >= config.halve_at_epoch
        return config.learning_rate * (0.5 if halved else 1.0)
    done = ((epoch - 1) * steps_per_epoch + step) / (config.epochs * steps_per_epoch)
    warm = min(1.0, (done + 1e-9) / 0.05)
    return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * done))


def losses(
    network: nn.Module, batch: Batch, config: PretrainConfig, processes: Processes, draws: Draws
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Loss to differentiate, L_inter, L_intra (None where not learned), and d (N,)."""
    x, y = (to_device(images, processes.device) for images in (batch.x_NHWC, batch.y_NHWC))
    alpha_x_N, alpha_y_N = (alpha.to(processes.device) for alpha in (batch.alpha_x_N, batch.alpha_y_N))
    size = config.image_size_px
    view = config.view_share
    x1 = augment(x, size, config.augmentation, draws, view)
    x2 = augment(x, size, config.augmentation, draws, view) if config.learning != "intra" else None
    y1 = augment(y, size, config.augmentation, draws, view) if config.learning != "inter" else None
    with torch.autocast(processes.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        z_2NP, d_N = network(
            *(v.contiguous(memory_format=torch.channels_last) if v is not None else None for v in (x1, x2, y1))
        )
    total = torch.zeros((), device=processes.device)
    inter = intra = None
    if z_2NP is not None:
        inter = inter_personal_loss(processes.gather_views(z_2NP), config.temperature)
        total = total + processes.count * inter
    if d_N is not None:
        intra = intra_personal_loss(d_N, alpha_x_N, alpha_y_N, config.target)
        total = total + config.intra_weight * intra
    return total, inter, intra, d_N


def train_steps(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterator[Batch],
    config: PretrainConfig,
    processes: Processes,
    epoch: int,
    steps: range,
    steps_per_epoch: int,
    sums: Sums,
    after_step: Callable[[int], None],
) -> None:
    """Train on `steps` of an epoch, adding to `sums`; `after_step` may save, or raise to stop."""
    network.train()
    for step, batch in zip(steps, batches, strict=True):
        draw = torch.Generator().manual_seed(derive_seed(config.seed, "views", epoch, step))
        draws = Draws(draw, config.pairs_per_step, processes.share)
        rate = learning_rate(config, epoch, step, steps_per_epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        total, inter, intra, _ = losses(network, batch, config, processes, draws)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        optimizer.step()
        sums.steps += 1
        sums.inter += float(inter.detach()) if inter is not None else 0.0
        sums.intra += float(processes.mean(intra.detach())) if intra is not None else 0.0
        after_step(step)


@torch.no_grad()
def validate(
    network: nn.Module, batches: Iterator[Batch], config: PretrainConfig, processes: Processes
) -> dict[str, Any]:
    """Losses, correlation and mean absolute error of d, and top-1 retrieval, on pairs of held-out identities."""
    network.eval()
    estimated, true, inter_sum, hits, rows = [], [], 0.0, 0, 0
    local = Processes(0, 1, processes.device)
    for number, batch in enumerate(batches):
        draw = torch.Generator().manual_seed(derive_seed(config.seed, "validation views", number))
        _, inter, _, d_N = losses(network, batch, config, local, Draws(draw, len(batch.alpha_x_N)))
        if d_N is not None:
            change_N = batch.alpha_y_N - batch.alpha_x_N
            estimated.append(d_N.float().cpu())
            true.append(change_N.abs() if config.target == "absolute" else change_N)
        if inter is not None:
            inter_sum += float(inter) * len(batch.alpha_x_N)
            rows += len(batch.alpha_x_N)
            hits += _top1(network, batch, config, local)
    record: dict[str, Any] = {
        "loss_inter": inter_sum / rows if rows else None,
        "top1": hits / rows if rows else None,
    }
    if estimated:
        d, t = torch.cat(estimated), torch.cat(true)
        varies = bool(d.std() > 0) and bool(t.std() > 0)
        record["corr"] = float(torch.corrcoef(torch.stack([d, t]))[0, 1]) if varies else 0.0
        record |= {"mae": float((d - t).abs().mean()), "loss_intra": float((d - t).square().mean())}
    else:
        record |= {"corr": None, "mae": None, "loss_intra": None}
    return record


def _top1(network: nn.Module, batch: Batch, config: PretrainConfig, processes: Processes) -> int:
    """How many x find their own y (another alpha of the same identity) among all y of the batch, by cosine of h."""
    plain = Augmentation(
        crop_min_area=1, flip=0, brightness=0, contrast=0, saturation=0, hue=0, grayscale=0
    )  # the view as transfer shows it
    backbone = network.get_submodule("backbone")
    h = []
    for images in (batch.x_NHWC, batch.y_NHWC):
        x = augment(
            to_device(images, processes.device), config.image_size_px, plain, torch.Generator(), config.view_share
        )
        h.append(nn.functional.normalize(backbone(x), dim=1))
    return int(((h[0] @ h[1].T).argmax(1).cpu() == torch.arange(len(batch.alpha_x_N))).sum())
