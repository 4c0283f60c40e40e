"""The report: one self-contained HTML file for light mode, dark mode and print.

In: results, comparisons, provenance, pictures of synthetic faces. Out: HTML text, and a short Markdown summary. The
report never contains photos of a data set.
"""

from __future__ import annotations

import base64
import importlib.resources
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2

from comface.config.names import markdown_cell
from comface.errors import DataError
from comface.evaluate import plots, provenance, tables
from comface.evaluate.config import EvaluateConfig
from comface.evaluate.results import MODES, Comparison, Result
from comface.methods import challenger, method
from comface.runtime.progress import counted
from comface.tasks.config import base
from comface.tasks.metrics import mean_absolute_error
from comface.tasks.registry import title as task_title

REHEARSAL = "Rehearsal on generated faces, not evidence about people:"
CAPTIONS = {
    "curve": "Pre-training: training losses, and validation on held-out identities.",
    "saliency": "Saliency, as in figure 4 of the paper: where each method looks in one rehearsal face (Eigen-CAM). The "
    "paper's ComFace looks at the centre of the face; its ImageNet and SimCLR look also at hair and clothes.",
    "screening": "Screening. Per attribute: one example track, the shares of faces found and of identities kept per "
    "alpha, and the scores that change with it.",
}


def main_mode(results: Sequence[Result]) -> str:
    """Return the first mode that was run: linear evaluation shows what pre-training alone has learned."""
    return next(mode for mode in MODES if any(result.mode == mode for result in results))


def verdict(results: Sequence[Result], comparisons: Sequence[Comparison], mode: str) -> str:
    """State on how many tasks ComFace is best, on how many the gain is statistically clear, and which are
    rehearsals."""
    chosen = [result for result in results if result.mode == mode]
    text = _ahead(chosen, comparisons, mode)
    rehearsed = [task_title(task) for task in sorted({result.task for result in chosen if result.rehearsal})]
    if rehearsed and all(result.rehearsal for result in chosen):
        return f"{REHEARSAL} {text}"
    return f"{text} {REHEARSAL} {', '.join(rehearsed)}." if rehearsed else text


def _ahead(chosen: Sequence[Result], comparisons: Sequence[Comparison], mode: str) -> str:
    tasks = sorted({result.task for result in chosen})
    ours = {result.task: result for result in chosen if result.ours}
    if not ours or not comparisons:
        return f"{counted(len(tasks), 'task')} evaluated, no comparison: run ComFace and at least one other method."
    first = sum(1 for task in ours if _is_first(task, chosen))
    clear = sum(1 for task in ours if _all_clear(task, mode, comparisons))
    how = MODES[mode].lower() + (" evaluation" if base(mode) == "linear" else "")
    on_all = f"all {counted(len(ours), 'task')}" if len(ours) > 1 else f"the task {task_title(next(iter(ours)))}"
    on_some = f"{first} of {counted(len(ours), 'task')}"
    where = on_all if first == len(ours) else on_some
    text = f"ComFace has the highest correlation with the true change on {where} in {how}"
    scratch = [c for c in comparisons if c.mode == mode and method(c.other).random]
    if scratch:
        above = sum(c.gains["corr"].low > 0 for c in scratch)
        text += f". It is clearly better than random features on {above} of {counted(len(scratch), 'task')}"
        return f"{text} and than every other method on {clear} of {counted(len(ours), 'task')}."
    return f"{text}. It is clearly better than every other method on {clear} of {counted(len(ours), 'task')}."


def _is_first(task: str, chosen: Sequence[Result]) -> bool:
    corrs = {r.method: r.estimates["corr"].value for r in chosen if r.task == task}
    known = {method: value for method, value in corrs.items() if math.isfinite(value)}
    return bool(known) and max(known, key=known.__getitem__) == challenger().name


