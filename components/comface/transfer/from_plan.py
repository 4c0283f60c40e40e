"""Entry points of the components `align`, `complete` and `transfer`.

In: a plan. Out: the key of an artifact in the run, and what the KFP UI displays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import field_serializer

from comface.artifacts.facts import FacesFacts
from comface.artifacts.manifest import Artifact, open_artifact
from comface.artifacts.plans import Plan, hand_on, handed, kept
from comface.datasets.config import DataSource, RehearseConfig
from comface.errors import ConfigurationError
from comface.execution import execute
from comface.execution.pages import write_text
from comface.methods import method
from comface.runtime.folders import cache_folder
from comface.store import Store, open_store
from comface.tasks.config import Mode, Task
from comface.tasks.predictions import read_predictions
from comface.tracks.supplies import Sealed, fetched
from comface.transfer.config import TransferConfig


class AlignPlan(Plan):
    dataset: str
    source: DataSource
    rehearse: RehearseConfig | None
    """Settings of the rehearsal; None if the data set has a URI."""

    @property
    def item(self) -> str:
        return self.dataset


class TransferPlan(Plan):
    task: str
    definition: Task
    method: str
    mode: Mode
    seed: int = 0
    """Of random weights and of fine-tuning."""
    transfer: TransferConfig
    weights: str
    """URI of the weights location."""
    weight_file: Sealed | None
    """The method's weight file in that location; None if it needs none."""

    @property
    def item(self) -> str:
        return f"{self.task}/{self.method}/{self.mode}"

    @field_serializer("transfer")
    def _without_other_items(self, config: TransferConfig) -> dict[str, Any]:
        """Leave out the other items of the run, because they do not affect this one."""
        return config.model_dump(mode="json", exclude={"tasks", "methods", "modes"})


class ItemsPlan(Plan):
    """The plan of `complete`: all transfers of a run."""

    items: tuple[TransferPlan, ...]


class CompletedPlan(TransferPlan):
    reads: dict[str, str]
    """Role → artifact that the transfer reads; the roles are `protocol` and `backbone`."""


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


def complete_items(items: str, faces: list[str], backbone: str) -> list[str]:
    """Draw the protocol of each task, and return the keys of the completed plans of all transfers."""

    def work(store: Store, planned: ItemsPlan) -> list[str]:
        run = planned.run
        found = completed(store, planned.items, handed(store, run, faces, "faces"), backbone)
        key = kept(store, run, {"items": [each.model_dump(mode="json") for each in found]})
        return [f"{key}.{number}" for number in range(len(found))]

    return execute("complete", items, ItemsPlan, work)


def completed(
    store: Store, items: Sequence[TransferPlan], faces: Sequence[Artifact], backbone: str
) -> list[CompletedPlan]:
    """Add to each plan the artifacts that it reads. The protocol of a task is drawn once, for all methods and modes.
    Raises ConfigurationError if the faces of a data set are missing."""
    from comface.transfer.protocol import draw_protocol

    named = {each.facts_as(FacesFacts).dataset: each for each in faces}
    protocols: dict[str, str] = {}
    found = []
    for item in items:
        if item.task not in protocols:
            sets = _faces_of(item, named)
            protocols[item.task] = draw_protocol(store, item.transfer, item.task, item.definition, *sets).pinned
        reads = {"protocol": protocols[item.task]}
        if method(item.method).reads_backbone:
            reads["backbone"] = backbone
        found.append(CompletedPlan(**dict(item), reads=reads))
    return found


def _faces_of(item: TransferPlan, named: Mapping[str, Artifact]) -> list[Artifact]:
    wanted = [name for name in (item.definition.dataset, item.definition.train_dataset) if name]
    lacking = [name for name in wanted if name not in named]
    if lacking:
        raise ConfigurationError(
            f"The task '{item.task}' reads the data set '{lacking[0]}', but no faces artifact of it was given; "
            "run align for this data set, and pass its faces."
        )
    return [named[name] for name in wanted]


def weight_file(planned: TransferPlan) -> Path | None:
    """Return a local copy of the method's weight file; None if the method needs no file from the weights location."""
    if planned.weight_file is None:
        return None
    return fetched(open_store(planned.weights), planned.weight_file, cache_folder())


def transfer_item(plan: str) -> str:
    """Return the key of the `transfer` artifact."""

    def work(store: Store, planned: CompletedPlan) -> str:
        from comface.transfer.step import Item, transfer

        reads = {name: open_artifact(uri) for name, uri in planned.reads.items()}
        item = Item(planned.task, planned.definition, planned.method, planned.mode, planned.seed)
        return hand_on(store, planned.run, transfer(store, planned.transfer, item, reads, weight_file(planned)))

    return execute("transfer", plan, CompletedPlan, work)


def metrics_of_item(plan: str, key: str) -> dict[str, float]:
    """Return the metrics of a published transfer for the KFP UI, named by task, method and mode. The true changes are
    joined only here. A metric that cannot be computed is left out."""

    def work(store: Store, planned: CompletedPlan) -> dict[str, float]:
        (result,) = handed(store, planned.run, [key], "transfer")
        found = read_predictions(result).metrics.items()
        prefix = "_".join((planned.task, planned.method, planned.mode))
        return {f"{prefix}_{name}": value for name, value in found if value is not None}

    return execute("transfer", plan, CompletedPlan, work)
