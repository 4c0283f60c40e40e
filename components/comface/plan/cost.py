"""Estimates the hours, GPU-hours and bytes of each step of a run, and their price.

In: a RunConfig. Out: rows and their total. Hours are ranges, because they depend on the GPU; each row says on which
measured or published rate it rests. Steps of minutes have no hours. Nothing here decides what a run does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comface.generators.registry import Generator, generator
from comface.plan.configuration import RunConfig
from comface.plan.consistency import dataset_names
from comface.plan.sizes import Sizes, amount, sizes_of
from comface.plan.trainings import items, trainings
from comface.pretrain.config import PretrainConfig
from comface.runtime.progress import counted
from comface.tasks.config import base
from comface.tracks.blocks import part_count
from comface.tracks.composition import totals

Range = tuple[float, float]

A100_PAIRS_S: Range = (149, 412)
"""Pairs/s of one A100 with ResNet-50 at 224 px: the paper's own rate, and half of the published rate of the network
alone (docs/performance.md)."""
OPERATIONS = {"resnet18": 0.44, "resnet50": 1.0, "resnet101": 1.91, "vit_b_16": 4.3}
"""Operations per image, as a multiple of ResNet-50's 4.09 GFLOP."""
CPU_PAIRS_S: Range = (300, 420)
"""Pairs/s of the backbone `narrow` at 48 px on two cores (64,000 pairs in 158 s, 2026-11-28)."""
PARTS_AT_ONCE = 32
"""Parts that a cluster renders at once."""
LOCAL = 2
"""Tasks that KFP's local runner runs at once."""


@dataclass(frozen=True)
class Row:
    """One step. `hours` pass on the clock; `gpu_hours` are paid. None: minutes, or unknown."""

    step: str
    what: str
    hours: Range | None = None
    gpu_hours: Range | None = None
    stored_bytes: int = 0
    basis: str = ""


@dataclass(frozen=True)
class Cost:
    rows: tuple[Row, ...]
    sizes: Sizes

    @property
    def hours(self) -> Range:
        return _sum([row.hours for row in self.rows])

    @property
    def gpu_hours(self) -> Range:
        return _sum([row.gpu_hours for row in self.rows])

    def price(self, per_gpu_hour: float) -> Range:
        low, high = self.gpu_hours
        return low * per_gpu_hour, high * per_gpu_hour

    def sentence(self) -> str:
        paid = f" and {shown(self.gpu_hours)} GPU-hours (of an A100)" if self.gpu_hours[1] else ""
        hours = f"{shown(self.hours)} hours{paid}"
        if not self.sizes.images:
            return "The steps take minutes; their times are not estimated."
        return f"Rendering and pre-training should take {hours}; the other steps are not estimated."


def cost_of(config: RunConfig) -> Cost:
    sizes = sizes_of(config)
    minutes = "minutes; not estimated"
    tasks, modes = items(config), [base(row.mode) for row in items(config)]
    data = ", ".join(dataset_names(config)) or "none"
    rendered = (
        _synthesize(config, sizes),
        Row("shard", f"{sizes.tracks:,} tracks", stored_bytes=sizes.shards_bytes, basis=minutes),
        _pretrain(config, sizes.images),
    )
    rows = (
        *(() if config.pretrain.reuse else rendered),
        Row("align", f"data sets: {data}", stored_bytes=sizes.photos_bytes, basis=minutes),
        Row("transfer", f"{modes.count('linear'):,} linear evaluations, with features", basis=minutes),
        *_finetune(len(tasks) - modes.count("linear")),
        Row("evaluate, gate, register", "report, decision, model", basis=minutes),
    )
    return Cost(rows, sizes)


def shown(hours: Range) -> str:
    """ "0.1", "2 to 5", "260 to 710"."""
    low, high = (_rounded(each) for each in hours)
    return low if low == high else f"{low} to {high}"


def money(price: Range) -> str:
    low, high = (f"{each:,.0f}" if each >= 10 else f"{each:,.2f}" for each in price)
    return low if low == high else f"{low} to {high}"


def size(stored_bytes: int) -> str:
    return amount(stored_bytes) if stored_bytes else "–"


