"""The challenger against the champion, on the same test pairs: is it worse by more than a margin?

In: the estimates of both for the same pairs of each task (register/champion.py), the margins of RegisterConfig. Out:
one check per task and subgroup. The figure is the gain of the challenger over the champion in correlation or MAE
(positive: better) with its paired interval: in every resample both are computed for the same resampled people
(tasks/comparisons.py, tasks/intervals.py), because the pairs of one person are alike. Let m be the margin:

    the whole interval lies above −m           passed: not worse by m or more (non-inferior; m = 0: better)
    the whole interval lies at or below −m     failed: worse by m or more
    the interval contains −m                   cannot tell

This is the confidence-interval form of a non-inferiority test (ICH E9, 3.3.2; FDA, Non-Inferiority Clinical Trials to
Establish Effectiveness, 2016). With two-sided 95 % intervals, its one-sided level is 2.5 %.

Legend: P pairs, R replicates (folds that are tested on the same pairs), S subjects, B resamples.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.manifest import Artifact
from comface.register.config import RegisterConfig
from comface.register.decision import FAILED, PASSED, UNKNOWN, Check, Result
from comface.register.power import advice, least_margin, power
from comface.tasks.agreement import Scored
from comface.tasks.comparisons import advantage
from comface.tasks.intervals import LEAST_SUBJECTS, resample_counts
from comface.tasks.metrics import FIGURES, Estimate

RESAMPLES, SEED = 2000, 0
"""Of the bootstrap: the same for every decision, so that equal inputs give an equal decision."""
METRICS = {"corr": "correlation", "mae": "mean absolute error"}


@dataclass(frozen=True)
class Paired:
    """The estimates of challenger and champion for the same test pairs of a task."""

    task: str
    mode: str
    """Of the challenger's head that `comface compare` would use; `champion_mode`: of the champion's."""
    champion_mode: str
    unit: str
    rehearsal: bool
    subject_P: NDArray[np.int64]
    change_P: NDArray[np.float64]
    ours_RP: NDArray[np.float64]
    theirs_RP: NDArray[np.float64]
    groups_P: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Column of the data set → value of every pair; empty if unknown."""
    note: str = ""
    """How the champion's estimates were made, if they are not those it was registered with."""

    @property
    def people(self) -> int:
        return len(np.unique(self.subject_P))

    @property
    def name(self) -> str:
        modes = self.mode if self.mode == self.champion_mode else f"{self.mode}, champion {self.champion_mode}"
        return f"{self.task} ({modes})"


@dataclass(frozen=True)
class Unpaired:
    """A task on which the two cannot be compared. `blocks`: whether the gate then cannot tell."""

    task: str
    mode: str
    reason: str
    blocks: bool = True


@dataclass(frozen=True)
class Champion:
    """The champion, as far as it can be compared. `problem`: why it cannot be read; `is_challenger`: whether the
    challenger is the champion itself, in a repeated run."""

    reference: str
    tasks: tuple[Paired | Unpaired, ...] = ()
    problem: str = ""
    is_challenger: bool = False
    model: Artifact | None = None
    made_from: Mapping[str, str] = field(default_factory=dict)
    """Task → sha256 of the champion's transfer that was compared; empty if there is none."""


def against(champion: Champion | None, config: RegisterConfig) -> Iterator[Result]:
    """The checks against the champion; none if there is no champion."""
    if champion is None:
        return
    if champion.problem:
        said = f"The champion cannot be read ({champion.problem}); restore it, or promote another version."
        yield Check("champion can be read", "", "", None, None, UNKNOWN), said
    for each in champion.tasks:
        if isinstance(each, Paired):
            if each.people >= config.least_subjects:  # otherwise the check of the number of people cannot tell
                yield from _compared(each, champion.reference, config)
        elif each.blocks:
            check = Check(f"comparable with {champion.reference}", each.task, each.mode, None, None, UNKNOWN)
            yield check, f"{each.task} is not comparable with {champion.reference}: {each.reason}"


def remarks(champion: Champion | None, config: RegisterConfig) -> Iterator[str]:
    """One sentence per special case of a comparison, and per column with subgroups that are not examined."""
    for each in champion.tasks if champion else ():
        if isinstance(each, Unpaired):
            if not each.blocks:
                yield f"{each.task} is not compared with the champion: {each.reason}"
            continue
        if each.note:
            yield f"{each.name}: {each.note}"
        for column, values in each.groups_P.items():
            sizes = list(_people_of(each, values).values())
            if small := sum(size < config.least_group_subjects for size in sizes):
                yield (
                    f"{each.name}: {small} of {len(sizes)} subgroups by '{column}' have fewer than "
                    f"{config.least_group_subjects} people and were not examined."
                )


