"""Whether the face in a photo can be used: covered, cut off, turned, dark, overexposed or blurred?

In: a photo (H,W,3) and the face found in it. Out: numbers (`measured`), and the rules that they break (`broken`). Each
rule's errors, measured on real photos with and without damage: docs/trust.md (benchmarks/trust.py).

Legend: S side length; coordinates in distances between the eyes, from their midpoint, y towards the chin.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from comface.faces.conditions import eye_widths
from comface.faces.detection import Face, Pixels, align, eye_centres
from comface.faces.framing import FACE_SHARE, view_of
from comface.faces.visible import covered

SIDE_PX = 64
"""Light and sharpness are measured at this size: the detail that a model of 64 px reads."""
FACE_CENTRE, FACE_HALF = (0.0, 0.5), (0.95, 1.15)
"""The ellipse from the eyebrows to the chin. Ears and hair may be outside a photo."""
GRID = 41
CLIPPED = 250
"""From this level (0 to 255) in all channels, a pixel counts as overexposed."""


@dataclass(frozen=True)
class Rule:
    """A face breaks the rule if its measure is `beyond` the limit."""

    code: str
    measure: str
    limit: float
    sentence: str
    below: bool = False

    def broken(self, measures: Mapping[str, float]) -> bool:
        value = measures[self.measure]
        return value < self.limit if self.below else value > self.limit


RULES = (
    Rule("occluded", "covered", 0.30, "{part} in {photo} seems to be covered or turned away"),
    Rule("cropped", "outside", 0.04, "the edge of {photo} cuts the face"),
    Rule("turned", "turn", 0.23, "the head in {photo} is turned to the side"),
    Rule("turned", "narrow", 0.325, "the head in {photo} is turned to the side", below=True),
    Rule("dark", "light", 33.0, "the face in {photo} is too dark", below=True),
    Rule("overexposed", "clipped", 0.12, "the face in {photo} is overexposed"),
    Rule("blurred", "detail", 0.69, "the face in {photo} is blurred", below=True),
)
LAST = Rule(
    "occluded",
    "confidence",
    0.3,
    "the face in {photo} is hardly recognisable; it may be covered or turned away",
    below=True,
)
"""Asked last: an edge, darkness and blur make a face faint, too."""
EXPLAIN_FAINT = {"cropped", "dark", "blurred"}
VAGUE = -0.5
"""Below this confidence the place of the face is uncertain; none of 235 faces that an edge cuts is there."""
CODES = tuple(dict.fromkeys(rule.code for rule in RULES))


@dataclass(frozen=True)
class Broken:
    code: str
    sentence: str
    """With the placeholder {photo}."""


def measured(image_HW3: Pixels, face: Face) -> tuple[dict[str, float], str]:
    """The measures that RULES read, and the part of the face that is covered most."""
    face_SS3 = align(image_HW3, face.points_52, SIDE_PX)
    view_SS3 = view_of(face_SS3[None], FACE_SHARE)[0]
    light_SS = cv2.cvtColor(np.ascontiguousarray(view_SS3), cv2.COLOR_RGB2LAB)[..., 0].astype(np.float64) / 2.55
    parts = covered(face_SS3)
    part = max(parts, key=lambda name: parts[name])
    found = {
        "covered": parts[part],
        "confidence": face.confidence,
        "outside": _outside(image_HW3.shape[:2], face),
        "turn": _turn(face),
        "narrow": _narrow(face),
        "light": float(np.quantile(light_SS, 0.97)),
        "clipped": float((view_SS3.min(axis=2) >= CLIPPED).mean()),
        "detail": _detail(light_SS),
    }
    return {name: round(value, 3) for name, value in found.items()}, part


def broken(measures: Mapping[str, float], part: str) -> Iterator[Broken]:
    """The rules that a face breaks, each code once."""
    rules = [rule for rule in RULES if rule.broken(measures)]
    if measures["confidence"] < VAGUE:
        rules = [LAST, *(rule for rule in rules if rule.code != "cropped")]
    elif LAST.broken(measures) and not {rule.code for rule in rules} & {"occluded", *EXPLAIN_FAINT}:
        rules.append(LAST)
    first: dict[str, Rule] = {}
    for rule in rules:
        first.setdefault(rule.code, rule)
    for rule in first.values():
        yield Broken(rule.code, rule.sentence.replace("{part}", f"the {part}"))


def _outside(size_2: tuple[int, ...], face: Face) -> float:
    """The share of the face that is outside the photo."""
    left_2, right_2 = eye_centres(face.points_52)
    across_2 = right_2 - left_2
    down_2 = np.array([-across_2[1], across_2[0]])
    y_GG, x_GG = np.mgrid[-1 : 1 : GRID * 1j, -1 : 1 : GRID * 1j]
    inside = x_GG**2 + y_GG**2 <= 1
    x_N = FACE_CENTRE[0] + FACE_HALF[0] * x_GG[inside]
    y_N = FACE_CENTRE[1] + FACE_HALF[1] * y_GG[inside]
    points_N2 = (left_2 + right_2) / 2 + x_N[:, None] * across_2 + y_N[:, None] * down_2
    height, width = size_2
    return float(((points_N2 < -0.5) | (points_N2 > np.array([width, height]) - 0.5)).any(axis=1).mean())


def _turn(face: Face) -> float:
    """How far the nose is beside the middle of the eyes, plus half the logarithm of the ratio of the eyes' widths."""
    left_2, right_2 = eye_centres(face.points_52)
    across_2 = right_2 - left_2
    nose = (face.points_52[4] - (left_2 + right_2) / 2) @ across_2 / (across_2 @ across_2)
    widths = eye_widths(face.points_52)
    return abs(float(nose) + 0.5 * float(np.log(max(widths[0], 1e-3) / max(widths[1], 1e-3))))


