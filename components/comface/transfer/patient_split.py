"""The split of patients of table 5: some patients for training, the others for adaptation and testing.

In: the photos of patients in sessions (dialysis days), how many patients of the paper train and test (24 and 15). Out:
one fold with the same proportion of the patients at hand, and for every photo its day. The first days of each test
patient are reserved: a method may adapt itself to them, and no method is tested on them. So all rows of table 5 are
tested on the same pairs.

Days are numbered in the order of the sessions' names, in which numbers count by value (session-2 before session-10).

Legend: N photos.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.errors import DataError
from comface.runtime.progress import counted
from comface.seeds import numpy_rng
from comface.transfer.folds import Fold, hold_out

logger = logging.getLogger(__name__)

NAME = "patients.npz"
"""Object of the protocol: the labelled photos that a patient-specific method may use."""
Rows = Sequence[Mapping[str, Any]]


def days_of(photos: Rows, label: str) -> NDArray[np.int64]:
    """Return the day (N,) of every photo, counted from 0 within its subject; -1 for a photo without the label.
    `photos`: the rows of photos.json."""
    sessions: dict[str, set[str]] = {}
    for photo in photos:
        if label in photo["labels"]:
            sessions.setdefault(photo["subject"], set()).add(photo["session"])
    order = {
        (subject, name): day
        for subject, names in sessions.items()
        for day, name in enumerate(sorted(names, key=_natural))
    }
    days = [order[each["subject"], each["session"]] if label in each["labels"] else -1 for each in photos]
    return np.array(days, dtype=np.int64)


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts if part]


def split_patients(
    subjects: Collection[str],
    testable: Collection[str],
    proportion: tuple[int, int],
    validation_fraction: float,
    seed: int,
) -> Fold:
    """Return one fold: the share proportion[1] / sum(proportion) of `subjects` is tested, drawn from `testable` (those
    with pairs after the reserved days). Raises DataError if nobody can be tested or too few are left for training."""
    everyone, candidates = sorted(set(subjects)), sorted(set(testable))
    wanted = max(1, round(len(everyone) * proportion[1] / sum(proportion)))
    if not candidates:
        raise DataError(
            "No patient has a photo before and after dialysis on a day after the days reserved for adaptation; add "
            "sessions, or lower the task's reserved_days."
        )
    if len(candidates) < wanted:
        logger.warning(
            f"{counted(wanted, 'patient')} of {len(everyone)} should be tested, but only {len(candidates)} have enough "
            "sessions; only these are tested."
        )
    numpy_rng(seed, "patients").shuffle(candidates)
    test = set(candidates[:wanted])
    train, validation = hold_out([name for name in everyone if name not in test], validation_fraction, seed, "patients")
    return Fold(train, validation, tuple(sorted(test)))


def without_days(photos: Rows, day_N: NDArray[np.int64], subjects: Collection[str], days: int) -> list[Any]:
    """Return the rows of the photos; those of the first days of `subjects` have no label, so that no pair has them."""
    named = set(subjects)
    return [
        {**photo, "labels": {}} if photo["subject"] in named and day < days else photo
        for photo, day in zip(photos, day_N.tolist(), strict=True)
    ]


def known_photos(
    photos: Rows, label: str, day_N: NDArray[np.int64], numbers: Mapping[str, int], test: Sequence[str], reserved: int
) -> dict[str, NDArray[Any]]:
    """Return row, subject, day, phase and label of the photos that a patient-specific method may use: all of training
    and validation subjects, and those of the reserved days of test subjects. `numbers`: subject → its number."""
    tested, phases = set(test), sorted({photo["phase"] for photo in photos})
    rows = [
        (row, numbers[photo["subject"]], day, phases.index(photo["phase"]), photo["labels"][label])
        for row, (photo, day) in enumerate(zip(photos, day_N.tolist(), strict=True))
        if day >= 0 and photo["subject"] in numbers and (photo["subject"] not in tested or day < reserved)
    ]
    columns = [np.array(column, dtype=np.int64) for column in zip(*[row[:4] for row in rows], strict=True)]
    named = dict(zip(("row", "subject", "day", "phase"), columns, strict=True))
    return named | {"label": np.array([row[4] for row in rows])}
