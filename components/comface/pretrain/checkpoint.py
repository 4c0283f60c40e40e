"""Checkpoints of an unfinished training: model, optimiser, position and the curve so far, in one atomic object.

The object is sha256 (32 bytes) + a torch file that is read with `weights_only=True`. Random numbers are functions of
(seed, epoch, step), so that nothing else is needed to go on with the same bits.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from typing import Any

import torch

from comface.errors import DataError
from comface.generators.containers.machine import Refused
from comface.generators.containers.torch_files import DAMAGED, check_zip
from comface.store import Store

CHECKPOINT = "checkpoint"
CHECKPOINT_BYTES = 64 << 30
"""The largest that is read: nothing names its size."""


def save(store: Store, state: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    store.write(CHECKPOINT, hashlib.sha256(data).digest() + data)


def load(store: Store) -> dict[str, Any] | None:
    """The state last saved, None where there is none. Raises DataError when it is damaged."""
    try:
        data = store.read(CHECKPOINT, CHECKPOINT_BYTES)
    except DataError:
        if store.exists(CHECKPOINT):
            raise
        return None  # never was there, or a run beside this one has just ended
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        raise DataError(f"The checkpoint in {store.uri} is damaged; delete its object '{CHECKPOINT}' to start anew.")
    try:
        check_zip(zipfile.ZipFile(io.BytesIO(data[32:])), len(data))  # stored as they are: nothing grows in memory
        return torch.load(io.BytesIO(data[32:]), map_location="cpu", weights_only=True)
    except (Refused, *DAMAGED, pickle.UnpicklingError):
        raise DataError(
            f"The checkpoint in {store.uri} is not one that pre-training wrote; delete its object '{CHECKPOINT}' to "
            "start anew."
        ) from None
