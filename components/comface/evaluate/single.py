"""The section of the report about tasks of single photos: the label of one photo, a quantity or a class.

In: results. Out: a table per task, one row per method and mode, and a baseline that looks at no photo. The other
sections are about changes between two photos.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from comface.evaluate.findings import badge
from comface.evaluate.results import Comparison, Result
from comface.evaluate.table import Heading, Row, Table
from comface.evaluate.tables import method_title, methods_of, modes_of
from comface.tasks.classes import class_metrics, confusion
from comface.tasks.config import mode_title
from comface.tasks.metrics import SMALLER_IS_BETTER
from comface.tasks.registry import title

HEADINGS = {
    "mae": Heading("mae", "MAE ↓"),
    "corr": Heading("corr", "Corr. ↑"),
    "class_acc": Heading("class_acc", "Accuracy % ↑", 1, percent=True),
    "balanced_acc": Heading("balanced_acc", "Balanced acc. % ↑", 1, percent=True),
    "macro_f1": Heading("macro_f1", "Macro F1 ↑"),
}


def of_changes(
    results: Sequence[Result], comparisons: Sequence[Comparison]
) -> tuple[list[Result], list[Comparison], list[Result]]:
    """Return the results and comparisons of changes, and the results of single photos."""
    photos = [result for result in results if result.kind == "single"]
    tasks = {result.task for result in photos}
    changes = [result for result in results if result.task not in tasks]
    return changes, [each for each in comparisons if each.task not in tasks], photos


def tables_of(results: Sequence[Result]) -> list[Table]:
    return [_table(task, [each for each in results if each.task == task]) for task in sorted({r.task for r in results})]


def _table(task: str, results: Sequence[Result]) -> Table:
    first = results[0]
    metrics = first.metrics
    modes, methods = modes_of(results), methods_of(results)
    ordered = sorted(results, key=lambda each: (modes.index(each.mode), methods.index(each.method)))
    best = {metric: _best(metric, results) for metric in metrics}
    rows = [
        Row(
            f"{method_title(each.method)}, {mode_title(each.mode).lower()}",
            tuple(each.estimates[metric] for metric in metrics),
            "ours" if each.ours else "",
            best=tuple(i for i, m in enumerate(metrics) if HEADINGS[m].text(each.estimates[m]) == best[m]),
        )
        for each in ordered
    ]
    named = f"classes {', '.join(first.classes)}" if first.classes else first.unit
    caption = f"{title(task)} ({named}): {first.pairs:,} photos of {first.subjects:,} people; {badge(first.rehearsal)}"
    return Table(f"single-{task}", caption, "Method", tuple(HEADINGS[m] for m in metrics), (*rows, _baseline(first)))


def _best(metric: str, results: Sequence[Result]) -> str:
    values = [v for each in results if np.isfinite(v := each.estimates[metric].value)]
    choose = min if metric in SMALLER_IS_BETTER else max
    return HEADINGS[metric].text(choose(values)) if values else ""


def _baseline(result: Result) -> Row:
    """The best answer that is the same for all photos: the most frequent class, or the median."""
    label_P = result.change_P
    if not result.classes:
        error = float(np.abs(label_P - np.median(label_P)).mean())
        return Row("always the median", (error, None), "still", ("baseline",))
    count = len(result.classes)
    same_P = np.full(len(label_P), float(np.bincount(label_P.astype(np.int64)).argmax()))
    found = class_metrics(confusion(label_P, same_P, count))
    return Row("always the most frequent class", tuple(found[m] for m in result.metrics), "still", ("baseline",))
