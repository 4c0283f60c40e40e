"""Checks the user's data sets before anything is rendered: are they readable, with the labels and people of the tasks?

In: a RunConfig. Out: one line with the result; raises all problems of a data set together. No photo is decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from comface.errors import ComfaceError, DataError, raise_any
from comface.plan.configuration import RunConfig
from comface.plan.consistency import needed_subjects, no_label

if TYPE_CHECKING:
    from comface.datasets.dataset import Photo


def check_dataset(config: RunConfig, name: str) -> str:
    source = config.data[name]
    if not source.uri:
        return "no URI given: synthetic rehearsal data will be used"
    from comface.datasets import open_dataset

    try:
        data = open_dataset(source, quick=True)
    except ComfaceError as error:
        told = [type(each)(f"The data set '{name}' cannot be used: {each}") for each in error.problems]
        raise_any(told)
    photos = data.photos
    raise_any(_problems(config, name, photos))
    left_out = f"; left out: {data.told()}" if data.told() else ""
    return f"{len(photos):,} photos of {len({photo.subject for photo in photos}):,} people at {source.uri}{left_out}"


def _problems(config: RunConfig, name: str, photos: Sequence[Photo]) -> Iterator[ComfaceError]:
    known = sorted({label for photo in photos for label in photo.labels})
    for task in config.transfer.tasks:
        definition = config.tasks[task]
        if name not in (definition.dataset, definition.train_dataset):
            continue
        label = definition.label or (known[0] if len(known) == 1 else "")
        if label not in known:
            yield no_label(config, task, name, known)
            continue
        needed = needed_subjects(config, task, name)
        if definition.kind == "single":
            yield from _single_problems(photos, label, len(definition.classes), task, name, needed)
            continue
        found = _with_change(photos, label, definition.min_change)
        if found < needed:
            change = f" by {definition.min_change:g} or more" if definition.min_change else ""
            yield DataError(
                f"The task '{task}' needs {needed} people of '{name}' with two photos between which '{label}' changes"
                f"{change}, but there are {found} of {len({photo.subject for photo in photos})}; add photos, or lower "
                "transfer.folds or the task's min_change."
            )


def _single_problems(
    photos: Sequence[Photo], label: str, classes: int, task: str, name: str, needed: int
) -> Iterator[ComfaceError]:
    """A task of single photos needs people with one labelled photo, and labels that differ or number its classes."""
    from comface.transfer.pairs import check_labels  # imports numpy

    labelled = [photo for photo in photos if label in photo.labels]
    try:
        check_labels((photo.labels[label] for photo in labelled), label, classes, task)
    except DataError as error:
        yield error
    people = len({photo.subject for photo in labelled})
    if people < needed:
        yield DataError(
            f"The task '{task}' needs {needed} people of '{name}' with a photo that has the label '{label}', but there "
            f"are {people} of {len({photo.subject for photo in photos})}; add photos, or lower transfer.folds."
        )


def _with_change(photos: Sequence[Photo], label: str, min_change: float) -> int:
    """Number of people with a pair of photos whose label differs by at least `min_change`; with phases, one photo of
    each phase."""
    values: dict[str, dict[str, list[float]]] = {}
    across = any(photo.phase for photo in photos)
    for photo in photos:
        if label in photo.labels:
            values.setdefault(photo.subject, {}).setdefault(photo.phase, []).append(photo.labels[label])
    count = 0
    for phases in values.values():
        sides = list(phases.values())
        pairs = [(a, b) for i, a in enumerate(sides) for b in sides[i + 1 :]] if across else [(sides[0], sides[0])]
        largest = max((max(max(a) - min(b), max(b) - min(a)) for a, b in pairs), default=0.0)
        count += largest > 0 and largest >= min_change
    return count
