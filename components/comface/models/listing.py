"""The registry for a terminal: what `comface models list|show|promote` print.

In: a store, names. Out: plain rows, and text made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from comface.artifacts.manifest import Artifact
from comface.errors import ConfigurationError
from comface.models.format import read_card, read_facts
from comface.models.registry import Registry, Version, names, place_of, resolve_model
from comface.store import Store


def list_models(store: Store) -> list[dict[str, Any]]:
    """One row per version, newest last: reference, champion, registered_at, tasks with correlation, uri."""
    rows = []
    for name in names(store):
        registry = Registry(store, name)
        champion = registry.champion()
        for version in registry.versions():
            rows.append(_row(registry, version, champion is not None and champion.number == version.number))
    return sorted(rows, key=lambda row: row["registered_at"])


def models_text(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "no model is registered here; `comface run` registers one"
    lines = []
    for row in rows:
        tasks = ", ".join(f"{task} {_corr(entry)}" for task, entry in row["tasks"].items())
        star = "  champion" if row["champion"] else ""
        lines.append(f"{row['reference']:<16} {row['registered_at'][:16].replace('T', ' ')}{star}\n    {tasks}")
    return "\n".join(lines)


def show_model(store: Store, reference: str | None) -> dict[str, Any]:
    """The model's reference, uri, facts and card."""
    called, model = resolve_model(store, reference)
    return {
        "reference": called,
        "uri": model.uri,
        "sha256": model.sha256,
        "tasks": _tasks(model),
        "card": read_card(model),
        "objects": {name: entry.size_bytes for name, entry in model.manifest.objects.items()},
    }


def model_text(shown: dict[str, Any]) -> str:
    objects = "\n".join(f"  {size:>12,} B  {name}" for name, size in shown["objects"].items())
    return f"{shown['card']}\n{shown['reference']} = {shown['uri']}\n{objects}"


def promote_model(store: Store, reference: str, now: datetime) -> dict[str, Any]:
    """Make NAME@vN (or NAME: its newest) the champion. Gives reference and the champion before."""
    if place_of(reference) is not None:
        raise ConfigurationError(f"A champion is named by its version, not by {reference}; write NAME@v3.")
    called, _ = resolve_model(store, reference)
    name, _, number = called.partition("@v")
    promotion = Registry(store, name).promote(int(number), now)
    before = f"{name}@v{promotion.before}" if promotion.before else None
    return {"reference": called, "before": before, "promoted_at": promotion.promoted_at.isoformat()}


def _row(registry: Registry, version: Version, champion: bool) -> dict[str, Any]:
    model = registry.open(version)
    return {
        "reference": version.reference,
        "champion": champion,
        "registered_at": version.registered_at.isoformat(),
        "tasks": _tasks(model),
        "uri": model.uri,
    }


def _tasks(model: Artifact) -> dict[str, dict[str, Any]]:
    return {task: entry.model_dump(mode="json") for task, entry in read_facts(model).tasks.items()}


def _corr(entry: dict[str, Any]) -> str:
    value = "–" if entry["corr"] is None else f"{entry['corr']:.2f}"
    return value + (" (rehearsal)" if entry["rehearsal"] else "")
