"""The gate: decides whether a challenger may be registered.

It compares the metrics of section 4.3 with thresholds, with a baseline method (`must_beat`) and with the champion.
In: metrics of every task, method and mode; RegisterConfig; the champion's metrics, if there is a champion. Out: a
decision with one row per check and one sentence per failed check. A rejection is a recorded result, not an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from comface.methods import challenger
from comface.register.config import RegisterConfig


@dataclass(frozen=True)
class Metric:
    """Metrics of one method on one task. `corr`, `mae` and `acc` are None if they cannot be computed."""

    task: str
    method: str
    mode: str
    corr: float | None
    mae: float | None = None
    acc: float | None = None
    unit: str = ""
    dataset: str = ""
    rehearsal: bool = False
    protocol_sha256: str = ""
    """Of the folds, people, photos and pairs (transfer/protocol.py)."""

    @property
    def measured_on(self) -> tuple[str, str, str, bool, str]:
        """Two metrics are comparable if this key is equal."""
        return self.task, self.mode, self.dataset, self.rehearsal, self.protocol_sha256


@dataclass(frozen=True)
class Check:
    """`value` must be at least `limit`; to beat the baseline method it must be greater than `limit`."""

    check: str
    task: str
    mode: str
    value: float | None
    limit: float | None
    passed: bool


@dataclass(frozen=True)
class GateDecision:
    passed: bool
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()
    """Comparisons that were not made and tasks that were left out, and why."""

    def record(self) -> dict[str, Any]:
        return asdict(self)


def decide(
    metrics: Sequence[Metric],
    config: RegisterConfig,
    champion: Sequence[Metric] | None,
    left_out: tuple[str, ...] = (),
    registered: Sequence[Metric] | None = None,
) -> GateDecision:
    """Run the checks in order: metrics exist, thresholds, baseline method, champion. `metrics` are means over seeds;
    `registered` are those of the seed that would be registered, as the champion's are (default: the same). `left_out`:
    one sentence per task that a model cannot have."""
    ours = [metric for metric in metrics if metric.method == challenger().name]
    one = [metric for metric in registered or metrics if metric.method == challenger().name]
    results = [
        *_measured(ours),
        *_thresholds(ours, config),
        *_rival(ours, metrics, config.must_beat),
        *_champion(one, champion, config.champion_tolerance),
    ]
    reasons = tuple(reason for check, reason in results if not check.passed)
    notes = (*left_out, *_not_compared(one, champion))
    return GateDecision(not reasons, reasons, tuple(check for check, _ in results), notes)


Result = tuple[Check, str]


def _measured(ours: Sequence[Metric]) -> Iterable[Result]:
    if not ours:
        yield (
            Check("measured", "", "", None, None, False),
            "ComFace was not evaluated on any task that a model can have; run transfer with the method 'comface' on "
            "a task of changes.",
        )
    for metric in ours:
        if metric.corr is None:
            yield (
                Check("measured", metric.task, metric.mode, None, None, False),
                f"The correlation of {_name(metric)} cannot be computed: the estimates do not vary.",
            )


def _thresholds(ours: Sequence[Metric], config: RegisterConfig) -> Iterable[Result]:
    found = {(metric.task, metric.mode): metric for metric in ours}
    for threshold in config.thresholds:
        metric = found.get((threshold.task, threshold.mode))
        value = metric.corr if metric else None
        passed = value is not None and value >= threshold.min_corr
        name = f"{threshold.task} ({threshold.mode})"
        reason = f"The correlation of {name} is {_number(value)}, below the threshold of {threshold.min_corr:.2f}."
        if metric is None:
            reason = f"There is a threshold for {name}, which was not evaluated."
        yield Check("threshold", threshold.task, threshold.mode, value, threshold.min_corr, passed), reason


def _rival(ours: Sequence[Metric], metrics: Sequence[Metric], rival: str | None) -> Iterable[Result]:
    """Compare in every mode that both have (pixels cannot be fine-tuned). Each task needs at least one such mode."""
    if rival is None:
        return
    theirs = {metric.measured_on: metric.corr for metric in metrics if metric.method == rival}
    for task in dict.fromkeys(metric.task for metric in ours):
        shared = [metric for metric in ours if metric.task == task and metric.measured_on in theirs]
        if not shared:
            elsewhere = any(metric.method == rival and metric.task == task for metric in metrics)
            what = f"the same test pairs of {task}" if elsewhere else task
            reason = f"'{rival}', which ComFace must beat, was not evaluated on {what}."
            yield Check(f"beats {rival}", task, "", None, None, False), reason
        for metric in shared:
            limit = theirs[metric.measured_on]
            passed = metric.corr is not None and (limit is None or metric.corr > limit)
            reason = (
                f"The correlation of {_name(metric)} is {_number(metric.corr)}, "
                f"not higher than that of '{rival}' ({_number(limit)})."
            )
            yield Check(f"beats {rival}", task, metric.mode, metric.corr, limit, passed), reason


def _champion(ours: Sequence[Metric], champion: Sequence[Metric] | None, tolerance: float) -> Iterable[Result]:
    """Compare the mean correlation over the shared test sets. No check if no test set is shared."""
    before = {metric.measured_on: metric.corr for metric in champion or ()}
    shared = [metric for metric in ours if before.get(metric.measured_on) is not None and metric.corr is not None]
    if not shared:
        return
    value = fmean(metric.corr for metric in shared if metric.corr is not None)
    reached = fmean(corr for metric in shared if (corr := before[metric.measured_on]) is not None)
    limit = reached - tolerance
    reason = (
        f"The mean correlation over the {len(shared)} results shared with the champion is {value:.2f}, more than "
        f"{tolerance:.2f} below the champion's {reached:.2f}."
    )
    yield Check("champion", "mean", "", value, limit, value >= limit), reason


def _not_compared(ours: Sequence[Metric], champion: Sequence[Metric] | None) -> tuple[str, ...]:
    """Return one sentence per task and mode that the champion was evaluated on with another test set."""
    measured = {metric.measured_on for metric in champion or () if metric.corr is not None}
    elsewhere = {(metric.task, metric.mode) for metric in champion or ()}
    return tuple(
        f"{_name(metric)} is not compared with the champion, because the champion was evaluated on another test set."
        for metric in ours
        if metric.measured_on not in measured and (metric.task, metric.mode) in elsewhere
    )


def _name(metric: Metric) -> str:
    return f"{metric.task} ({metric.mode})"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
