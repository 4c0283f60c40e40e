"""Align and transfer as components call them: a plan in, an artifact's URI and what the UI shows out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from comface.artifacts.manifest import Artifact, open_artifact
from comface.artifacts.plans import hand_on, handed, kept
from comface.config.reading import parse
from comface.datasets.config import DataSource, RehearseConfig
from comface.errors import ConfigurationError
from comface.execution import execute
from comface.execution.pages import write_text
from comface.methods import method
from comface.runtime.folders import cache_folder
from comface.store import Store, open_store
from comface.tasks.config import Task
from comface.tracks.supplies import Sealed, fetched
from comface.transfer.config import TransferConfig


def align_faces(plan: str, summary_path: str) -> str:
    """Rehearses the data set first where its source names no place."""

    def work(store: Store, values: dict[str, Any]) -> str:
        from comface.datasets.rehearsal.step import rehearse
        from comface.transfer.align import align_dataset

        source = parse(DataSource, values["source"])
        made: Artifact | None = None
        if not source.uri:
            made = rehearse(store, values["dataset"], source.layout, parse(RehearseConfig, values["rehearse"]))
        faces = align_dataset(store, values["dataset"], source, made)
        facts = faces.facts
        write_text(summary_path, _summary(values["dataset"], facts))
        return hand_on(store, values["run"], faces)

    return execute("align", plan, work, words=("dataset",))


def _summary(name: str, facts: dict[str, Any]) -> str:
    def counted(counts: dict[str, int]) -> str:
        return ", ".join(f"{reason} ({count:,})" for reason, count in counts.items()) or "none"

    kind = "rehearsal data set" if facts["rehearsal"] else "data set"
    lines = [
        f"{kind} **{name}**: {facts['found']:,} faces found, {facts['with_own_landmarks']:,} by the data set's own "
        f"landmarks; missed: {counted(facts['missed'])}; left out: {counted(facts.get('left_out', {}))}",
        *facts.get("remarks", ()),
    ]
    return "\n\n".join(lines) + "\n"


def complete_items(items: str, faces: list[str], backbone: str) -> list[str]:
    """The keys of all transfers' plans, which name the artifacts that each reads."""

    def work(store: Store, values: dict[str, Any]) -> list[str]:
        run = values["run"]
        found = completed(values["items"], handed(store, run, faces, "faces"), backbone)
        key = kept(store, run, {"items": found})
        return [f"{key}.{number}" for number in range(len(found))]

    return execute("complete", items, work)


def completed(items: Sequence[Mapping[str, Any]], faces: Sequence[Artifact], backbone: str) -> list[dict[str, Any]]:
    """Plans of transfers, with what each reads of these: `faces`, `train_faces`, `backbone`."""
    named = {each.facts["dataset"]: each.pinned for each in faces}
    found = []
    for item in items:
        definition = item["definition"]
        wanted = {"faces": definition["dataset"], "train_faces": definition["train_dataset"]}
        lacking = [name for name in wanted.values() if name and name not in named]
        if lacking:
            raise ConfigurationError(
                f"The task '{item['task']}' reads the data set '{lacking[0]}', but no faces artifact of it was given; "
                "align it, and pass what that gives."
            )
        reads = {role: named[name] for role, name in wanted.items() if name}
        if method(item["method"]).reads_backbone:
            reads["backbone"] = backbone
        found.append({**item, "reads": reads})
    return found


def weight_file(values: Mapping[str, Any]) -> Path | None:
    """The method's weight file on this machine, as the plan has it; None for a method that reads none of the weights
    location."""
    if values.get("weight_file") is None:
        return None
    sealed = Sealed.model_validate(values["weight_file"])
    return fetched(open_store(values["weights"]), sealed, cache_folder())


def transfer_item(plan: str) -> tuple[str, dict[str, float]]:
    """(URI of the result, figures for the UI)."""

    def work(store: Store, values: dict[str, Any]) -> tuple[str, dict[str, float]]:
        from comface.transfer.step import Item, transfer

        reads = {name: open_artifact(uri) for name, uri in values["reads"].items()}
        item = Item(values["task"], parse(Task, values["definition"]), values["method"], values["mode"])
        result = transfer(store, parse(TransferConfig, values["transfer"]), item, reads, weight_file(values))
        return hand_on(store, values["run"], result), dict(result.facts["metrics"])

    return execute("transfer", plan, work, words=("task", "method", "mode"))
