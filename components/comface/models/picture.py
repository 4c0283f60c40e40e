"""Draws a comparison: the two aligned faces, and per task a bar with its prediction interval.

In: a Comparison. Out: PNG bytes. The picture contains the caveats, because it may be passed on without the table.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping
from typing import Any

from comface.models.compare import CANNOT_TELL, Change, Comparison, notes

BAR, CERTAIN, GRID = "#9db4c0", "#2a6f97", "#d9d9d9"
WARNING = "#a33b00"
ROW_IN, NOTE_IN = 0.62, 0.19


def picture(comparison: Comparison) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = max(len(comparison.changes), 1)
    lines = [line for note in notes(comparison) for line in textwrap.wrap(note, 140)]
    foot = 0.35 + NOTE_IN * len(lines)
    height = max(2.9, 0.75 + ROW_IN * rows) + foot
    figure = Figure(figsize=(10.5, height), dpi=130)
    FigureCanvasAgg(figure)
    left: Any
    right: Any
    left, right = figure.subfigures(1, 2, width_ratios=(4.6, 5.9))  # type: ignore[misc]
    for axes, title, face_SS3 in zip(
        left.subplots(1, 2), ("BEFORE", "AFTER"), (comparison.before_SS3, comparison.after_SS3), strict=True
    ):
        axes.imshow(face_SS3, interpolation="bicubic")
        axes.set_title(title, fontsize=11)
        axes.set_axis_off()
    left.subplots_adjust(left=0.03, right=0.97, wspace=0.06, bottom=foot / height)
    _bars(right, comparison.changes, height, foot)
    caveat = comparison.caveats.refused or any(each.rehearsal for each in comparison.changes.values())
    for row, line in enumerate(lines):
        y = (foot - 0.22 - NOTE_IN * row) / height
        figure.text(0.015, y, line, fontsize=8, color=WARNING if caveat else "#444444", parse_math=False)
    named = f"Change from BEFORE to AFTER, model {textwrap.shorten(comparison.model, 120, placeholder=' …')}"
    figure.text(0.99, 0.06 / height, named, ha="right", fontsize=7.5, color="#666666", parse_math=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _bars(figure: Any, changes: Mapping[str, Change], height_in: float, foot_in: float) -> None:
    """Draw one row per task. Each row has its own axis because units differ; zero is always in the middle."""
    grid = figure.subplots(len(changes), 1, squeeze=False) if changes else []
    for axes, (task, each) in zip((row[0] for row in grid), changes.items(), strict=True):
        ends = [each.change, *(each.interval or ())]
        reach = 1.15 * max(*(abs(end) for end in ends), 1e-6)
        axes.barh(0, each.change, height=0.5, color=BAR if each.verdict == CANNOT_TELL else CERTAIN)
        if each.interval:
            axes.plot(each.interval, (0, 0), color="#333333", linewidth=1.2, marker="|", markersize=7)
        axes.axvline(0, color="#333333", linewidth=0.8)
        axes.set(xlim=(-reach, reach), ylim=(-0.5, 0.5), yticks=[])
        axes.tick_params(axis="x", labelsize=7, length=2, color=GRID, pad=1)
        axes.locator_params(axis="x", nbins=5)
        for side in ("top", "left", "right"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(GRID)
        name = (each.title or task) + ("\n(rehearsal)" if each.rehearsal else "")
        axes.text(-0.03, 0.5, name, transform=axes.transAxes, ha="right", va="center", fontsize=9.5, parse_math=False)
        value = f"{each.change:+.2f} {textwrap.shorten(each.unit, 22, placeholder=' …')}\n{each.verdict}"
        axes.text(1.03, 0.5, value, transform=axes.transAxes, ha="left", va="center", fontsize=8, parse_math=False)
    figure.subplots_adjust(
        left=0.2, right=0.74, top=1 - 0.35 / height_in, bottom=(foot_in + 0.25) / height_in, hspace=1.0
    )
    note = "dark: clear increase or decrease; pale: not clear" + (
        "; line: prediction interval" if any(each.interval for each in changes.values()) else ""
    )
    figure.text(0.2, 1 - 0.22 / height_in, note, fontsize=7.5, color="#666666")
