"""The pre-trainings behind the results: settings, curves, contact sheets of every generator, and a table of them all.

In: the artifacts behind the results. Out: what the report shows of the registered backbone, a table with a row per
backbone, and for every method with a backbone what it was trained with (studies.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comface.artifacts.facts import ShardsFacts, TransferFacts
from comface.artifacts.manifest import Artifact, located
from comface.evaluate import plots
from comface.evaluate.plots import Chart
from comface.evaluate.studies import Trained
from comface.evaluate.table import Heading, Row, Table
from comface.methods import method

SETTINGS = ("backbone", "image_size_px", "learning", "target", "curriculum", "epochs", "pairs_per_step")


@dataclass(frozen=True)
class Sheet:
    generator: str
    picture: bytes


@dataclass(frozen=True)
class Pretraining:
    """What the report shows of one backbone."""

    config: Mapping[str, Any]
    images: int | None
    identities: int | None
    generators: tuple[str, ...]
    charts: tuple[Chart, ...]
    sheets: tuple[Sheet, ...]
    screening: bytes | None
    """The picture of its screening."""
    few_held_out: bool
    """Whether held-out batches have fewer pairs than those of training: the inter-personal loss is then lower."""


def pretraining(backbone: Artifact) -> Pretraining:
    shards = backbone.input("shards", "shards")
    facts, config = shards.facts_as(ShardsFacts), {**dict.fromkeys(SETTINGS), **backbone.manifest.config}
    objects = shards.manifest.objects
    names = {f"sheet-{number}.jpg": generator for number, generator in enumerate(facts.generators)}
    screening = None
    if "screening" in shards.manifest.inputs:
        screening = shards.input("screening", "screening").read("screening.png")
    return Pretraining(
        config,
        facts.train.images,
        facts.train.identities,
        facts.generators,
        charts(backbone.read_json("curve.json")) if "curve.json" in backbone.manifest.objects else (),
        tuple(Sheet(generator, shards.read(name)) for name, generator in names.items() if name in objects),
        screening,
        facts.validation.identities < int(config["pairs_per_step"] or 0),
    )


def charts(curve: Sequence[Mapping[str, Any]]) -> tuple[Chart, ...]:
    losses = (("loss_inter", "Between people, loss of eq. (1)"), ("loss_intra", "Within a person, mean squared error"))
    shown = [
        plots.losses(curve, key, "pretraining", heading) for key, heading in losses if curve[0].get(key) is not None
    ]
    return (*shown, plots.held_out(curve, "pretraining"))


def trained_of(transfers: Sequence[Artifact], behind: Sequence[Artifact]) -> dict[str, Trained]:
    """Method → what the backbone of its first result was trained with; of methods with a backbone only."""
    backbones = backbones_of(transfers, behind)
    by_uri = {each.uri: each for each in behind}
    found = {}
    for name, several in backbones.items():
        config = several[0].manifest.config
        made_from = several[0].manifest.inputs.get("shards")
        shards = by_uri.get(located(made_from, several[0].root)) if made_from else None
        found[name] = Trained(
            str(config.get("learning")), str(config.get("target")), bool(config.get("curriculum")),
            str(config.get("backbone")), _images(config, shards),
        )  # fmt: skip
    return found


def backbones_of(transfers: Sequence[Artifact], behind: Sequence[Artifact]) -> dict[str, list[Artifact]]:
    """Method → its backbones, one per seed, in the order of the results."""
    by_uri = {each.uri: each for each in behind}
    found: dict[str, list[Artifact]] = {}
    for transfer in transfers:
        backbone = _backbone(transfer, by_uri)
        if backbone is not None:
            several = found.setdefault(transfer.facts_as(TransferFacts).method, [])
            if all(backbone.uri != each.uri for each in several):
                several.append(backbone)
    return found


def overview(backbones: Mapping[str, Sequence[Artifact]]) -> Table:
    """A row per pre-training with its last held-out figures."""
    headings = (
        Heading("seed", "seed"), Heading("backbone", "network"), Heading("learning", "learning"),
        Heading("target", "target"), Heading("epochs", "epochs"), Heading("corr", "held-out corr.", 3),
        Heading("top1", "face found again (%)", 1, percent=True),
    )  # fmt: skip
    rows = []
    for name, several in backbones.items():
        for backbone in several:
            config, last = backbone.manifest.config, backbone.facts.get("validation", {})
            words = [config.get(key) for key in ("seed", "backbone", "learning", "target", "epochs")]
            cells = (*words, last.get("corr"), last.get("top1"))
            rows.append(Row(method(name).title, cells, "ours" if method(name).challenger else ""))
    return Table("pretrainings", "All pre-trainings of this run", "Method", headings, tuple(rows))


def _backbone(artifact: Artifact, by_uri: Mapping[str, Artifact]) -> Artifact | None:
    for reference in artifact.manifest.inputs.values():
        found = by_uri.get(located(reference, artifact.root))
        if found is not None and found.manifest.kind == "features":
            found = _backbone(found, by_uri)
        if found is not None and found.manifest.kind == "backbone":
            return found
    return None


def _images(config: Mapping[str, Any], shards: Artifact | None) -> int | None:
    """Training images: of all identities of the shards, or of the first `identities` of them (figure 3)."""
    if shards is None:
        return None
    split = shards.facts_as(ShardsFacts).train
    wanted = config.get("identities")
    if not wanted or wanted >= split.identities:
        return split.images
    share: float = wanted / split.identities
    return round(split.images * share)
