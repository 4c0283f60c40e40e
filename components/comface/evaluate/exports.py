"""The figures of the methods as files for other programs: a CSV and JSON per group of tasks.

In: results. Out: records. Accuracy is in percent, as in the paper; metrics.json (records.py) gives it as a share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from comface.evaluate import paper
from comface.evaluate.results import Result
from comface.evaluate.table import Heading
from comface.evaluate.tables import About, Group, found, methods_of, modes_of, paper_title
from comface.methods import in_order, method

THIS_RUN, PAPER, DIFFERENCE, ABSENT = "this run", "paper", "this run minus paper", "absent"
Column = tuple[str, str, str]
"""(task, mode, metric)."""


def columns_of(group: Group, results: Sequence[Result]) -> list[Column]:
    columns: list[Column] = []
    for task in group.tasks:
        for mode in modes_of(results):
            metrics = next((r.metrics for r in results if (r.task, r.mode) == (task, mode)), ())
            columns += [(task, mode, metric) for metric in metrics]
    return columns


def group_records(group: Group, results: Sequence[Result], about: About) -> list[dict[str, Any]]:
    """One record per method, then the methods that were not run, then the paper's figures and the differences. `source`
    says which."""
    columns = columns_of(group, results)
    here = {
        name: {c: r.estimates[c[2]].value if (r := found(results, c[0], name, c[1])) else None for c in columns}
        for name in methods_of(results)
    }
    published = {
        name: {c: paper.figures().get((c[0], c[1], name, c[2])) for c in columns}
        for name in [*here, *in_order(about.absent)]
    }
    published = {name: figures for name, figures in published.items() if any(v is not None for v in figures.values())}
    records = [_record(THIS_RUN, method(name).title, figures) for name, figures in here.items()]
    records += [_record(ABSENT, method(name).title, dict.fromkeys(columns)) for name in in_order(about.absent)]
    records += [_record(PAPER, paper_title(name).removesuffix(" (ours)"), each) for name, each in published.items()]
    for name in (name for name in here if name in published):
        differences = {c: _minus(here[name][c], published[name][c]) for c in columns}
        records.append(_record(DIFFERENCE, method(name).title, differences))
    return records


def _record(source: str, name: str, figures: Mapping[Column, float | None]) -> dict[str, Any]:
    shown: dict[str, Any] = {"source": source, "method": name}
    for (task, mode, metric), value in figures.items():
        key = f"{task}_{mode}_{metric}".replace("-", "_").replace("+", "_")
        shown |= Heading(key, metric, percent=metric == "acc").plain(value)
    return shown


def _minus(here: float | None, there: float | None) -> float | None:
    return None if here is None or there is None else here - there
