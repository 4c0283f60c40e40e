"""Align and transfer as components call them: a plan in, an artifact's URI and what the UI shows out."""

from __future__ import annotations

import json
from typing import Any

from comface.config import DataSource, RehearseConfig, Task, TransferConfig, parse
from comface.execution import execute
from comface.manifest import Artifact, canonical_json, open_artifact
from comface.pictures import write_text
from comface.store import Store


def align_faces(plan: str, summary_path: str) -> str:
    """Rehearses the data set first where its source names no place."""

    def work(store: Store, values: dict[str, Any]) -> str:
        from comface.rehearse.step import rehearse
        from comface.transfer.faces import align_dataset

        source = parse(DataSource, values["source"])
        made: Artifact | None = None
        if not source.uri:
            made = rehearse(store, values["dataset"], source.layout, parse(RehearseConfig, values["rehearse"]))
        faces = align_dataset(store, values["dataset"], source, made)
        facts = faces.facts
        write_text(summary_path, _summary(values["dataset"], facts))
        return faces.pinned

    return execute(f"align-{_word(plan, 'dataset')}", plan, work)


def _summary(name: str, facts: dict[str, Any]) -> str:
    def counted(counts: dict[str, int]) -> str:
        return ", ".join(f"{count:,} {reason}" for reason, count in counts.items()) or "none"

    kind = "rehearsal data set" if facts["rehearsal"] else "data set"
    lines = [
        f"{kind} **{name}**: {facts['found']:,} faces found, {facts['with_own_landmarks']:,} by the data set's own "
        f"landmarks; missed: {counted(facts['missed'])}; left out: {counted(facts['left_out'])}",
        *facts["remarks"],
    ]
    return "\n\n".join(lines) + "\n"


def complete_items(items: list[str], faces: list[str], backbone: str) -> list[str]:
    """The plans of all transfers, each with the URIs of the artifacts it reads: `faces`, `train_faces`, `backbone`."""

    def work(*_: Any) -> list[str]:
        uris = {open_artifact(uri, "faces").facts["dataset"]: uri for uri in faces}
        completed = []
        for item in map(json.loads, items):
            definition = item["definition"]
            reads = {"faces": uris[definition["dataset"]]}
            if definition["train_dataset"]:
                reads["train_faces"] = uris[definition["train_dataset"]]
            if item["method"] == "comface":
                reads["backbone"] = backbone
            completed.append(canonical_json({**item, "reads": reads}))
        return completed

    return execute("complete", items[0], work)


def transfer_item(plan: str) -> tuple[str, dict[str, float]]:
    """(URI of the result, figures for the UI)."""

    def work(store: Store, values: dict[str, Any]) -> tuple[str, dict[str, float]]:
        from comface.transfer.step import transfer

        reads = {name: open_artifact(uri) for name, uri in values["reads"].items()}
        result = transfer(
            store,
            parse(TransferConfig, values["transfer"]),
            values["task"],
            parse(Task, values["definition"]),
            values["method"],
            values["mode"],
            reads["faces"],
            reads.get("train_faces"),
            reads.get("backbone"),
            None,
        )
        return result.pinned, dict(result.facts["metrics"])

    return execute("transfer-" + "-".join(_word(plan, w) for w in ("task", "method", "mode")), plan, work)


def _word(plan: str, name: str) -> str:
    return str(json.loads(plan)[name])
