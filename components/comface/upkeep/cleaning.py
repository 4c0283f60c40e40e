"""Lists what a store has, and removes what nothing needs.

In: a store, the time. Out: rows; a Waste, which says what would go. Needed is what a registered version or a recent run
names, with all its inputs, and whatever is younger than the limit. A running run writes its plans and records below
plans/RUN, so it counts as recent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from comface.artifacts.manifest import MANIFEST
from comface.artifacts.plans import FOLDER as PLANS
from comface.artifacts.removal import REMOVED, Removal, record_removal
from comface.execution import FAILURES
from comface.plan.sizes import amount
from comface.runtime.progress import counted, duration, shown
from comface.store import Store
from comface.store.upkeep import Remnant, remnants
from comface.upkeep.inventory import Folder, Inventory, named_by_run, take_inventory

DAY_S = 86400.0
WRITE_DAYS = 1.0
"""A write takes minutes; one that is older was interrupted."""


@dataclass(frozen=True)
class Row:
    artifact: str
    kind: str
    size_bytes: int
    age_days: float
    state: str
    """finished, unfinished or removed."""
    made_from: int
    used_by: int
    needed_by: tuple[str, ...]
    """Registered versions whose inputs it is among."""

    def record(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Waste:
    """What nothing needs."""

    folders: list[Folder]
    inputs: list[Folder]
    """Of registered models: a record says that they were removed."""
    remnants: list[Remnant]
    runs: list[str]
    kept: int

    @property
    def is_any(self) -> bool:
        return bool(self.folders or self.inputs or self.remnants or self.runs)

    def lines(self) -> Iterator[str]:
        for folder in (*self.folders, *self.inputs):
            what = "" if folder.artifact else " (unfinished)"
            yield f"{folder.address}  {amount(folder.size_bytes)}{what}"
        for remnant in self.remnants:
            yield f"{remnant.name}  {amount(remnant.entry.size_bytes)} (incomplete write)"
        size = sum(folder.size_bytes for folder in (*self.folders, *self.inputs))
        size += sum(remnant.entry.size_bytes for remnant in self.remnants)
        yield (
            f"not needed: {counted(len(self.folders) + len(self.inputs), 'artifact')}, "
            f"{counted(len(self.remnants), 'incomplete write')}, plans of {counted(len(self.runs), 'run')}; "
            f"{amount(size)}. Kept: {counted(self.kept, 'artifact')}"
        )


def listed(store: Store, now: float) -> list[Row]:
    inventory = take_inventory(store)
    needed: dict[str, list[str]] = {}
    for version in inventory.versions:
        champion = " (champion)" if version.reference in inventory.champions else ""
        for address in inventory.closure(inventory.models_of(version)):
            needed.setdefault(address, []).append(version.reference + champion)
    return [
        Row(
            folder.address,
            folder.kind,
            folder.size_bytes,
            round((now - folder.modified) / DAY_S, 2),
            "finished" if folder.artifact else "removed" if REMOVED in folder.objects else "unfinished",
            len(folder.inputs),
            len(folder.used_by),
            tuple(needed.get(folder.address, ())),
        )
        for folder in sorted(inventory.folders.values(), key=lambda each: (each.kind, each.modified))
    ]


def listing_text(rows: list[Row]) -> str:
    if not rows:
        return "no artifacts"
    width = max(len(row.artifact) for row in rows)
    lines = [f"{'artifact':<{width}}  {'size':>8}  {'age':>8}  {'inputs':>6}  {'users':>5}  needed by"]
    lines += [
        f"{row.artifact:<{width}}  {amount(row.size_bytes):>8}  {duration(row.age_days * DAY_S):>8}  "
        f"{row.made_from:>6}  {row.used_by:>5}  {', '.join(row.needed_by) or '–'}"
        f"{'' if row.state == 'finished' else f'  ({row.state})'}"
        for row in rows
    ]
    kinds = Counter[str]()
    for row in rows:
        kinds[row.kind] += row.size_bytes
    total = ", ".join(f"{kind} {amount(size)}" for kind, size in kinds.most_common())
    return "\n".join([*lines, f"{counted(len(rows), 'artifact')}: {total}"])


def find_waste(store: Store, now: float, older_than_days: float, inputs_of: str = "") -> Waste:
    """`inputs_of`: "old": also the inputs of registered versions that are not a champion's, too; "all": of all."""
    inventory, before = take_inventory(store), now - older_than_days * DAY_S
    old_runs = sorted(run for run, entry in inventory.runs.items() if entry.modified < before)
    recent = inventory.closure(_young(inventory, before))
    recent |= inventory.closure(
        address for run in inventory.runs if run not in old_runs for address in named_by_run(store, run)
    )
    named = {address for version in inventory.versions for address in inventory.models_of(version)}
    registered = inventory.closure(named)
    folders = [
        folder
        for folder in inventory.folders.values()
        if folder.address not in recent | registered and set(folder.objects) != {REMOVED}
    ]
    inputs = registered - named - recent if inputs_of else set()
    if inputs_of == "old":
        champions = (each for each in inventory.versions if each.reference in inventory.champions)
        inputs -= inventory.closure(address for each in champions for address in inventory.models_of(each))
    incomplete = [each for each in remnants(store) if each.entry.modified < now - WRITE_DAYS * DAY_S]
    going = [inventory.folders[address] for address in sorted(inputs)]
    going = [folder for folder in going if folder.artifact is not None]
    kept = len(inventory.folders) - len(folders) - len(going)
    return Waste(sorted(folders, key=lambda each: each.address), going, incomplete, old_runs, kept)


def clean(store: Store, waste: Waste, today: date) -> None:
    """The manifest goes first: whatever ends this function, no reader finds half an artifact."""
    for folder in shown([*waste.folders, *waste.inputs], "removing artifacts", unit="artifact"):
        if folder in waste.inputs and folder.artifact is not None:
            inputs = {name: each.model_dump() for name, each in folder.artifact.manifest.inputs.items()}
            digest, at = folder.artifact.sha256, today.isoformat()
            removal = Removal(reason="cleaning", at=at, objects=(), manifest_sha256=digest, inputs=inputs)
            record_removal(folder.artifact.store, removal)
        for name in sorted(folder.objects, key=lambda each: each != MANIFEST):
            if name != REMOVED:
                store.delete(f"{folder.address}/{name}")
    for remnant in waste.remnants:
        remnant.drop()
    for run in waste.runs:
        for place in (PLANS, FAILURES):
            for key in list(store.keys(f"{place}/{run}")):
                store.delete(key)


def _young(inventory: Inventory, before: float) -> list[str]:
    return [folder.address for folder in inventory.folders.values() if folder.modified >= before]
