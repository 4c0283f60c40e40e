"""The pre-trainings and the transfers of a run.

In: a RunConfig. Out: the trainings, one per distinct configuration of `pretrain` (a variant, a seed); what the loop
over features computes; and the items, one per transfer (task, method, mode, seed).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comface.config.reading import merge, parse
from comface.methods import challenger, method
from comface.methods.comface import VARIANTS, variant_name
from comface.plan.configuration import RunConfig
from comface.pretrain.config import PretrainConfig
from comface.tasks.config import Mode, base
from comface.transfer.applicable import misfit
from comface.transfer.from_plan import Encoding, Row

LARGEST_SEED = 2**63


@dataclass(frozen=True)
class Training:
    """`method`: the method that evaluates the backbone, `comface` or a variant."""

    method: str
    seed: int
    config: PretrainConfig

    @property
    def name(self) -> str:
        return f"{self.method}/{self.seed}"


def trainings(config: RunConfig) -> list[Training]:
    """The trainings that the run needs, each once. The first is that of the model which the run registers."""
    found: dict[str, Training] = {}
    ours = challenger().name
    names = [ours, *(name for name in config.transfer.methods if name != ours and is_trained(name))]
    for name in names:
        for seed in config.seeds if name in config.transfer.methods else config.seeds[:1]:
            training = training_of(config, name, seed)
            found.setdefault(training.config.canonical(), training)
    return list(found.values())


def is_trained(name: str) -> bool:
    """Whether the run trains the backbone of a method."""
    return method(name).reads_backbone and not method(name).of_champion


def training_of(config: RunConfig, name: str, seed: int) -> Training:
    """The training of the method `name` (ComFace or a variant of it) with `seed`."""
    fields: dict[str, Any] = config.pretrain.model_dump(mode="json")
    merge(fields, variant_fields(config, variant_name(name)))
    fields["seed"] = (fields["seed"] + seed) % LARGEST_SEED
    return Training(name, seed, parse(PretrainConfig, fields))


def variant_fields(config: RunConfig, name: str) -> Mapping[str, Any]:
    """Fields of `pretrain` that the variant changes."""
    if not name:
        return {}
    return VARIANTS[name].pretrain if name in VARIANTS else config.variants[name]


def items(config: RunConfig) -> list[Row]:
    """Every transfer. A result that does not depend on the seed exists once, with the first seed."""
    transfer = config.transfer
    return [
        Row(task, name, mode, seed)
        for mode in transfer.modes
        for task in transfer.tasks
        for name in transfer.methods
        if misfit(config.tasks[task], method(name), mode) is None
        for seed in seeds_of(config, name, mode)
    ]


def encodings(config: RunConfig) -> dict[str, tuple[Encoding, ...]]:
    """What each step of the loop over features computes, by the name of its piece: one data set with one method. The
    rehearsal data sets are small, so one step takes all of them: a step of the local runner starts a process."""
    needed: dict[Encoding, None] = {}
    for row in items(config):
        if base(row.mode) == "linear":
            task = config.tasks[row.task]
            names = [name for name in (task.dataset, task.train_dataset) if name]
            needed |= dict.fromkeys(Encoding(row.method, row.seed, name) for name in names)
    order = {name: number for number, name in enumerate(config.transfer.methods)}
    pieces: dict[str, tuple[Encoding, ...]] = {}
    for each in sorted(needed, key=lambda each: (order[each.method], each)):
        piece = each.name if config.data[each.dataset].uri else f"{each.method}/{each.seed}"
        pieces[piece] = (*pieces.get(piece, ()), each)
    return pieces


def seeds_of(config: RunConfig, name: str, mode: Mode) -> tuple[int, ...]:
    """Pre-training, random weights and fine-tuning have seeds; linear evaluation of published weights has none."""
    if method(name).of_champion:  # it is compared with the model that is registered, which is of the first seed
        return config.seeds[:1]
    seeded = base(mode) == "finetune" or method(name).random or method(name).reads_backbone
    return config.seeds if seeded else config.seeds[:1]
