"""Checks that a task which trains on one data set and is tested on another has no photo in both (Edema-A to B).

In: two `faces` artifacts. Photos are named by their number, because they may show patients.
"""

from __future__ import annotations

import logging

from comface.artifacts.arrays import Rows
from comface.artifacts.facts import FacesFacts
from comface.artifacts.manifest import Artifact
from comface.datasets.leaks import evenly, shared_pictures
from comface.errors import DataError

logger = logging.getLogger(__name__)


def check_apart(train_faces: Artifact, faces: Artifact) -> None:
    """Raises DataError if a photo of one data set is in the other, also compressed again, resized, mirrored or
    cropped."""
    names = [each.facts_as(FacesFacts).dataset for each in (train_faces, faces)]
    without = [
        name
        for name, each in zip(names, (train_faces, faces), strict=True)
        if "prints-00000.npy" not in each.manifest.objects
    ]
    if without:
        logger.warning(f"The faces of '{without[0]}' have no prints, so photos in both data sets are not searched for")
        return
    rows = [each.read_json("photos.json") for each in (train_faces, faces)]
    chosen = [evenly(len(each)) for each in rows]
    people = [[of[i]["subject"] for i in at] for of, at in zip(rows, chosen, strict=True)]
    prints = [Rows(each, "prints")[at] for each, at in zip((train_faces, faces), chosen, strict=True)]
    pairs = shared_pictures(prints[0], people[0], prints[1], people[1])
    if pairs:
        numbers = [int(at[place]) + 1 for at, place in zip(chosen, pairs[0], strict=True)]
        more = f" There are {len(pairs) - 1:,} further pairs." if len(pairs) > 1 else ""
        raise DataError(
            f"Photo {numbers[0]:,} of '{names[0]}', on which the task trains, and photo {numbers[1]:,} of '{names[1]}',"
            " on which it is tested, are the same picture (counted are photos with a face, in order of subject and "
            f"file); remove it from one of them.{more}"
        )
