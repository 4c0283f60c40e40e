"""The colours of pages and pictures: readable (WCAG 2.2, level AA), and apart for colour-blind readers."""

from __future__ import annotations

import itertools
import re

import cv2
import numpy as np
import pytest

from comface.look import SCHEMES, colours, css

BACKGROUNDS = ("page", "card")
TEXTS = ("ink", "soft", "ours", "link", "increase", "decrease", "fault-ink")
ON = {"note": ("ink", "soft", "link"), "tint": ("ink", "ours"), "stage": ("stage-ink",), "real": ("real-ink",),
      "fault": ("fault-ink", "ink")}  # fmt: skip
GRAPHICS = ("control", "focus", "note-line", "unclear", "truth", "series-1", "series-2", "series-3", "series-4")
VERDICTS = ("increase", "decrease", "unclear")
SERIES = ("series-1", "series-2")
BLIND = {  # Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
APART = 20.0
"""Least distance in CIELAB (1976); 2.3 is just noticeable side by side."""


def linear(colour: str) -> np.ndarray:
    value_3 = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(value_3 <= 0.04045, value_3 / 12.92, ((value_3 + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio, from relative luminance."""
    high, low = sorted((float(linear(each) @ (0.2126, 0.7152, 0.0722)) for each in (one, other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def seen(colour: str, matrix: object) -> np.ndarray:
    linear_3 = np.clip(np.asarray(matrix) @ linear(colour), 0, 1)
    encoded_3 = np.where(linear_3 <= 0.0031308, 12.92 * linear_3, 1.055 * linear_3 ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(encoded_3.astype(np.float32)[None, None], cv2.COLOR_RGB2LAB)[0, 0]


def test_the_measures_are_those_that_are_published() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # WCAG's own example: just too light
    red, green = (seen(each, BLIND["deuteranopia"]) for each in ("#c00000", "#607000"))
    assert np.linalg.norm(red - green) < APART, "a red and a green that deuteranopes confuse"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_is_readable_on_every_background_it_stands_on(scheme: str) -> None:
    of = colours(scheme)
    pairs = [*itertools.product(TEXTS, BACKGROUNDS), *((text, on) for on, texts in ON.items() for text in texts)]
    assert {pair: ratio for pair in pairs if (ratio := contrast(*(of[name] for name in pair))) < 4.5} == {}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_lines_and_marks_are_visible(scheme: str) -> None:
    of = colours(scheme)
    pairs = itertools.product(GRAPHICS, BACKGROUNDS)
    assert {pair: ratio for pair in pairs if (ratio := contrast(*(of[name] for name in pair))) < 3} == {}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", [None, *BLIND])
def test_verdicts_and_methods_differ_for_colour_blind_readers(scheme: str, kind: str | None) -> None:
    of, matrix = colours(scheme), BLIND[kind] if kind else np.eye(3)
    pairs = [*itertools.combinations(VERDICTS, 2), SERIES]
    apart = {pair: float(np.linalg.norm(np.subtract(*(seen(of[name], matrix) for name in pair)))) for pair in pairs}
    assert {pair: round(value) for pair, value in apart.items() if value < APART} == {}


def test_every_scheme_has_every_colour() -> None:
    assert len({frozenset(colours(scheme)) for scheme in SCHEMES}) == 1
    assert len(colours()) == len(set(re.findall(r"--([\w-]+):\s*#", css())))
