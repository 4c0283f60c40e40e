"""Pictures of comparisons as blocks from top to bottom, narrow enough for a phone and for half a printed page.

In: blocks, each with its height in inches and a function that draws it. Out: PNG bytes, equal for equal blocks. Colours
are those of comface.look; a verdict has a word and a mark besides its colour.

Legend: S side length.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.look import DRAWN, colours
from comface.models.compare import CANNOT_TELL

WIDTH_IN, MARGIN_IN, DPI = 4.2, 0.18, 200
"""840 px: on a phone of 390 px, the smallest text is 10 px high."""
TITLE_PT, TEXT_PT, SMALL_PT = 10.5, 9.5, 8.0
LINE_IN = {TITLE_PT: 0.2, TEXT_PT: 0.18, SMALL_PT: 0.155}
INNER_IN = WIDTH_IN - 2 * MARGIN_IN
CHARACTERS_PER_IN = {TITLE_PT: 12.5, TEXT_PT: 14.6, SMALL_PT: 17.6}
MARKS = {"increase": ("▲", "^"), "decrease": ("▼", "v"), CANNOT_TELL: ("○", "o")}
"""Verdict → its mark in a text, and matplotlib's marker."""
OF = colours()


@dataclass(frozen=True)
class Place:
    """Where a block is drawn. x in inches from the left edge, y in inches from the top of the block."""

    figure: Any
    top_in: float
    height_in: float

    def text(self, x: float, y: float, text: str, size: float = TEXT_PT, **options: Any) -> None:
        """Text whose first line has its centre at y. Dollar signs are no mathematics."""
        options = {"color": OF["ink"], "va": "center", **options}
        where = x / WIDTH_IN, 1 - (self.top_in + y) / self.height_in
        self.figure.text(*where, text, fontsize=size, parse_math=False, **options)

    def axes(self, x: float, y: float, width: float, height: float) -> Any:
        bottom = 1 - (self.top_in + y + height) / self.height_in
        return self.figure.add_axes((x / WIDTH_IN, bottom, width / WIDTH_IN, height / self.height_in))

    def face(self, x: float, y: float, side: float, face_SS3: NDArray[np.uint8]) -> Any:
        axes = self.axes(x, y, side, side)
        axes.imshow(face_SS3, interpolation="bicubic")
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_color(OF["line"])
        return axes


Block = tuple[float, Callable[[Place], None]]


def png_of(blocks: Sequence[Block]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height_in = 2 * MARGIN_IN + sum(block[0] for block in blocks)
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, facecolor=OF["card"])
    FigureCanvasAgg(figure)
    top_in = MARGIN_IN
    for block_in, draw in blocks:
        draw(Place(figure, top_in, height_in))
        top_in += block_in
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata=DRAWN)
    return buffer.getvalue()


def heading(text: str, rehearsal: bool) -> Block:
    """The picture's title, and a badge if a figure in it comes from a rehearsal."""

    def draw(place: Place) -> None:
        place.text(MARGIN_IN, 0.1, text, TITLE_PT + 1, weight="bold")
        if rehearsal:
            box = {
                "boxstyle": "round,pad=0.3",
                "facecolor": OF["stage"],
                "edgecolor": OF["stage-ink"],
                "linewidth": 0.7,
            }
            at = {"ha": "right", "weight": "bold", "color": OF["stage-ink"], "bbox": box}
            place.text(WIDTH_IN - MARGIN_IN - 0.05, 0.1, "rehearsal", SMALL_PT, **at)

    return 0.32, draw


def notice(sentences: Sequence[str]) -> list[Block]:
    """Sentences in a box that is seen before the figures; none without sentences."""
    lines = [line for sentence in sentences for line in wrapped(sentence, TEXT_PT, 0.25)]
    if not lines:
        return []

    def draw(place: Place) -> None:
        axes = place.axes(MARGIN_IN, 0, INNER_IN, LINE_IN[TEXT_PT] * len(lines) + 0.12)
        axes.set(xticks=[], yticks=[], facecolor=OF["fault"])
        for side, spine in axes.spines.items():
            spine.set(visible=side == "left", color=OF["fault-ink"], linewidth=3)
        for row, line in enumerate(lines):
            place.text(MARGIN_IN + 0.12, 0.155 + LINE_IN[TEXT_PT] * row, line, color=OF["fault-ink"])

    return [(LINE_IN[TEXT_PT] * len(lines) + 0.26, draw)]


def paragraphs(sentences: Sequence[str]) -> Block:
    """Small text at the foot."""
    lines = [line for sentence in sentences for line in wrapped(sentence, SMALL_PT)]

    def draw(place: Place) -> None:
        for row, line in enumerate(lines):
            place.text(MARGIN_IN, 0.1 + LINE_IN[SMALL_PT] * row, line, SMALL_PT, color=OF["soft"])

    return LINE_IN[SMALL_PT] * len(lines) + 0.05, draw


def wrapped(text: str, size: float, indent_in: float = 0.0) -> list[str]:
    return textwrap.wrap(text, int((INNER_IN - indent_in) * CHARACTERS_PER_IN[size]))


def colour_of(verdict: str) -> str:
    return OF["unclear" if verdict == CANNOT_TELL else verdict]


def shorter(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def quiet(axes: Any) -> None:
    """Axes with little ink: no frame, small ticks."""
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(OF["line"])
    axes.patch.set_alpha(0)
    axes.tick_params(labelsize=SMALL_PT - 0.5, length=2, color=OF["line"], labelcolor=OF["soft"], pad=1.5)
