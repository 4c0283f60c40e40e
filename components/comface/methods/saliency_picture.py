"""Draws saliency maps of several methods on one face (Figure 4 of the paper): the photo with the regions of the face,
then one overlay per method.

In: an image, the maps, the regions. Out: PNG bytes. Strength is shown by colour (cividis, which colour-blind readers
see alike), by lines at two levels, and by a number: the share of the map inside the regions.

Legend: H, W sides of the image.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from comface.faces.regions import Region, inside
from comface.look import DRAWN
from comface.methods.saliency import COLOURS, Saliency, opacity

Pixels = NDArray[np.uint8]
LEVELS = (0.5, 0.8)
LINES: tuple[Literal["dashed"], Literal["solid"]] = ("dashed", "solid")
STYLES = {
    "eyelids": ("#0072b2", "solid"),
    "AU6": ("#d55e00", (0, (4, 1.5))),
    "nose": ("#009e73", (0, (1, 1))),
    "AU12": ("#aa3377", (0, (5, 1, 1, 1))),
}
"""Colour and line of each region: Okabe and Ito's palette; the lines differ too."""
PANEL_IN, ROW_IN, SCALE_IN, LINE_IN, DPI = 2.35, 2.75, 0.78, 0.17, 130
MOST_IN_ROW = 5
CHARACTERS_PER_IN = 15.5
INK, FAINT = "#222222", "#555555"


def picture(image_HW3: Pixels, maps: Sequence[Saliency], regions: Sequence[Region] = (), note: str = "") -> bytes:
    """The picture with one panel per map. `note`: a sentence below it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(len(maps) + 1, MOST_IN_ROW)
    rows = -(-(len(maps) + 1) // columns)
    width_in = PANEL_IN * columns + 0.3
    lines = textwrap.wrap(
        _legend(regions, image_HW3) + (f" {note}" if note else ""), round(CHARACTERS_PER_IN * width_in)
    )
    foot_in = SCALE_IN + LINE_IN * len(lines)
    height_in = ROW_IN * rows * _shape(image_HW3) + foot_in
    figure = Figure(figsize=(width_in, height_in), dpi=DPI)
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(0.015, foot_in / height_in, 0.985, 1 - 0.3 / height_in, wspace=0.04, hspace=0.22)
    for axes in grid.flat:
        axes.set_axis_off()
    _original(grid[0, 0], image_HW3, regions)
    for axes, each in zip(list(grid.flat)[1:], maps, strict=False):
        _overlay(axes, image_HW3, each, regions)
    _scale(figure, height_in, foot_in)
    for row, line in enumerate(lines):
        y = (foot_in - SCALE_IN - LINE_IN * row + 0.02) / height_in
        figure.text(0.015, y, line, fontsize=8, color=FAINT, parse_math=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata=DRAWN)
    return buffer.getvalue()


def share_inside(each: Saliency, regions: Sequence[Region], height: int, width: int) -> float:
    """The share of the map's total that lies inside the regions; 0 if the map is empty."""
    strength_HW = np.nan_to_num(each.on_image(height, width))
    total = float(strength_HW.sum())
    return float(strength_HW[inside(regions, height, width)].sum()) / total if total else 0.0


def _shape(image_HW3: Pixels) -> float:
    """Height by width, within what a page can show."""
    return float(np.clip(image_HW3.shape[0] / image_HW3.shape[1], 0.5, 1.6))


def _original(axes: Any, image_HW3: Pixels, regions: Sequence[Region]) -> None:
    axes.imshow(image_HW3, interpolation="bicubic")
    axes.set_title("original", fontsize=10.5, color=INK)
    _outline(axes, regions)
    named: dict[str, Region] = {}
    for region in regions:  # the left one of a pair
        named.setdefault(region.name, region)
    for name, region in named.items():
        _label(axes, region, "right" if name == "nose" else "left")
    axes.set(xlim=(-0.5, image_HW3.shape[1] - 0.5), ylim=(image_HW3.shape[0] - 0.5, -0.5))


