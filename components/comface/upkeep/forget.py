"""Removes the data of one person from a store and this machine's caches, and lists what saw them.

In: a store, the person's id in a data set. Out: a Forgetting, which says what would go, and `forget`, which removes it.

Removed: all objects of `faces`, `features` and `protocol` artifacts with the person, the predictions of `transfer`
artifacts, rehearsal data sets with the person, unfinished artifacts of these kinds, incomplete writes, and earlier
versions in buckets that keep them. An artifact goes as a whole, because its manifest fixes its bytes; the next run
makes another one from the data set without the person. Manifests stay, with a record that says that the objects were
removed on request. Models, reports and decisions stay and are listed.

The list of photos of `faces` goes last. So whatever ends this function, the same command finds the person again and
completes the removal. No message has the person's id.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date

from comface.artifacts.facts import FacesFacts
from comface.artifacts.made import MADE
from comface.artifacts.manifest import MANIFEST, Artifact
from comface.artifacts.removal import (
    REMOVED,
    Forgotten,
    Removal,
    record_forgotten,
    record_removal,
    was_forgotten,
)
from comface.config.names import quoted
from comface.datasets.place import drop_copy
from comface.errors import ComfaceError, ConfigurationError, DataError
from comface.files.headings import normal
from comface.runtime.folders import cache_folder
from comface.runtime.progress import shown
from comface.store import Store
from comface.store.upkeep import erase, erase_history, remnants
from comface.tasks.predictions import NAME as PREDICTIONS
from comface.upkeep.inventory import Folder, Inventory, take_inventory

WITH_PEOPLE = ("transfer", "features", "protocol", "dataset", "faces")
"""Kinds with rows of people, in the order of their removal."""
LOOSE = ("transfer", "features", "protocol")
STAYS = (MANIFEST, MADE, REMOVED)
PHOTOS = "photos.json"


@dataclass(frozen=True)
class Forgetting:
    """What a store has of one person."""

    inventory: Inventory
    datasets: dict[str, str]
    """Name -> location; empty if the store itself had made it."""
    photos: int
    targets: list[Folder]
    """In the order of removal."""
    saw: list[Folder]
    """What stays, and was made from the person's data."""
    interrupted: tuple[str, ...] = ()
    """Data sets of an earlier removal that did not complete."""

    @property
    def models(self) -> list[str]:
        """The registered versions that saw the person."""
        seen = {folder.address for folder in self.saw}
        return [
            f"{version.reference}{' (champion)' if version.reference in self.inventory.champions else ''}"
            for version in self.inventory.versions
            if version.artifact in seen
        ]

    def goes(self, folder: Folder) -> list[str]:
        """The objects of a target that are removed, the list of photos last."""
        if folder.kind == "transfer" and folder.artifact is not None:
            kept = {folder.artifact.key(name) for name in folder.artifact.manifest.objects if name != PREDICTIONS}
            names = [name for name in folder.objects if name not in kept | set(STAYS)]
        elif folder.artifact is None or folder.kind == "dataset":  # its manifest has file names, which name people
            names = [name for name in folder.objects if name != REMOVED]
        else:
            names = [name for name in folder.objects if name not in STAYS]
        return sorted(names, key=lambda name: (name.startswith(("photos", "rows-")), name))


