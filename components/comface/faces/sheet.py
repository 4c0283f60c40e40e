"""Contact sheets: face images in rows and columns, with captions.

In: rows of uint8 RGB images (H,W,3) with captions, one caption per column. Out: a PIL image, or JPEG/PNG bytes.
A row is usually a track (identity and attribute), a column an alpha.
"""

from __future__ import annotations

import functools
import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

CELL_PX = 112
"""Side of a face on the sheet: eleven fit into a window, and an expression is still visible."""
MAX_WIDTH_PX = 2400
MIN_CELL_PX = 48
GAP_PX = 4
MARGIN_PX = 14
INK, FAINT, PAPER = (28, 28, 32), (120, 120, 128), (255, 255, 255)


@dataclass(frozen=True)
class Row:
    """One track: its caption (first line dark, the others grey) and its images in column order."""

    caption: Sequence[str]
    images: Sequence[np.ndarray]


def contact_sheet(rows: Sequence[Row], columns: Sequence[str], title: str = "", cell_px: int = CELL_PX) -> Image.Image:
    """The sheet. Images of any size are resized to cells; cells shrink if many columns would exceed MAX_WIDTH_PX."""
    heading, ink, faint = _font(17), _font(14), _font(12)
    caption_px = max([_width(line, ink) for row in rows for line in row.caption] + [0])
    caption_px += MARGIN_PX if caption_px else 0
    room_px = (MAX_WIDTH_PX - 2 * MARGIN_PX - caption_px) // max(1, len(columns)) - GAP_PX
    cell_px = max(MIN_CELL_PX, min(cell_px, room_px))
    left = MARGIN_PX + caption_px
    top = MARGIN_PX + (30 if title else 0) + (22 if any(columns) else 0)
    width = max(left + len(columns) * (cell_px + GAP_PX) - GAP_PX, MARGIN_PX + _width(title, heading)) + MARGIN_PX
    height = top + max(1, len(rows)) * (cell_px + GAP_PX) - GAP_PX + MARGIN_PX
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN_PX, MARGIN_PX - 2), title, font=heading, fill=INK)
    for i, column in enumerate(columns):
        centre = left + i * (cell_px + GAP_PX) + cell_px // 2
        draw.text((centre, top - 5), column, font=faint, fill=INK, anchor="ms")
    for j, row in enumerate(rows):
        y = top + j * (cell_px + GAP_PX)
        _draw_caption(draw, row.caption, y + cell_px // 2, ink, faint)
        for i, image_HW3 in enumerate(row.images):
            sheet.paste(_fitted(image_HW3, cell_px), (left + i * (cell_px + GAP_PX), y))
    if not rows:
        draw.text((MARGIN_PX, top), "no face was kept", font=ink, fill=FAINT)
    return sheet


def gallery(images: Sequence[np.ndarray], captions: Sequence[str], title: str = "", across: int = 8) -> Image.Image:
    """A sheet of single images, `across` per row, each with its caption below."""
    heading, faint = _font(17), _font(12)
    across = max(1, min(across, len(images)))
    step_x, step_y = CELL_PX + 2 * GAP_PX, CELL_PX + 24
    top = MARGIN_PX + (30 if title else 0)
    width = max(across * step_x - 2 * GAP_PX, _width(title, heading)) + 2 * MARGIN_PX
    sheet = Image.new("RGB", (width, top + -(-len(images) // across) * step_y + MARGIN_PX), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN_PX, MARGIN_PX - 2), title, font=heading, fill=INK)
    for i, (image_HW3, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = MARGIN_PX + i % across * step_x, top + i // across * step_y
        sheet.paste(_fitted(image_HW3, CELL_PX), (x, y))
        draw.text((x + CELL_PX // 2, y + CELL_PX + 15), caption, font=faint, fill=FAINT, anchor="ms")
    return sheet


def alpha_captions(alphas: Sequence[float]) -> tuple[str, ...]:
    """Captions of alphas: '−5', '0', '+2.5'."""
    minus = "\N{MINUS SIGN}" if _dejavu() else "-"
    return tuple("0" if alpha == 0 else f"{alpha:+.4g}".replace("-", minus) for alpha in alphas)


def spread(count: int, most: int) -> list[int]:
    """At most `most` evenly spaced indices of range(count), including both ends and (for odd counts) the middle."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)}) if most > 1 else [count // 2]


def jpeg_bytes(sheet: Image.Image, quality: int = 88) -> bytes:
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def png_bytes(sheet: Image.Image) -> bytes:
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _draw_caption(
    draw: ImageDraw.ImageDraw,
    lines: Sequence[str],
    middle_y: int,
    ink: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    faint: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    line_px = 18
    y = middle_y - line_px * len(lines) // 2
    for i, line in enumerate(lines):
        draw.text((MARGIN_PX, y + i * line_px), line, font=faint if i else ink, fill=FAINT if i else INK)


def _fitted(image_HW3: np.ndarray, cell_px: int) -> Image.Image:
    image = Image.fromarray(image_HW3)
    method = Image.Resampling.BICUBIC if image.width < cell_px else Image.Resampling.LANCZOS
    return image if image.size == (cell_px, cell_px) else image.resize((cell_px, cell_px), method)


def _width(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return round(font.getlength(text))


def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    path = _dejavu()
    return ImageFont.truetype(str(path), size_px) if path else ImageFont.load_default(size_px)


@functools.cache
def _dejavu() -> Path | None:
    """DejaVu Sans from matplotlib; None if matplotlib is not installed (Pillow's default font has no minus sign)."""
    spec = importlib.util.find_spec("matplotlib")
    path = Path(spec.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf" if spec and spec.origin else None
    return path if path and path.is_file() else None
