"""Checkpoints of an unfinished training: model, optimiser, position and the curve so far, in one atomic object.

The object is sha256 (32 bytes) + a torch file that is read with `weights_only=True`. It names the address of its
training, so that one of another training is not taken for it. Random numbers are functions of (seed, epoch, step), so
that nothing else is needed to go on with the same bits.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import zipfile
from typing import Any

import torch
from torch import nn

from comface.errors import DataError
from comface.pretrain.loop import Sums
from comface.store import Store
from comface.weights.pickle_machine import Refused
from comface.weights.torch_files import DAMAGED, check_zip

CHECKPOINT = "checkpoint"
ANEW = f"delete its object '{CHECKPOINT}' to start anew"
CHECKPOINT_BYTES = 64 << 30
"""The largest that is read: nothing names its size."""


def save(store: Store, state: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save({**state, "training": _training(store)}, buffer)
    data = buffer.getvalue()
    store.write(CHECKPOINT, hashlib.sha256(data).digest() + data)


def load(store: Store) -> dict[str, Any] | None:
    """The state last saved, None where there is none. Raises DataError when it is damaged, or another training's."""
    try:
        data = store.read(CHECKPOINT, CHECKPOINT_BYTES)
    except DataError:
        if store.exists(CHECKPOINT):
            raise
        return None  # never was there, or a run beside this one has just ended
    if hashlib.sha256(data[32:]).digest() != data[:32]:
        raise DataError(f"The checkpoint in {store.uri} is damaged; {ANEW}.")
    try:
        check_zip(zipfile.ZipFile(io.BytesIO(data[32:])), len(data))  # stored as they are: nothing grows in memory
        state = torch.load(io.BytesIO(data[32:]), map_location="cpu", weights_only=True)
    except (Refused, *DAMAGED, pickle.UnpicklingError):
        raise DataError(f"The checkpoint in {store.uri} is not one that pre-training wrote; {ANEW}.") from None
    if not isinstance(state, dict) or state.pop("training", None) != _training(store):
        raise _foreign(store)
    return state


def restore(
    store: Store, state: dict[str, Any], network: nn.Module, optimizer: torch.optim.Optimizer, epochs: int, steps: int
) -> tuple[int, int, Sums, list[dict[str, Any]]]:
    """Load network and optimiser from `state`; gives epoch, step, sums and curve. `steps`: those of an epoch. Raises
    DataError where the state does not fit the training."""
    try:
        epoch, step, curve, sums = state["epoch"], state["step"], state["curve"], Sums(**state["sums"])
        network.load_state_dict(state["network"])
        rates = optimizer.state_dict()["param_groups"]  # they follow from the configuration
        optimizer.load_state_dict({**state["optimizer"], "param_groups": rates})
        whole = (type(epoch), type(step), type(curve), sums.steps) == (int, int, list, step)
        begun = 1 <= epoch <= epochs and 0 <= step <= steps
        fits = whole and (begun or (epoch, step) == (epochs + 1, 0)) and len(curve) == epoch - 1
        if not (fits and math.isfinite(sums.inter + sums.intra)):
            raise _foreign(store)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError):
        raise _foreign(store) from None
    return epoch, step, sums, curve


def _training(store: Store) -> str:
    """The address of the artifact that is being made: the last part of its place."""
    return store.uri.rpartition("/")[2]


def _foreign(store: Store) -> DataError:
    return DataError(f"The checkpoint in {store.uri} does not belong to this training; {ANEW}.")