def find_person(store: Store, subject: str, dataset: str | None = None) -> Forgetting:
    """`dataset`: only of this data set. Raises DataError if a list of photos cannot be read, ConfigurationError if the
    store is empty or has no such data set: `the person is not there` would be no answer then."""
    inventory = take_inventory(store)
    if not inventory.folders:
        raise ConfigurationError(f"The store {store.uri} is empty; give the store of the runs with --store.")
    datasets: dict[str, str] = {}
    known: set[str] = set()
    faces: list[Folder] = []
    photos = 0
    for folder in (each for each in inventory.folders.values() if each.kind == "faces"):
        if folder.artifact is None:
            faces += [folder] if _unfinished_with(store, folder, subject) else []
            continue
        facts = folder.artifact.facts_as(FacesFacts)
        known.add(facts.dataset)
        if dataset is not None and facts.dataset != dataset:
            continue
        if count := _photos_of(folder.artifact, subject):
            faces.append(folder)
            datasets[facts.dataset] = "" if "dataset" in folder.artifact.manifest.inputs else facts.source
            photos += count
    if dataset is not None and dataset not in known:
        there = ", ".join(sorted(known)) or "none"
        raise ConfigurationError(f"The store {store.uri} has no data set {quoted(dataset)}; its data sets: {there}.")
    asked = known if dataset is None else {dataset}
    earlier = {name: was_forgotten(store, name, subject) for name in asked}
    interrupted = tuple(sorted(name for name, record in earlier.items() if record and not record.complete))
    around = inventory.made_from(folder.address for folder in faces)
    around |= {address for folder in faces for address in folder.inputs}
    # Drafts without a manifest name no inputs: they may be of this person, and only cost being made again.
    loose = [
        folder
        for folder in inventory.folders.values()
        if faces and folder.artifact is None and folder.kind in LOOSE and set(folder.objects) != {REMOVED}
    ]
    concerned = [*faces, *(inventory.folders[address] for address in sorted(around)), *loose]
    targets = [folder for kind in WITH_PEOPLE for folder in concerned if folder.kind == kind]
    kept = ("faces", "features", "protocol", "dataset")
    saw = [folder for folder in concerned if folder.kind not in kept and folder not in loose]
    return Forgetting(inventory, datasets, photos, targets, saw, interrupted)


def forget(store: Store, subject: str, found: Forgetting, today: date) -> None:
    """Remove what was found. Raises ConfigurationError if earlier versions may not be removed."""
    record = Forgotten(
        at=today.isoformat(), datasets=tuple(sorted(found.datasets)), artifacts=len(found.targets), complete=False
    )
    names = {*found.datasets, *found.interrupted}
    for name in names:
        record_forgotten(store, name, subject, record)
    _drop_caches(found)
    for folder in shown(found.targets, "removing the data of a person", unit="artifact"):
        _remove(store, folder, found.goes(folder), today)
    for kind in WITH_PEOPLE:
        erase_history(store, kind)
        for remnant in list(remnants(store, kind)):
            remnant.drop()
    for name in names:
        record_forgotten(store, name, subject, record.model_copy(update={"complete": True}))


def _remove(store: Store, folder: Folder, names: list[str], today: date) -> None:
    artifact = folder.artifact
    if artifact is not None:
        wholly = folder.kind == "dataset"
        removal = Removal(
            reason="request",
            at=today.isoformat(),
            objects=() if wholly else tuple(_in_manifest(artifact, names)),
            manifest_sha256=artifact.sha256,
            inputs={n: r.model_dump() for n, r in artifact.manifest.inputs.items()} if wholly else {},
        )
        record_removal(artifact.store, removal)
    for name in names:
        erase(store, f"{folder.address}/{name}")


def _in_manifest(artifact: Artifact, names: Iterable[str]) -> Iterator[str]:
    """The names in the manifest of these keys. An object that an interrupted removal has removed already counts."""
    gone = set(names)
    for name in artifact.manifest.objects:
        if artifact.key(name) in gone or not artifact.store.exists(artifact.key(name)):
            yield name


def _photos_of(artifact: Artifact, subject: str) -> int:
    """How many faces the person has; 0 if the list was removed."""
    try:
        rows = artifact.read_json(PHOTOS)
    except DataError:
        if artifact.store.exists(REMOVED):
            return 0
        raise
    return sum(normal(row["subject"]) == normal(subject) for row in rows)


def _unfinished_with(store: Store, folder: Folder, subject: str) -> bool:
    """Whether an interrupted alignment has written rows of the person."""
    for name in folder.objects:
        if name.startswith(("rows-", "photos")):
            with contextlib.suppress(DataError, ValueError):
                content = json.loads(store.read(f"{folder.address}/{name}"))
                rows = content["rows"] if isinstance(content, dict) else content
                if any(normal(row["subject"]) == normal(subject) for row in rows):
                    return True
    return False


def _drop_caches(found: Forgetting) -> None:
    """Local copies of removed objects, and of the data sets themselves."""
    rows = cache_folder() / "rows"
    for folder in found.targets:
        if folder.artifact is None:
            continue
        for entry in folder.artifact.manifest.objects.values():
            for path in rows.glob(f"{entry.sha256[:32]}-*") if rows.is_dir() else ():
                path.unlink(missing_ok=True)
        if folder.kind == "dataset":
            drop_copy(folder.artifact.sha256[:20])
    for place in filter(None, found.datasets.values()):
        with contextlib.suppress(ComfaceError):  # its store is not reachable from here
            drop_copy(place)
