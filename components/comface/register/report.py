"""The evaluation's report with the gate's decision in it: the gate decides after the report is made.

In: the artifact `evaluation` and a decision. Out: the same page, whose slot for the decision is filled.
"""

from __future__ import annotations

from markupsafe import Markup

from comface.artifacts.manifest import Artifact
from comface.execution.pages import GATE, filled
from comface.register.decision import Check, GateDecision
from comface.register.forest import forest
from comface.register.paired import signed
from comface.register.power import POWER, percent
from comface.tasks.config import mode_title
from comface.tasks.registry import title

REPORT = "report.html"
HEADINGS = ("task", "mode", "value", "interval", "limit", "people", "power", "result")
READING = (
    "Each row is a task, or a subgroup of its people. The mark is the gain of the challenger over the champion on the "
    "same pairs of photos (right: better), the bar its interval over people, and the dashed line the margin. A check "
    "passes if its whole bar lies right of the dashed line, fails if it lies left of it, and cannot tell otherwise. "
    "All checks must pass, so no correction for their number is needed. The power is how often a challenger that is "
    "exactly as good as the champion passes with these people; the margin beside it would make that 80 %."
)


def report_with(decision: GateDecision, evaluation: Artifact) -> bytes | None:
    """None if the evaluation has no report."""
    if REPORT not in evaluation.manifest.objects:
        return None
    return filled(evaluation.read(REPORT).decode(), GATE, decision_html(decision)).encode()


def decision_html(decision: GateDecision) -> str:
    """The decision in the report's own markup; names are text, never markup."""
    parts = [Markup("<p><strong>{}</strong></p>").format(decision.sentence)]
    for sentences in filter(None, (decision.reasons, decision.notes)):
        items = Markup("").join(Markup("<li>{}</li>").format(each) for each in sentences)
        parts.append(Markup("<ul>{}</ul>").format(items))
    if drawn := forest(decision.checks, decision.champion):
        parts.append(Markup('<div class="charts"><figure>{}</figure></div>').format(Markup(drawn)))
        parts.append(Markup('<p class="soft">{}</p>').format(_caption(decision)))
    if decision.checks:
        cells = Markup("").join(
            Markup('<th role="columnheader" scope="col" class="text">{}</th>').format(h) for h in HEADINGS
        )
        head = Markup('<tr role="row"><th role="columnheader" scope="col">check</th>{}</tr>').format(cells)
        rows = Markup("").join(_row(check) for check in decision.checks)
        table = Markup(
            '<div class="table"><table role="table"><caption>Checks of the gate</caption><thead role="rowgroup">{}'
            '</thead><tbody role="rowgroup">{}</tbody></table></div>'
        ).format(head, rows)
        parts.append(table)
    return str(Markup("\n").join(parts))


def _caption(decision: GateDecision) -> str:
    compared = [check for check in decision.checks if check.gain]
    if not any(check.rehearsal for check in compared):
        return READING
    return f"{READING} Tasks on rehearsals compare the two models on generated faces, not on people."


def _row(check: Check) -> Markup:
    value, interval, limit = numbers(check)
    name = ", ".join(filter(None, (title(check.task), check.group)))
    people = f"{check.people:,}" if check.gain else "–"
    words = (name, mode_title(check.mode) if check.mode else "–", value, interval, limit, people, powers(check),
             check.result)  # fmt: skip
    cells = Markup("").join(
        Markup('<td role="cell" class="text" data-label="{}">{}</td>').format(heading, word)
        for heading, word in zip(HEADINGS, words, strict=True)
    )
    return Markup('<tr role="row"><th role="rowheader" scope="row">{}</th>{}</tr>').format(check.check, cells)


def numbers(check: Check) -> tuple[str, str, str]:
    """(value, interval, limit) of a check as text. Gains have a sign and their unit; numbers of people no decimals."""
    if check.gain:
        unit = f" {check.unit}" if check.unit else ""
        value, low, high, least = check.gain
        limit = f"{signed(least)}{unit}" if least else "above 0"
        return f"{signed(value)}{unit}", f"{signed(low)} to {signed(high)}", limit
    digits = 0 if check.unit == "people" else 3
    shown, limit = (
        "–" if number is None else f"{number:.{digits}f}".replace("-", "−") for number in (check.value, check.limit)
    )
    return shown, "–", limit


def powers(check: Check) -> str:
    """The power of a comparison at its margin, and the margin that would have enough."""
    if check.power is None or check.least_margin is None:
        return "–"
    unit = f" {check.unit}" if check.unit else ""
    enough = f"{percent(POWER)} at {check.least_margin:.3f}{unit}"
    return f"{percent(check.power)} ({enough})" if check.limit else enough
