"""What a resolution schedule saves: operations of a training of the paper's size, for several schedules.

    python benchmarks/resolution.py --backbone resnet50
    python benchmarks/resolution.py --schedule "[[6, 128], [9, 160]]" --pairs-per-second 823

It counts the operations of the network (convolutions and matrix products) for a view of each size; nothing is timed.
The hours assume that a GPU does as many operations per second with small views as with large ones, which is not
measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from comface.networks.backbones import build_backbone
from comface.pretrain.config import PretrainConfig

SCHEDULES = ("[]", "[[3, 128], [6, 160]]", "[[6, 160]]", "[[6, 128]]", "[[6, 128], [9, 160]]", "[[9, 128]]")
EPOCHS, PAIRS, GPUS = 12, 12 * 31.5e6, 32
"""Of the paper (section 4.1): pairs of the whole training."""
VIEWS, PASSES = 3, 3
"""Of a pair; the backward pass costs two forward passes."""


def forward_flop(backbone: str, size_px: int) -> int:
    """Operations (two per multiplication and addition) of one view."""
    with torch.device("meta"):
        network, _ = build_backbone(backbone, size_px)
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, size_px, size_px))
    return counter.get_total_flops()


def flop_per_pair(config: PretrainConfig) -> float:
    """The mean over the epochs."""
    sizes = [config.size_px(epoch) for epoch in range(1, config.epochs + 1)]
    by_size = {size: forward_flop(config.backbone, size) for size in set(sizes)}
    return VIEWS * PASSES * sum(by_size[size] for size in sizes) / len(sizes)


def rows(backbone: str, schedules: Sequence[str], pairs_per_second: float) -> list[str]:
    full = flop_per_pair(PretrainConfig(backbone=backbone))
    table = ["| views, epochs 1 to 12 | GFLOP per pair | share | hours on 32 GPUs |", "|---|---|---|---|"]
    for schedule in schedules:
        config = PretrainConfig(backbone=backbone, resolution=yaml.safe_load(schedule))
        cost = flop_per_pair(config)
        hours = PAIRS / (pairs_per_second * GPUS) / 3600 * cost / full
        table.append(f"| {described(config)} | {cost / 1e9:.1f} | {cost / full:.2f} | {hours:.1f} |")
    return table


def described(config: PretrainConfig) -> str:
    """For example "1-6: 128 px, 7-12: 224 px"."""
    first, said = 1, []
    for end, size_px in (*config.resolution, (config.epochs, config.image_size_px)):
        said.append(f"{first}-{end}: {size_px} px")
        first = end + 1
    return ", ".join(said)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--schedule", action="append", help="value of pretrain.resolution; may be repeated")
    parser.add_argument(
        "--pairs-per-second", type=float, default=823.0, help="of one GPU at 224 px (default: 2,470 images/s, one A100)"
    )
    given = parser.parse_args(arguments)
    print("\n".join(rows(given.backbone, given.schedule or SCHEDULES, given.pairs_per_second)))


if __name__ == "__main__":
    main()
