"""The charts of the report. Methods are named beside the axis or in the title, so that no meaning is in a colour alone.

In: results, statistics, the record of a training. Out: SVG text (execution/svg.py).
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.evaluate.results import Result
from comface.evaluate.tables import method_title
from comface.execution.svg import INK, POINTS, axes_of, cloud, legend, plain, short, svg_text
from comface.look import colours
from comface.tasks.agreement import SizeBin
from comface.tasks.config import mode_title
from comface.tasks.registry import title

OURS, OTHER, GUIDE = colours()["series-1"], colours()["series-2"], (0, (4, 3))
"""Of ComFace and of another method: equal in light and dark, because a chart has one colour for both pages."""
OUTSIDE = 0.001
"""Largest share of pairs outside the frame of a cloud; their number is written into it."""


@dataclass(frozen=True)
class Chart:
    svg: str
    note: str = ""
    """What is not visible in it."""


def colour_of(result: Result) -> str:
    return OURS if result.ours else OTHER


def forest(results: Sequence[Result], task: str, mode: str) -> Chart:
    """One row per method: its correlation with the interval. The dashed line is chance level."""
    rows = [result for result in results if (result.task, result.mode) == (task, mode)]
    figure, axes = axes_of(0.75 + 0.2 * max(len(rows), 3))
    for y, result in enumerate(rows):
        estimate = result.estimates["corr"]
        if not math.isfinite(estimate.value):
            axes.text(0, y, " undefined", va="center", fontsize=8, color=INK)
            continue
        colour = colour_of(result)
        axes.plot([estimate.low, estimate.high], [y, y], color=colour, lw=2.4 if result.ours else 1.6, alpha=0.8)
        axes.plot(estimate.value, y, "D" if result.ours else "o", color=colour, ms=6 if result.ours else 5, mec="none")
    axes.axvline(0, color=INK, lw=0.8, ls=GUIDE, alpha=0.6)
    axes.set_yticks(range(len(rows)), [short(method_title(result.method)) for result in rows])
    axes.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    axes.set_xlim(min(-0.12, axes.get_xlim()[0]), 1)
    axes.grid(axis="x", color=INK, alpha=0.12, lw=0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("correlation with the true change")
    axes.set_title(short(title(task), 40), fontsize=9.5, color=INK, loc="left")
    text = f"Correlation per method, {title(task)}, {mode_title(mode)}"
    return Chart(svg_text(figure, f"forest-{task}-{mode}", text))


def scatter(result: Result) -> Chart:
    """Estimated against true change, all pairs, on equal axes. The dashed line is a perfect estimate."""
    limit, outside = _frame(result.change_P, result.predicted_P)
    figure, axes = axes_of(3.4)
    for draw in (axes.axhline, axes.axvline):
        draw(0, color=INK, lw=0.5, alpha=0.25)
    cloud(axes, result.change_P, result.predicted_P, colour_of(result), (-limit, limit, -limit, limit))
    axes.plot([-limit, limit], [-limit, limit], color=INK, lw=0.9, ls=GUIDE, alpha=0.7, zorder=3)
    axes.set_aspect("equal")
    axes.set_title(_titled(result), fontsize=9.5, color=INK, loc="left")
    axes.set_xlabel(f"true change ({short(result.unit, 28)})")
    axes.set_ylabel("estimated change")
    text = f"Estimated against true change, {title(result.task)}, {method_title(result.method)}"
    return Chart(svg_text(figure, _id("scatter", result), text), _said(result, outside))


def bland_altman(result: Result) -> Chart:
    """The difference of estimate and truth against their mean; bias and limits of agreement with their intervals."""
    difference_P = result.predicted_P - result.change_P
    mean_P = (result.predicted_P + result.change_P) / 2
    reach_x, outside_x = _frame(mean_P)
    reach_y, outside_y = _frame(difference_P)
    figure, axes = axes_of(3.0)
    cloud(axes, mean_P, difference_P, colour_of(result), (-reach_x, reach_x, -reach_y, reach_y))
    if result.agreement is not None:
        lines = {"bias": result.agreement.bias, "lower": result.agreement.lower, "upper": result.agreement.upper}
        for name, line in lines.items():
            if math.isfinite(line.value):
                axes.axhline(line.value, color=INK, lw=1, ls="-" if name == "bias" else GUIDE, zorder=3)
            if math.isfinite(line.low) and math.isfinite(line.high):
                axes.axhspan(line.low, line.high, color=INK, alpha=0.12, lw=0, zorder=2)
    axes.set_title(_titled(result, with_corr=False), fontsize=9.5, color=INK, loc="left")
    axes.set_xlabel(f"mean of true and estimated ({short(result.unit, 20)})")
    axes.set_ylabel("estimated − true")
    text = f"Bland-Altman plot, {title(result.task)}, {method_title(result.method)}"
    return Chart(svg_text(figure, _id("agreement", result), text), _said(result, max(outside_x, outside_y)))


def by_size(results: Sequence[Result], metric: str) -> Chart:
    """The error, or the share of right directions, against the size of the true change, for one or two methods."""
    figure, axes = axes_of(2.6)
    for number, result in enumerate(results):
        shown = [(b, getattr(b, metric)) for b in result.by_size if math.isfinite(getattr(b, metric).value)]
        width = max((b.high for b, _ in shown), default=1) * 0.012
        x = [(b.low + b.high) / 2 + (number - (len(results) - 1) / 2) * width for b, _ in shown]
        scale = 100 if metric == "acc" else 1
        y, low, high = ([scale * getattr(e, end) for _, e in shown] for end in ("value", "low", "high"))
        colour, marker = colour_of(result), "D" if result.ours else "o"
        axes.vlines(x, low, high, color=colour, lw=1.4, alpha=0.8)
        axes.plot(x, y, marker=marker, ls="-" if result.ours else GUIDE, color=colour, ms=5, lw=1.2, mec="none",
                  label=short(method_title(result.method)))  # fmt: skip
    if metric == "acc":
        axes.axhline(50, color=INK, lw=0.8, ls=GUIDE, alpha=0.6)
        axes.set_ylim(0, 103)
    else:
        axes.set_ylim(bottom=0)
    axes.set_ylabel("right direction (%)" if metric == "acc" else "mean absolute error")
    axes.set_xlabel(f"size of the true change ({short(results[0].unit, 20)})")
    legend(axes, loc="lower right" if metric == "acc" else "upper left")
    what = "Direction" if metric == "acc" else "Error"
    text = f"{what} by size of the true change, {title(results[0].task)}"
    return Chart(svg_text(figure, _id(f"size-{metric}", results[0]), text))


def bin_heading(size: SizeBin) -> str:
    return f"{size.low:.3g} to {size.high:.3g}"


def histogram(name: str, counts: Sequence[tuple[str, int]], label: str) -> Chart:
    """How often each value, or each range of values, of a label occurs."""
    figure, axes = axes_of(1.9)
    axes.bar(range(len(counts)), [count for _, count in counts], color=OTHER, width=0.86)
    places = sorted({round(i * (len(counts) - 1) / 5) for i in range(6)}) if len(counts) > 8 else range(len(counts))
    axes.set_xticks(list(places), [plain(counts[i][0]) for i in places])
    axes.set_xlabel(short(label, 40))
    axes.set_ylabel("photos")
    return Chart(svg_text(figure, f"labels-{name}-{label}", f"Number of photos by {label}, data set {name}"))


def losses(curve: Sequence[Mapping[str, Any]], key: str, name: str, heading: str) -> Chart:
    """A loss of training and of held-out identities, epoch by epoch, both at the range S of the epoch."""
    epochs = [record["epoch"] for record in curve]
    figure, axes = axes_of(2.4)
    axes.plot(epochs, [record[key] for record in curve], "o-", color=OTHER, ms=4, label="training")
    held_out = [(record.get("held_out") or {}).get(key) for record in curve]
    if any(value is not None for value in held_out):
        axes.plot(epochs, held_out, "s", ls=GUIDE, color=OURS, ms=4, label="held-out people, same S")
    _epochs(axes, curve)
    axes.set_title(heading, fontsize=9.5, color=INK, loc="left")
    axes.set_ylim(bottom=0)
    legend(axes, loc="best")
    return Chart(svg_text(figure, f"curve-{name}-{key}", f"{heading}, epoch by epoch"))


def held_out(curve: Sequence[Mapping[str, Any]], name: str) -> Chart:
    """Correlation of the estimated change and share of faces found again, on held-out identities, over the whole range
    of changes."""
    figure, axes = axes_of(2.4)
    epochs = [record["epoch"] for record in curve]
    shown = (
        ("corr", "o-", OURS, "correlation of estimated and true change"),
        ("top1", "s--", OTHER, "face found again"),
    )
    for key, form, colour, label in shown:
        values = [record["validation"].get(key) for record in curve]
        if any(value is not None for value in values):
            axes.plot(epochs, [math.nan if v is None else v for v in values], form, color=colour, ms=4, label=label)
    _epochs(axes, curve)
    axes.set_title("Held-out people, whole range of changes", fontsize=9.5, color=INK, loc="left")
    axes.set_ylim(-0.05, 1.05)
    legend(axes, loc="best")
    return Chart(svg_text(figure, f"curve-{name}-held-out", "Correlation and faces found again on held-out people"))


def scale(name: str, points: Sequence[tuple[int, float, float, float]], rivals: Sequence[tuple[str, float]]) -> Chart:
    """Figure 3: the figure of ComFace against the number of training images (logarithmic), and the best others."""
    figure, axes = axes_of(2.6)
    images, values, low, high = zip(*points, strict=True)
    axes.vlines(images, low, high, color=OURS, lw=1.4, alpha=0.8)
    axes.plot(images, values, "D-", color=OURS, ms=5, label="ComFace")
    for number, (name, value) in enumerate(rivals):
        axes.axhline(value, color=OTHER, lw=1.2, ls=((0, (4, 3)), (0, (1, 2)), "-.")[number % 3], label=short(name))
    axes.set_xscale("log")
    axes.set_xlabel("images in pre-training")
    axes.set_ylabel("correlation")
    axes.set_title(short(name, 40), fontsize=9.5, color=INK, loc="left")
    legend(axes, loc="best")
    return Chart(svg_text(figure, f"scale-{name}", f"Correlation against the scale of pre-training, {name}"))


def _epochs(axes: Any, curve: Sequence[Mapping[str, Any]]) -> None:
    """Epochs as whole numbers; a thin line where S falls."""
    from matplotlib.ticker import MaxNLocator

    for before, after in itertools.pairwise(curve):
        if after["s"] != before["s"]:
            axes.axvline(after["epoch"] - 0.5, color=INK, lw=0.7, ls=(0, (1, 2)), alpha=0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch (dotted: the range S falls)")


def _frame(*values: NDArray[np.float64]) -> tuple[float, int]:
    """(Half width of a symmetric frame, number of pairs outside). All pairs are inside unless a few are so far out that
    the others would be a line."""
    size_P = np.max(np.abs(np.stack(values)), axis=0)
    most = float(size_P.max())
    usual = float(np.quantile(size_P, 1 - OUTSIDE))
    limit = most if most <= 2 * usual else usual
    return limit * 1.05 or 1.0, int((size_P > limit * 1.05).sum())


def _said(result: Result, outside: int) -> str:
    parts = []
    if len(result.change_P) > POINTS:
        parts.append(
            f"{len(result.change_P):,} pairs as a density: the stronger the colour, the more pairs (logarithmic)"
        )
    if outside:
        parts.append(f"{outside:,} of {len(result.change_P):,} pairs lie outside the frame")
    return "; ".join(parts)


def _titled(result: Result, with_corr: bool = True) -> str:
    corr = result.estimates["corr"].value
    value = f", r = {corr:.2f}".replace("-", "−") if with_corr and math.isfinite(corr) else ""
    return f"{short(method_title(result.method), 32)}{value}"


def identity(*words: str) -> str:
    """An id for the page from any words."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", "-".join(words)).strip("-").lower()


def _id(kind: str, result: Result) -> str:
    return f"{kind}-{result.task}-{result.method}-{result.mode}"
