"""Draws the results of screening: per attribute an example track, the shares of faces found and identities kept, the
effect on the own score; below, the effects on all scores.

In: Measured, Figures, verdicts. Out: PNG bytes. Outside the accepted range of alpha, images are faded and curves are
not shaded.

Legend: A alphas, H = W side length.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from comface.screening.config import ScreeningConfig
from comface.screening.figures import Figures
from comface.screening.measure import Measured
from comface.screening.table import described
from comface.screening.verdict import Verdict, alpha_range

INK, FAINT, LINE = "#1d2329", "#6b7280", "#d8d5cd"
FACE, IDENTITY, OWN = "#c2410c", "#0b6e8a", "#5b3f8c"
GOOD, NARROW, BAD = "#14633a", "#7a5200", "#a61b1b"
SHADE = "#eef4ee"
ROW_IN, HEAD_IN, FOOT_IN, WIDTH_IN = 1.02, 0.85, 0.3, 17.0
LABEL, SWEEP, SHARES, EFFECT = (0.01, 0.14), (0.152, 0.478), (0.662, 0.13), (0.835, 0.15)
"""Left edge and width of each column, as shares of the figure's width."""
CELL_PX = 96
DPI = 110
HEAT_ROW_IN = 0.3


def draw_screening(
    measured: Sequence[Measured], found: Sequence[Figures], judged: Sequence[Verdict], config: ScreeningConfig
) -> bytes:
    from matplotlib.figure import Figure

    heat_in = 1.05 + HEAT_ROW_IN * len(found)
    height_in = HEAD_IN + ROW_IN * len(found) + FOOT_IN + heat_in
    figure = Figure(figsize=(WIDTH_IN, height_in))
    _title(figure, found, judged, config, height_in)
    for row, each in enumerate(zip(measured, found, judged, strict=True)):
        bottom = (height_in - HEAD_IN - (row + 1) * ROW_IN) / height_in
        _row(figure, (bottom, ROW_IN / height_in), *each, config, last=row == len(found) - 1)
    _heat_map(figure, found, judged, (heat_in, height_in))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def _title(
    figure: Any, found: Sequence[Figures], judged: Sequence[Verdict], config: ScreeningConfig, height_in: float
) -> None:
    kept = sum(each.kept for each in judged)
    most = max(each.tracks for each in found)
    top = 1 - 0.28 / height_in
    figure.text(
        LABEL[0], top, f"{kept} of {len(found)} attributes passed screening", fontsize=15, weight="bold", color=INK
    )
    said = f"up to {most} tracks each; identity check: '{config.method}', among {config.others} other people"
    figure.text(SWEEP[0] + 0.12, top, said, fontsize=10, color=FAINT)
    heads = (
        (SWEEP, "example track along alpha; faded: outside the accepted range", INK),
        (SHARES, "share of tracks", INK),
        (EFFECT, "own score, SD (quartiles)", INK),
    )
    for (left, _), text, colour in heads:
        figure.text(left, 1 - 0.72 / height_in, text, fontsize=9, color=colour)
    place = SHARES[0] + 0.066
    figure.text(place, 1 - 0.72 / height_in, "face", fontsize=9, color=FACE, weight="bold")
    figure.text(place + 0.024, 1 - 0.72 / height_in, "identity", fontsize=9, color=IDENTITY, weight="bold")


def _row(
    figure: Any,
    band: tuple[float, float],
    measured: Measured,
    found: Figures,
    judged: Verdict,
    config: ScreeningConfig,
    last: bool,
) -> None:
    """`band`: bottom and height, as shares of the picture."""
    bottom, height = band
    _label(figure, bottom, height, found, judged)
    _sweep(figure, bottom, height, measured, found, last)
    alphas_A = found.alphas_A
    shares = figure.add_axes((SHARES[0], bottom + 0.17 * height, SHARES[1], 0.72 * height))
    shares.axvspan(judged.low, judged.high, color=SHADE, lw=0)
    for value_A, least, colour in (
        (found.face_A, config.min_face, FACE),
        (found.identity_A, config.min_identity, IDENTITY),
    ):
        shares.axhline(least, color=colour, lw=0.8, ls=(0, (3, 3)), alpha=0.6)
        shares.plot(alphas_A, value_A, color=colour, lw=1.8, marker="o", ms=2.6, clip_on=False)
    shares.set_ylim(-0.04, 1.04)
    shares.set_yticks([0, 1], ["0", "1"])
    for axes in (shares, _effect(figure, band, found, judged)):
        _plain(axes, alphas_A, last)


def _effect(figure: Any, band: tuple[float, float], found: Figures, judged: Verdict) -> Any:
    """The own score along alpha; returns its axes."""
    (bottom, height), alphas_A = band, found.alphas_A
    effect = figure.add_axes((EFFECT[0], bottom + 0.17 * height, EFFECT[1], 0.72 * height))
    effect.axvspan(judged.low, judged.high, color=SHADE, lw=0)
    effect.axhline(0, color=LINE, lw=0.9)
    low_A, middle_A, high_A = found.own_quartiles_3A
    if found.scale is None:
        effect.text(
            0.5, 0.62, "not measured (no scorer)", ha="center", fontsize=9, color=FAINT, transform=effect.transAxes
        )
        effect.set_yticks([])
    else:
        effect.fill_between(alphas_A, low_A, high_A, color=OWN, alpha=0.16, lw=0)
        effect.plot(alphas_A, middle_A, color=OWN, lw=1.8, marker="o", ms=2.6)
        if found.scale.kind == "parameter":
            said = f"{found.scale.name}: parameter of the renderer"
            effect.text(0.03, 0.86, said, fontsize=7.5, color=FAINT, transform=effect.transAxes)
    return effect


