"""Protocols with given test pairs, for tests of what reads transfers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from comface.artifacts.arrays import arrays_bytes
from comface.artifacts.manifest import Artifact, Draft
from comface.store import Store


def make_protocol(
    store: Store,
    task: str,
    subjects: Sequence[str],
    change: Sequence[float],
    inputs: Mapping[str, Artifact] | None = None,
    fold: Sequence[int] | None = None,
    mark: str = "0",
    faces: str = "",
    **config: Any,
) -> Artifact:
    """`mark`: a hexadecimal digit; another one, another test set. `faces`: their digest."""
    names = sorted(set(subjects))
    address = {"task": task, "mark": mark, "pairs": len(change), "faces": faces} | config
    draft = Draft(store, "protocol", address, inputs or {}, {"test": 1})
    truth: dict[str, Any] = {
        "fold": np.asarray(fold if fold is not None else [0] * len(change), np.int64),
        "subject": np.array([names.index(each) for each in subjects], np.int64),
        "x": np.arange(len(change)),
        "y": np.arange(len(change)) + 1,
        "change": np.asarray(change, np.float64),
    }
    draft.write("truth.npz", arrays_bytes(truth))
    draft.write_json("folds.json", {"subjects": names, "folds": [], "faces": faces})
    return draft.publish(
        {
            "task": task,
            "dataset": "any",
            "folds": 1 + int(max(truth["fold"])),
            "subjects": len(names),
            "pairs": len(change),
            "protocol_sha256": protocol_sha256(mark),
        }
    )


def protocol_sha256(mark: str = "0") -> str:
    return mark * 64
