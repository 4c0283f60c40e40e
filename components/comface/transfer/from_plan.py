"""Entry points of the components `align`, `features`, `complete` and `transfer`.

In: a plan. Out: the key of an artifact in the run, and what the KFP UI displays.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import field_serializer

from comface.artifacts.facts import FacesFacts
from comface.artifacts.manifest import Artifact, open_artifact
from comface.artifacts.plans import NOTHING, Plan, hand_on, handed, items_with, kept
from comface.artifacts.plans import fetched as fetched_value
from comface.datasets.config import DataSource, RehearseConfig
from comface.errors import ConfigurationError
from comface.execution import execute
from comface.execution.pages import metric_prefix, write_text
from comface.methods import Sources, method
from comface.runtime.folders import cache_folder
from comface.store import Store, open_store
from comface.tasks.config import Mode, Task, base
from comface.tasks.metrics import undefined
from comface.tasks.predictions import read_predictions
from comface.tracks.supplies import Sealed, fetched
from comface.transfer.config import TransferConfig

logger = logging.getLogger(__name__)

LIST_BYTES = 32 << 10


class AlignPlan(Plan):
    dataset: str
    source: DataSource
    rehearse: RehearseConfig | None
    """Settings of the rehearsal; None if the data set has a URI."""

    @property
    def item(self) -> str:
        return self.dataset


class Row(NamedTuple):
    """A transfer."""

    task: str
    method: str
    mode: Mode
    seed: int


class Encoding(NamedTuple):
    """The features of one data set with one method."""

    method: str
    seed: int
    dataset: str

    @property
    def name(self) -> str:
        return f"{self.method}/{self.seed}/{self.dataset}"


class ItemsPlan(Plan):
    """All transfers of a run, and the features that they share. `chosen` names the item of a step in a loop."""

    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    encodings: dict[str, tuple[Encoding, ...]]
    """By item: what one step of the loop over features computes."""
    tasks: dict[str, Task]
    transfer: TransferConfig
    weights: str
    """URI of the weights location."""
    weight_files: dict[str, Sealed]
    """Method → its weight file in that location."""
    trainings: dict[str, int]
    """METHOD/SEED → position in the list of backbones."""
    champion: str = ""
    """The champion's backbone, if a method evaluates it."""
    chosen: str = ""

    @property
    def item(self) -> str:
        return self.chosen

    @field_serializer("transfer")
    def _without_other_items(self, config: TransferConfig) -> dict[str, Any]:
        return config.model_dump(mode="json", exclude={"tasks", "methods", "modes"})

    def name(self, row: Row) -> str:
        """TASK/METHOD/MODE, and the seed if the run has several."""
        name = f"{row.task}/{row.method}/{row.mode}"
        return f"{name}/{row.seed}" if len(self.seeds) > 1 else name

    def transfers(self, base_mode: str) -> list[str]:
        """The items of the loop over transfers in this mode: their names; numbers if KFP would have to keep lists of
        more than LIST_BYTES."""
        names = [self.name(row) for row in self.rows]
        if sum(map(len, names)) > LIST_BYTES:
            names = [str(number) for number in range(len(names))]
        return [name for name, row in zip(names, self.rows, strict=True) if base(row.mode) == base_mode]

    def row(self) -> Row:
        """The chosen item. Raises ConfigurationError if there is none of this name."""
        if self.chosen.isdecimal() and int(self.chosen) < len(self.rows):
            return self.rows[int(self.chosen)]
        for row in self.rows:
            if self.name(row) == self.chosen:
                return row
        raise ConfigurationError(f"The plan has no item '{self.chosen}'; it has {len(self.rows)} items.")


class CompletedPlan(ItemsPlan):
    """The items with the artifacts that they read."""

    faces: dict[str, str]
    """Data set → its faces."""
    backbones: tuple[str, ...]
    """In the order of the trainings."""
    features: dict[str, str]
    """Name of an encoding → its features."""
    protocols: dict[str, str]
    """Task → its protocol, the same for every method, mode and seed."""

    def backbone(self, name: str, seed: int) -> str:
        """The backbone that a method reads; empty if it reads none."""
        if method(name).of_champion:
            return self.champion
        return self.backbones[self.trainings[f"{name}/{seed}"]] if method(name).reads_backbone else ""

    def reads(self) -> dict[str, str]:
        """Role → artifact that the chosen transfer reads; the roles are `protocol`, `backbone`, and for linear
        evaluation `features` and `train_features`."""
        row = self.row()
        task = self.tasks[row.task]
        reads = {"protocol": self.protocols[row.task], "backbone": self.backbone(row.method, row.seed)}
        if base(row.mode) == "linear":
            for role, dataset in (("features", task.dataset), ("train_features", task.train_dataset)):
                reads[role] = self.features.get(Encoding(row.method, row.seed, dataset).name, "")
        return {role: uri for role, uri in reads.items() if uri}


def align_faces(plan: str, summary_path: str) -> str:
    """Align the faces of a data set; if it has no URI, generate its rehearsal first. Returns the key of `faces`."""

    def work(store: Store, planned: AlignPlan) -> str:
        from comface.datasets.rehearsal.step import rehearse
        from comface.transfer.align import align_dataset

        name, source = planned.dataset, planned.source
        made: Artifact | None = None
        if planned.rehearse is not None:
            made = rehearse(store, name, source.layout, planned.rehearse)
        faces = align_dataset(store, name, source, made)
        write_text(summary_path, _summary(name, faces.facts_as(FacesFacts)))
        return hand_on(store, planned.run, faces)

    return execute("align", plan, AlignPlan, work)


