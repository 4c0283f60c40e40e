"""The gate: decides whether a challenger is promoted, kept out, or cannot be judged.

It compares the metrics of section 4.3 with thresholds and with a baseline method (`must_beat`), and the challenger's
estimates with those of the champion on the same pairs (paired.py). In: metrics of every task, method and mode;
RegisterConfig; the champion, if there is one. Out: a decision with one row per check and one sentence per reason
(decision.py). Every outcome is a recorded result, not an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from comface.methods import challenger
from comface.register.config import RegisterConfig
from comface.register.decision import FAILED, PASSED, UNKNOWN, Check, GateDecision, Result, decided
from comface.register.paired import Champion, against, remarks
from comface.runtime.progress import counted


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


def decide(
    metrics: Sequence[Metric],
    config: RegisterConfig,
    champion: Champion | None,
    people: Mapping[str, int] | None = None,
    left_out: tuple[str, ...] = (),
) -> GateDecision:
    """Run the checks: metrics exist, enough people, thresholds, baseline method, champion. `metrics` are means over
    seeds; the champion is compared with the seed that would be registered. `people`: task → number of people it was
    tested on. `left_out`: one sentence per task that a model cannot have."""
    ours = [metric for metric in metrics if metric.method == challenger().name]
    results = [
        *_measured(ours),
        *_enough(people or {}, config.least_subjects),
        *_thresholds(ours, config),
        *_rival(ours, metrics, config.must_beat),
        *against(champion, config),
    ]
    notes = (*left_out, *remarks(champion, config))
    promoted = _promoted([check for check, _ in results], champion)
    return decided(results, promoted, notes, champion.reference if champion else "")


def _promoted(checks: Sequence[Check], champion: Champion | None) -> str:
    """The reason of the outcome `promote`."""
    passes = f"The challenger passes {counted(len(checks), 'check')}"
    if champion is None:
        return f"{passes}; there is no champion to compare it with."
    if champion.is_challenger:
        return f"{passes}; it is the champion {champion.reference} itself."
    compared = [check for check in checks if check.gain]
    if not compared:
        return f"{passes}; no task can be compared with the champion {champion.reference} (see the notes)."
    tasks, groups = (sum(bool(check.group) == of_groups for check in compared) for of_groups in (False, True))
    subgroups = f" and {counted(groups, 'subgroup')}" if groups else ""
    return f"{passes}; on {counted(tasks, 'task')}{subgroups} it is not worse than {champion.reference} by the margin."


def _measured(ours: Sequence[Metric]) -> Iterator[Result]:
    if not ours:
        yield (
            Check("measured", "", "", None, None, FAILED),
            "ComFace was not evaluated on any task that a model can have; run transfer with the method 'comface' on "
            "a task of changes.",
        )
    for metric in ours:
        if metric.corr is None:
            yield (
                Check("measured", metric.task, metric.mode, None, None, FAILED),
                f"The correlation of {_name(metric)} cannot be computed: the estimates do not vary.",
            )


def _enough(people: Mapping[str, int], least: int) -> Iterator[Result]:
    for task, count in people.items():
        result = PASSED if count >= least else UNKNOWN
        yield (
            Check("people", task, "", count, least, result, unit="people", people=count),
            f"{task} was tested on {counted(count, 'subject')}, fewer than the {least} that the gate needs "
            "(register.least_subjects); add people.",
        )


def _thresholds(ours: Sequence[Metric], config: RegisterConfig) -> Iterator[Result]:
    found = {(metric.task, metric.mode): metric for metric in ours}
    for threshold in config.thresholds:
        metric = found.get((threshold.task, threshold.mode))
        value = metric.corr if metric else None
        passed = value is not None and value >= threshold.min_corr
        name = f"{threshold.task} ({threshold.mode})"
        reason = f"The correlation of {name} is {_number(value)}, below the threshold of {threshold.min_corr:.2f}."
        if metric is None:
            reason = f"There is a threshold for {name}, which was not evaluated."
        yield Check("threshold", threshold.task, threshold.mode, value, threshold.min_corr, _result(passed)), reason


def _rival(ours: Sequence[Metric], metrics: Sequence[Metric], rival: str | None) -> Iterator[Result]:
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
            yield Check(f"beats {rival}", task, "", None, None, FAILED), reason
        for metric in shared:
            limit = theirs[metric.measured_on]
            passed = metric.corr is not None and (limit is None or metric.corr > limit)
            reason = (
                f"The correlation of {_name(metric)} is {_number(metric.corr)}, "
                f"not higher than that of '{rival}' ({_number(limit)})."
            )
            yield Check(f"beats {rival}", task, metric.mode, metric.corr, limit, _result(passed)), reason


def _result(passed: bool) -> str:
    return PASSED if passed else FAILED


def _name(metric: Metric) -> str:
    return f"{metric.task} ({metric.mode})"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