def _label(figure: Any, bottom: float, height: float, found: Figures, judged: Verdict) -> None:
    full = (judged.low, judged.high) == (found.alphas_A[0], found.alphas_A[-1])
    colour = BAD if not judged.kept else GOOD if full else NARROW
    word = f"kept {alpha_range(judged)}" if judged.kept else "dropped"
    figure.text(LABEL[0], bottom + 0.76 * height, found.kind[1], fontsize=12.5, weight="bold", color=INK)
    figure.text(LABEL[0], bottom + 0.57 * height, f"{found.kind[0]}, {found.tracks} tracks", fontsize=8.5, color=FAINT)
    figure.text(LABEL[0], bottom + 0.38 * height, word, fontsize=10, weight="bold", color=colour)
    lines = _wrapped(judged.reason, 38)
    figure.text(
        LABEL[0], bottom + 0.33 * height, "\n".join(lines), fontsize=7.5, color=FAINT, va="top", linespacing=1.15
    )


def _sweep(figure: Any, bottom: float, height: float, measured: Measured, found: Figures, last: bool) -> None:
    inside = range(found.range.low, found.range.high + 1)
    cells = [_cell(image, i in inside) for i, image in enumerate(measured.example_AHW3)]
    axes = figure.add_axes((SWEEP[0], bottom + 0.12 * height, SWEEP[1], 0.83 * height))
    axes.imshow(np.concatenate(cells, axis=1), interpolation="lanczos")
    axes.set_anchor("W")  # with fewer alphas, the right side stays empty
    axes.set_yticks([])
    side = cells[0].shape[1]
    places = [(i + 0.5) * side for i in range(len(cells))]
    axes.set_xticks(places, [described(alpha) for alpha in found.alphas_A] if last else [])
    axes.tick_params(length=0, labelsize=8, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _cell(image_HW3: Any, accepted: bool) -> Any:
    """Return the image with a white margin, faded outside the accepted range."""
    from PIL import Image

    image = Image.fromarray(image_HW3).resize((CELL_PX, CELL_PX), Image.Resampling.LANCZOS)
    pixels = np.asarray(image, np.float64)
    if not accepted:
        pixels = 255 - 0.35 * (255 - pixels.mean(axis=2, keepdims=True).repeat(3, axis=2))
    return np.pad(pixels.round().astype(np.uint8), ((2, 2), (2, 2), (0, 0)), constant_values=255)


def _heat_map(
    figure: Any, found: Sequence[Figures], judged: Sequence[Verdict], heights_in: tuple[float, float]
) -> None:
    """Draw attributes in rows and scores in columns: SD per 5 units of alpha; the own score is framed."""
    heat_in, height_in = heights_in
    names = list(dict.fromkeys(name for each in found for name in each.moves))
    moves = np.array([[each.moves.get(name, np.nan) for name in names] for each in found])
    left, width = SWEEP[0], min(0.062 * len(names), 0.8)
    figure.text(LABEL[0], (heat_in - 0.3) / height_in, "All scores", fontsize=12.5, weight="bold", color=INK)
    said = "change of each score in SD per 5 units of alpha, within the accepted range; framed: the own score"
    figure.text(left, (heat_in - 0.3) / height_in, said, fontsize=9, color=FAINT)
    axes = figure.add_axes((left, 0.12 / height_in, width, HEAT_ROW_IN * len(found) / height_in))
    limit = max(1.0, float(np.nanmax(np.abs(moves), initial=0.0)))
    axes.imshow(moves, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    for row, each in enumerate(found):
        for column, name in enumerate(names):
            value = moves[row, column]
            if not np.isfinite(value):
                continue
            own = each.scale is not None and each.scale.name == name
            colour = "white" if abs(value) > 0.62 * limit else INK
            weight = "bold" if own else "normal"
            text = f"{round(value, 1) + 0.0:+.1f}".replace("-", "−")
            axes.text(column, row, text, ha="center", va="center", fontsize=8.5, color=colour, weight=weight)
            if own:
                axes.add_patch(_frame(column, row))
    axes.set_xticks(range(len(names)), names)
    axes.xaxis.tick_top()
    several = len({each.kind[0] for each in found}) > 1
    labels = [f"{each.kind[1]} ({each.kind[0]})" if several else each.kind[1] for each in found]
    axes.set_yticks(range(len(found)), labels)
    for label, its_verdict in zip(axes.get_yticklabels(), judged, strict=True):
        label.set_color(INK if its_verdict.kept else BAD)
    axes.tick_params(length=0, labelsize=9)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _frame(column: int, row: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.47, row - 0.45), 0.94, 0.9, fill=False, ec=INK, lw=1.6)


def _plain(axes: Any, alphas_A: Any, last: bool) -> None:
    axes.set_xlim(alphas_A[0], alphas_A[-1])
    ends = [alphas_A[0], alphas_A[-1]]
    ticks = sorted({*ends, 0.0}) if alphas_A[0] < 0 < alphas_A[-1] else ends
    axes.set_xticks(ticks, [described(float(tick)) for tick in ticks] if last else [])
    axes.tick_params(labelsize=8, length=2, colors=FAINT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)


def _wrapped(text: str, most: int) -> list[str]:
    import textwrap

    lines = textwrap.wrap(text, most)
    return lines if len(lines) <= 3 else [*lines[:2], lines[2][: most - 1] + "…"]
