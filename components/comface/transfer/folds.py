"""Cross-validation by subject (section 4.2): each subject is in only one of training, validation and test set.

In: the subjects, a seed. Out: folds with training, validation (10 % of the training subjects) and test subjects.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from comface.errors import DataError
from comface.seeds import numpy_rng


@dataclass(frozen=True)
class Fold:
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def subject_folds(subjects: Iterable[str], count: int, validation_fraction: float, seed: int) -> list[Fold]:
    """Return `count` folds in which every subject is tested exactly once. They depend on the set of subjects and the
    seed only. Raises DataError if there are fewer than max(count, 3) subjects."""
    ordered = sorted(set(subjects))
    if len(ordered) < max(count, 3):
        raise DataError(
            f"{count}-fold cross-validation needs {max(count, 3)} subjects with photos for the task, but the data set "
            f"has {len(ordered)}; add subjects, or lower transfer.folds."
        )
    numpy_rng(seed, "folds").shuffle(ordered)
    folds = []
    for k in range(count):
        test = ordered[k::count]
        rest = [subject for subject in ordered if subject not in set(test)]
        train, validation = hold_out(rest, validation_fraction, seed, k)
        folds.append(Fold(train, validation, tuple(sorted(test))))
    return folds


def hold_out(
    subjects: Iterable[str], fraction: float, seed: int, *words: object
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return training subjects and at least one validation subject. Raises DataError if there are fewer than two."""
    ordered = sorted(set(subjects))
    if len(ordered) < 2:
        raise DataError(
            f"Training needs two subjects with photos for the task, but the data set has {len(ordered)}; add subjects."
        )
    numpy_rng(seed, "validation", *words).shuffle(ordered)
    count = max(1, round(fraction * len(ordered)))
    return tuple(sorted(ordered[count:])), tuple(sorted(ordered[:count]))
