"""Tables laid out like tables 2 (expression), 3 (weight) and 6 (age) of the paper: one row per method, columns per task
and mode.

In: results. Out: rows for CSV and JSON, and the paper's published figures for the same methods and tasks. Tables give
accuracy in percent, as the paper does; everything else gives it as a share (0 to 1).
"""

from __future__ import annotations

import csv
import functools
import importlib.resources
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comface.config.names import csv_cell
from comface.evaluate.results import MODES, Result
from comface.methods import in_order, method
from comface.tasks.metrics import SMALLER_IS_BETTER, Estimate
from comface.tasks.registry import GROUPS, TASKS, group_of

HEADINGS = {"mae": "MAE ↓", "corr": "Corr. ↑", "acc": "Acc.% ↑"}


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


@dataclass(frozen=True)
class Column:
    task: str
    mode: str
    metric: str

    @property
    def key(self) -> str:
        return f"{self.task}_{self.mode}_{self.metric}".replace("-", "_")


def columns_of(group: Group, results: Sequence[Result]) -> list[Column]:
    columns = []
    for task in group.tasks:
        for mode in MODES:
            cells = [result for result in results if (result.task, result.mode) == (task, mode)]
            columns += [Column(task, mode, metric) for metric in (cells[0].metrics if cells else ())]
    return columns


def methods_of(results: Sequence[Result]) -> list[str]:
    return in_order({result.method for result in results})


def method_title(name: str) -> str:
    entry = method(name)
    return f"{entry.title} (ours)" if entry.challenger else entry.title


def cell(results: Sequence[Result], name: str, column: Column) -> Estimate | None:
    for result in results:
        if (result.task, result.mode, result.method) == (column.task, column.mode, name):
            return result.estimates[column.metric]
    return None


def shown(metric: str, value: float) -> str:
    """Format a metric with as many decimals as the paper."""
    if not math.isfinite(value):
        return "–"
    return f"{100 * value:.1f}" if metric == "acc" else f"{value:.3f}"


def best_methods(results: Sequence[Result], column: Column) -> set[str]:
    """Return the methods whose formatted value is the best of the column (ties count)."""
    values = {m: e.value for m in methods_of(results) if (e := cell(results, m, column)) and math.isfinite(e.value)}
    if not values:
        return set()
    best = min(values.values()) if column.metric in SMALLER_IS_BETTER else max(values.values())
    return {name for name, value in values.items() if shown(column.metric, value) == shown(column.metric, best)}


def absent_rows(absent: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (title, reason) of the requested methods that were not run, in the order of the tables."""
    return [(method_title(name), absent[name]) for name in in_order(absent)]


def table_csv(group: Group, results: Sequence[Result], absent: Mapping[str, str] | None = None) -> str:
    """One row per method, then the methods that were not run, then the paper's figures. The column `source` says
    which."""
    columns = columns_of(group, results)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["source", "method", *(csv_cell(column.key) for column in columns)])
    for name in methods_of(results):
        cells = [cell(results, name, column) for column in columns]
        writer.writerow(
            ["this run", csv_cell(method(name).title)]
            + [shown(c.metric, e.value).replace("–", "") if e else "" for c, e in zip(columns, cells, strict=True)]
        )
    for title_of, _ in absent_rows(absent or {}):
        writer.writerow(["absent", csv_cell(title_of), *("" for _ in columns)])
    for name, values in paper_rows(group, results):
        cells_paper = [values.get(column) for column in columns]
        writer.writerow(
            ["paper", method(name).title]
            + [shown(c.metric, v) if v is not None else "" for c, v in zip(columns, cells_paper, strict=True)]
        )
    return buffer.getvalue()


@functools.cache
def paper_figures() -> dict[tuple[str, str], dict[Column, float]]:
    """Return (task, method) → column → the figure published in tables 2 to 8 of the paper. Table 5 is on fifteen
    patients only, so it has a task of its own."""
    text = (importlib.resources.files("comface") / "evaluate" / "paper.csv").read_text(encoding="utf-8")
    figures: dict[tuple[str, str], dict[Column, float]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        entry = figures.setdefault((row["task"], row["method"]), {})
        for metric, field, scale in (("mae", "mae", 1), ("corr", "corr", 1), ("acc", "acc_percent", 100)):
            if row[field]:
                entry[Column(row["task"], row["mode"], metric)] = float(row[field]) / scale
    return figures


def paper_rows(group: Group, results: Sequence[Result]) -> list[tuple[str, dict[Column, float]]]:
    """Return the paper's figures for the methods and columns of `results`. Methods without figures are omitted."""
    columns = set(columns_of(group, results))
    rows = []
    for name in methods_of(results):
        values: dict[Column, float] = {}
        for task in group.tasks:
            published = paper_figures().get((task, name), {})
            values |= {column: value for column, value in published.items() if column in columns}
        if values:
            rows.append((name, values))
    return rows
