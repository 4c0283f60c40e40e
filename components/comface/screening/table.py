"""The results of screening as a table: text for the terminal, Markdown for the KFP UI, rows for the report.

In: the facts of an artifact of kind `screening`. Out: text.
"""

from __future__ import annotations

from typing import NamedTuple

from comface.artifacts.facts import AttributeFacts, ScreeningFacts
from comface.faces.lightness import tenths

HEADINGS = ("generator", "attribute", "verdict", "face", "identity", "own", "steady", "also moves")
LEGEND = (
    "face, identity: smallest share within the accepted range; own: change of the own score in SD between people per\n"
    "5 units of alpha; steady: rank correlation of alpha and the own score; also moves: other scores, in the same unit"
)


class Row(NamedTuple):
    cells: tuple[str, ...]
    """In the order of HEADINGS."""
    reason: str
    kept: bool


def rows(facts: ScreeningFacts) -> list[Row]:
    return [_row(each) for each in facts.attributes]


def text_table(facts: ScreeningFacts) -> str:
    lines = [list(HEADINGS)]
    reasons: list[str] = [""]
    for row in rows(facts):
        lines.append(list(row.cells))
        reasons.append(row.reason)
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    text = []
    for line, reason in zip(lines, reasons, strict=True):
        text.append("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        text += [f"{'':{widths[0]}}  {reason}"] if reason else []
    kept = sum(row.kept for row in rows(facts))
    said = f"{kept} of {len(lines) - 1} attributes passed screening"
    said += f"; identity check: '{facts.method}', among {facts.others} other people"
    return "\n".join([*text, "", LEGEND, said, *lightness(facts)])


def lightness(facts: ScreeningFacts) -> list[str]:
    """Return one sentence per generator: how often faces are found among its darkest and lightest images."""
    return [f"{name}: {tenths(counts).sentence()}" for name, counts in facts.faces_by_lightness.items()]


def markdown_table(facts: ScreeningFacts) -> list[str]:
    lines = [f"| {' | '.join(HEADINGS)} | reason |", "|---" * (len(HEADINGS) + 1) + "|"]
    lines += [f"| {' | '.join(row.cells)} | {row.reason} |" for row in rows(facts)]
    return [*lines, "", *lightness(facts)]


def _row(facts: AttributeFacts) -> Row:
    measured = facts.own_sd_per_5_alpha is not None
    moves = (f"{name} {_number(move, '+.1f')}" for name, move in facts.also_moves.items())
    cells = (
        facts.generator,
        facts.attribute,
        f"{described(facts.low)} … {described(facts.high)}" if facts.kept else "dropped",
        _number(facts.face_found_least, ".2f"),
        _number(facts.identity_least, ".2f"),
        _number(facts.own_sd_per_5_alpha, "+.2f") + _mark(facts) if measured else "not measured",
        _number(facts.rank_correlation, "+.2f"),
        ", ".join(moves) or "–",
    )
    return Row(cells, facts.reason, facts.kept)


def _mark(facts: AttributeFacts) -> str:
    return " (parameter)" if "parameter" in facts.measured_by else ""


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form).replace("-", "\N{MINUS SIGN}")


def described(value: float) -> str:
    return "0" if value == 0 else format(value, "+.4g").replace("-", "\N{MINUS SIGN}")
