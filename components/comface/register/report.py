"""The evaluation's report with the gate's decision in it: the gate decides after the report is made.

In: the artifact `evaluation` and a decision. Out: the same page, whose slot for the decision is filled.
"""

from __future__ import annotations

from markupsafe import Markup

from comface.artifacts.manifest import Artifact
from comface.execution.pages import GATE, filled
from comface.register.gate import Check, GateDecision
from comface.tasks.config import mode_title
from comface.tasks.registry import title

REPORT = "report.html"
HEADINGS = ("task", "mode", "value", "at least", "result")


def report_with(decision: GateDecision, evaluation: Artifact) -> bytes | None:
    """None if the evaluation has no report."""
    if REPORT not in evaluation.manifest.objects:
        return None
    return filled(evaluation.read(REPORT).decode(), GATE, decision_html(decision)).encode()


def decision_html(decision: GateDecision) -> str:
    """The decision in the report's own markup; names are text, never markup."""
    verdict = "The gate passed: the model may be registered." if decision.passed else "The gate rejected the model."
    parts = [Markup("<p><strong>{}</strong></p>").format(verdict)]
    sentences = [Markup("<li>{}</li>").format(each) for each in (*decision.reasons, *decision.notes)]
    if sentences:
        parts.append(Markup("<ul>{}</ul>").format(Markup("").join(sentences)))
    if decision.checks:
        cells = Markup("").join(Markup('<th role="columnheader" scope="col">{}</th>').format(h) for h in HEADINGS)
        head = Markup('<tr role="row"><th role="columnheader" scope="col">check</th>{}</tr>').format(cells)
        rows = Markup("").join(_row(check) for check in decision.checks)
        table = Markup(
            '<div class="table"><table role="table"><caption>Checks of the gate</caption><thead role="rowgroup">{}'
            '</thead><tbody role="rowgroup">{}</tbody></table></div>'
        ).format(head, rows)
        parts.append(table)
    return str(Markup("\n").join(parts))


def _row(check: Check) -> Markup:
    words = (title(check.task), mode_title(check.mode) if check.mode else "–", _number(check.value),
             _number(check.limit), "passed" if check.passed else "failed")  # fmt: skip
    cells = Markup("").join(
        Markup('<td role="cell" class="text" data-label="{}">{}</td>').format(heading, word)
        for heading, word in zip(HEADINGS, words, strict=True)
    )
    return Markup('<tr role="row"><th role="rowheader" scope="row">{}</th>{}</tr>').format(check.check, cells)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("-", "−")
