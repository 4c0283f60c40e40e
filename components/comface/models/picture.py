"""Draws a comparison: the two aligned faces, and per quantity its change, prediction interval, verdict and reasons.

In: a Comparison; optionally the true changes, and where the model looks. Out: PNG bytes. The picture contains the
caveats, because it may be passed on without the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from comface.methods.saliency import COLOURS, Saliency, opacity, saliency_of_face
from comface.models.compare import CANNOT_TELL, Change, Comparison, general_notes, pair_notes
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
    wrapped,
)
from comface.models.estimator import Estimator

GAP_IN = 0.12
FACE_IN = (INNER_IN - GAP_IN) / 2
AXIS_IN = 0.3


def picture(
    comparison: Comparison, truth: Mapping[str, float] | None = None, saliency: Sequence[Saliency] = ()
) -> bytes:
    """`truth`: task → true change, where it is known; such tasks come first. `saliency`: of both faces, drawn over a
    second pair of them."""
    truth = truth or {}
    changes = dict(sorted(comparison.changes.items(), key=lambda item: item[0] not in truth))
    first = notice(pair_notes(comparison))
    rows = [_row(task, each, comparison, truth.get(task)) for task, each in changes.items()]
    said = [_explanation(any(task in truth for task in changes)), *general_notes(comparison)]
    named = f"Model {shorter(comparison.model, 160)}. This is not a medical device."
    title = heading("Change from BEFORE to AFTER", any(each.rehearsal for each in changes.values()))
    return png_of([title, _faces(comparison, saliency), *first, *rows, paragraphs([*said, named])])


def looks(comparison: Comparison, estimator: Estimator) -> list[Saliency]:
    """Where the model's first network looks in both faces (Eigen-CAM)."""
    encoder = next(iter(estimator.encoders.values()))
    return [saliency_of_face(encoder, face, comparison.model) for face in (comparison.before_SS3, comparison.after_SS3)]


def _explanation(true: bool) -> str:
    return f"Band: prediction interval; mark: estimate{'; diamond: true change' if true else ''}."


def _faces(comparison: Comparison, saliency: Sequence[Saliency]) -> Block:
    def draw(place: Place) -> None:
        sides = (("BEFORE", comparison.before_SS3), ("AFTER", comparison.after_SS3))
        for column, (role, face_SS3) in enumerate(sides):
            x = MARGIN_IN + column * (FACE_IN + GAP_IN)
            place.text(x, 0.08, role, SMALL_PT, color=OF["soft"], weight="bold")
            place.face(x, 0.2, FACE_IN, face_SS3)
            if saliency:
                grey_SS3 = np.repeat(face_SS3.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
                strength_SS = np.nan_to_num(saliency[column].on_image(*face_SS3.shape[:2]))
                axes = place.face(x, 0.2 + FACE_IN + 0.28, FACE_IN, grey_SS3)
                axes.imshow(strength_SS, cmap=COLOURS, vmin=0, vmax=1, alpha=opacity(strength_SS))
        if saliency:
            place.text(MARGIN_IN, 0.36 + FACE_IN, "where the model looks (yellow: strong)", SMALL_PT, color=OF["soft"])

    return 0.32 + FACE_IN + (FACE_IN + 0.28 if saliency else 0), draw


def _row(task: str, each: Change, comparison: Comparison, true: float | None) -> Block:
    """One quantity. Its axis is its own because units differ; zero is always in the middle."""
    reasons = [reason for reason in each.reasons if reason not in comparison.caveats.reasons]
    said = [f"{reason.sentence[:1].upper()}{reason.sentence[1:]}." for reason in reasons if reason.code != "rehearsal"]
    main = wrapped(figures(each), SMALL_PT) + ([] if true is None else [f"True change {signed(true)}"])
    lines = [*main, *(line for text in said for line in wrapped(text, SMALL_PT))]
    top_in = LINE_IN[TITLE_PT] + AXIS_IN + 0.19

    def draw(place: Place) -> None:
        place.text(MARGIN_IN, 0.09, shorter(each.title or task, 30), TITLE_PT, weight="bold")
        word = f"{MARKS[each.verdict][0]} {each.verdict}"
        ink = OF["soft"] if each.verdict == CANNOT_TELL else colour_of(each.verdict)
        place.text(WIDTH_IN - MARGIN_IN, 0.09, word, TITLE_PT, ha="right", weight="bold", color=ink)
        _axis(place, each, true)
        for row, line in enumerate(lines):
            ink = OF["ink"] if row < len(main) else OF["soft"]
            place.text(MARGIN_IN, top_in + 0.08 + LINE_IN[SMALL_PT] * row, line, SMALL_PT, color=ink)

    return top_in + LINE_IN[SMALL_PT] * len(lines) + 0.2, draw


def _axis(place: Place, each: Change, true: float | None) -> None:
    ends = [each.change, *(each.interval or ()), *([] if true is None else [true])]
    reach = 1.12 * max(*(abs(end) for end in ends), 1e-6)
    axes = place.axes(MARGIN_IN, LINE_IN[TITLE_PT], INNER_IN, AXIS_IN)
    quiet(axes)
    axes.axvline(0, color=OF["ink"], linewidth=0.9)
    colour = colour_of(each.verdict)
    if each.interval:
        low, high = each.interval
        axes.barh(0, high - low, left=low, height=0.5, color=colour, alpha=0.28, linewidth=0)
        axes.plot(each.interval, (0, 0), "|", color=colour, markersize=11, markeredgewidth=1.8)
    axes.plot(each.change, 0, MARKS[each.verdict][1], color=colour, markersize=7.5, markeredgecolor=OF["card"])
    if true is not None:
        axes.plot(
            true, 0, "D", markersize=6.5, markerfacecolor="none", markeredgecolor=OF["truth"], markeredgewidth=1.4
        )
    axes.set(xlim=(-reach, reach), ylim=(-0.6, 0.6), yticks=[])
    axes.locator_params(axis="x", nbins=6)


def figures(each: Change, true: float | None = None) -> str:
    """The change with its interval in words, e.g. "+2.73 kg (90 % interval +0.62 to +4.84)"."""
    unit = shorter(each.unit, 28)
    interval = "no interval"
    if each.interval:
        low, high = each.interval
        interval = f"{100 * each.coverage:g} % interval {signed(low)} to {signed(high)}"
    known = "" if true is None else f"; true change {signed(true)}"
    return f"{signed(each.change)} {unit} ({interval}){known}"


def signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
