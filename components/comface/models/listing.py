"""Output of `comface models list|show|promote`.

In: a store, names. Out: plain rows, and their text for the terminal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from comface.errors import ConfigurationError
from comface.models.format import Task, read_card, read_facts
from comface.models.registry import Registry, Version, names, place_of, resolve_model
from comface.store import Store


class Listed(NamedTuple):
    """A version, as `comface models list --json` prints it."""

    reference: str
    champion: bool
    registered_at: str
    tasks: dict[str, Task]
    uri: str

    def record(self) -> dict[str, Any]:
        return self._asdict() | {"tasks": _records(self.tasks)}


class Shown(NamedTuple):
    """A model, as `comface models show --json` prints it."""

    reference: str
    uri: str
    sha256: str
    tasks: dict[str, Task]
    card: str
    objects: dict[str, int]
    """Sizes in bytes."""

    def record(self) -> dict[str, Any]:
        return self._asdict() | {"tasks": _records(self.tasks)}


class Promoted(NamedTuple):
    """A promotion, as `comface models promote --json` prints it. `before`: the previous champion."""

    reference: str
    before: str | None
    promoted_at: str


def list_models(store: Store) -> list[Listed]:
    """Return one row per version, newest last."""
    rows = []
    for name in names(store):
        registry = Registry(store, name)
        champion = registry.champion()
        for version in registry.versions():
            rows.append(_row(registry, version, champion is not None and champion.number == version.number))
    return sorted(rows, key=lambda row: row.registered_at)


def models_text(rows: Sequence[Listed]) -> str:
    if not rows:
        return "This store has no registered models; `comface run` registers one."
    lines = []
    for row in rows:
        tasks = ", ".join(f"{task} {_corr(entry)}" for task, entry in row.tasks.items())
        star = "  champion" if row.champion else ""
        lines.append(f"{row.reference:<16} {row.registered_at[:16].replace('T', ' ')}{star}\n    {tasks}")
    return "\n".join(lines)


def show_model(store: Store, reference: str | None) -> Shown:
    called, model = resolve_model(store, reference)
    objects = {name: entry.size_bytes for name, entry in model.manifest.objects.items()}
    return Shown(called, model.uri, model.sha256, read_facts(model).tasks, read_card(model), objects)


def model_text(shown: Shown) -> str:
    objects = "\n".join(f"  {size:>12,} B  {name}" for name, size in shown.objects.items())
    return f"{shown.card}\n{shown.reference} = {shown.uri}\n{objects}"


def promote_model(store: Store, reference: str, now: datetime) -> Promoted:
    """Make NAME@vN (or the newest version of NAME) the champion."""
    if place_of(reference) is not None:
        raise ConfigurationError(f"A champion needs a version, not the location {reference}; write NAME@v3.")
    called, _ = resolve_model(store, reference)
    name, _, number = called.partition("@v")
    promotion = Registry(store, name).promote(int(number), now)
    before = f"{name}@v{promotion.before}" if promotion.before else None
    return Promoted(called, before, promotion.promoted_at.isoformat())


def _row(registry: Registry, version: Version, champion: bool) -> Listed:
    model = registry.open(version)
    return Listed(version.reference, champion, version.registered_at.isoformat(), read_facts(model).tasks, model.uri)


def _records(tasks: Mapping[str, Task]) -> dict[str, dict[str, Any]]:
    return {name: task.model_dump(mode="json") for name, task in tasks.items()}


def _corr(task: Task) -> str:
    value = "–" if task.corr is None else f"{task.corr:.2f}"
    return value + (" (rehearsal)" if task.rehearsal else "")