def _summary(name: str, facts: FacesFacts) -> str:
    def counted(counts: dict[str, int]) -> str:
        return ", ".join(f"{reason} ({count:,})" for reason, count in counts.items()) or "none"

    kind = "rehearsal data set" if facts.rehearsal else "data set"
    lines = [
        f"{kind} **{name}**: {facts.found:,} faces found, {facts.with_own_landmarks:,} of them by the data set's "
        f"own landmarks; no usable face: {counted(facts.missed)}; excluded: {counted(facts.left_out)}",
        *facts.remarks,
    ]
    return "\n\n".join(lines) + "\n"


def complete_items(
    plan: str, loop: str, faces: list[str], backbones: list[str], features: Sequence[str] = ()
) -> list[str]:
    """Draw the protocol of each task, and store the plan with the artifacts that its items read. Return the items of
    one loop: `features`, `linear` or `finetune`."""

    def work(store: Store, planned: ItemsPlan) -> list[str]:
        run = planned.run
        trained = [each.pinned for each in handed(store, run, backbones, "backbone")]
        made = {name: uri for key in features for name, uri in fetched_value(store, run, key).items()}
        tasks = {} if loop == "features" else planned.tasks
        wanted = planned.model_copy(update={"tasks": tasks})
        found = completed(store, wanted, handed(store, run, faces, "faces"), trained, made)
        key = kept(store, run, found.model_dump(mode="json"))
        return items_with(key, list(planned.encodings) if loop == "features" else planned.transfers(loop))

    return execute("complete", plan, ItemsPlan, work, item=loop)


def completed(
    store: Store, planned: ItemsPlan, faces: Sequence[Artifact], backbones: Sequence[str], made: Mapping[str, str]
) -> CompletedPlan:
    """Add the artifacts that the items read; `made`: the features. Raises ConfigurationError if the faces of a data set
    are missing."""
    from comface.transfer.protocol import draw_protocol

    named = {each.facts_as(FacesFacts).dataset: each for each in faces}
    protocols = {}
    for name, task in planned.tasks.items():
        wanted = [each for each in (task.dataset, task.train_dataset) if each]
        lacking = [each for each in wanted if each not in named]
        if lacking:
            raise ConfigurationError(
                f"The task '{name}' reads the data set '{lacking[0]}', but no faces artifact of it was given; "
                "run align for this data set, and pass its faces."
            )
        sets = [named[each] for each in wanted]
        protocols[name] = draw_protocol(store, planned.transfer, name, task, *sets).pinned
    return CompletedPlan(
        **dict(planned),
        faces={name: each.pinned for name, each in named.items()},
        backbones=tuple(backbones),
        features=dict(made),
        protocols=protocols,
    )


def encode_faces(plan: str) -> str:
    """Compute the features of one item: data sets with one method. Return the key of their names and artifacts."""

    def work(store: Store, planned: CompletedPlan) -> str:
        from comface.transfer.features import features

        made = {}
        for encoding in planned.encodings.get(planned.chosen, ()):
            backbone = planned.backbone(encoding.method, encoding.seed)
            trained = open_artifact(backbone, "backbone") if backbone else None
            sources = Sources.of(trained, weight_file(planned, encoding.method), planned.transfer, encoding.seed)
            faces = open_artifact(planned.faces[encoding.dataset], "faces")
            made[encoding.name] = features(store, encoding.method, faces, sources).pinned
        return kept(store, planned.run, made)

    return execute("features", plan, CompletedPlan, work)


def weight_file(planned: ItemsPlan, name: str) -> Path | None:
    """Return a local copy of a method's weight file; None if it needs no file from the weights location."""
    if name not in planned.weight_files:
        return None
    return fetched(open_store(planned.weights), planned.weight_files[name], cache_folder())


def transfer_item(plan: str, step: str = "transfer") -> tuple[str, str, dict[str, float]]:
    """Return (key of the `transfer` artifact, name of the item, metrics for the KFP UI). The true changes are joined
    only after publication. `step`: for the log."""

    def work(store: Store, planned: CompletedPlan) -> tuple[str, str, dict[str, float]]:
        from comface.transfer.step import Item, transfer

        if planned.chosen == NOTHING:
            return "", NOTHING, {}
        row = planned.row()
        reads = {role: open_artifact(uri) for role, uri in planned.reads().items()}
        weights = None if "features" in reads else weight_file(planned, row.method)
        item = Item(row.task, planned.tasks[row.task], row.method, row.mode, row.seed)
        result = transfer(store, planned.transfer, item, reads, weights)
        return hand_on(store, planned.run, result), planned.name(row), shown_metrics(planned.name(row), result)

    return execute(step, plan, CompletedPlan, work)


def shown_metrics(name: str, result: Artifact) -> dict[str, float]:
    """Return the metrics of the item `name` for the KFP UI. Those that cannot be computed are left out and said."""
    read = read_predictions(result)
    for metric, value in read.metrics.items():
        if value is None:
            why = undefined(metric, read.change_P, read.predicted_P)
            logger.warning(f"The metric '{metric}' of {name} cannot be computed: {why}.")
    found = {metric: value for metric, value in read.metrics.items() if value is not None}
    logger.info(", ".join(f"{metric} {value:.3g}" for metric, value in found.items()))
    return {f"{metric_prefix(name)}_{metric}": value for metric, value in found.items()}
