"""The tables of methods, laid out like tables 2 (expression), 3 (weight) and 6 (age) of the paper: one row per method,
columns per task, a table per mode.

In: results. Out: tables for the page, with the paper's figures for the same method, task and mode beside them. Accuracy
is in percent, as in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from comface.evaluate import paper
from comface.evaluate.results import Result
from comface.evaluate.table import Heading, Row, Table
from comface.methods import challenger, in_order, method
from comface.tasks.config import MODES, mode_title
from comface.tasks.metrics import SMALLER_IS_BETTER, Estimate
from comface.tasks.registry import GROUPS, TASKS, group_of, title

HEADINGS = {"mae": "MAE ↓", "corr": "Corr. ↑", "acc": "Acc. % ↑"}
MOST_COLUMNS = 9
"""That are readable on a page of paper: three tasks with three figures, as in table 3."""
RANDOM_WEIGHTS = "random weights"


@dataclass(frozen=True)
class About:
    """What the run says of its methods beside their results."""

    absent: Mapping[str, str] = field(default_factory=dict)
    """Method → the reason why it was not run."""
    random_weights: tuple[str, ...] = ()
    """Methods whose weight file is a stand-in with random weights in the true layout."""


@dataclass(frozen=True)
class Group:
    """A registered group of tasks, restricted to the tasks that were evaluated."""

    name: str
    title: str
    tasks: tuple[str, ...]
    paper_table: str = ""


def groups_of(results: Sequence[Result]) -> list[Group]:
    """Return the paper's groups with the tasks that were evaluated, then one group for tasks that are not in the
    paper."""
    present = {result.task for result in results}
    tasks: dict[str, list[str]] = {group.name: [] for group in GROUPS}
    for task in (*(task for task in TASKS if task in present), *sorted(present.difference(TASKS))):
        tasks[group_of(task).name].append(task)
    return [Group(g.name, g.title, tuple(tasks[g.name]), g.paper_table) for g in GROUPS if tasks[g.name]]


def tasks_of(results: Sequence[Result]) -> list[str]:
    return [task for group in groups_of(results) for task in group.tasks]


def modes_of(results: Sequence[Result]) -> list[str]:
    present = {result.mode for result in results}
    return [*(mode for mode in MODES if mode in present), *sorted(present.difference(MODES))]


def methods_of(results: Sequence[Result]) -> list[str]:
    return in_order({result.method for result in results})


def method_title(name: str) -> str:
    entry = method(name)
    return f"{entry.title} (ours)" if entry.challenger else entry.title


def is_variant(name: str) -> bool:
    """Whether it is ComFace with another pre-training; its place is in tables 7 and 8 and figure 3."""
    return name.startswith(f"{challenger().name}:")


def found(results: Sequence[Result], task: str, name: str, mode: str) -> Result | None:
    for result in results:
        if (result.task, result.method, result.mode) == (task, name, mode):
            return result
    return None


def best_methods(results: Sequence[Result], task: str, mode: str, metric: str) -> set[str]:
    """Return the methods whose figure, as it is shown, is the best of the column (ties count)."""
    chosen = [r for r in results if (r.task, r.mode) == (task, mode) and not is_variant(r.method)]
    values = {r.method: r.estimates[metric].value for r in chosen}
    values = {name: value for name, value in values.items() if math.isfinite(value)}
    if not values:
        return set()
    best = min(values.values()) if metric in SMALLER_IS_BETTER else max(values.values())
    heading = _heading(task, metric)
    return {name for name, value in values.items() if heading.text(value) == heading.text(best)}


def method_tables(group: Group, mode: str, results: Sequence[Result], about: About) -> list[Table]:
    """The tables of a group and mode: as few as have columns that are readable side by side."""
    chunks: list[list[tuple[str, str]]] = [[]]
    for task in group.tasks:
        metrics = next((r.metrics for r in results if (r.task, r.mode) == (task, mode)), ())
        if chunks[-1] and len(chunks[-1]) + len(metrics) > MOST_COLUMNS:
            chunks.append([])
        chunks[-1] += [(task, metric) for metric in metrics]
    numbered = [(f"-{i}" if i else "", chunk) for i, chunk in enumerate(chunks) if chunk]
    return [_method_table(f"{group.name}-{mode}{end}", group, mode, chunk, results, about) for end, chunk in numbered]


def _method_table(
    name: str, group: Group, mode: str, columns: Sequence[tuple[str, str]], results: Sequence[Result], about: About
) -> Table:
    chosen = [result for result in results if result.mode == mode and not is_variant(result.method)]
    best = {each: best_methods(results, each[0], mode, each[1]) for each in columns}
    rows = [_row(each, mode, columns, chosen, best, about) for each in methods_of(chosen)]
    rows += [
        Row(method_title(each), (None,) * len(columns), "absent", (f"absent: {about.absent[each]}",))
        for each in in_order(about.absent)
    ]
    rows += _only_in_paper(columns, mode, [*methods_of(chosen), *about.absent])
    rows.append(_no_change(columns, chosen))
    headings = tuple(_heading(task, metric) for task, metric in columns)
    return Table(name, f"{group.title}, {mode_title(mode).lower()}", "Method", headings, tuple(rows))


def _heading(task: str, metric: str) -> Heading:
    percent = metric == "acc"
    key = f"{task}_{metric}".replace("-", "_")
    return Heading(key, HEADINGS[metric], digits=1 if percent else 3, percent=percent, over=title(task))


def _row(
    name: str,
    mode: str,
    columns: Sequence[tuple[str, str]],
    results: Sequence[Result],
    best: Mapping[tuple[str, str], set[str]],
    about: About,
) -> Row:
    cells: list[Estimate | None] = []
    beside: dict[int, str] = {}
    for number, (task, metric) in enumerate(columns):
        result = found(results, task, name, mode)
        cells.append(result.estimates[metric] if result else None)
        published = paper.figures().get((task, mode, name, metric))
        if result and published is not None:
            beside[number] = _against(_heading(task, metric), result.estimates[metric].value, published)
    kind = "ours" if method(name).challenger else ""
    marks = (RANDOM_WEIGHTS,) if name in about.random_weights else ()
    winning = tuple(i for i, each in enumerate(columns) if name in best[each])
    return Row(method_title(name), tuple(cells), kind, marks, winning, beside)


def _against(heading: Heading, here: float, published: float) -> str:
    signed = Heading(heading.key, heading.heading, heading.digits, heading.percent, signed=True)
    return f"paper {heading.text(published)} ({signed.text(here - published)})"


def _only_in_paper(columns: Sequence[tuple[str, str]], mode: str, here: Sequence[str]) -> list[Row]:
    """Methods with a published figure that this run did not evaluate, except ComFace's own variants (table 7, 8)."""
    tasks = dict.fromkeys(task for task, _ in columns)
    names = dict.fromkeys(m for task in tasks for m in paper.published(task, mode) if ":" not in m and m not in here)
    rows = []
    for name in names:
        figures = [paper.figures().get((task, mode, name, metric)) for task, metric in columns]
        texts = {i: f"paper {_heading(*columns[i]).text(v)}" for i, v in enumerate(figures) if v is not None}
        rows.append(Row(paper_title(name), (None,) * len(columns), "paper", ("not in this run",), (), texts))
    return rows


def paper_title(name: str) -> str:
    """The title of a method of the paper, whether or not this version can load it."""
    from comface.errors import ConfigurationError

    try:
        return method_title(name)
    except ConfigurationError:
        return name


def _no_change(columns: Sequence[tuple[str, str]], results: Sequence[Result]) -> Row:
    """The baseline that always answers "no change": its error is the mean size of the change."""
    sizes = {result.task: float(abs(result.change_P).mean()) for result in results}
    cells = tuple(sizes[task] if metric == "mae" else None for task, metric in columns)
    return Row("always “no change”", cells, "still", ("baseline",))
