"""Which parts of a face are covered: the eyes, the nose, the mouth.

In: an aligned face (S,S,3). Out: per part, the estimated covered share. Edges (a histogram of oriented gradients: Dalal
and Triggs, CVPR 2005) and coarse colours of the view go through two small layers, fitted on faces of the generator
`dcgan` of which a part was covered by drawn shapes, textures and hands (benchmarks/visible.py). No photo of a person
took part in the fit. Errors on photos: docs/trust.md.

Legend: N faces, S side length, B orientations, D features, R parts.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from comface.faces.framing import FACE_SHARE, resized, view_of

PARTS = ("left eye", "right eye", "nose", "mouth")
"""Left and right in the image."""
MIRRORED = [1, 0, 2, 3]
"""Which part each of PARTS is in the mirrored image."""
FRAME_PX, VIEW_PX = 64, 48
ORIENTATIONS, CELL_PX = 8, 6
COLOUR_CELL_PX = 4
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
WEIGHTS = Path(__file__).with_name("visible.safetensors")
Floats = NDArray[np.float32]


def covered(face_SS3: NDArray[np.uint8]) -> dict[str, float]:
    """The covered share of each part, about 0 to 1: the mean over the face and its mirror image."""
    view_SS3 = view_of(resized(face_SS3, FRAME_PX, FRAME_PX)[None], FACE_SHARE)[0]
    face_NR, mirrored_NR = np.split(_shares(np.stack([view_SS3, view_SS3[:, ::-1]])), 2)
    share_R = (face_NR[0] + mirrored_NR[0, MIRRORED]) / 2
    return dict(zip(PARTS, share_R.round(3).tolist(), strict=True))


def _shares(view_NSS3: NDArray[np.uint8]) -> Floats:
    """The covered share (N,R) of each part of views."""
    weights = _weights()
    h_ND = (described(view_NSS3) - weights["mean"]) / weights["scale"]
    for layer in ("1", "2"):
        h_ND = np.maximum(h_ND @ weights[f"weight{layer}"] + weights[f"bias{layer}"], 0)
    logit_NR = h_ND @ weights["weight3"] + weights["bias3"]
    return np.asarray(1 / (1 + np.exp(-logit_NR)), np.float32)


def described(view_NSS3: NDArray[np.uint8]) -> Floats:
    """The features (N,D) of views of 48 px: locally normalised edges, and lightness and colour of 12 x 12 cells."""
    x_NSS3 = view_NSS3.astype(np.float32)
    light, colour = _colours(x_NSS3)
    parts = (_edges(x_NSS3 @ LUMA), light, colour)
    return np.concatenate([part.reshape(len(x_NSS3), -1) for part in parts], axis=1)


def _edges(grey_NSS: Floats) -> Floats:
    count, cells = len(grey_NSS), VIEW_PX // CELL_PX
    dx_NSS, dy_NSS = np.zeros_like(grey_NSS), np.zeros_like(grey_NSS)
    dx_NSS[:, :, 1:-1] = grey_NSS[:, :, 2:] - grey_NSS[:, :, :-2]
    dy_NSS[:, 1:-1] = grey_NSS[:, 2:] - grey_NSS[:, :-2]
    strength_NSS = np.hypot(dx_NSS, dy_NSS)
    place_NSS = (np.arctan2(dy_NSS, dx_NSS) % np.pi) / np.pi * ORIENTATIONS
    low_NSS, part_NSS = np.floor(place_NSS).astype(int) % ORIENTATIONS, place_NSS - np.floor(place_NSS)
    found = np.empty((count, cells, cells, ORIENTATIONS), np.float32)
    for b in range(ORIENTATIONS):
        share_NSS = (low_NSS == b) * (1 - part_NSS) + ((low_NSS + 1) % ORIENTATIONS == b) * part_NSS
        cut = (strength_NSS * share_NSS).reshape(count, cells, CELL_PX, cells, CELL_PX)
        found[..., b] = cut.sum((2, 4))
    energy = np.pad(np.sqrt((found**2).sum(-1)), ((0, 0), (1, 1), (1, 1)), mode="edge")
    around = np.stack([energy[:, i : i + cells, j : j + cells] for i in range(3) for j in range(3)]).mean(0)
    edges: Floats = np.sqrt(found / (around[..., None] + 40))
    return edges


def _colours(view_NSS3: Floats) -> tuple[Floats, Floats]:
    """Lightness (N,12,12), standardised per face; red and blue against lightness (N,12,12,2), around their median."""
    cells = VIEW_PX // COLOUR_CELL_PX
    cell = view_NSS3.reshape(-1, cells, COLOUR_CELL_PX, cells, COLOUR_CELL_PX, 3).mean((2, 4))
    light = cell @ LUMA
    colour = np.stack([cell[..., 0] - light, cell[..., 2] - light], -1)
    light = (light - light.mean((1, 2), keepdims=True)) / (light.std((1, 2), keepdims=True) + 8)
    colour = (colour - np.median(colour, axis=(1, 2), keepdims=True)) / 15
    return np.clip(light, -3, 3), np.clip(colour, -3, 3)


@functools.cache
def _weights() -> Mapping[str, Floats]:
    from safetensors.numpy import load_file

    return {name: values.astype(np.float32) for name, values in load_file(WEIGHTS).items()}
