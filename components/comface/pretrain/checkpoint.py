"""The objects `checkpoints/STEPS` of an unfinished training: model, optimiser, position and the curve so far.

STEPS is the number of steps done. An object is sha256 (32 bytes) + a torch file that is read with `weights_only=True`.
It contains the address of its training, so a checkpoint of another training is rejected. Random numbers depend on
(seed, epoch, step) only, so the checkpoint contains everything that is needed to resume with identical bits.
"""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
import zipfile
from collections.abc import Container
from typing import Any, BinaryIO, NamedTuple, cast

import torch

from comface.errors import DataError
from comface.store import Store
from comface.weights.pickle_machine import Refused
from comface.weights.torch_files import DAMAGED, check_zip

logger = logging.getLogger(__name__)

FOLDER = "checkpoints"
OLD = "checkpoint"
"""The only checkpoint of a training by version 1; it can still be read."""
CHECKPOINT_BYTES = 64 << 30
"""Maximum size in bytes of a checkpoint that is read."""
DIGEST_BYTES = 32


class Saved(NamedTuple):
    key: str
    state: dict[str, Any]


def key_of(steps: int) -> str:
    """Return the key of the checkpoint after `steps` steps; 0: the object of version 1."""
    return f"{FOLDER}/{steps:012d}" if steps else OLD


def steps_of(key: str) -> int:
    return 0 if key == OLD else int(key.removeprefix(f"{FOLDER}/"))


def checkpoints_in(store: Store) -> list[str]:
    """Return the keys of all checkpoints, the newest first."""
    numbered = [key for key in store.keys(FOLDER) if key.removeprefix(f"{FOLDER}/").isdigit()]
    return sorted(numbered, reverse=True) + ([OLD] if store.exists(OLD) else [])


def save(store: Store, key: str, state: dict[str, Any]) -> None:
    """Write a checkpoint. The tensors go to a file one by one, so that the memory holds no second copy of all."""

    def fill(file: BinaryIO) -> None:
        file.write(bytes(DIGEST_BYTES))
        hashed = _Hashed(file)
        torch.save({**state, "training": _training(store)}, cast(BinaryIO, hashed))
        file.seek(0)
        file.write(hashed.sha256.digest())

    store.write(key, fill)


class _Hashed(io.RawIOBase):
    """Appends to `file`, and hashes what is appended."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256 = file, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        return self.file.write(data)


def load(store: Store, key: str) -> dict[str, Any] | None:
    """Return a saved state; None if the object does not exist or is damaged, which is logged. Raises DataError if it is
    not a checkpoint of this training."""
    try:
        data = store.read(key, CHECKPOINT_BYTES)
    except DataError:
        if store.exists(key):
            raise
        return None  # a concurrent run has just replaced it, or has finished
    told, data = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != told:
        logger.warning(f"The checkpoint '{key}' in {store.uri} is damaged; using the one before, if there is one")
        return None
    try:
        check_zip(zipfile.ZipFile(io.BytesIO(data)), len(data))  # no entry is compressed or larger than the file
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (Refused, *DAMAGED, pickle.UnpicklingError):
        raise DataError(f"The checkpoint in {store.uri} was not written by pre-training; {anew(key)}.") from None
    if not isinstance(state, dict) or state.pop("training", None) != _training(store):
        raise foreign(store, key)
    return state


def newest(store: Store) -> Saved | None:
    """Return the newest checkpoint that is not damaged, and delete damaged ones that are newer; None if there is no
    checkpoint. Raises DataError if all are damaged, or if one is not of this training."""
    keys = checkpoints_in(store)
    for place, key in enumerate(keys):
        if (state := load(store, key)) is not None:
            for damaged in keys[:place]:
                store.delete(damaged)
            return Saved(key, state)
    for key in keys:
        if store.exists(key):
            raise DataError(f"The checkpoint in {store.uri} is damaged; {anew(key)}.")
    return None


def delete(store: Store, keep: Container[str | None] = ()) -> None:
    """Delete all checkpoints whose keys are not in `keep`."""
    for key in checkpoints_in(store):
        if key not in keep:
            store.delete(key)


def anew(key: str) -> str:
    what = f"object '{OLD}'" if key == OLD else f"folder '{FOLDER}'"
    return f"delete its {what} to start again"


def foreign(store: Store, key: str) -> DataError:
    return DataError(f"The checkpoint in {store.uri} does not belong to this training; {anew(key)}.")


def _training(store: Store) -> str:
    """Return the address of the artifact in preparation: the last part of its URI."""
    return store.uri.rpartition("/")[2]
