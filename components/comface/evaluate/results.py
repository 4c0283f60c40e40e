"""Reads the predictions of `transfer` artifacts and computes every figure with its interval over subjects.

In: `transfer` artifacts. Out: one `Result` per task, method and mode over all its seeds and folds, and the gain of
ComFace over each other method on the same pairs, with p-values corrected for all comparisons (tasks/comparisons.py).

Legend: P pairs, S subjects, R replicates, B bootstrap resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.facts import TransferFacts
from comface.artifacts.manifest import Artifact
from comface.errors import ConfigurationError, DataError
from comface.evaluate.config import EvaluateConfig
from comface.methods import challenger, in_order, method
from comface.tasks import config as tasks
from comface.tasks.agreement import (
    Agreement,
    GroupFigures,
    Scored,
    SizeBin,
    SmallestChange,
    agreement,
    by_group,
    by_size,
    smallest_change,
)
from comface.tasks.classes import CLASS_METRICS
from comface.tasks.comparisons import Difference, Gain, advantage, corrected
from comface.tasks.conformal import NOMINAL, Coverage, Errors, measure
from comface.tasks.intervals import replicates, resample_counts
from comface.tasks.metrics import METRICS, NAN, Estimate, Spread
from comface.tasks.predictions import Photos, Predictions, groups_of, read_predictions

MODES = {mode: tasks.mode_title(mode) for mode in tasks.MODES}
"""Mode → title, in the order of the report."""


@dataclass(frozen=True)
class Result:
    """One task, method and mode over all seeds and folds. A figure is the mean over the replicates: over the seeds, and
    over the folds where every fold is tested on all pairs (Edema-A to B)."""

    task: str
    method: str
    mode: str
    unit: str
    dataset: str
    rehearsal: bool
    shows_direction: bool
    pairs: int
    subjects: int
    protocol_sha256: str
    change_P: NDArray[np.float64]
    predicted_P: NDArray[np.float64]
    """The predictions of the first replicate, for plots of single pairs."""
    predicted_RP: NDArray[np.float64]
    """One row per replicate; the first is of the seed that is registered."""
    subject_P: NDArray[np.int64]
    """Number of the subject of every pair."""
    estimates: Mapping[str, Estimate]
    seeds: tuple[int, ...] = (0,)
    seed_spread: Mapping[str, Spread] = field(default_factory=dict)
    """Metric → spread over seeds."""
    fold_spread: Mapping[str, Spread] = field(default_factory=dict)
    """Metric → spread over folds that were tested on the same pairs; empty for cross-validation."""
    agreement: Agreement | None = None
    by_size: tuple[SizeBin, ...] = ()
    smallest_change: SmallestChange | None = None
    by_group: tuple[GroupFigures, ...] = ()
    kind: str = "change"
    """Of the task: `single` has the label of a photo instead of the change of a pair."""
    classes: tuple[str, ...] = ()
    training_subjects: int = 0
    """Of a task with one split of subjects instead of cross-validation (table 5)."""
    coverage: Coverage | None = None
    """Of prediction intervals for single pairs; of ComFace only."""

    @property
    def ours(self) -> bool:
        """Whether this is a result of the challenger: the method that the run trains and registers."""
        return self.method == challenger().name

    @property
    def metrics(self) -> tuple[str, ...]:
        return _metrics(self.shows_direction, self.classes)


@dataclass(frozen=True)
class Comparison:
    """Gain of ComFace over another method on the same pairs of one task. A positive gain means that ComFace is
    better."""

    task: str
    mode: str
    other: str
    gains: Mapping[str, Gain]


def read_results(artifacts: Iterable[Artifact], config: EvaluateConfig) -> list[Result]:
    """Return the results, sorted by task, mode and method. Raises DataError if there are none, if two artifacts have
    the same task, mode, method and seed, or if the test pairs of a task differ between them."""
    photos: dict[str, Photos] = {}
    reads = [_read(artifact, photos) for artifact in artifacts]
    if not reads:
        raise DataError("There are no transfer results to evaluate; run transfer for a task and a method first.")
    _check_same_pairs([read for read, _ in reads])
    by_key: dict[tuple[str, str, str], list[tuple[Predictions, Photos]]] = {}
    for each in reads:
        facts = each[0].facts
        by_key.setdefault((facts.task, facts.mode, facts.method), []).append(each)
    order = in_order({read.facts.method for read, _ in reads})
    results = [_result([read for read, _ in each], each[0][1], config) for each in by_key.values()]
    return sorted(results, key=lambda r: (r.task, list(MODES).index(r.mode), order.index(r.method)))


def compare(results: Sequence[Result], config: EvaluateConfig) -> list[Comparison]:
    """Compare ComFace with every other method, per task and mode, in one family of comparisons."""
    pairs = [
        (ours, other)
        for ours in results
        if ours.ours
        for other in results
        if (other.task, other.mode) == (ours.task, ours.mode) and not other.ours
    ]
    family = [each for ours, other in pairs for each in _differences(ours, other, config)]
    gains = iter(corrected(family, config.seed))
    return [
        Comparison(ours.task, ours.mode, other.method, {metric: next(gains) for metric in ours.metrics})
        for ours, other in pairs
    ]


def _differences(ours: Result, other: Result, config: EvaluateConfig) -> list[Difference]:
    """The advantage of ComFace in every metric (positive: better), and what its test needs."""
    found = []
    tested = [
        _tested(each.subject_P, each.change_P, each.predicted_RP, each.task, config, each.classes)
        for each in (ours, other)
    ]
    (ours_RS, other_RS), counts_BS = (each.sums() for each in tested), tested[0].counts_BS
    for metric in ours.metrics:
        figure = tested[0].figures[metric]
        gain = advantage(metric, figure, ours_RS, other_RS, counts_BS, config.confidence)
        if not math.isfinite(gain.value):
            reasons = {reason for each in (ours, other) if (reason := each.estimates[metric].reason)}
            gain = Estimate(NAN, reason="; ".join(sorted(reasons)))
        found.append(Difference(other.method, ours.dataset, gain, figure, ours_RS, other_RS))
    return found


def _read(artifact: Artifact, photos: dict[str, Photos]) -> tuple[Predictions, Photos]:
    """The predictions of a transfer, and the photos of its data set; `photos`: those that were read already."""
    read, faces = read_predictions(artifact), artifact.input("protocol").input("faces")
    if faces.sha256 not in photos:
        photos[faces.sha256] = faces.read_json("photos.json") if "photos.json" in faces.manifest.objects else ()
    try:
        method(read.facts.method)
    except ConfigurationError as error:
        raise DataError(f"The transfer at {artifact.uri} cannot be evaluated: {error}") from None
    if read.facts.mode not in MODES:
        raise DataError(
            f"The transfer at {artifact.uri} has the unknown mode '{read.facts.mode}'; run it again with this version."
        )
    return read, photos[faces.sha256]


def _check_same_pairs(reads: Sequence[Predictions]) -> None:
    seen = set()
    first: dict[str, TransferFacts] = {}
    for facts in (read.facts for read in reads):
        key = (facts.task, facts.mode, facts.method, facts.seed)
        if key in seen:
            named = f"{facts.task}/{facts.mode}/{facts.method}" + (f", seed {facts.seed}" if facts.seed else "")
            raise DataError(f"There are two results for {named}; pass only one of them.")
        seen.add(key)
        other = first.setdefault(facts.task, facts)
        if other.protocol_sha256 != facts.protocol_sha256:
            raise DataError(
                f"The results of the task '{facts.task}' are not of the same protocol: {other.method} ({other.mode}) "
                f"and {facts.method} ({facts.mode}) were evaluated on different photos, people, folds or pairs; run "
                "the transfers of this task again."
            )


def _result(reads: Sequence[Predictions], photos: Photos, config: EvaluateConfig) -> Result:
    """One result from the predictions of its seeds."""
    reads = sorted(reads, key=lambda read: read.facts.seed)
    first, facts = reads[0], reads[0].facts
    repeats, rows = first.repeats, len(first.change_P) // first.repeats
    predicted_RP = np.concatenate([read.predicted_P.reshape(repeats, rows) for read in reads])
    change_P = first.change_P[:rows]
    names, subject_P = np.unique(np.asarray(first.subjects[:rows]), return_inverse=True)
    tested = _tested(subject_P, change_P, predicted_RP, facts.task, config, facts.classes)
    limits = None if facts.classes else agreement(tested)
    sums_RS, metrics = tested.sums(), _metrics(facts.direction_accuracy, facts.classes)
    of_change = facts.kind == "change"
    figures = {name: replicates(tested.figures[name], sums_RS).reshape(len(reads), repeats) for name in metrics}
    return Result(
        task=facts.task,
        method=facts.method,
        mode=facts.mode,
        unit=facts.unit,
        dataset=facts.dataset or "",
        rehearsal=bool(facts.rehearsal),
        shows_direction=facts.direction_accuracy,
        pairs=rows,
        subjects=len(names),
        protocol_sha256=facts.protocol_sha256,
        change_P=change_P,
        predicted_P=predicted_RP[0],
        predicted_RP=predicted_RP,
        subject_P=subject_P,
        estimates={metric: tested.estimate(metric, sums_RS) for metric in metrics},
        seeds=tuple(read.facts.seed for read in reads),
        seed_spread={name: _spread(each.mean(axis=1)) for name, each in figures.items()},
        fold_spread={name: _spread(each.mean(axis=0)) for name, each in figures.items()} if repeats > 1 else {},
        agreement=limits,
        by_size=by_size(tested) if of_change else (),
        smallest_change=smallest_change(tested, limits) if of_change and limits else None,
        by_group=by_group(tested, groups_of(first, rows, photos), metrics),
        kind=facts.kind,
        classes=facts.classes,
        training_subjects=facts.training_subjects,
        coverage=measure(Errors.of_photos(first, photos), NOMINAL)
        if of_change and facts.method == challenger().name
        else None,
    )


def _spread(values: NDArray[np.float64]) -> Spread:
    return Spread(float(values.std(ddof=1)) if len(values) > 1 else NAN, len(values))


def _tested(
    subject_P: NDArray[np.int64],
    change_P: NDArray[np.float64],
    predicted_RP: NDArray[np.float64],
    task: str,
    config: EvaluateConfig,
    classes: Sequence[str],
) -> Scored:
    counts_BS = resample_counts(int(subject_P.max()) + 1, config.bootstrap, config.seed, task)
    return Scored(subject_P, change_P, predicted_RP, counts_BS, config.confidence, len(classes))


def _metrics(direction: bool, classes: Sequence[str]) -> tuple[str, ...]:
    if classes:
        return CLASS_METRICS
    return METRICS if direction else METRICS[:2]