def _label(axes: Any, region: Region, side: str) -> None:
    """The region's name beside the face, with a line to its edge."""
    x, y = region.centre
    way = 1 if side == "right" else -1
    reach, lower = (4.2, 0.78) if side == "right" else (1.55, 0.0)  # the nose's name lies between AU6 and AU12
    axes.annotate(
        region.name, (x + way * region.half_axes[0] * (1 - lower / 4), y + lower * region.half_axes[1] / 2),
        (x + way * reach * region.half_axes[0], y + lower * region.half_axes[1]),
        fontsize=7.5, color="white", ha="left" if side == "right" else "right", va="center",
        bbox={"boxstyle": "round,pad=0.2", "facecolor": STYLES[region.name][0], "edgecolor": "white", "linewidth": 0.6},
        arrowprops={"arrowstyle": "-", "color": "white", "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0},
    )  # fmt: skip


def _outline(axes: Any, regions: Sequence[Region]) -> None:
    from matplotlib.patches import Ellipse

    for region in regions:
        colour, line = STYLES[region.name]
        sides = [2 * half for half in region.half_axes]
        for edge, outer in (("white", True), (colour, False)):
            axes.add_patch(
                Ellipse(
                    region.centre, *sides, angle=region.tilt_deg, fill=False, edgecolor=edge,
                    linewidth=3.2 if outer else 1.8, linestyle="solid" if outer else line,
                )
            )  # fmt: skip


def _overlay(axes: Any, image_HW3: Pixels, each: Saliency, regions: Sequence[Region]) -> None:
    height, width = image_HW3.shape[:2]
    strength_HW = each.on_image(height, width)
    grey_HW = image_HW3.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    axes.imshow(grey_HW, cmap="gray", vmin=0, vmax=255, interpolation="bicubic")
    shown_HW = np.ma.masked_invalid(strength_HW)
    axes.imshow(shown_HW, cmap=COLOURS, vmin=0, vmax=1, alpha=opacity(strength_HW))
    drawn = np.nan_to_num(strength_HW)
    if drawn.max() > LEVELS[0]:
        axes.contour(drawn, levels=LEVELS, colors="white", linewidths=2.4, linestyles=LINES)
        axes.contour(drawn, levels=LEVELS, colors="black", linewidths=1.1, linestyles=LINES)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    title = textwrap.shorten(each.title, 34, placeholder=" …")
    axes.set_title(title, fontsize=10.5, color=INK, parse_math=False)
    if regions:
        share = f"{100 * share_inside(each, regions, height, width):.0f} % in the regions"
        axes.text(0.5, -0.03, share, transform=axes.transAxes, ha="center", va="top", fontsize=8.5, color=INK)


def _scale(figure: Any, height_in: float, foot_in: float) -> None:
    """The legend of the colours and of the two lines."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.lines import Line2D

    figure_in = figure.get_size_inches()[0]
    place = figure.add_axes((0.35 / figure_in, (foot_in - 0.42) / height_in, 1.75 / figure_in, 0.09 / height_in))
    bar = figure.colorbar(ScalarMappable(cmap=COLOURS), cax=place, orientation="horizontal")
    bar.set_ticks((0, *LEVELS, 1), labels=("0", *(f"{level:g}" for level in LEVELS), "1"))
    bar.ax.tick_params(labelsize=7.5, length=2, pad=1, colors=FAINT)
    dashed, solid = (
        Line2D([], [], color="black", linewidth=1.3, label=f"line at {level:g}", linestyle=style)
        for level, style in ((LEVELS[0], LINES[0]), (LEVELS[1], LINES[1]))
    )
    figure.legend(
        handles=[dashed, solid], loc="center left", bbox_to_anchor=(2.2 / figure_in, (foot_in - 0.4) / height_in),
        ncols=2, frameon=False, fontsize=8, labelcolor=FAINT, handlelength=2.4, columnspacing=1.0,
    )  # fmt: skip


def _legend(regions: Sequence[Region], image_HW3: Pixels) -> str:
    told = (
        "Eigen-CAM: where the main response of the last feature map lies; 0 weak, 1 strong. Each map is scaled on its "
        "own. What a method does not see has no colour."
    )
    if not regions:
        return told
    area = inside(regions, *image_HW3.shape[:2]).mean()
    return (
        f"{told} Regions: eyelids; AU6 (cheek raiser); nose; AU12 (lip corner puller); together "
        f"{100 * area:.0f} % of the picture."
    )
