"""Eigen-CAM (Muhammad and Yeasin, 2020): what a network responds to in an image, without labels or gradients.

In: the activations of the last feature map. Out: their projection on the first principal component, (H,W), and the same
as a map from 0 to 1 of any size. Figure 4 of the paper.

The sign of a principal component is arbitrary: LAPACK's choice can show the background in place of the object. The
projection is turned so that its largest absolute value is positive.

Legend: C channels, H, W sides of the feature map, P = H·W, S side length of the result.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
TINY = 1e-7


def projection(activation_CHW: NDArray[np.floating]) -> Floats:
    """The projection (H,W) of centred activations on their first principal component, with its sign corrected."""
    count, height, width = activation_CHW.shape
    value_PC = activation_CHW.reshape(count, -1).T.astype(np.float32)
    value_PC = value_PC - value_PC.mean(axis=0)
    component_C = np.linalg.svd(value_PC, full_matrices=False)[2][0]
    map_HW: Floats = (value_PC @ component_C).reshape(height, width)
    return -map_HW if -map_HW.min() > map_HW.max() else map_HW


def heat(projection_HW: Floats, width_px: int, height_px: int) -> Floats:
    """The positive part of a projection, scaled to [0, 1] and enlarged bilinearly."""
    import cv2

    scaled_HW = _scaled(np.maximum(projection_HW, 0))
    return _scaled(np.maximum(cv2.resize(scaled_HW, (width_px, height_px)), 0))


def _scaled(map_HW: NDArray[np.float32]) -> Floats:
    from_zero_HW = map_HW - map_HW.min()
    scaled_HW: Floats = from_zero_HW / (TINY + from_zero_HW.max())
    return scaled_HW
