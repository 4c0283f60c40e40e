"""What is known of a user's data set before a run: what was found, left out, assumed, and everything that is wrong.

In: a RunConfig and the name of a data set. Out: an `Examined`. `comface check` prints it, resolve and doctor raise its
problems. Takes seconds: pictures are not decoded, except for a sample in which faces are looked for.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comface.datasets.config import DataSource
from comface.datasets.dataset import DataSet, Photo
from comface.errors import ComfaceError, ConfigurationError, DataError
from comface.files.headings import same_label
from comface.plan.configuration import RunConfig
from comface.plan.consistency import needed_subjects, no_label
from comface.plan.faces import FacesFound, find_faces
from comface.tasks.config import Task


@dataclass(frozen=True)
class TaskFound:
    """The people and pairs of a task before any face is looked for."""

    label: str
    unit: str
    people: int
    """With a change, or for a task of single photos with a label."""
    pairs: int
    """That a run draws; photos, for a task of single photos."""
    low: float
    high: float


@dataclass(frozen=True)
class Examined:
    name: str
    source: DataSource
    data: DataSet | None = None
    tasks: Mapping[str, TaskFound] = field(default_factory=dict)
    faces: FacesFound | None = None
    warnings: Sequence[str] = ()
    problems: Sequence[ComfaceError] = ()

    @property
    def people(self) -> int:
        return len({photo.subject for photo in self.photos})

    @property
    def sessions(self) -> int:
        return len({(photo.subject, photo.session) for photo in self.photos if photo.session})

    @property
    def photos(self) -> Sequence[Photo]:
        return self.data.photos if self.data else ()

    def label_ranges(self) -> dict[str, tuple[int, float, float]]:
        """Label → (photos with a value, smallest, largest value)."""
        ranges = {}
        for label in self.data.labels if self.data else ():
            values = [photo.labels[label] for photo in self.photos if label in photo.labels]
            if values:
                ranges[label] = (len(values), min(values), max(values))
        return ranges


def examine_dataset(config: RunConfig, name: str, all_faces: bool = False) -> Examined:
    """`all_faces`: look for a face in every photo, and compare all photos for copies under other names."""
    source = config.data[name]
    from comface.datasets import survey_dataset

    try:
        data = survey_dataset(source, quick=True)
    except ComfaceError as error:
        return Examined(name, source, problems=_of_data_set(name, error.problems))
    faces, photos, wrong = find_faces(source, data, all_faces)
    tasks: dict[str, TaskFound] = {}
    problems: list[ComfaceError] = [*_of_data_set(name, [*data.problems, *wrong])]
    warnings: list[str] = []
    for task, definition in _tasks(config, name).items():
        if not photos:
            break
        found, told, amiss = _task(config, task, definition, name, photos)
        problems.extend(told)
        warnings.extend(amiss)
        if found:
            tasks[task] = found
    return Examined(name, source, data, tasks, faces, warnings, problems)


def _of_data_set(name: str, problems: Sequence[ComfaceError]) -> list[ComfaceError]:
    return [type(each)(f"The data set '{name}' cannot be used: {each}") for each in problems]


def _tasks(config: RunConfig, name: str) -> dict[str, Task]:
    tasks = {task: config.tasks[task] for task in config.transfer.tasks}
    return {task: each for task, each in tasks.items() if name in (each.dataset, each.train_dataset)}


def _task(
    config: RunConfig, task: str, definition: Task, name: str, photos: Sequence[Photo]
) -> tuple[TaskFound | None, list[ComfaceError], list[str]]:
    """(what was found, problems, warnings) of one task."""
    known = sorted({label for photo in photos for label in photo.labels})
    label = same_label(definition.label, known) if definition.label else known[0] if len(known) == 1 else ""
    if not label:
        return None, [no_label(config, task, name, known)], []
    single = definition.kind == "single"
    needed = needed_subjects(config, task, name)
    if single:
        problems = [*_single_problems(photos, label, len(definition.classes), task, name, needed)]
        found = len({photo.subject for photo in photos if label in photo.labels})
    else:
        found = _with_change(photos, label, definition.min_change)
        problems = [*_too_few(config, task, definition, name, label, found, needed, photos)]
    if problems:
        return None, problems, []
    values = [photo.labels[label] for photo in photos if label in photo.labels]
    count, more = _pairs(config, task, definition, label, photos)
    warnings = [*_no_interval(config, task, found)] if name == definition.dataset else []
    return TaskFound(label, definition.unit, found, count, min(values), max(values)), more, warnings


def _too_few(
    config: RunConfig,
    task: str,
    definition: Task,
    name: str,
    label: str,
    found: int,
    needed: int,
    photos: Sequence[Photo],
) -> Iterator[ComfaceError]:
    if found < needed:
        change = f" by {definition.min_change:g} or more" if definition.min_change else ""
        across = ", one before and one after," if any(photo.phase for photo in photos) else ""
        yield DataError(
            f"The task '{task}' needs {needed} people of '{name}' with two photos{across} between which '{label}' "
            f"changes{change}, but there are {found} of {len({photo.subject for photo in photos})}; add photos, or "
            "lower transfer.folds or the task's min_change."
        )


def _no_interval(config: RunConfig, task: str, people: int) -> Iterator[str]:
    """Intervals are calibrated on coverage / (1 - coverage) subjects or more, while a tenth of all is left out to
    measure the coverage (tasks/conformal.py)."""
    from comface.tasks.conformal import GROUPS

    coverage = config.register_model.interval_coverage
    calibrating = coverage / (1 - coverage) - 1e-9
    least = next(count for count in itertools.count(1) if count - math.ceil(count / GROUPS) >= calibrating)
    if people < least:
        yield (
            f"The task '{task}' has {people} people with a change; at least {least} are needed for a "
            f"{100 * coverage:g} % prediction interval, so the model will give none."
        )


def _pairs(
    config: RunConfig, task: str, definition: Task, label: str, photos: Sequence[Photo]
) -> tuple[int, list[ComfaceError]]:
    """The number of pairs that a run draws, or why it draws none."""
    from comface.transfer.pairs import draw_pairs, draw_photos

    rows: list[dict[str, Any]] = [
        {"subject": photo.subject, "labels": photo.labels, "phase": photo.phase} for photo in photos
    ]
    wanted = config.transfer
    try:
        if definition.kind == "single":
            drawn = draw_photos(rows, label, wanted.pairs_per_subject, len(definition.classes), wanted.seed, task)
        else:
            drawn = draw_pairs(rows, label, wanted.pairs_per_subject, definition.min_change, wanted.seed, task)
    except DataError as error:
        return 0, [error]
    return len(drawn.x_P), []


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


def unread(config: RunConfig, found: Examined) -> ConfigurationError | None:
    """The error for a data set that no task reads: a run would not evaluate it."""
    if _tasks(config, found.name) or not found.data:
        return None
    labels = ", ".join(found.data.labels)
    return ConfigurationError(
        f"No task of transfer.tasks reads the data set '{found.name}'; define one in `tasks` for a label ({labels}), "
        "and name it in transfer.tasks (docs/data.md)."
    )
