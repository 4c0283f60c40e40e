"""Draws a time line: the faces, and per quantity the curve of changes from the first photo with their intervals.

In: a TimeLine. Out: PNG bytes. Each point has the mark of its verdict; the marks below the curve compare each photo
with the one before.
"""

from __future__ import annotations

from typing import Any

from comface.faces.sheet import spread
from comface.models.compare import CANNOT_TELL
from comface.models.drawing import (
    INNER_IN,
    LINE_IN,
    MARGIN_IN,
    MARKS,
    OF,
    SMALL_PT,
    TITLE_PT,
    WIDTH_IN,
    Block,
    Place,
    colour_of,
    heading,
    notice,
    paragraphs,
    png_of,
    quiet,
    shorter,
)
from comface.models.time_line import TimeLine, general_caveats, photo_caveats

MOST_FACES, GAP_IN = 6, 0.06
CURVE_IN, SCALE_IN = 1.05, 0.34
EXPLANATION = (
    "Curve: change from photo 1, with prediction intervals. ▲ increase, ▼ decrease, ○ cannot tell. Marks below a "
    "curve: each photo against the one before."
)


def time_line_picture(line: TimeLine) -> bytes:
    named = f"Model {shorter(line.model, 160)}. This is not a medical device."
    rows = [_curve(line, task) for task in line.steps[0].from_first.changes]
    title = heading(f"Change over {len(line.steps) + 1} photos", line.rehearsal)
    said = [EXPLANATION, *general_caveats(line), named]
    return png_of([title, _faces(line), *notice(photo_caveats(line)), *rows, paragraphs(said)])


def _faces(line: TimeLine) -> Block:
    """The faces, at most MOST_FACES in a row, evenly spaced."""
    faces = [(1, line.steps[0].from_first.before_SS3), *((s.number, s.from_first.after_SS3) for s in line.steps)]
    chosen = [faces[i] for i in spread(len(faces), MOST_FACES)]
    side = min(1.1, (INNER_IN - GAP_IN * (len(chosen) - 1)) / len(chosen))

    def draw(place: Place) -> None:
        for column, (number, face_SS3) in enumerate(chosen):
            x = MARGIN_IN + column * (side + GAP_IN)
            place.text(x, 0.08, str(number), SMALL_PT, color=OF["soft"], weight="bold")
            place.face(x, 0.18, side, face_SS3)

    return 0.32 + side, draw


def _curve(line: TimeLine, task: str) -> Block:
    first = line.steps[0].from_first.changes[task]

    def draw(place: Place) -> None:
        place.text(MARGIN_IN, 0.09, shorter(first.title or task, 30), TITLE_PT, weight="bold")
        place.text(WIDTH_IN - MARGIN_IN, 0.09, shorter(first.unit, 28), SMALL_PT, ha="right", color=OF["soft"])
        axes = place.axes(MARGIN_IN + SCALE_IN, LINE_IN[TITLE_PT], INNER_IN - SCALE_IN, CURVE_IN)
        _draw_curve(axes, line, task)
        below = place.axes(MARGIN_IN + SCALE_IN, LINE_IN[TITLE_PT] + CURVE_IN + 0.2, INNER_IN - SCALE_IN, 0.16)
        _draw_steps(below, line, task)

    return LINE_IN[TITLE_PT] + CURVE_IN + 0.5, draw


def _draw_curve(axes: Any, line: TimeLine, task: str) -> None:
    quiet(axes)
    numbers = [1, *(step.number for step in line.steps)]
    changes = [step.from_first.changes[task] for step in line.steps]
    axes.axhline(0, color=OF["ink"], linewidth=0.8)
    axes.plot(numbers, [0.0, *(each.change for each in changes)], color=OF["control"], linewidth=1.2, zorder=2)
    axes.plot(1, 0, "s", color=OF["ink"], markersize=4.5, zorder=3)
    for number, each in zip(numbers[1:], changes, strict=True):
        colour = colour_of(each.verdict)
        if each.interval:
            axes.plot((number, number), each.interval, color=colour, linewidth=4.5, alpha=0.3, solid_capstyle="butt")
        filled = OF["card"] if each.verdict == CANNOT_TELL else colour
        axes.plot(number, each.change, MARKS[each.verdict][1], markeredgecolor=colour, markerfacecolor=filled,
                  markersize=6.5, zorder=3)  # fmt: skip
    axes.set_xlim(0.6, numbers[-1] + 0.4)
    axes.set_xticks([numbers[i] for i in spread(len(numbers), 10)])
    axes.margins(y=0.12)
    axes.locator_params(axis="y", nbins=4)


def _draw_steps(axes: Any, line: TimeLine, task: str) -> None:
    """Between two photos the mark of the verdict on their change."""
    axes.set_axis_off()
    numbers = [1, *(step.number for step in line.steps)]
    for before, step in zip(numbers, line.steps, strict=False):
        verdict = step.from_previous.changes[task].verdict
        filled = OF["card"] if verdict == CANNOT_TELL else colour_of(verdict)
        axes.plot((before + step.number) / 2, 0, MARKS[verdict][1], markersize=4, markeredgecolor=colour_of(verdict),
                  markerfacecolor=filled)  # fmt: skip
    axes.set(xlim=(0.6, numbers[-1] + 0.4), ylim=(-1, 1))
