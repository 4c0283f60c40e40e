"""The figure of the gate: per task and subgroup, the gain over the champion with its interval, beside the margin.

In: the checks of a decision. Out: SVG text (execution/svg.py). Gains are shown in multiples of their margin, so that
correlations and errors in different units share one axis: right of −1, a challenger is not worse by its margin. The
form of a mark, not only its colour, says how the check ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from comface.execution.svg import INK, axes_of, legend, short, svg_text
from comface.look import colours
from comface.register.decision import FAILED, PASSED, UNKNOWN, Check
from comface.tasks.registry import title

MARKS = {PASSED: "o", UNKNOWN: "D", FAILED: "X"}
WIDEST = 6.0
"""Multiples of the margin that the axis shows; longer intervals end in an arrow."""
ROW_IN = 0.36


def shown(checks: Sequence[Check]) -> list[Check]:
    """The rows of the figure: comparisons with an interval. A margin of 0 (superiority) has no multiples: its gain is
    compared with zero, and it stands in the table only."""
    return [check for check in checks if check.gain and check.limit]


def forest(checks: Sequence[Check], champion: str) -> str:
    """SVG text, or an empty text if there is nothing to show."""
    rows = shown(checks)
    if not rows:
        return ""
    colour = dict(zip(MARKS, (colours()["series-2"], INK, colours()["series-1"]), strict=True))
    figure, axes = axes_of(1.0 + ROW_IN * len(rows))
    ends = [abs(end / check.limit) for check in rows for end in (check.low, check.high) if end and check.limit]
    reach = min(max([2.0, *(1.08 * end for end in ends)]), WIDEST)
    axes.axvspan(-reach, -1, color=colours()["series-1"], alpha=0.08, lw=0)
    axes.axvline(-1, color=colours()["series-1"], lw=1.2, ls=(0, (4, 3)))
    axes.axvline(0, color=INK, lw=0.8, alpha=0.6)
    for y, check in enumerate(rows):
        _draw(axes, check, y, reach, colour[check.result])
    axes.set_xlim(-reach, reach)
    axes.set_ylim(len(rows) - 0.5, -0.9)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=INK, alpha=0.12, lw=0.6)
    axes.set_xlabel(f"gain over {short(champion, 18)}, in multiples of the margin")
    seen = [each for each in MARKS if any(check.result == each for check in rows)]
    for each in seen:
        axes.plot([], [], MARKS[each], color=colour[each], ms=6, mec="none", label=each)
    legend(axes, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(seen), borderaxespad=0, handletextpad=0.1)
    words = "; ".join(f"{_label(check)}: {check.result}" for check in rows)
    about = f"Gain over the champion with its interval, in multiples of the margin. {words}"
    return svg_text(figure, "gate-forest", about)


def _draw(axes: Any, check: Check, y: int, reach: float, colour: str) -> None:
    """The bar and the mark of one row, below its label. An end outside the axis is an arrow."""
    assert check.gain is not None, "rows without an interval are not shown"
    value, low, high = (each / -check.gain[3] for each in check.gain[:3])
    axes.plot(np.clip([low, high], -reach, reach), [y, y], color=colour, lw=1.4 if check.group else 2.2)
    for beyond, end, arrow in ((low < -reach, -reach, "<"), (high > reach, reach, ">")):
        if beyond:
            axes.plot(end, y, arrow, color=colour, ms=6, mec="none", clip_on=False)
    if abs(value) <= reach:
        axes.plot(value, y, MARKS[check.result], color=colour, ms=6, mec="none")
    indent = 0.06 * reach if check.group else 0.0
    axes.text(indent - reach, y - 0.3, _label(check), fontsize=8, color=INK, va="bottom")


def _label(check: Check) -> str:
    return short(check.group, 40) if check.group else short(title(check.task), 40)
