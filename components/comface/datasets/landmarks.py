"""Reads the landmarks that data sets include and reduces them to the four eye corners for the alignment of faces.

Out: eye corners (x, y) in pixels, from left to right in the image.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comface.errors import DataError
from comface.files import read_bounded

Corners = tuple[tuple[float, float], ...]
MAX_BYTES = 1_000_000
NUMBER_PAIR = re.compile(r"^\s*([-+\d.eE]+)[\s,]+([-+\d.eE]+)\s*$")


def eyes_of_pts(path: Path) -> Corners:
    """Read a .pts file (`version: 1`, `n_points: 68`, `{`, one `x y` per line, `}`). Raises DataError if it does not
    contain 68 points."""
    lines = read_bounded(path, MAX_BYTES, "The landmark file").decode(errors="replace").splitlines()
    found = [match for line in lines if (match := NUMBER_PAIR.match(line))]
    try:
        points_N2 = np.array([[float(match[1]), float(match[2])] for match in found])
    except ValueError:
        points_N2 = np.empty((0, 2))
    if points_N2.shape != (68, 2) or not np.isfinite(points_N2).all():
        raise DataError(f"'{path.name}' contains {len(points_N2)} of 68 points; copy it again, or delete it.")
    return eyes_of_68(points_N2)


def eyes_of_68(points_N2: NDArray[np.float64]) -> Corners:
    """Return the eye corners from 68 points in FG-NET's or iBUG's order.

    FG-NET marks each eye with four points and the pupil (27-31, 32-36), iBUG with six points (36-41, 42-47). In
    FG-NET's order, the fifth point is within the bounding box of the other four. This cannot occur in iBUG's order, in
    which 27-30 run down the bridge of the nose and 31 is the edge of a nostril."""
    if _inside(points_N2[31], points_N2[27:31]) and _inside(points_N2[36], points_N2[32:36]):
        return _corners(points_N2[27:31], points_N2[32:36])
    return _corners(points_N2[36:42], points_N2[42:48])


def eyes_of_66(path: Path) -> Corners:
    """Read DISFA's .mat file: `pts` (66,2), iBUG's order without the inner corners of the mouth. Raises DataError if it
    is invalid."""
    from scipy.io import loadmat

    data = io.BytesIO(read_bounded(path, MAX_BYTES, "The landmark file"))
    try:
        points_N2 = np.asarray(loadmat(data, variable_names=["pts"])["pts"], dtype=np.float64)
    except Exception as error:  # scipy raises many different types for damaged files
        raise DataError(f"'{path.name}' is not a MATLAB file with 'pts' ({type(error).__name__}); delete it.") from None
    if points_N2.shape != (66, 2) or not np.isfinite(points_N2).all():
        raise DataError(f"'{path.name}' does not contain 66 points; copy it again, or delete it.")
    return _corners(points_N2[36:42], points_N2[42:48])


def _inside(point_2: NDArray[np.float64], box_N2: NDArray[np.float64]) -> bool:
    low_2, high_2 = box_N2.min(axis=0), box_N2.max(axis=0)
    return bool(((point_2 >= low_2) & (point_2 <= high_2)).all())


def _corners(eye_N2: NDArray[np.float64], other_N2: NDArray[np.float64]) -> Corners:
    """Return the two points of each eye that are furthest apart, ordered from left to right."""
    corners: list[tuple[float, float]] = []
    for points_N2 in sorted((eye_N2, other_N2), key=lambda eye: eye[:, 0].mean()):
        distances_NN = np.linalg.norm(points_N2[:, None] - points_N2[None], axis=2)
        ends = np.unravel_index(int(distances_NN.argmax()), distances_NN.shape)
        corners += sorted((float(points_N2[i, 0]), float(points_N2[i, 1])) for i in ends)
    return tuple(corners)
