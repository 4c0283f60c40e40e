"""A comparison as a picture: the two aligned faces as the model sees them, and a bar with its interval per task.

In: a Comparison. Out: PNG bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from comface.register.compare import Change, Comparison

BAR, CERTAIN, GRID = "#9db4c0", "#2a6f97", "#d9d9d9"
ROW_IN = 0.62


def picture(comparison: Comparison) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = max(len(comparison.changes), 1)
    height = max(2.9, 1.1 + ROW_IN * rows)
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
    left.subplots_adjust(left=0.03, right=0.97, wspace=0.06)
    _bars(right, comparison.changes, height)
    figure.text(
        0.99, 0.015, f"change from BEFORE to AFTER, model {comparison.model}", ha="right", fontsize=7.5, color="#666666"
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _bars(figure: Any, changes: Mapping[str, Change], height_in: float) -> None:
    """One row per task with an axis of its own, since units differ; zero is in the middle of all."""
    grid = figure.subplots(len(changes), 1, squeeze=False) if changes else []
    for axes, (task, each) in zip((row[0] for row in grid), changes.items(), strict=True):
        ends = [each.change, *(each.interval or ())]
        reach = 1.15 * max(*(abs(end) for end in ends), 1e-6)
        certain = each.interval is not None and (each.interval[0] > 0 or each.interval[1] < 0)
        axes.barh(0, each.change, height=0.5, color=CERTAIN if certain else BAR)
        if each.interval:
            axes.plot(each.interval, (0, 0), color="#333333", linewidth=1.2, marker="|", markersize=7)
        axes.axvline(0, color="#333333", linewidth=0.8)
        axes.set(xlim=(-reach, reach), ylim=(-0.5, 0.5), yticks=[])
        axes.tick_params(axis="x", labelsize=7, length=2, color=GRID, pad=1)
        axes.locator_params(axis="x", nbins=5)
        for side in ("top", "left", "right"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(GRID)
        name = task + ("\n(rehearsal)" if each.rehearsal else "")
        axes.text(-0.03, 0.5, name, transform=axes.transAxes, ha="right", va="center", fontsize=9.5)
        value = f"{each.change:+.2f}\n{each.unit}"
        axes.text(1.03, 0.5, value, transform=axes.transAxes, ha="left", va="center", fontsize=8)
    figure.subplots_adjust(left=0.2, right=0.76, top=1 - 0.35 / height_in, bottom=0.55 / height_in, hspace=1.0)
    coverages = sorted({each.coverage for each in changes.values() if each.interval})
    note = f"whiskers hold the true change in {coverages[0]:.0%} of cases; dark: " if coverages else "dark: "
    figure.text(0.2, 1 - 0.22 / height_in, note + "zero is outside", fontsize=7.5, color="#666666")
