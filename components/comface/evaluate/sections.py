"""The parts of the report, as the template shows them: groups of tasks, single tasks, studies, orderings of the paper.

In: results and comparisons. Out: charts and tables per part. Charts of single pairs are of ComFace and of the best
other method; tables are of all methods.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comface.evaluate import findings, paper, plots
from comface.evaluate import studies as study
from comface.evaluate.plots import Chart
from comface.evaluate.results import Comparison, Result
from comface.evaluate.studies import Trained
from comface.evaluate.table import Table
from comface.evaluate.tables import (
    About,
    found,
    groups_of,
    is_variant,
    method_tables,
    method_title,
    methods_of,
    modes_of,
    tasks_of,
)
from comface.evaluate.verdict import in_words
from comface.methods import challenger
from comface.tasks.config import base, mode_title, options
from comface.tasks.registry import title

CHART_BYTES = 9 << 20
"""Room for the charts of single tasks; a report has less than 15 MB."""


@dataclass(frozen=True)
class Part:
    """A mode of a group or a task."""

    mode: str
    title: str
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...] = ()
    words: str = ""


@dataclass(frozen=True)
class GroupSection:
    name: str
    title: str
    paper_table: str
    parts: tuple[Part, ...]
    rehearsals: tuple[tuple[str, bool], ...]
    """(title of a task, whether it is a rehearsal)."""


@dataclass(frozen=True)
class TaskSection:
    name: str
    title: str
    unit: str
    rehearsal: bool
    dataset: str
    subjects: int
    pairs: int
    parts: tuple[Part, ...]
    training_subjects: int = 0
    """Of a task with one split of subjects instead of cross-validation."""


@dataclass(frozen=True)
class Studies:
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...]
    missing: tuple[tuple[str, str], ...]
    """(table or figure of the paper, the command that makes it)."""


@dataclass(frozen=True)
class Orderings:
    compared: int
    held: int
    sentences: tuple[str, ...]


def groups(results: Sequence[Result], comparisons: Sequence[Comparison], about: About) -> list[GroupSection]:
    made = []
    for group in groups_of(results):
        mine = [result for result in results if result.task in group.tasks and not is_variant(result.method)]
        parts = []
        for mode in modes_of(mine):
            charts = [plots.forest(mine, task, mode) for task in group.tasks if _has(mine, task, mode)]
            tables = tuple(method_tables(group, mode, mine, about))
            parts.append(Part(mode, mode_title(mode), tables, tuple(charts), _explained(mode)))
        rehearsals = tuple((title(task), any(r.rehearsal for r in mine if r.task == task)) for task in group.tasks)
        made.append(GroupSection(group.name, group.title, group.paper_table, tuple(parts), rehearsals))
    return made


def _has(results: Sequence[Result], task: str, mode: str) -> bool:
    return any((result.task, result.mode) == (task, mode) for result in results)


def _explained(mode: str) -> str:
    text = {
        "linear": "The backbone is frozen and only the last layer is fitted: this shows what pre-training has learned.",
        "finetune": "All layers are trained on the task.",
    }.get(base(mode), "")
    more = {
        "fresh": "The last layer starts anew instead of from pre-training.",
        "antisymmetric": "The estimate is half the difference of both orders of the photos.",
        "standardised": "Every feature is divided by its own standard deviation.",
    }
    beyond = [more.get(option, option) for option in options(mode)]
    return " ".join([text, *beyond, *(["The paper does not have this form."] if beyond else [])])


def tasks(results: Sequence[Result], comparisons: Sequence[Comparison]) -> list[TaskSection]:
    made, room = [], CHART_BYTES
    for task in tasks_of(results):
        mine = [result for result in results if result.task == task and not is_variant(result.method)]
        first = next((result for result in mine if result.ours), mine[0]) if mine else None
        if first is None:
            continue
        parts = []
        for mode in (mode for mode in modes_of(mine) if not options(mode)):
            part = _task_part([r for r in mine if r.mode == mode], comparisons, room > 0)
            room -= sum(len(chart.svg) for chart in part.charts)
            parts.append(part)
        made.append(
            TaskSection(
                task,
                title(task),
                first.unit,
                first.rehearsal,
                first.dataset,
                first.subjects,
                first.pairs,
                tuple(parts),
                first.training_subjects,
            )
        )
    return made


def _task_part(results: Sequence[Result], comparisons: Sequence[Comparison], with_charts: bool) -> Part:
    ranked = sorted(results, key=lambda r: -_order(r.estimates["corr"].value))
    ours = next((result for result in ranked if result.ours), ranked[0])
    other = next((result for result in ranked if result is not ours), None)
    both = [result for result in (ours, other) if result is not None]
    tables = [
        findings.gains(comparisons, ours), findings.agreement(results), findings.by_size(both),
        findings.single_pairs(ours), findings.subgroups(ours), findings.spread(results),
    ]  # fmt: skip
    charts: list[Chart] = []
    if with_charts:
        charts = [*(plots.scatter(result) for result in both), *(plots.bland_altman(result) for result in both)]
        if ours.by_size:
            charts += [plots.by_size(both, metric) for metric in ("mae", "acc")]
    words = in_words(ours) if with_charts else f"{in_words(ours)} The charts are left out: the file would be too large."
    return Part(ours.mode, mode_title(ours.mode), tuple(t for t in tables if t.rows), tuple(charts), words)


def _order(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def studies(results: Sequence[Result], trained: Mapping[str, Trained]) -> Studies:
    ablation, backbones = study.ablation(results, trained), study.backbones(results, trained)
    curves = study.scale(results, trained)
    charts = [
        plots.scale(f"{title(task)}, {mode_title(mode).lower()}", points, _rivals(results, task, mode))
        for (task, mode), points in curves.items()
    ]
    missing = [
        (name, f"comface run --set study={word}")
        for name, word, there in (
            ("Table 7 (ablation)", "table7", ablation),
            ("Table 8 (backbones)", "table8", backbones),
            ("Figure 3 (scale)", "figure3", curves),
        )
        if not there
    ]
    return Studies((*ablation, *backbones), tuple(charts), tuple(missing))


def _rivals(results: Sequence[Result], task: str, mode: str) -> list[tuple[str, float]]:
    """The three best other methods, as figure 3 has the best of three families."""
    others = [name for name in methods_of(results) if not is_variant(name) and name != challenger().name]
    rated = [(name, r.estimates["corr"].value) for name in others if (r := found(results, task, name, mode))]
    known = sorted((pair for pair in rated if math.isfinite(pair[1])), key=lambda pair: -pair[1])
    return [(method_title(name), value) for name, value in known[:3]]


def orderings(results: Sequence[Result], comparisons: Sequence[Comparison]) -> Orderings:
    compared = paper.orderings(results, comparisons)
    held = sum(each.holds for each in compared)
    return Orderings(len(compared), held, tuple(paper.contradictions(compared)))