def _compared(each: Paired, champion: str, config: RegisterConfig) -> Iterator[Result]:
    metric, margin, of_groups = config.margin_of(each.task)
    counts_BS = _draws(each.people, each.task)
    _, subject_P = np.unique(each.subject_P, return_inverse=True)
    ours, theirs = (
        Scored(subject_P, each.change_P, predicted_RP, counts_BS, config.confidence)
        for predicted_RP in (each.ours_RP, each.theirs_RP)
    )

    def checked(of_P: NDArray[np.bool_], limit: float, group: str) -> Result:
        people, pairs = ours.people(of_P), int(of_P.sum())
        found = _gain(metric, ours, theirs, of_P, people)
        check = Check(
            f"{METRICS[metric]} not worse than {champion}", each.task, each.mode, _known(found.value),
            -limit, judged(found, limit), _known(found.low), _known(found.high), metric,
            each.unit if metric == "mae" else "", group, people, pairs, each.rehearsal,
            *_power(found, limit, people, config.confidence),
        )  # fmt: skip
        named = f"{each.name}, {group}" if group else each.name
        return check, f"{named}: {_said(check, champion, config.confidence, found.reason)}"

    yield checked(np.ones(len(subject_P), bool), margin, "")
    for column, values in each.groups_P.items():
        sizes = _people_of(each, values)
        for value in sorted(value for value, size in sizes.items() if size >= config.least_group_subjects):
            yield checked(np.asarray(values, dtype=np.str_) == value, of_groups, f"{column} = {value}")


@functools.lru_cache(maxsize=1)
def _draws(people: int, task: str) -> NDArray[np.float64]:
    """Kept for the next comparison of the task; a simulation asks for the same draws thousands of times."""
    return resample_counts(people, RESAMPLES, SEED, task)


def _people_of(each: Paired, values: Sequence[str]) -> dict[str, int]:
    """Value of a column → number of people with pairs in which both photos have it."""
    value_P = np.asarray(values, dtype=np.str_)
    known = [str(value) for value in np.unique(value_P) if value]
    return {value: len(np.unique(each.subject_P[value_P == value])) for value in known}


def _gain(metric: str, ours: Scored, theirs: Scored, of_P: NDArray[np.bool_], people: int) -> Estimate:
    """The gain of the challenger with its interval. Equal estimates have a gain of exactly zero."""
    if np.array_equal(ours.predicted_RP[:, of_P], theirs.predicted_RP[:, of_P]):
        return Estimate(0.0, 0.0, 0.0) if people >= LEAST_SUBJECTS else Estimate(0.0, reason="too few people")
    ours_RS, theirs_RS = ours.sums(of_P), theirs.sums(of_P)
    return advantage(metric, FIGURES[metric], ours_RS, theirs_RS, ours.counts_BS, ours.confidence, people)


def _power(gain: Estimate, margin: float, people: int, confidence: float) -> tuple[float, float] | tuple[None, None]:
    """(power at the margin, smallest margin with a power of POWER); None if the gain has no interval."""
    half = gain.value - gain.low
    if not math.isfinite(half):
        return None, None
    return power(margin, half, people, confidence), least_margin(half, people, confidence)


def judged(gain: Estimate, margin: float) -> str:
    """Whether the whole interval lies above minus the margin (passed), at or below it (failed), or on both sides."""
    if gain.low > -margin:
        return PASSED
    return FAILED if gain.high <= -margin else UNKNOWN  # an end that is missing (NaN) is on no side


def _said(check: Check, champion: str, confidence: float, why: str) -> str:
    """Why a comparison did not pass; empty if it passed."""
    if check.result == PASSED:
        return ""
    unit = f" {check.unit}" if check.unit else ""
    gain = f"the gain in {METRICS[check.metric]} over {champion}"
    if check.gain is None:
        return f"{gain} has no interval ({why or 'it cannot be computed'}); add people or photos."
    value, low, high, limit = check.gain
    wanted = f"the margin of {signed(limit)}{unit}" if limit else "zero, above which it must lie"
    measured = (
        f"{gain} is {signed(value)}{unit} ({100 * confidence:g} % interval {signed(low)} to {signed(high)}, "
        f"{check.people:,} people)"
    )
    if check.result == FAILED:
        return f"{measured}, and the whole interval lies at or below {wanted}."
    helps = advice(-limit, value - low, check.people, confidence, check.unit)
    return f"{measured}, and the interval contains {wanted}; {helps}."


def signed(value: float) -> str:
    """With its sign, and a minus that is as wide as a plus."""
    return f"{value + 0.0:+.3f}".replace("-", "−")


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
