"""Reads the predictions of `transfer` artifacts and computes metrics with bootstrap intervals over subjects.

In: `transfer` artifacts. Out: one `Result` per task, method and mode, and the gain of ComFace over each other method on
the same pairs. Shapes: P pairs, S subjects, K sums per subject, B bootstrap resamples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.manifest import Artifact
from comface.errors import ConfigurationError, DataError
from comface.evaluate.config import EvaluateConfig
from comface.methods import challenger, in_order, method
from comface.tasks import config as tasks
from comface.tasks.agreement import Agreement, GroupFigures, SizeBin, SmallestChange
from comface.tasks.comparisons import Gain
from comface.tasks.conformal import Coverage
from comface.tasks.metrics import Estimate, Spread, advantage, estimates, resample_counts, subject_sums
from comface.tasks.predictions import read_predictions

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
    sums_SK: NDArray[np.float64]
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
    coverage: Coverage | None = None

    @property
    def ours(self) -> bool:
        """Whether this is a result of the challenger: the method that the run trains and registers."""
        return self.method == challenger().name

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("mae", "corr", "acc") if self.shows_direction else ("mae", "corr")


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
    the same task, mode and method, or if the test pairs of a task differ between methods."""
    results = [_read(artifact, config) for artifact in artifacts]
    if not results:
        raise DataError("There are no transfer results to evaluate; run transfer for a task and a method first.")
    seen: dict[tuple[str, str, str], Result] = {}
    for result in results:
        key = (result.task, result.mode, result.method)
        if key in seen:
            raise DataError(f"There are two results for {'/'.join(key)}; pass only one of them.")
        seen[key] = result
    for task in {result.task for result in results}:
        sets = {result.protocol_sha256: result for result in results if result.task == task}
        if len(sets) > 1:
            first, second = (f"{r.method} ({r.mode})" for r in list(sets.values())[:2])
            raise DataError(
                f"The results of the task '{task}' are not of the same protocol: {first} and {second} were evaluated "
                "on different photos, people, folds or pairs; run the transfers of this task again."
            )
    order = in_order({result.method for result in results})
    return sorted(results, key=lambda r: (r.task, list(MODES).index(r.mode), order.index(r.method)))


def compare(results: Sequence[Result], config: EvaluateConfig) -> list[Comparison]:
    """Compare ComFace with every other method, per task and mode."""
    comparisons = []
    for ours in (result for result in results if result.ours):
        counts_BS = _counts(ours.task, len(ours.sums_SK), config)
        for other in results:
            if (other.task, other.mode) == (ours.task, ours.mode) and not other.ours:
                gains = advantage(ours.sums_SK, other.sums_SK, counts_BS, config.confidence)
                gains_of = {name: Gain(gain.value, gain.low, gain.high) for name, gain in gains.items()}
                comparisons.append(Comparison(ours.task, ours.mode, other.method, gains_of))
    return comparisons


def _read(artifact: Artifact, config: EvaluateConfig) -> Result:
    read = read_predictions(artifact)
    facts = read.facts
    try:
        method(facts.method)
    except ConfigurationError as error:
        raise DataError(f"The transfer at {artifact.uri} cannot be evaluated: {error}") from None
    if facts.mode not in MODES:
        raise DataError(
            f"The transfer at {artifact.uri} has the unknown mode '{facts.mode}'; run it again with this version."
        )
    sums_SK = subject_sums(read.subjects, read.change_P, read.predicted_P)
    counts_BS = _counts(facts.task, len(sums_SK), config)
    return Result(
        task=facts.task,
        method=facts.method,
        mode=facts.mode,
        unit=facts.unit,
        dataset=facts.dataset or "",
        rehearsal=bool(facts.rehearsal),
        shows_direction=facts.direction_accuracy,
        pairs=len(read.change_P),
        subjects=len(sums_SK),
        protocol_sha256=facts.protocol_sha256,
        change_P=read.change_P,
        predicted_P=read.predicted_P,
        predicted_RP=read.predicted_P[None],
        subject_P=np.unique(np.asarray(read.subjects), return_inverse=True)[1],
        sums_SK=sums_SK,
        estimates=estimates(sums_SK, counts_BS, config.confidence),
    )


def _counts(task: str, subjects: int, config: EvaluateConfig) -> NDArray[np.float64]:
    return resample_counts(subjects, config.bootstrap, config.seed, task)
