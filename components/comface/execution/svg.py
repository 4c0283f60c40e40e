"""Figures as SVG text for the page: small, readable at their own size on a phone, in the text colour of the page.

In: a matplotlib figure. Out: SVG without an XML prologue, with a title for screen readers, ids that are unique on the
page, and `currentColor` as ink, so that it follows light mode, dark mode and print. Equal figures give equal bytes.
"""

from __future__ import annotations

import html
import io
import re
from typing import Any

import numpy as np

from comface.config.names import printable

INK = "#0a0b0c"
"""Placeholder; replaced by `currentColor`, the text colour of the page."""
WIDTH_IN, HEIGHT_IN = 3.5, 2.9
"""At 96 px per inch a figure is as wide as a phone with its margins."""


def axes_of(height: float = HEIGHT_IN, width: float = WIDTH_IN) -> tuple[Any, Any]:
    """(figure, axes), in the style of the report."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.spines[["left", "bottom"]].set_alpha(0.4)
    axes.tick_params(colors=INK, labelsize=8.5)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(INK)
        label.set_fontsize(9)
    return figure, axes


def plain(text: str) -> str:
    """Escape `$`, so that matplotlib does not parse the text as mathematics."""
    return printable(text).replace("$", r"\$")


def short(text: str, longest: int = 24) -> str:
    """A name that fits beside an axis."""
    return plain(text if len(text) <= longest else f"{text[: longest - 1]}…")


def legend(axes: Any, **places: Any) -> None:
    made = axes.legend(frameon=False, fontsize=8, **places)
    for text in made.get_texts():
        text.set_color(INK)


def svg_text(figure: Any, name: str, description: str) -> str:
    """`name`: prefix of the ids, unique on the page. `description`: read by screen readers in place of the figure."""
    import matplotlib

    name = re.sub(r"[^A-Za-z0-9-]+", "-", name)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, dpi=144, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'id="(?!image)([^"]+)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'id="image', f'id="{name}-image', svg)
    svg = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", svg)
    svg = re.sub(r'font:([^;"]*)\'[^;"]*', r"font:\1 inherit", svg)
    svg = re.sub(r">\s+<", "><", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(printable(description))}" ', 1)


def cloud(axes: Any, x_P: Any, y_P: Any, colour: str, frame: tuple[float, float, float, float]) -> None:
    """All points: one by one, or where there are more than POINTS as a raster image that is darker where there are more
    of them. `frame`: x and y limits."""
    if len(x_P) <= POINTS:
        axes.plot(x_P, y_P, "o", color=colour, ms=3, mec="none", alpha=0.35, rasterized=len(x_P) > 400)
    else:
        counts_YX = np.histogram2d(y_P, x_P, bins=BINS, range=[frame[2:], frame[:2]])[0]
        from matplotlib.colors import to_rgb

        image_YX4 = np.empty((*counts_YX.shape, 4))
        image_YX4[..., :3] = to_rgb(colour)
        filled_YX = counts_YX > 0
        strength_YX = np.log1p(counts_YX) / np.log1p(counts_YX.max() or 1)
        image_YX4[..., 3] = np.where(filled_YX, 0.12 + 0.88 * strength_YX, 0)
        axes.imshow(image_YX4, origin="lower", extent=frame, aspect="auto", interpolation="nearest", zorder=1)
    axes.set_xlim(*frame[:2])
    axes.set_ylim(*frame[2:])


POINTS = 2000
"""Above this number of pairs a cloud is a density."""
BINS = 72
