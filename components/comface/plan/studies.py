"""Studies: the runs behind tables 5, 7 and 8 and figure 3 of the paper, and a comparison over several seeds.

In: a configuration that names a study. Out: the values of `seeds`, `variants`, `transfer` … that the study needs; they
come after the profile and before the user's own values, which win. The report recognises the rows by what the backbones
were trained with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from comface.methods import METHODS, challenger
from comface.methods.comface import PREFIX, VARIANTS
from comface.methods.patients.entry import NAMES
from comface.networks import PATCH_PX
from comface.pretrain.config import PretrainConfig
from comface.pretrain.draft import process_count
from comface.shard.config import ShardConfig
from comface.tracks.composition import totals
from comface.tracks.config import SynthesizeConfig
from comface.transfer.config import TransferConfig

StudyName = Literal["", "table5", "table7", "table8", "figure3", "baselines"]
TASKS = ("au6", "au12", "edema-a", "edema-b", "age")
"""Of tables 7 and 8."""
TASKS_OF_FIGURE_3 = ("au12", "edema-a", "age")
NETWORKS = ("resnet18", "resnet50", "resnet101", "vit_b_16")
SCALES = (0.1 / 35, 5 / 35, 20 / 35)
"""Of figure 3, as shares of all images; the largest is ComFace itself."""
FEWEST = 64
"""Identities of the smallest scale: fewer do not fill a batch."""
SEEDS = (0, 1, 2)
ON_A_CPU = {"epochs": 4, "pairs_per_subject": 40, "batch_pairs": 32}
"""Fine-tuning without a GPU: minutes instead of hours per transfer."""


@dataclass(frozen=True)
class Basis:
    """The sections of the configuration that a study is made from. `rival`: the method that ComFace must beat."""

    synthesize: SynthesizeConfig
    shard: ShardConfig
    pretrain: PretrainConfig
    transfer: TransferConfig
    rival: str | None


def study_values(study: StudyName, config: Basis) -> dict[str, Any]:
    """The values that the study sets; `config`: the configuration without them."""
    values: dict[str, Any] = STUDIES[study](config)
    if not config.pretrain.gpus_per_node:
        values["transfer"] = {**ON_A_CPU, **values["transfer"]}
    return values


def own_methods(study: StudyName, config: Basis) -> set[str]:
    """The methods whose figures the study is about: those that it adds to ComFace, to the method that ComFace must
    beat and, for figure 3, to the methods of the profile."""
    others = {challenger().name, config.rival} | (set(config.transfer.methods) if study == "figure3" else set())
    return {name for name in study_values(study, config)["transfer"]["methods"] if name not in others}


def _table5(config: Basis) -> dict[str, Any]:
    """Fine-tuning only, as in the paper. A task with its own split is not registered, so no rival is needed."""
    transfer = {"tasks": ["edema-a-patients"], "methods": [challenger().name, *NAMES], "modes": ["finetune"]}
    return {"seeds": [0], "transfer": transfer, "register": {"must_beat": None}}


def _table7(config: Basis) -> dict[str, Any]:
    """The row that equals the profile's ComFace is ComFace itself."""
    ours = config.pretrain.model_dump(mode="json", include={"learning", "target", "curriculum"})
    rows = [f"{PREFIX}{name}" for name, variant in VARIANTS.items() if dict(variant.pretrain) != ours]
    return _study(config, TASKS, rows, SEEDS)


def _table8(config: Basis) -> dict[str, Any]:
    variants: dict[str, dict[str, Any]] = {
        name: {"backbone": name} for name in NETWORKS if name != config.pretrain.backbone
    }
    side_px = config.pretrain.image_size_px
    for name, patch_px in PATCH_PX.items():
        if name in variants and side_px % patch_px:
            variants[name]["image_size_px"] = max(2, round(side_px / patch_px)) * patch_px
        if name in variants and config.pretrain.resolution:
            variants[name]["resolution"] = []
    return _study(config, TASKS, [f"{PREFIX}{name}" for name in variants], (0,)) | {"variants": variants}


def _figure3(config: Basis) -> dict[str, Any]:
    wanted = config.pretrain
    training = round(totals(config.synthesize).identities * (1 - config.shard.validation_fraction))
    parts = process_count(wanted, {}) * wanted.accumulate
    variants: dict[str, dict[str, Any]] = {}
    for scale in SCALES:
        count = min(max(round(scale * training), FEWEST), training)
        variants[f"identities-{count}"] = {"identities": count}
        if count < wanted.pairs_per_step:
            variants[f"identities-{count}"]["pairs_per_step"] = max(count // parts, 1) * parts
    others = [name for name in config.transfer.methods if name != challenger().name]
    rows = [*others, *(f"{PREFIX}{name}" for name in variants)]
    return _study(config, TASKS_OF_FIGURE_3, rows, (0,)) | {"variants": variants}


def _baselines(config: Basis) -> dict[str, Any]:
    """Every method that needs no file from the weights location."""
    rows = [name for name, entry in METHODS.all().items() if not (entry.needs_file or entry.challenger)]
    return _study(config, TASKS_OF_FIGURE_3, [*rows, f"{PREFIX}inter"], SEEDS)


def _study(config: Basis, tasks: tuple[str, ...], methods: list[str], seeds: tuple[int, ...]) -> dict[str, Any]:
    """Both modes, ComFace, and the method that it must beat."""
    rival = [config.rival] if config.rival else []
    chosen = list(dict.fromkeys([*methods, challenger().name, *rival]))
    transfer = {"tasks": list(tasks), "methods": chosen, "modes": ["linear", "finetune"]}
    return {"seeds": list(seeds), "transfer": transfer}


STUDIES: Mapping[str, Callable[[Basis], dict[str, Any]]] = {
    "table5": _table5,
    "table7": _table7,
    "table8": _table8,
    "figure3": _figure3,
    "baselines": _baselines,
}
