"""Plots of the report as SVG text: correlations with intervals, and estimated against true change.

In: results. Out: SVG. The text colour follows the page (light, dark, print). Each method has a colour-blind safe colour
and its own marker. Identical results give identical bytes.
"""

from __future__ import annotations

import html
import io
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.config.names import printable
from comface.evaluate.results import MODES, Result
from comface.evaluate.tables import groups_of, method_title, methods_of
from comface.methods import method
from comface.seeds import numpy_rng
from comface.tasks.registry import title

INK = "#0a0b0c"
"""Placeholder; replaced by `currentColor`, the text colour of the page."""
FREE_STYLES = (
    ("#009e73", "^"), ("#b08900", "P"), ("#4aa3df", "X"), ("#7a5fb0", "<"), ("#00808c", ">"), ("#a0522d", "p"),
    ("#5c8a00", "h"), ("#7f6a6a", "d"), ("#3d5a80", "*"),
)  # fmt: skip
"""(colour, marker) for methods whose registry entry has no style, assigned in order."""
POINTS = 1500
"""Maximum number of points in a scatter plot."""
Style = tuple[str, str]
"""(colour, marker)."""


def correlations(results: Sequence[Result], mode: str) -> str:
    """One row per task; per method, a dot with its confidence interval. The dashed line is chance level."""
    chosen = [result for result in results if result.mode == mode]
    tasks = [task for group in groups_of(chosen) for task in group.tasks]
    methods = methods_of(chosen)
    styles = styles_of(methods_of(results))
    figure, axes = _figure(8.6, 0.75 + (0.17 * len(methods) + 0.22) * len(tasks))
    height = 0.78 / max(len(methods), 1)
    for result in chosen:
        estimate = result.estimates["corr"]
        if not math.isfinite(estimate.value):
            continue
        y = tasks.index(result.task) + (methods.index(result.method) - (len(methods) - 1) / 2) * height
        colour, marker = styles[result.method]
        axes.plot([estimate.low, estimate.high], [y, y], color=colour, lw=2.6 if result.ours else 1.6, alpha=0.75)
        axes.plot(estimate.value, y, marker, color=colour, ms=8 if result.ours else 6, mec="none")
    for row in range(1, len(tasks)):
        axes.axhline(row - 0.5, color=INK, lw=0.5, alpha=0.18)
    axes.axvline(0, color=INK, lw=0.9, ls=(0, (4, 3)), alpha=0.6)
    axes.set_yticks(range(len(tasks)), [_plain(title(task)) for task in tasks])
    axes.set_ylim(len(tasks) - 0.5, -0.5)
    axes.set_xlim(min(-0.12, axes.get_xlim()[0]), 1)
    axes.set_xlabel("Pearson correlation between true and estimated change")
    axes.tick_params(axis="y", length=0)
    handles = [
        axes.plot([], [], styles[m][1], color=styles[m][0], ms=7, mec="none", label=_plain(method_title(m)))[0]
        for m in methods
    ]
    figure.legend(handles=handles, loc="upper center", ncols=min(len(methods), 6), frameon=False, fontsize=9)
    return _svg(figure, f"correlations-{mode}", f"Correlation per task and method, {MODES[mode].lower()}")


def scatter(ours: Result, other: Result | None, seed: int, styles: Mapping[str, Style]) -> str:
    """Estimated against true change for one or two methods on equal axes. The dashed line is a perfect estimate."""
    shown = [result for result in (ours, other) if result is not None]
    figure, panels = _figure(3.35 * len(shown), 3.3, columns=len(shown))
    limit = float(np.quantile(np.abs(ours.change_P), 0.995)) * 1.12 or 1.0
    for axes, result in zip(np.atleast_1d(panels), shown, strict=True):
        x_P, y_P = _spread(result, seed)
        colour, _ = styles[result.method]
        axes.plot([-limit, limit], [-limit, limit], color=INK, lw=0.9, ls=(0, (4, 3)), alpha=0.6)
        axes.axhline(0, color=INK, lw=0.5, alpha=0.25)
        axes.axvline(0, color=INK, lw=0.5, alpha=0.25)
        axes.plot(x_P, np.clip(y_P, -limit, limit), "o", color=colour, ms=3.2, mec="none", alpha=0.35, rasterized=True)
        axes.set_xlim(-limit, limit)
        axes.set_ylim(-limit, limit)
        axes.set_aspect("equal")
        corr = result.estimates["corr"].value
        axes.set_title(f"{_plain(method_title(result.method))}   r = {corr:.2f}", fontsize=10, color=INK)
        axes.set_xlabel("true change")
    np.atleast_1d(panels)[0].set_ylabel("estimated change")
    name = f"scatter-{ours.task}-{ours.mode}"
    return _svg(figure, name, f"Estimated against true change, {title(ours.task)}, {ours.unit}")


def styles_of(methods: Sequence[str]) -> dict[str, Style]:
    free = itertools.cycle(FREE_STYLES)
    return {name: method(name).style or next(free) for name in methods}


def _plain(text: str) -> str:
    """Escape `$`, so that matplotlib does not parse the text as mathematics."""
    return printable(text).replace("$", r"\$")


def _spread(result: Result, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw at most POINTS points at random. Integer changes get a little horizontal jitter, so that dots do not
    overlap."""
    rng = numpy_rng(seed, "points", result.task)
    picked = rng.permutation(len(result.change_P))[:POINTS]
    x_P, y_P = result.change_P[picked], result.predicted_P[picked]
    if np.array_equal(result.change_P, np.round(result.change_P)) and np.ptp(result.change_P) <= 20:
        x_P = x_P + rng.uniform(-0.22, 0.22, len(x_P))
    return x_P, y_P


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots(1, columns, sharey=True)
    for each in np.atleast_1d(axes):
        each.patch.set_alpha(0)
        each.spines[["top", "right"]].set_visible(False)
        each.spines[["left", "bottom"]].set_color(INK)
        each.spines[["left", "bottom"]].set_alpha(0.4)
        each.tick_params(colors=INK, labelsize=9)
        each.xaxis.label.set_color(INK)
        each.yaxis.label.set_color(INK)
    return figure, axes


def _svg(figure: Any, name: str, description: str) -> str:
    """Return SVG without an XML prologue, with an aria-label, ids prefixed by `name`, and INK replaced."""
    import matplotlib

    name = re.sub(r"[^A-Za-z0-9-]+", "-", name)
    for legend in figure.legends:
        for text in legend.get_texts():
            text.set_color(INK)
        legend.set_in_layout(False)
    if figure.legends:
        figure.get_layout_engine().set(rect=(0, 0, 1, 1 - 0.32 / figure.get_figheight()))
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, dpi=144, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'id="(?!image)([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(url\(#|href="#)(?!image)', rf"\g<1>{name}-", svg)
    svg = re.sub(r'font:([^;"]*)\'[^;"]*', r"font:\1 inherit", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(printable(description))}" ', 1)