def _narrow(face: Face) -> float:
    """The distance between the eyes, divided by the width of the face: about 0.4 from the front, and less in a profile,
    in which the points of the other measure are inaccurate."""
    left_2, right_2 = eye_centres(face.points_52)
    return float(np.linalg.norm(right_2 - left_2)) / (face.box[2] - face.box[0])


def _detail(light_SS: NDArray[np.float64]) -> float:
    """Contrast of the finest details relative to that of details twice as large, in the direction where it is least:
    about 0.9 in a sharp photo. A moving camera blurs one direction."""
    light_SS, found = light_SS.astype(np.float32), []
    for fine_KK, coarse_KK in _lines():
        fine_SS, coarse_SS = cv2.filter2D(light_SS, -1, fine_KK), cv2.filter2D(light_SS, -1, coarse_KK)
        found.append(np.abs(light_SS - fine_SS).mean() / (np.abs(fine_SS - coarse_SS).mean() + 0.02))
    return float(min(found))


@functools.cache
def _lines() -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Per direction, a Gaussian along a line with σ = 0.8 px, and one with twice that."""
    return [(_line(angle, 0.8), _line(angle, 1.6)) for angle in np.arange(4) * np.pi / 4]


def _line(angle: float, sigma_px: float, side_px: int = 13) -> NDArray[np.float32]:
    kernel_KK = np.zeros((side_px, side_px), np.float32)
    for step in np.arange(-4, 4.5, 0.5):
        weight, (x, y) = (
            np.exp(-((step / sigma_px) ** 2) / 2),
            side_px // 2 + step * np.array([np.cos(angle), np.sin(angle)]),
        )
        left, top = int(np.floor(x)), int(np.floor(y))
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            share = (1 - abs(x - left - column)) * (1 - abs(y - top - row))
            kernel_KK[top + row, left + column] += weight * share
    return np.asarray(kernel_KK / kernel_KK.sum(), np.float32)
