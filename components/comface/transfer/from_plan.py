"""Align and transfer as components call them: a plan in, an artifact's URI and what the UI shows out."""

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
    """None: the data set has files of its own."""

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
    """The weights location."""
    weight_file: Sealed | None
    """The method's, there."""

    @property
    def item(self) -> str:
        return f"{self.task}/{self.method}/{self.mode}"

    @field_serializer("transfer")
    def _without_other_items(self, config: TransferConfig) -> dict[str, Any]:
        """What else the run evaluates decides nothing here."""
        return config.model_dump(mode="json", exclude={"tasks", "methods", "modes"})


class ItemsPlan(Plan):
    """The plan of `complete`: all transfers of a run."""

    items: tuple[TransferPlan, ...]


class CompletedPlan(TransferPlan):
    reads: dict[str, str]
    """The artifacts that the transfer reads: `faces`, `train_faces`, `backbone`."""


def align_faces(plan: str, summary_path: str) -> str:
    """Rehearses the data set first where its source names no place."""

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
        f"{kind} **{name}**: {facts.found:,} faces found, {facts.with_own_landmarks:,} by the data set's own "
        f"landmarks; missed: {counted(facts.missed)}; left out: {counted(facts.left_out)}",
        *facts.remarks,
    ]
    return "\n\n".join(lines) + "\n"


def complete_items(items: str, faces: list[str], backbone: str) -> list[str]:
    """The keys of all transfers' plans, which name the artifacts that each reads."""

    def work(store: Store, planned: ItemsPlan) -> list[str]:
        run = planned.run
        found = completed(planned.items, handed(store, run, faces, "faces"), backbone)
        key = kept(store, run, {"items": [each.model_dump(mode="json") for each in found]})
        return [f"{key}.{number}" for number in range(len(found))]

    return execute("complete", items, ItemsPlan, work)


def completed(items: Sequence[TransferPlan], faces: Sequence[Artifact], backbone: str) -> list[CompletedPlan]:
    """Plans of transfers, with what each reads of these faces and this backbone."""
    named = {each.facts_as(FacesFacts).dataset: each.pinned for each in faces}
    found = []
    for item in items:
        wanted = {"faces": item.definition.dataset, "train_faces": item.definition.train_dataset}
        lacking = [name for name in wanted.values() if name and name not in named]
        if lacking:
            raise ConfigurationError(
                f"The task '{item.task}' reads the data set '{lacking[0]}', but no faces artifact of it was given; "
                "align it, and pass what that gives."
            )
        reads = {role: named[name] for role, name in wanted.items() if name}
        if method(item.method).reads_backbone:
            reads["backbone"] = backbone
        found.append(CompletedPlan(**dict(item), reads=reads))
    return found


def weight_file(planned: TransferPlan) -> Path | None:
    """The method's weight file on this machine, as the plan has it; None for a method that reads none of the weights
    location."""
    if planned.weight_file is None:
        return None
    return fetched(open_store(planned.weights), planned.weight_file, cache_folder())


def transfer_item(plan: str) -> tuple[str, dict[str, float | None]]:
    """(URI of the result, figures for the UI)."""

    def work(store: Store, planned: CompletedPlan) -> tuple[str, dict[str, float | None]]:
        from comface.transfer.step import Item, transfer

        reads = {name: open_artifact(uri) for name, uri in planned.reads.items()}
        item = Item(planned.task, planned.definition, planned.method, planned.mode)
        result = transfer(store, planned.transfer, item, reads, weight_file(planned))
        return hand_on(store, planned.run, result), result.facts_as(TransferFacts).metrics

    return execute("transfer", plan, CompletedPlan, work)
