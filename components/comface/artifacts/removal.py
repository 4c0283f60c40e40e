"""Records of what was removed on purpose, so that a reader can tell a removal from damage.

    KIND/ADDRESS/removed.json   beside the manifest: the removed objects, the sha256 of the manifest, when and why
    removals/HASH.json          one for each person who was forgotten; HASH is a keyed hash, so no record has a name
    removals/key                the random key of these hashes

In: an artifact's folder, or a store. Out: records. Whoever can read the key can test whether a guessed name was
removed; nobody can read names from the records.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from comface.artifacts.sealed import read_sealed, sealed
from comface.errors import DataError
from comface.files.headings import normal
from comface.store import Store

REMOVED = "removed.json"
FOLDER = "removals"
KEY = f"{FOLDER}/key"
KEY_BYTES = 32
WHY = {"request": "on request", "cleaning": "by `comface artifacts clean`"}


class RemovedError(DataError):
    """The object was removed on purpose; it is not damaged."""


class Removal(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    reason: Literal["request", "cleaning"]
    at: str
    """Day of the removal, YYYY-MM-DD."""
    objects: tuple[str, ...]
    """Names in the manifest; empty: the whole artifact, with its manifest."""
    manifest_sha256: str
    inputs: Mapping[str, Mapping[str, str]] = {}
    """Of an artifact whose manifest was removed: its inputs, as the manifest named them."""

    def told(self) -> str:
        return f"{WHY[self.reason]} on {self.at}"

    def error(self, uri: str, name: str) -> RemovedError:
        todo = (
            "if the person's data are gone from the data set, run again: the run makes another artifact"
            if self.reason == "request"
            else "run the step that makes it again"
        )
        return RemovedError(f"The object '{name}' of {uri} was removed {self.told()}; {todo}.")


class Forgotten(BaseModel):
    """The record of a person who was forgotten."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    at: str
    datasets: tuple[str, ...]
    artifacts: int
    complete: bool
    """False while objects are being removed: the same command completes it."""


def removal_of(folder: Store) -> Removal | None:
    """The record beside an artifact's manifest; None without one. Raises DataError if it is damaged."""
    if not folder.exists(REMOVED):
        return None
    try:
        return Removal.model_validate(read_sealed(folder, REMOVED))
    except (ValueError, ValidationError):
        raise DataError(f"The record '{REMOVED}' of {folder.uri} is damaged; restore it, or remove again.") from None


def record_removal(folder: Store, removal: Removal) -> None:
    """Write the record, with the objects of an earlier one."""
    before = removal_of(folder)
    if before is not None and before.objects and removal.objects:
        removal = removal.model_copy(update={"objects": tuple(sorted({*before.objects, *removal.objects}))})
    folder.write(REMOVED, sealed(removal.model_dump()))


def hash_of(store: Store, dataset: str, subject: str) -> str:
    """The keyed hash (HMAC-SHA256) of a person of a data set. Makes the store's key if there is none."""
    if not store.exists(KEY):
        store.create(KEY, secrets.token_bytes(KEY_BYTES))
    return _hashed(store.read(KEY, KEY_BYTES), dataset, subject)


def record_forgotten(store: Store, dataset: str, subject: str, record: Forgotten) -> None:
    store.write(f"{FOLDER}/{hash_of(store, dataset, subject)}.json", sealed(record.model_dump()))


def was_forgotten(store: Store, dataset: str, subject: str) -> Forgotten | None:
    """The record of a person; None if there is none."""
    if not store.exists(KEY):
        return None
    key = f"{FOLDER}/{hash_of(store, dataset, subject)}.json"
    if not store.exists(key):
        return None
    try:
        return Forgotten.model_validate(read_sealed(store, key))
    except (ValueError, ValidationError):
        raise DataError(f"The record '{key}' of {store.uri} is damaged; restore it.") from None


def refuse_forgotten(store: Store, dataset: str, subjects: Iterable[str], place: str) -> None:
    """Raises DataError, without a name, if the data set still has people who were forgotten."""
    if not store.exists(KEY):
        return
    key, records = store.read(KEY, KEY_BYTES), set(store.keys(FOLDER))
    still = sum(f"{FOLDER}/{_hashed(key, dataset, each)}.json" in records for each in set(subjects))
    if still:
        people = "1 person" if still == 1 else f"{still:,} people"
        raise DataError(
            f"The data set '{dataset}' at {place} still has photos of {people} whose data were removed on request; "
            "delete their photos and rows there, then run again."
        )


def _hashed(key: bytes, dataset: str, subject: str) -> str:
    return hmac.new(key, f"{dataset}\0{normal(subject)}".encode(), hashlib.sha256).hexdigest()[:32]