def _all_clear(task: str, mode: str, comparisons: Sequence[Comparison]) -> bool:
    mine = [c for c in comparisons if (c.task, c.mode) == (task, mode)]
    return bool(mine) and all(c.gains["corr"].low > 0 for c in mine)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    text = (importlib.resources.files("comface") / "evaluate" / "report.html").read_text(encoding="utf-8")
    return environment.from_string(text)


def render(
    results: Sequence[Result],
    comparisons: Sequence[Comparison],
    lines: Sequence[provenance.Origin],
    pictures: Mapping[str, bytes],
    context: Mapping[str, Any],
    config: EvaluateConfig,
    absent: Mapping[str, str] | None = None,
) -> str:
    """Return the report's HTML. The header shows `context`: name of the run, profile and other facts."""
    mode = main_mode(results)
    rehearsals = sorted({result.dataset or result.task for result in results if result.rehearsal})
    return _template().render(
        context={str(key): str(value) for key, value in context.items()},
        verdict=verdict(results, comparisons, mode),
        mode_name=MODES[mode].lower(),
        confidence=f"{100 * config.confidence:g} %",
        bootstrap=config.bootstrap,
        all_rehearsal=all(result.rehearsal for result in results),
        rehearsals=rehearsals,
        pretraining=provenance.pretraining(lines),
        overviews=[
            (MODES[m], _safe(plots.correlations(results, m))) for m in MODES if any(r.mode == m for r in results)
        ],
        groups=[_group(group, results) for group in tables.groups_of(results)],
        tasks=[
            _task(task, results, comparisons, config) for group in tables.groups_of(results) for task in group.tasks
        ],
        pictures=[(_caption(name), _data_uri(name, data)) for name, data in pictures.items() if name != "screening"],
        screening=provenance.screening(lines),
        screening_picture=(
            (CAPTIONS["screening"], _data_uri("screening", pictures["screening"])) if "screening" in pictures else None
        ),
        absent=tables.absent_rows(absent or {}),
        datasets=provenance.datasets(lines),
        origins=lines,
    )


def _group(group: tables.Group, results: Sequence[Result]) -> dict[str, Any]:
    columns = tables.columns_of(group, results)
    heads: dict[str, dict[str, int]] = {}
    for column in columns:
        modes = heads.setdefault(column.task, {})
        modes[column.mode] = modes.get(column.mode, 0) + 1
    best = {column: tables.best_methods(results, column) for column in columns}
    rows = []
    for name in tables.methods_of(results):
        cells = []
        for column in columns:
            estimate = tables.cell(results, name, column)
            cells.append(_cell(column, estimate, name in best[column]) if estimate else None)
        rows.append({"name": tables.method_title(name), "ours": method(name).challenger, "cells": cells})
    paper = [
        {"name": method(m).title, "cells": [_paper_cell(c, values) for c in columns]}
        for m, values in tables.paper_rows(group, results)
    ]
    still = {r.task: mean_absolute_error(r.change_P, 0 * r.change_P) for r in results}
    return {
        "title": group.title,
        "paper_table": group.paper_table,
        "tasks": [
            {
                "title": task_title(task),
                "unit": next(r.unit for r in results if r.task == task),
                "rehearsal": any(r.rehearsal for r in results if r.task == task),
                "width": sum(modes.values()),
                "modes": [(MODES[mode], width) for mode, width in modes.items()],
            }
            for task, modes in heads.items()
        ],
        "metrics": [tables.HEADINGS[column.metric] for column in columns],
        "starts": [
            i == 0 or (columns[i - 1].task, columns[i - 1].mode) != (c.task, c.mode) for i, c in enumerate(columns)
        ],
        "rows": rows,
        "paper": paper,
        "still": [tables.shown("mae", still[c.task]) if c.metric == "mae" else "" for c in columns],
    }


def _cell(column: tables.Column, estimate: Any, best: bool) -> dict[str, Any]:
    low, high = (tables.shown(column.metric, value) for value in (estimate.low, estimate.high))
    return {
        "value": tables.shown(column.metric, estimate.value),
        "interval": f"{low} – {high}" if low != "–" else "",
        "best": best,
    }


