"""Checks that a task which trains on one data set and is tested on another has no photo in both (Edema-A to B).

In: two `faces` artifacts. Photos are named by their number, because they may show patients.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from comface.artifacts.arrays import Rows
from comface.artifacts.facts import FacesFacts
from comface.artifacts.manifest import Artifact
from comface.datasets.leaks import evenly, shared_pictures
from comface.errors import DataError
from comface.runtime.progress import counted

Rowed = Sequence[Mapping[str, Any]]
"""The rows of photos.json."""
logger = logging.getLogger(__name__)


def check_apart(train_faces: Artifact, faces: Artifact) -> None:
    """Raises DataError if a photo of one data set is in the other, also compressed again, resized, mirrored or
    cropped. Equal names of subjects are a warning: many data sets number their subjects from one. In two rehearsals,
    whose photos are all drawn anew, only equal faces are searched for."""
    sets = (train_faces, faces)
    facts = [each.facts_as(FacesFacts) for each in sets]
    names = [each.dataset for each in facts]
    rows = [each.read_json("photos.json") for each in sets]
    common = set.intersection(*({row["subject"] for row in of} for of in rows))
    if common:
        logger.warning(
            f"{counted(len(common), 'subject')} of '{names[0]}', on which the task trains, and of '{names[1]}', on "
            "which it is tested, have the same name; if they are the same people, remove them from one."
        )
    alike = [] if all(each.rehearsal for each in facts) else _alike(sets, names, rows)
    if pairs := [*_equal(rows), *alike]:
        more = f" There are {len(pairs) - 1:,} further pairs." if len(pairs) > 1 else ""
        raise DataError(
            f"Photo {pairs[0][0] + 1:,} of '{names[0]}', on which the task trains, and photo {pairs[0][1] + 1:,} of "
            f"'{names[1]}', on which it is tested, are the same picture (counted are photos with a face, in order of "
            f"subject and file); remove it from one of them.{more}"
        )


def _equal(rows: Sequence[Rowed]) -> list[tuple[int, int]]:
    """Positions of equal faces."""
    there = {row["sha256"]: number for number, row in enumerate(rows[1])}
    return [(number, there[row["sha256"]]) for number, row in enumerate(rows[0]) if row["sha256"] in there]


def _alike(sets: Sequence[Artifact], names: Sequence[str], rows: Sequence[Rowed]) -> list[tuple[int, int]]:
    """Positions of photos that are the same picture."""
    for name, each in zip(names, sets, strict=True):
        if "prints-00000.npy" not in each.manifest.objects:
            logger.warning(f"The faces of '{name}' have no prints, so photos in both data sets are not searched for")
            return []
    chosen = [evenly(len(of)) for of in rows]
    prints = [Rows(each, "prints")[at] for each, at in zip(sets, chosen, strict=True)]
    pairs = shared_pictures(prints[0], prints[1])
    return [(int(chosen[0][x]), int(chosen[1][y])) for x, y in pairs]
