"""Detection rate of generated faces by skin lightness: a detector that misses dark faces would silently remove them
from the training data.

In: unedited images of generated faces, and whether a face was found in each. Out: counts by lightness, which can be
summed over parts, and the detection rates in the darkest and the lightest tenth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BIN = 2.0
BINS = 50
"""Lightness L* of CIELAB runs from 0 (black) to 100 (white): 50 bins of 2."""
SKIN = ((0.45, 0.75), (0.3, 0.7))
"""Rows and columns of nose, cheeks and mouth in the generators' framing, as shares of the image."""
SMALLEST_TENTH = 20
"""Minimum number of faces in a tenth; with fewer, its rate is too uncertain and is not reported."""

Counts = dict[str, list[int]]
"""`faces` and `found`: BINS numbers each."""


@dataclass(frozen=True)
class Tenths:
    """The results of one generator: number of faces, and the detection rate for all, the darkest tenth and the lightest
    tenth (None: too few faces)."""

    faces: int
    found: float
    darkest: float | None
    lightest: float | None

    def sentence(self) -> str:
        said = f"a face is found in {self.found:.0%} of {self.faces:,} generated faces"
        if self.darkest is None or self.lightest is None:
            return f"{said} (too few to compare dark and light faces)"
        return f"{said}: {self.darkest:.0%} of the darkest tenth, {self.lightest:.0%} of the lightest"


def skin_lightness(image_HW3: NDArray[np.uint8]) -> float:
    """Median L* (0 to 100) of the skin region of an image (H,W,3), uint8 RGB."""
    import cv2  # not installed in the container image of evaluate and register, which only read counts

    height, width = image_HW3.shape[:2]
    rows, columns = (slice(int(low * n), int(high * n)) for (low, high), n in zip(SKIN, (height, width), strict=True))
    lab = cv2.cvtColor(np.ascontiguousarray(image_HW3[rows, columns]), cv2.COLOR_RGB2LAB)
    return float(np.median(lab[..., 0])) / 2.55


def counted(looked_at: Iterable[tuple[float, bool]]) -> Counts:
    """(lightness, found) of each face -> counts."""
    counts: Counts = {"faces": [0] * BINS, "found": [0] * BINS}
    for lightness, found in looked_at:
        place = min(int(lightness / BIN), BINS - 1)
        counts["faces"][place] += 1
        counts["found"][place] += found
    return counts


def added(parts: Iterable[Mapping[str, Counts]]) -> dict[str, Counts]:
    """Counts by generator, summed over parts."""
    total: dict[str, Counts] = {}
    for part in parts:
        for generator, counts in part.items():
            into = total.setdefault(generator, counted(()))
            for name, numbers in into.items():
                into[name] = [a + b for a, b in zip(numbers, counts[name], strict=True)]
    return dict(sorted(total.items()))


def tenths(counts: Counts) -> Tenths:
    """The rates from `counts`. The last bin of a tenth counts in part, with that bin's own rate."""
    faces = sum(counts["faces"])
    if not faces:
        return Tenths(0, 0.0, None, None)
    enough = faces >= 10 * SMALLEST_TENTH
    darkest = _share(counts["faces"], counts["found"], faces / 10) if enough else None
    lightest = _share(counts["faces"][::-1], counts["found"][::-1], faces / 10) if enough else None
    return Tenths(faces, sum(counts["found"]) / faces, darkest, lightest)


def _share(faces: Sequence[int], found: Sequence[int], wanted: float) -> float:
    left, sum_found = wanted, 0.0
    for count, hits in zip(faces, found, strict=True):
        if count:
            taken = min(left, count)
            sum_found += hits * taken / count
            left -= taken
    return sum_found / wanted
