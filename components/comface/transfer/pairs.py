"""Draws random pairs of photos of the same person (section 4.2), half of them in each direction.

In: subject, labels and phase of each photo. Out: pairs of photo positions. They depend on the data, the task's name and
the seed only, so all methods get the same pairs. A task of single photos has photos instead, as pairs with themselves.

Legend: P pairs, N photos.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.errors import DataError
from comface.files.headings import same_label
from comface.seeds import numpy_rng

ALL_PAIRS_BELOW = 1500
"""Maximum number of photos per subject and label for which all pairs are listed before drawing (1 million pairs, about
10 MB)."""


@dataclass(frozen=True)
class Pairs:
    """Pair p consists of photo x_P[p] (before) and photo y_P[p] (after); its change is label(y) - label(x)."""

    subjects: tuple[str, ...]
    x_P: NDArray[np.int64]
    y_P: NDArray[np.int64]
    change_P: NDArray[np.float64]

    def of(self, subjects: Sequence[str]) -> NDArray[np.int64]:
        """Return the positions of the pairs of these subjects."""
        wanted = set(subjects)
        return np.array([p for p, subject in enumerate(self.subjects) if subject in wanted], dtype=np.int64)


def draw_pairs(
    photos: Sequence[Mapping[str, Any]], label: str, per_subject: int, min_change: float, seed: int, task: str
) -> Pairs:
    """Draw up to `per_subject` pairs of every subject. `photos`: the rows of photos.json (subject, labels, phase).
    Photos without the label are ignored. If `label` is empty, the photos must have exactly one label. Raises DataError
    if there is no pair, or if no pair has a change."""
    label = label_of(photos, label, task)
    by_subject = _by_subject(photos, label)
    names: list[str] = []
    chosen: list[NDArray[np.int64]] = []
    label_N = np.array([photo["labels"].get(label, np.nan) for photo in photos])
    phase_N = np.array([photo.get("phase", "") for photo in photos])
    for subject in sorted(by_subject):
        positions_N = np.array(by_subject[subject])
        rng = numpy_rng(seed, "pairs", task, subject)
        pairs_P2 = _subject_pairs(label_N[positions_N], phase_N[positions_N], per_subject, min_change, rng)
        chosen.append(positions_N[pairs_P2])
        names += [subject] * len(pairs_P2)
    if not names:
        raise DataError(
            f"No subject has two photos with comparable values of '{label}' for the task '{task}'; "
            "add photos, or lower the task's min_change."
        )
    all_P2 = np.concatenate(chosen)
    change_P = label_N[all_P2[:, 1]] - label_N[all_P2[:, 0]]
    if not change_P.any():
        raise DataError(
            f"The label '{label}' of the task '{task}' is the same on all photos of each subject; add photos "
            "between which it changes."
        )
    return Pairs(tuple(names), all_P2[:, 0], all_P2[:, 1], change_P)


def draw_photos(
    photos: Sequence[Mapping[str, Any]], label: str, per_subject: int, classes: int, seed: int, task: str
) -> Pairs:
    """Draw up to `per_subject` photos of every subject for a task of single photos: pairs of a photo with itself, whose
    `change_P` is the label. Raises DataError if no photo has the label, if all have the same, or if a label does not
    number one of `classes` (0: the label is a quantity)."""
    label = label_of(photos, label, task)
    names: list[str] = []
    chosen: list[NDArray[np.int64]] = []
    for subject, positions in sorted(_by_subject(photos, label).items()):
        order_N = numpy_rng(seed, "photos", task, subject).permutation(len(positions))
        chosen.append(np.sort(np.array(positions)[order_N[:per_subject]]))
        names += [subject] * len(chosen[-1])
    if not names:
        raise DataError(f"No photo has the label '{label}' of the task '{task}'; add labels, or correct the name.")
    at_P = np.concatenate(chosen)
    label_P = np.array([photos[position]["labels"][label] for position in at_P], dtype=np.float64)
    check_labels(label_P, label, classes, task)
    return Pairs(tuple(names), at_P, at_P, label_P)


def check_labels(values: Iterable[float], label: str, classes: int, task: str) -> None:
    """Raises DataError if a task of single photos cannot be learned from these labels: a label that does not number
    one of `classes` (0: the label is a quantity), or the same label everywhere."""
    found = set(values)
    if classes and not found <= set(range(classes)):
        raise DataError(
            f"The label '{label}' of the task '{task}' has values other than 0 to {classes - 1}, the numbers of its "
            f"{classes} classes; correct the label, or the task's classes."
        )
    if len(found) == 1:
        raise DataError(
            f"The label '{label}' of the task '{task}' is the same on all photos; add photos with other labels."
        )


def label_of(photos: Sequence[Mapping[str, Any]], label: str, task: str) -> str:
    """Return the label of a task: `label` (or the photos' label that differs from it in signs or unit only), or the
    only one that the photos have. Raises DataError if they have several."""
    known: list[str] = sorted({name for photo in photos for name in photo["labels"]})
    if label:
        return same_label(label, known) or label
    if len(known) != 1:
        raise DataError(
            f"The task '{task}' has no label, and the photos have {', '.join(known)}; set one of them as its label."
        )
    return known[0]


def _by_subject(photos: Sequence[Mapping[str, Any]], label: str) -> dict[str, list[int]]:
    """Return the positions of the photos with the label, by subject."""
    by_subject: dict[str, list[int]] = {}
    for index, photo in enumerate(photos):
        if label in photo["labels"]:
            by_subject.setdefault(photo["subject"], []).append(index)
    return by_subject


def _subject_pairs(
    label_N: NDArray[np.float64], phase_N: NDArray[np.str_], count: int, min_change: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return up to `count` different pairs (P,2); the label rises in half of them and falls in the other half."""
    across = any(phase_N)
    if len(label_N) <= ALL_PAIRS_BELOW:
        candidates_P2 = np.column_stack(np.triu_indices(len(label_N), k=1))
        candidates_P2 = candidates_P2[_allowed(candidates_P2, label_N, phase_N, min_change, across)]
        picked_P2 = candidates_P2[rng.permutation(len(candidates_P2))[:count]]
    else:
        picked_P2 = _rejection(label_N, phase_N, count, min_change, across, rng)
    return _balanced(picked_P2, label_N, rng)


def _rejection(
    label_N: NDArray[np.float64],
    phase_N: NDArray[np.str_],
    count: int,
    min_change: float,
    across: bool,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Rejection sampling for long videos: draw pairs and keep new, allowed ones. Stops after 200 rounds, so it returns
    fewer pairs if allowed pairs are very rare."""
    found: dict[tuple[int, int], None] = {}
    for _ in range(200):
        draws_P2 = np.sort(rng.integers(0, len(label_N), size=(max(count, 64), 2)), axis=1)
        draws_P2 = draws_P2[draws_P2[:, 0] < draws_P2[:, 1]]
        draws_P2 = draws_P2[_allowed(draws_P2, label_N, phase_N, min_change, across)]
        found.update(dict.fromkeys(map(tuple, draws_P2.tolist())))
        if len(found) >= count:
            break
    return np.array(list(found)[:count], dtype=np.int64).reshape(-1, 2)


def _allowed(
    pairs_P2: NDArray[np.int64],
    label_N: NDArray[np.float64],
    phase_N: NDArray[np.str_],
    min_change: float,
    across: bool,
) -> NDArray[np.bool_]:
    """Whether the change is large enough and, if photos have phases (before and after), the phases differ."""
    x_P, y_P = pairs_P2.T
    large_P: NDArray[np.bool_] = np.abs(label_N[y_P] - label_N[x_P]) >= min_change
    allowed_P: NDArray[np.bool_] = large_P & (phase_N[x_P] != phase_N[y_P]) if across else large_P
    return allowed_P


def _balanced(pairs_P2: NDArray[np.int64], label_N: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Swap photos so that rising and falling pairs alternate; pairs without change are not counted. The first direction
    is random, because a subject with an odd number of changes has one more of it."""
    pairs_P2 = pairs_P2.copy()
    change_P = label_N[pairs_P2[:, 1]] - label_N[pairs_P2[:, 0]]
    (changed_K,) = np.nonzero(change_P)
    rises_K = np.arange(len(changed_K)) % 2 == int(rng.integers(2))
    turned_K = changed_K[(change_P[changed_K] > 0) != rises_K]
    pairs_P2[turned_K] = pairs_P2[turned_K][:, ::-1]
    return pairs_P2
