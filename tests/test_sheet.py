"""Contact sheets: legible, of a sensible size, and honest about which picture is where."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from comface.faces.sheet import (
    CELL_PX,
    MAX_WIDTH_PX,
    Row,
    alpha_captions,
    contact_sheet,
    gallery,
    jpeg_bytes,
    png_bytes,
    spread,
)


def plain(colour: tuple[int, int, int], side: int = 32) -> np.ndarray:
    return np.full((side, side, 3), colour, np.uint8)


def test_each_picture_lies_in_its_row_and_column() -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]
    rows = [Row(("a",), [plain(c) for c in colours[:2]]), Row(("b",), [plain(c) for c in colours[2:]])]
    sheet = contact_sheet(rows, ("left", "right"))
    x0, y0 = sheet.width - 14 - CELL_PX // 2, sheet.height - 14 - CELL_PX // 2
    step = CELL_PX + 4
    found = [sheet.getpixel((x0 - step * (1 - i % 2), y0 - step * (1 - i // 2))) for i in range(4)]
    assert found == colours


@pytest.mark.parametrize("side", [32, 64, 112, 256])
@pytest.mark.parametrize("columns", [1, 11, 60])
def test_the_sheet_fits_a_screen_whatever_the_images(side: int, columns: int) -> None:
    sheet = contact_sheet([Row(("age", "dcgan-0000001"), [plain((9, 9, 9), side)] * columns)], [""] * columns)
    assert sheet.width <= max(MAX_WIDTH_PX, 60 * 52 + 200)
    assert sheet.height < 200


def test_a_gallery_wraps_and_keeps_every_picture() -> None:
    colours = [(10 * i, 255 - 10 * i, 0) for i in range(11)]
    sheet = gallery([plain(colour) for colour in colours], [f"seed {i}" for i in range(11)], "dcgan", across=4)
    found = {sheet.getpixel((x, y)) for x in range(0, sheet.width, 20) for y in range(0, sheet.height, 20)}
    assert set(colours) <= found
    assert 4 * CELL_PX < sheet.width < 5 * CELL_PX


def test_captions_are_drawn() -> None:
    row = Row(("smile", "dcgan-0000001"), [plain((255, 255, 255))])
    bare = np.asarray(contact_sheet([Row(("", ""), row.images)], ("",)))
    named = np.asarray(contact_sheet([row], ("+5",), "A title"))
    assert (bare < 128).sum() == 0
    assert (named < 128).sum() > 500


def test_a_sheet_without_rows_says_so() -> None:
    assert (np.asarray(contact_sheet([], ("−5", "0"), "Part 0")) < 200).any()


def test_the_bytes_are_pictures_and_the_same_every_time() -> None:
    sheet = contact_sheet([Row(("a",), [plain((200, 10, 10))])], ("0",))
    assert Image.open(io.BytesIO(jpeg_bytes(sheet))).format == "JPEG"
    assert Image.open(io.BytesIO(png_bytes(sheet))).size == sheet.size
    assert jpeg_bytes(sheet) == jpeg_bytes(sheet)


def test_alphas_are_captioned_with_their_sign() -> None:
    assert alpha_captions((-5.0, -0.1, 0.0, 2.5)) == ("−5", "−0.1", "0", "+2.5")


@given(st.integers(0, 500), st.integers(2, 20))
def test_spread_keeps_both_ends_and_distances_alike(count: int, most: int) -> None:
    chosen = spread(count, most)
    assert len(chosen) == min(count, most)
    if chosen:
        assert (chosen[0], chosen[-1]) == (0, count - 1)
        gaps = {after - before for before, after in pairwise(chosen)}
        assert not gaps or max(gaps) - min(gaps) <= 1


@given(st.integers(1, 60).map(lambda n: 2 * n + 1))
def test_an_odd_number_of_alphas_keeps_its_middle(count: int) -> None:
    assert count // 2 in spread(count, 9)
