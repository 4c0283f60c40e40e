"""Align and transfer as components call them: a plan in, an artifact's URI and what the UI shows out."""

from __future__ import annotations

from typing import Any

from comface.config import DataSource, RehearseConfig, Task, TransferConfig, parse
from comface.execution import execute
from comface.manifest import Artifact, open_artifact
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
        missed = ", ".join(f"{count} {reason}" for reason, count in facts["missed"].items()) or "none"
        kind = "rehearsal data set" if facts["rehearsal"] else "data set"
        write_text(summary_path, f"{kind} **{values['dataset']}**: {facts['found']} faces found; missed: {missed}\n")
        return faces.uri

    return execute(f"align-{_word(plan, 'dataset')}", plan, work)


def transfer_item(plan: str, faces: list[str], backbone: str) -> tuple[str, dict[str, float]]:
    """(URI of the result, figures for the UI). `faces`: the URIs of all data sets' faces."""

    def work(store: Store, values: dict[str, Any]) -> tuple[str, dict[str, float]]:
        from comface.transfer.step import transfer

        task = parse(Task, values["definition"])
        by_name = {artifact.facts["dataset"]: artifact for artifact in (open_artifact(uri, "faces") for uri in faces)}
        result = transfer(
            store,
            parse(TransferConfig, values["transfer"]),
            values["task"],
            task,
            values["method"],
            values["mode"],
            by_name[task.dataset],
            by_name[task.train_dataset] if task.train_dataset else None,
            open_artifact(backbone, "backbone") if values["method"] == "comface" else None,
            None,
        )
        return result.uri, dict(result.facts["metrics"])

    return execute("transfer-" + "-".join(_word(plan, w) for w in ("task", "method", "mode")), plan, work)


def _word(plan: str, name: str) -> str:
    import json

    return str(json.loads(plan)[name])
