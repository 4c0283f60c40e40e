"""The optimiser and its learning rate (section 4.1)."""

from __future__ import annotations

import math

import torch

from comface.pretrain.config import PretrainConfig
from comface.pretrain.network import ComFace
from comface.pretrain.position import Position

WARM_UP = 0.05
"""Share of all steps during which the learning rate rises before a cosine decay, if `warm_up` is not set."""


def build_optimizer(network: ComFace, config: PretrainConfig) -> torch.optim.Optimizer:
    """Build Adam or AdamW. `factor`: multiplier of a group's learning rate, so that l can learn faster than f and g."""
    groups = [
        {"params": [*network.backbone.parameters(), *network.projection.parameters()], "factor": 1.0},
        {"params": [*network.head.parameters()], "factor": config.head_rate_factor},
    ]
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


def learning_rate(config: PretrainConfig, at: Position) -> float:
    """Return the learning rate of the next step: constant, then halved from `halve_at_epoch` on (section 4.1); or
    cosine decay to zero. A warm-up rises to either."""
    done = at.steps_done / (config.epochs * at.steps_per_epoch)
    share = config.warm_up if config.warm_up is not None else WARM_UP if config.cosine else 0.0
    warm = min(1.0, (done + 1e-9) / share) if share else 1.0  # positive at the first step too
    if config.cosine:
        return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * done))
    halved = config.halve_at_epoch is not None and at.epoch >= config.halve_at_epoch
    return config.learning_rate * warm * (0.5 if halved else 1.0)
