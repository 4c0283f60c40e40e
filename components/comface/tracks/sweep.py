"""One identity swept along one direction, as JPEGs: w + alpha n for every alpha (section 3.1).

In: a generator and the edited latents of one track (directions/edits.py). Out: uint8 images, then JPEG bytes. The
alphas of one track make batches of their own, so that a track's bits do not depend on its neighbours in a part.

Legend: A alphas (or N images), L rows of W+, D latent width, H = W side length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import simplejpeg

from comface.generators import FaceGenerator, draw, resized, to_uint8

if TYPE_CHECKING:
    import torch

PIXELS_AT_ONCE = 2**24
"""Rendered together: 16 images of 1024 px, or a whole track of 256 px; bounds the device's memory."""
FULL_COLOUR_BELOW_PX = 128
"""Smaller images keep full chroma: halved, a 64 px mouth has 5 x 2 samples of colour."""

LARGEST_SIDE_PX = 256
"""Of a face that is looked for: generated faces fill their image, so more pixels only cost time."""


def render_track(generator: FaceGenerator, edited_AD: torch.Tensor, size_px: int) -> np.ndarray:
    """The track's images (A,H,W,3) uint8, rendered and resized on the generator's device. Latents are (A,D), or
    (A,L,D) where the rows of W+ differ."""
    at_once = max(1, PIXELS_AT_ONCE // max(generator.image_size_px, size_px) ** 2)
    pieces = [to_uint8(resized(generator.render(w_ND, size_px), size_px)) for w_ND in edited_AD.split(at_once)]
    return np.concatenate(pieces)


def unedited_face(generator: FaceGenerator, seed: int, psi: float) -> np.ndarray:
    """The identity of `seed` without an edit (H,W,3) uint8, at most LARGEST_SIDE_PX wide: what screening looks at."""
    side_px = min(generator.image_size_px, LARGEST_SIDE_PX)
    face_HW3: np.ndarray = to_uint8(resized(generator.render(draw(generator, [seed], psi), side_px), side_px))[0]
    return face_HW3


def encode(images_NHW3: np.ndarray, quality: int) -> list[bytes]:
    """JPEGs; libjpeg's bits are a function of pixels and quality."""
    chroma = "444" if images_NHW3.shape[1] < FULL_COLOUR_BELOW_PX else "420"
    return [
        simplejpeg.encode_jpeg(image, quality=quality, colorspace="RGB", colorsubsampling=chroma)
        for image in images_NHW3
    ]
