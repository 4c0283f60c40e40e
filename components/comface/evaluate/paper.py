"""The figures that the paper publishes, and whether its orderings of methods hold here.

In: paper.csv (tables 2 to 8 of the paper) and the results of this run. Out: the figure of a method on a task; sentences
about the orderings between ComFace and another method that do not hold.
"""

from __future__ import annotations

import csv
import functools
import importlib.resources
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comface.evaluate.results import Comparison, Result
from comface.methods import challenger, method
from comface.tasks.comparisons import SAME
from comface.tasks.config import mode_title
from comface.tasks.metrics import SMALLER_IS_BETTER
from comface.tasks.registry import title as task_title

METRICS = {"mae": "MAE", "corr": "Corr.", "acc": "Acc."}
FIELDS = (("mae", "mae", 1.0), ("corr", "corr", 1.0), ("acc", "acc_percent", 100.0))
Place = tuple[str, str, str, str]
"""(task, mode, method, metric)."""


@functools.cache
def figures() -> Mapping[Place, float]:
    """The published figures of tables 2 to 8; accuracy as a share. Table 5 has a task of its own, because it is of
    fifteen patients only."""
    text = (importlib.resources.files("comface") / "evaluate" / "paper.csv").read_text(encoding="utf-8")
    found: dict[Place, float] = {}
    for row in csv.DictReader(io.StringIO(text)):
        for metric, field, scale in FIELDS:
            if row[field]:
                found[row["task"], row["mode"], row["method"], metric] = float(row[field]) / scale
    return found


def published(task: str, mode: str) -> list[str]:
    """The methods with a published figure on this task in this mode, in the order of the paper."""
    return list(dict.fromkeys(m for t, form, m, _ in figures() if (t, form) == (task, mode)))


@dataclass(frozen=True)
class Ordering:
    """Two methods of which the paper finds `better` better than `worse`, both of which were run here."""

    task: str
    mode: str
    metric: str
    better: str
    worse: str
    holds: bool
    within_chance: bool
    """Whether the difference measured here may be chance."""


def orderings(results: Sequence[Result], comparisons: Sequence[Comparison]) -> list[Ordering]:
    """Every ordering of the paper between ComFace and another method that this run can confirm or contradict."""
    ours = challenger().name
    measured = {(r.task, r.mode, r.method, metric): r.estimates[metric].value for r in results for metric in r.metrics}
    gains = {(c.task, c.mode, c.other): c.gains for c in comparisons}
    found = []
    for (task, mode, other, metric), theirs in figures().items():
        mine = figures().get((task, mode, ours, metric))
        here = [measured.get((task, mode, name, metric), math.nan) for name in (ours, other)]
        if other == ours or mine is None or mine == theirs or not all(map(math.isfinite, here)):
            continue
        sign = -1 if metric in SMALLER_IS_BETTER else 1
        ahead = sign * (mine - theirs) > 0
        names = (ours, other) if ahead else (other, ours)
        gain = gains.get((task, mode, other), {}).get(metric)
        holds = sign * (here[0] - here[1]) > 0 if ahead else sign * (here[0] - here[1]) < 0
        chance = gain is not None and (gain.word == SAME or gain.low <= 0 <= gain.high)
        found.append(Ordering(task, mode, metric, *names, holds, chance))
    return found


def contradictions(found: Sequence[Ordering]) -> list[str]:
    """One sentence per task, mode and metric whose ordering differs from the paper's."""
    grouped: dict[tuple[str, str, str, bool], list[Ordering]] = {}
    ours = challenger().name
    for each in found:
        if not each.holds:
            grouped.setdefault((each.task, each.mode, each.metric, each.better == ours), []).append(each)
    sentences = []
    for (task, mode, metric, ahead), several in grouped.items():
        others = [_named(each.worse if ahead else each.better, each.within_chance) for each in several]
        where = f"{task_title(task)}, {mode_title(mode).lower()}, {METRICS[metric]}"
        paper, here = ("better", "not better") if ahead else ("worse", "not worse")
        sentences.append(f"{where}: in the paper ComFace is {paper} than {_listed(others)}; here it is {here}.")
    return sentences


def _named(other: str, within_chance: bool) -> str:
    return f"{method(other).title}{' (here the difference may be chance)' if within_chance else ''}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
