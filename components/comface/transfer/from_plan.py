"""Entry points of the components `align`, `complete` and `transfer`.

In: a plan. Out: the key of an artifact in the run, and what the KFP UI displays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import field_serializer

from comface.artifacts.facts import FacesFacts, TransferFacts
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
    """Role → artifact that the transfer reads; the roles are `faces`, `train_faces` and `backbone`."""


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
    """Return the keys of the completed plans of all transfers."""

    def work(store: Store, planned: ItemsPlan) -> list[str]:
        run = planned.run
        found = completed(planned.items, handed(store, run, faces, "faces"), backbone)
        key = kept(store, run, {"items": [each.model_dump(mode="json") for each in found]})
        return [f"{key}.{number}" for number in range(len(found))]

    return execute("complete", items, ItemsPlan, work)


def completed(items: Sequence[TransferPlan], faces: Sequence[Artifact], backbone: str) -> list[CompletedPlan]:
    """Add to each plan the artifacts that it reads. Raises ConfigurationError if the faces of a data set are
    missing."""
    named = {each.facts_as(FacesFacts).dataset: each.pinned for each in faces}
    found = []
    for item in items:
        wanted = {"faces": item.definition.dataset, "train_faces": item.definition.train_dataset}
        lacking = [name for name in wanted.values() if name and name not in named]
        if lacking:
            raise ConfigurationError(
                f"The task '{item.task}' reads the data set '{lacking[0]}', but no faces artifact of it was given; "
                "run align for this data set, and pass its faces."
            )
        reads = {role: named[name] for role, name in wanted.items() if name}
        if method(item.method).reads_backbone:
            reads["backbone"] = backbone
        found.append(CompletedPlan(**dict(item), reads=reads))
    return found


def weight_file(planned: TransferPlan) -> Path | None:
    """Return a local copy of the method's weight file; None if the method needs no file from the weights location."""
    if planned.weight_file is None:
        return None
    return fetched(open_store(planned.weights), planned.weight_file, cache_folder())


def transfer_item(plan: str) -> tuple[str, dict[str, float | None]]:
    """Return (key of the `transfer` artifact, metrics for the KFP UI)."""

    def work(store: Store, planned: CompletedPlan) -> tuple[str, dict[str, float | None]]:
        from comface.transfer.step import Item, transfer

        reads = {name: open_artifact(uri) for name, uri in planned.reads.items()}
        item = Item(planned.task, planned.definition, planned.method, planned.mode)
        result = transfer(store, planned.transfer, item, reads, weight_file(planned))
        return hand_on(store, planned.run, result), result.facts_as(TransferFacts).metrics

    return execute("transfer", plan, CompletedPlan, work)
