"""Draws the protocol of a task (section 4.2): folds by subject and pairs of photos, the same for every method and mode.

In: aligned faces with their labels (artifact `faces`); also `train_faces` if the task trains on another data set
(Edema-A to B). Out: an artifact `protocol`:

    folds.json    pseudonyms of the subjects; of each fold, those of training, validation and test; digests of faces
    fold-K.npz    of fold K: train_* and validation_* (subject, x, y, change); test_x, test_y WITHOUT the change
    all.npz       all pairs of the training data set (subject, x, y, change), for the head that is registered
    truth.npz     fold, subject, x, y and change of every test pair, in the order of a transfer's predictions
    patients.npz  with a split of patients (table 5), the labelled photos that a patient-specific method may use

For a task of single photos, y is x, and the change is the label.

`x` and `y` are rows of the faces, `subject` is a position in the list of subjects. A transfer reads fold-K.npz and
all.npz; only evaluation reads truth.npz, so no label of a test subject reaches the estimates. If the task trains on
another data set, there is one model per fold of it, and each is tested on all subjects of the tested data set.

Legend: P pairs, N photos.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.arrays import arrays_bytes, read_arrays
from comface.artifacts.facts import FacesFacts, ProtocolFacts
from comface.artifacts.manifest import Artifact, Draft
from comface.config.canonical import canonical_json
from comface.errors import ConfigurationError, DataError
from comface.runtime.progress import counted
from comface.store import Store
from comface.tasks.config import Task
from comface.tasks.predictions import TRUTH
from comface.transfer import patient_split
from comface.transfer.config import TransferConfig
from comface.transfer.folds import Fold, subject_folds
from comface.transfer.pairs import Pairs, draw_pairs, draw_photos, label_of

logger = logging.getLogger(__name__)

REVISION = 1
"""Raise it when a change gives other folds or pairs for the same faces and settings."""
FIELDS = ("folds", "validation_fraction", "pairs_per_subject", "seed")
DEFINITION = ("label", "min_change", "kind", "classes", "split", "reserved_days")
"""Fields of the task that decide its pairs."""


PhotoRows = Sequence[Mapping[str, Any]]
"""The rows of photos.json."""


@dataclass(frozen=True)
class Labelled:
    """Pairs (x before, y after) with their change; `subject_P` numbers the subjects."""

    subject_P: NDArray[np.int64]
    x_P: NDArray[np.int64]
    y_P: NDArray[np.int64]
    change_P: NDArray[np.float64]

    def of(self, subjects: Sequence[int]) -> Labelled:
        """The pairs of these subjects."""
        (at_P,) = np.nonzero(np.isin(self.subject_P, np.asarray(subjects)))
        return Labelled(self.subject_P[at_P], self.x_P[at_P], self.y_P[at_P], self.change_P[at_P])

    @property
    def numbers(self) -> list[int]:
        return [int(number) for number in np.unique(self.subject_P)]

    def columns(self, prefix: str = "") -> dict[str, NDArray[Any]]:
        values = {"subject": self.subject_P, "x": self.x_P, "y": self.y_P, "change": self.change_P}
        return {f"{prefix}{name}": value for name, value in values.items()}

    @classmethod
    def read(cls, columns: Mapping[str, NDArray[Any]], prefix: str = "") -> Labelled:
        return cls(*(columns[f"{prefix}{name}"] for name in ("subject", "x", "y", "change")))


@dataclass(frozen=True)
class FoldPairs:
    """What a transfer knows of one fold: the test pairs have no change."""

    train: Labelled
    validation: Labelled
    test_x_P: NDArray[np.int64]
    test_y_P: NDArray[np.int64]


def draw_protocol(
    store: Store, config: TransferConfig, name: str, task: Task, faces: Artifact, train_faces: Artifact | None = None
) -> Artifact:
    """Publish the `protocol` of the task `name`, or return it if it exists. Raises ConfigurationError if the faces do
    not fit the task, DataError if there are too few subjects or no pairs, no change to learn from, or a photo is in
    both data sets."""
    if bool(task.train_dataset) != (train_faces is not None):
        needs = f"trains on '{task.train_dataset}'" if task.train_dataset else "trains on its own data set"
        raise ConfigurationError(f"The task '{name}' {needs}; pass the faces of that data set.")
    sets = {"faces": faces} | ({} if train_faces is None else {"train_faces": train_faces})
    address = config.model_dump(mode="json", include=set(FIELDS))
    address |= {"task": name, "definition": task.model_dump(mode="json", include=set(DEFINITION))}
    draft = Draft(store, "protocol", address, sets, {"protocol": REVISION})
    if (done := draft.published()) is not None:
        return done
    rows = {role: each.read_json("photos.json") for role, each in sets.items()}
    if train_faces is not None:
        from comface.transfer.apart import check_apart  # imports cv2

        check_apart(train_faces, faces)
    if task.split is not None:
        drawn = _split(config, name, task, rows["faces"], draft)
    else:
        drawn = _cross_validated(config, name, task, rows)
    _check_changes(name, drawn, task.kind == "single")
    digests = {role: _digest(each) for role, each in rows.items()}
    draft.write_json("folds.json", drawn.described() | digests)
    for number in range(len(drawn.folds)):
        draft.write(f"fold-{number}.npz", arrays_bytes(drawn.known(number)))
    everyone = sorted(set(drawn.training.subjects))
    draft.write("all.npz", arrays_bytes(drawn.training_set(everyone).columns()))
    truth = drawn.truth()
    draft.write(TRUTH, arrays_bytes(truth))
    people, what = len(np.unique(truth["subject"])), "pair" if task.kind == "change" else "photo"
    lonely = len({row["subject"] for row in rows["faces"]} - set(drawn.tested.subjects))
    left_out = f"; {counted(lonely, 'subject')} without a {what} left out" if lonely else ""
    logger.info(f"{name}: {counted(len(drawn.tested.subjects), what)} of {counted(people, 'subject')}{left_out}")
    facts = ProtocolFacts(
        task=name,
        dataset=faces.facts_as(FacesFacts).dataset,
        train_dataset=task.train_dataset,
        folds=len(drawn.folds),
        subjects=people,
        training_subjects=0 if task.split is None else len(set(drawn.folds[0].train + drawn.folds[0].validation)),
        pairs=len(truth["x"]),
        subjects_without_pairs=lonely,
        protocol_sha256=_content(draft),
    )
    return draft.publish(facts.record())


def read_fold(protocol: Artifact, number: int) -> FoldPairs:
    """The pairs of one fold, without the truth."""
    columns = read_arrays(protocol, f"fold-{number}.npz")
    train, validation = (Labelled.read(columns, f"{role}_") for role in ("train", "validation"))
    return FoldPairs(train, validation, columns["test_x"], columns["test_y"])


def read_all(protocol: Artifact) -> Labelled:
    """All pairs of the training data set."""
    return Labelled.read(read_arrays(protocol, "all.npz"))


@dataclass(frozen=True)
class _Drawn:
    """The pairs of both data sets (the same if the task trains on its own) and the folds."""

    tested: Pairs
    training: Pairs
    folds: list[Fold]
    across: bool

    def described(self) -> dict[str, Any]:
        """folds.json. Tested subjects are s001 …, subjects of another training data set t001 …"""
        of_tested, of_training = self._pseudonyms()
        sides = (("train", of_training), ("validation", of_training), ("test", of_tested))
        folds = [{side: [names[each] for each in getattr(fold, side)] for side, names in sides} for fold in self.folds]
        trained = {"train_subjects": list(of_training.values())} if self.across else {}
        return {"subjects": list(of_tested.values()), **trained, "folds": folds}

    def known(self, number: int) -> dict[str, NDArray[Any]]:
        """fold-K.npz."""
        fold, test_P = self.folds[number], self.tested.of(self.folds[number].test)
        tested = {"test_x": self.tested.x_P[test_P], "test_y": self.tested.y_P[test_P]}
        trained = self.training_set(fold.train).columns("train_")
        return trained | self.training_set(fold.validation).columns("validation_") | tested

    def training_set(self, subjects: Sequence[str]) -> Labelled:
        return _labelled(self.training, subjects)

    def truth(self) -> dict[str, NDArray[Any]]:
        """truth.npz."""
        parts = [_labelled(self.tested, fold.test).columns() for fold in self.folds]
        fold_P = np.repeat(np.arange(len(parts)), [len(part["x"]) for part in parts])
        return {"fold": fold_P} | {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _pseudonyms(self) -> tuple[dict[str, str], dict[str, str]]:
        def named(pairs: Pairs, letter: str) -> dict[str, str]:
            return {name: f"{letter}{i:03d}" for i, name in enumerate(sorted(set(pairs.subjects)), start=1)}

        of_tested = named(self.tested, "s")
        return of_tested, named(self.training, "t") if self.across else of_tested


def _labelled(pairs: Pairs, subjects: Sequence[str]) -> Labelled:
    order = {name: number for number, name in enumerate(sorted(set(pairs.subjects)))}
    at_P = pairs.of(subjects)
    subject_P = np.array([order[pairs.subjects[p]] for p in at_P], dtype=np.int64)
    return Labelled(subject_P, pairs.x_P[at_P], pairs.y_P[at_P], pairs.change_P[at_P])


def _cross_validated(config: TransferConfig, name: str, task: Task, rows: Mapping[str, PhotoRows]) -> _Drawn:
    tested = training = _pairs(config, name, task, rows["faces"])
    if across := "train_faces" in rows:
        training = _pairs(config, f"{name}/training", task, rows["train_faces"])
    folds = subject_folds(training.subjects, config.folds, config.validation_fraction, config.seed)
    if across:
        everyone = tuple(sorted(set(tested.subjects)))
        folds = [Fold(fold.train, fold.validation, everyone) for fold in folds]
    return _Drawn(tested, training, folds, across)


def _split(config: TransferConfig, name: str, task: Task, rows: PhotoRows, draft: Draft) -> _Drawn:
    """One split of patients (table 5). Writes the photos that a patient-specific method may use."""
    assert task.split is not None
    label = label_of(rows, task.label, name)
    day_N = patient_split.days_of(rows, label)
    subjects = set(_pairs(config, name, task, rows).subjects)
    later: set[str] = set()
    with contextlib.suppress(DataError):  # nobody has a later day; split_patients says so
        unreserved = patient_split.without_days(rows, day_N, subjects, task.reserved_days)
        later = set(_pairs(config, name, task, unreserved).subjects)
    fold = patient_split.split_patients(subjects, later, task.split, config.validation_fraction, config.seed)
    pairs = _pairs(config, name, task, patient_split.without_days(rows, day_N, fold.test, task.reserved_days))
    drawn = _Drawn(pairs, pairs, [fold], False)
    numbers = {subject: number for number, subject in enumerate(sorted(set(pairs.subjects)))}
    known = patient_split.known_photos(rows, label, day_N, numbers, fold.test, task.reserved_days)
    tested = [numbers[pairs.subjects[p]] for p in pairs.of(fold.test)]
    draft.write(patient_split.NAME, arrays_bytes(known | {"test_subject": np.array(tested, dtype=np.int64)}))
    return drawn


def _pairs(config: TransferConfig, name: str, task: Task, rows: PhotoRows) -> Pairs:
    """`name` decides the draw: training pairs of another data set have a name of their own."""
    if task.kind == "single":
        return draw_photos(rows, task.label, config.pairs_per_subject, len(task.classes), config.seed, name)
    return draw_pairs(rows, task.label, config.pairs_per_subject, task.min_change, config.seed, name)


def _check_changes(name: str, drawn: _Drawn, single: bool) -> None:
    """Raises DataError if a fold has no change to learn from; with `single`, if all its labels are equal."""
    for number, fold in enumerate(drawn.folds):
        change_P = drawn.training_set(fold.train).change_P
        if single and not np.ptp(change_P):
            raise DataError(
                f"The label of the task '{name}' is the same on all photos of the training subjects of fold "
                f"{number + 1}; add subjects with other labels, or lower transfer.folds."
            )
        if not single and not change_P.any():
            raise DataError(
                f"The label of the task '{name}' does not change between any two photos of the training subjects of "
                f"fold {number + 1}; add subjects in whom it changes, or lower transfer.folds."
            )


def _digest(rows: Sequence[Mapping[str, Any]]) -> str:
    """Of the faces in their order, so that the same rows of other faces are another protocol."""
    return hashlib.sha256(canonical_json([row["sha256"] for row in rows]).encode()).hexdigest()


def _content(draft: Draft) -> str:
    return hashlib.sha256(
        canonical_json({name: entry.sha256 for name, entry in sorted(draft.objects.items())}).encode()
    ).hexdigest()
