"""The report: one self-contained HTML file for light mode, dark mode, phones and paper.

In: results, comparisons, and what lies behind them. Out: HTML text, and a short Markdown summary. The report never
contains photos of a data set.
"""

from __future__ import annotations

import base64
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import jinja2
import markupsafe

from comface import look
from comface.config.names import markdown_cell
from comface.errors import DataError
from comface.evaluate import findings, paper, plots, sections, single, tables
from comface.evaluate.cards import Card
from comface.evaluate.config import EvaluateConfig
from comface.evaluate.header import Line, RunFacts
from comface.evaluate.plots import Chart
from comface.evaluate.pretrainings import Pretraining
from comface.evaluate.provenance import Origin, Screening
from comface.evaluate.results import Comparison, Result
from comface.evaluate.studies import Trained
from comface.evaluate.table import Heading, Table
from comface.evaluate.verdict import main_mode, verdict
from comface.execution.pages import FIRST, GATE, slot
from comface.methods import in_order
from comface.tasks.config import base, mode_title
from comface.tasks.registry import title as task_title


@dataclass(frozen=True)
class Behind:
    """What lies behind the results, as the report shows it."""

    header: Sequence[Line] = ()
    citation: str = ""
    pretraining: Pretraining | None = None
    pretrainings: Table | None = None
    trained: Mapping[str, Trained] = field(default_factory=dict)
    screening: Screening | None = None
    cards: Sequence[Card] = ()
    origins: Sequence[Origin] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """PNG or JPEG bytes; `saliency` is figure 4."""


def render(
    results: Sequence[Result],
    comparisons: Sequence[Comparison],
    config: EvaluateConfig,
    run: RunFacts,
    behind: Behind,
) -> tuple[str, list[Table]]:
    """Return the report's HTML, and every table in it."""
    everything = results
    results, comparisons, photos = single.of_changes(results, comparisons)
    mode = main_mode(results)
    groups = sections.groups(results, comparisons, run.about)
    tasks = sections.tasks(results, comparisons)
    studies = sections.studies(results, behind.trained)
    summary = findings.summary([r for r in results if r.ours and r.mode == mode])
    html = _template().render(
        verdict=verdict(results, comparisons, mode),
        mode_name=mode_title(mode).lower(),
        confidence=f"{100 * config.confidence:g} %",
        bootstrap=config.bootstrap,
        all_rehearsal=all(result.rehearsal for result in everything),
        rehearsals=sorted({result.dataset or result.task for result in everything if result.rehearsal}),
        has_fine_tuning=any(base(result.mode) == "finetune" for result in everything),
        photos=single.tables_of(photos),
        summary=summary,
        groups=groups,
        orderings=sections.orderings(results, comparisons),
        tasks=tasks,
        studies=studies,
        run=run,
        behind=behind,
        gate_slot=markupsafe.Markup(slot(GATE, "<p>The gate had not decided when this file was made.</p>")),
        first_slot=markupsafe.Markup(slot(FIRST, "")),
        badge=findings.badge,
    )
    shown = [summary, *studies.tables, *([behind.pretrainings] if behind.pretrainings else [])]
    shown += [table for task in tasks for part in task.parts for table in part.tables]
    shown += single.tables_of(photos)
    shown += [table for group in groups for part in group.parts for table in part.tables]
    return html, [table for table in shown if table.rows]


def _template() -> jinja2.Template:
    folder = importlib.resources.files("comface") / "evaluate"
    environment = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
    )
    environment.filters |= {"picture": data_uri, "chart": _chart, "identity": plots.identity}
    environment.globals["look"] = markupsafe.Markup(look.css())
    return environment.get_template("report.html")


def _chart(chart: Chart) -> markupsafe.Markup:
    return markupsafe.Markup(chart.svg)


def data_uri(data: bytes, name: str) -> str:
    kinds = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg"}
    for magic, kind in kinds.items():
        if data.startswith(magic):
            return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    raise DataError(f"The picture '{name}' for the report is neither PNG nor JPEG; convert it to one of these formats.")


def summary(results: Sequence[Result], comparisons: Sequence[Comparison], about: tables.About) -> str:
    """Return a short Markdown text: the main finding, one table of correlations, the orderings of the paper that do not
    hold, and the methods that were not run."""
    results, comparisons, photos = single.of_changes(results, comparisons)
    mode = main_mode(results)
    chosen = [result for result in results if result.mode == mode]
    methods = tables.methods_of(chosen)
    heading = Heading("corr", "Corr.", 3)
    lines = [
        markdown_cell(verdict(results, comparisons, mode)),
        "",
        f"Pearson correlation, {mode_title(mode).lower()}:",
    ]
    titles = [markdown_cell(tables.method_title(name)) for name in methods]
    lines += ["", "| task | data | " + " | ".join(titles) + " |", "|---" * (len(methods) + 2) + "|"]
    for task in tables.tasks_of(chosen):
        best = tables.best_methods(chosen, task, mode, "corr")
        cells = []
        for name in methods:
            result = tables.found(chosen, task, name, mode)
            text = heading.text(result.estimates["corr"] if result else None)
            cells.append(f"**{text}**" if name in best else text)
        data = findings.badge(any(r.rehearsal for r in chosen if r.task == task))
        lines.append(f"| {markdown_cell(task_title(task))} | {data} | " + " | ".join(cells) + " |")
    lines += [f"\n{markdown_cell(each)}" for each in paper.contradictions(paper.orderings(results, comparisons))]
    absent = [(tables.method_title(name), about.absent[name]) for name in in_order(about.absent)]
    lines += [f"\n{name} was not run: {markdown_cell(reason)}." for name, reason in absent]
    lines += [f"\n{tables.method_title(name)} has random weights." for name in about.random_weights]
    for table in single.tables_of(photos):
        headings = " | ".join(heading.heading for heading in table.columns)
        lines += [
            f"\n{markdown_cell(table.caption)}",
            f"\n| method | {headings} |",
            "|---" * (len(table.columns) + 1) + "|",
        ]
        for row in table.rows:
            cells = [heading.text(value) for heading, value in zip(table.columns, row.cells, strict=True)]
            lines.append(f"| {markdown_cell(row.name)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