def _rounded(hours: float) -> str:
    if hours >= 100:
        return f"{round(hours, -1):,.0f}"
    return f"{hours:.0f}" if hours >= 10 else f"{hours:.1f}" if hours >= 0.1 else "less than 0.1"


def _sum(ranges: Sequence[Range | None]) -> Range:
    known = [each for each in ranges if each is not None]
    return sum(low for low, _ in known), sum(high for _, high in known)


def _synthesize(config: RunConfig, sizes: Sizes) -> Row:
    """GPU-hours of the generators that request a GPU; hours of the processor for the others."""
    count, alphas, on_gpu = totals(config.synthesize), len(config.synthesize.alphas), config.pretrain.gpus_per_node > 0
    gpu, cpu, unknown = (0.0, 0.0), (0.0, 0.0), []
    for name, tracks in count.tracks_by_attribute.items():
        images = sum(tracks.values()) * alphas
        entry = generator(name)
        if entry.images_s and entry.gpu != "requested":
            cpu = _sum([cpu, _hours(images, _rate(entry, config.synthesize.image_size_px))])
        elif entry.images_s and on_gpu:
            gpu = _sum([gpu, _hours(images, entry.images_s)])
        else:
            unknown.append(name)
    parts = part_count(config.synthesize)
    at_once = min(parts, PARTS_AT_ONCE if config.pretrain.nodes > 1 else LOCAL)
    hours = (sum(each[0] for each in (gpu, cpu)) / at_once, sum(each[1] for each in (gpu, cpu)) / at_once)
    basis = "published rates of an A100, not measured with this code" if gpu[1] else "measured on one core"
    return Row(
        "synthesize",
        f"{sizes.images:,} images of {sizes.identities:,} identities, {parts:,} parts, {at_once:,} at once",
        hours if hours[1] else None,
        gpu if gpu[1] else None,
        sizes.shards_bytes,
        f"no rate is known for {', '.join(sorted(unknown))}" if unknown else basis,
    )


def _rate(entry: Generator, side_px: int) -> Range:
    low, high = entry.images_s or (0.0, 0.0)
    factor = (entry.images_s_px / side_px) ** 2 if entry.images_s_px else 1.0
    return low * factor, high * factor


def _pretrain(config: RunConfig, images: int) -> Row:
    each = [training.config for training in trainings(config)]
    pairs = sum(_pairs(training, images, config.shard.validation_fraction) for training in each)
    gpus = config.pretrain.nodes * config.pretrain.gpus_per_node
    what = f"{len(each)} × {config.pretrain.backbone}, {pairs:,} pairs"
    weights = len(each) * 200_000_000
    if gpus and all(training.backbone in OPERATIONS for training in each):
        paid = _sum([_gpu_hours(t, _pairs(t, images, config.shard.validation_fraction)) for t in each])
        basis = "the paper's rate of an A100, and half of the published rate of the network alone"
        return Row(
            "pretrain", f"{what}, {counted(gpus, 'GPU')}", (paid[0] / gpus, paid[1] / gpus), paid, weights, basis
        )
    if not gpus and {training.backbone for training in each} == {"narrow"}:
        return Row("pretrain", what, _hours(pairs, CPU_PAIRS_S), None, 0, "measured on two cores at 48 px")
    return Row("pretrain", what, None, None, weights, "no rate is known for this backbone on this hardware")


def _pairs(training: PretrainConfig, images: int, validation_fraction: float) -> int:
    whole = max(1, int(images * (1 - validation_fraction)) // training.pairs_per_step)
    return training.epochs * (training.steps_per_epoch or whole) * training.pairs_per_step


def _gpu_hours(training: PretrainConfig, pairs: int) -> Range:
    work = OPERATIONS[training.backbone] * (training.image_size_px / 224) ** 2
    return _hours(pairs, (A100_PAIRS_S[0] / work, A100_PAIRS_S[1] / work))


def _finetune(count: int) -> list[Row]:
    if not count:
        return []
    return [Row("finetune", f"{count:,} fine-tunings", basis="depends on the number of labelled photos; not estimated")]


def _hours(count: float, per_s: Range) -> Range:
    """(shortest, longest)."""
    return count / per_s[1] / 3600, count / per_s[0] / 3600