def _paper_cell(column: tables.Column, values: Mapping[tables.Column, float]) -> str:
    return tables.shown(column.metric, values[column]) if column in values else "–"


def _task(
    task: str, results: Sequence[Result], comparisons: Sequence[Comparison], config: EvaluateConfig
) -> dict[str, Any]:
    """Scatter plots of ComFace and the best other method, and the gain of ComFace over each method."""
    mine = [result for result in results if result.task == task]
    mode = main_mode(mine)
    ranked = sorted((r for r in mine if r.mode == mode), key=lambda r: -_order(r.estimates["corr"].value))
    ours = next((result for result in ranked if result.ours), ranked[0])
    other = next((result for result in ranked if result is not ours), None)
    gains = [
        {
            "other": method(c.other).title,
            "corr": _signed(c.gains["corr"].value),
            "interval": f"{_signed(c.gains['corr'].low)} to {_signed(c.gains['corr'].high)}",
            "clear": "ahead" if c.gains["corr"].low > 0 else "behind" if c.gains["corr"].high < 0 else "not clear",
        }
        for c in comparisons
        if (c.task, c.mode) == (task, mode)
    ]
    return {
        "title": task_title(task),
        "unit": ours.unit,
        "rehearsal": ours.rehearsal,
        "dataset": ours.dataset,
        "subjects": ours.subjects,
        "pairs": ours.pairs,
        "mode": MODES[mode].lower(),
        "figure": _safe(plots.scatter(ours, other, config.seed, plots.styles_of(tables.methods_of(results)))),
        "gains": gains,
    }


def _caption(picture: str) -> str:
    if picture in CAPTIONS:
        return CAPTIONS[picture]
    generator = picture.removeprefix("sheet ")
    return f"Synthetic faces of {generator}. Each row shows one identity while one attribute is edited."


def _order(value: float) -> float:
    return value if math.isfinite(value) else -math.inf


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−") if math.isfinite(value) else "–"


def _safe(svg: str) -> Any:
    import markupsafe

    return markupsafe.Markup(svg)


def _data_uri(name: str, data: bytes) -> str:
    kinds = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg"}
    for magic, kind in kinds.items():
        if data.startswith(magic):
            return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    raise DataError(f"The picture '{name}' for the report is neither PNG nor JPEG; convert it to one of these formats.")


def summary(
    results: Sequence[Result], comparisons: Sequence[Comparison], absent: Mapping[str, str] | None = None
) -> str:
    """Return a short Markdown text: the main finding, one table of correlations, and the methods that were not run."""
    mode = main_mode(results)
    methods = tables.methods_of([result for result in results if result.mode == mode])
    tasks = [task for group in tables.groups_of(results) for task in group.tasks]
    lines = [markdown_cell(verdict(results, comparisons, mode)), "", f"Pearson correlation, {MODES[mode].lower()}:", ""]
    titles = [markdown_cell(tables.method_title(name)) for name in methods]
    lines += ["| task | data | " + " | ".join(titles) + " |", "|---" * (len(methods) + 2) + "|"]
    for task in tasks:
        column = tables.Column(task, mode, "corr")
        best = tables.best_methods([result for result in results if result.mode == mode], column)
        cells = []
        for name in methods:
            estimate = tables.cell(results, name, column)
            text = tables.shown("corr", estimate.value) if estimate else "–"
            cells.append(f"**{text}**" if name in best else text)
        data = "rehearsal" if any(r.rehearsal for r in results if r.task == task) else "real"
        lines.append(f"| {markdown_cell(task_title(task))} | {data} | " + " | ".join(cells) + " |")
    lines += [f"\n{name} was not run: {markdown_cell(reason)}." for name, reason in tables.absent_rows(absent or {})]
    return "\n".join(lines) + "\n"
