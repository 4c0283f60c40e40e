"""The gate's decision: an outcome, its reasons, and one row per check.

A check passes, fails, or cannot tell. One failed check keeps the champion; otherwise, one check that cannot tell makes
the whole decision `cannot tell`; a challenger for which all checks pass is promoted. All checks must pass, so this is
an intersection-union test: the chance of a false promotion is that of a single check, without a correction for the
number of tasks and subgroups (Berger, Multiparameter hypothesis testing and acceptance sampling, Technometrics 24,
1982; Berger and Hsu, Bioequivalence trials, intersection-union tests and equivalence confidence sets, Statistical
Science 11, 1996).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from comface.execution.pages import metric_prefix

PROMOTE, KEEP, CANNOT_TELL = "promote", "keep", "cannot tell"
PASSED, FAILED, UNKNOWN = "passed", "failed", "cannot tell"


@dataclass(frozen=True)
class Check:
    """`value` must be at least `limit` (to beat a method: above it). In a comparison with the champion, `value` is the
    gain over the champion (positive: better), `low` and `high` are the ends of its interval, and `limit` is minus the
    margin, which `low` must exceed."""

    check: str
    task: str
    mode: str
    value: float | None
    limit: float | None
    result: str
    low: float | None = None
    high: float | None = None
    metric: str = "corr"
    unit: str = ""
    """Of value and limit; empty for a correlation."""
    group: str = ""
    """Of a subgroup: COLUMN = VALUE."""
    people: int = 0
    pairs: int = 0
    rehearsal: bool = False
    power: float | None = None
    """Of a comparison: the probability that an equally good challenger passes (power.py). It decides nothing."""
    least_margin: float | None = None
    """Of a comparison: the smallest margin at which that probability is 80 %."""

    @property
    def gain(self) -> tuple[float, float, float, float] | None:
        """(gain, low, high, limit) of a comparison with the champion; None if it has no interval."""
        if self.value is None or self.low is None or self.high is None or self.limit is None:
            return None
        return self.value, self.low, self.high, self.limit


Result = tuple[Check, str]
"""A check, and one sentence that says why it did not pass."""


@dataclass(frozen=True)
class GateDecision:
    outcome: str
    reasons: tuple[str, ...]
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()
    """What was left out or compared in a special way, and why."""
    champion: str = ""
    """Reference of the champion that the challenger was compared with; empty if there is none."""

    def record(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, record: dict[str, Any]) -> GateDecision:
        """The decision from its record (decision.json)."""
        checks = tuple(Check(**row) for row in record["checks"])
        return cls(record["outcome"], tuple(record["reasons"]), checks, tuple(record["notes"]), record["champion"])

    def metrics(self) -> dict[str, float]:
        """For the KFP UI: 1 for the outcome `promote`, else 0; per task the gain over the champion and its ends."""
        found = {"promote": float(self.outcome == PROMOTE)}
        for check in self.checks:
            if check.gain and not check.group:
                name = metric_prefix(f"{check.task}_{check.metric}")
                ends = zip(("gain", "gain_low", "gain_high", "limit"), check.gain, strict=True)
                found |= {f"{name}_{end}": value for end, value in ends}
        return found

    @property
    def sentence(self) -> str:
        champion = f"; the champion {self.champion} stays" if self.champion else ""
        return {
            PROMOTE: "Promote: the challenger may become the champion.",
            KEEP: f"Keep: the challenger is rejected{champion}.",
            CANNOT_TELL: f"Cannot tell: the challenger is registered, but not promoted{champion}.",
        }[self.outcome]


def decided(results: Iterable[Result], promoted: str, notes: Sequence[str], champion: str) -> GateDecision:
    """The outcome of all checks; `promoted`: the reason if all passed. Reasons of failed checks come first."""
    results = list(results)
    failed, unknown = ([said for check, said in results if check.result == each] for each in (FAILED, UNKNOWN))
    outcome = KEEP if failed else CANNOT_TELL if unknown else PROMOTE
    reasons = tuple([*failed, *unknown] or [promoted])
    return GateDecision(outcome, reasons, tuple(check for check, _ in results), tuple(notes), champion)
