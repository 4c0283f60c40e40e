"""Renders and encodes the images of a track: w + alpha n for every alpha (section 3.1).

In: a generator and the edited latents of one track (directions/edits.py). Out: uint8 images, then JPEG bytes. A batch
contains images of one track only, so the bits of a track do not depend on other tracks.

Legend: A alphas (or N images), L rows of W+, D latent width, H = W side length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import simplejpeg

from comface.generators import FaceGenerator, copying, draw, resized

if TYPE_CHECKING:
    import torch

PIXELS_AT_ONCE = 2**24
"""Maximum number of pixels rendered at once (16 images of 1024 px, or a track of 256 px); limits memory."""
FULL_COLOUR_BELOW_PX = 128
"""Images smaller than this keep full chroma resolution. At half resolution, the mouth in a 64 px image has only 5 x 2
colour samples."""

LARGEST_SIDE_PX = 256
"""Maximum side length for face detection. Generated faces fill the image, so more pixels only take time."""


Pixels = Callable[[], np.ndarray]
"""Waits for the GPU, if there is one, and returns the images (A,H,W,3), uint8. It may be called in another thread."""


def render_track(generator: FaceGenerator, edited_AD: torch.Tensor, size_px: int) -> np.ndarray:
    """Render and resize the images of a track on the generator's device, (A,H,W,3) uint8. Latents are (A,D), or (A,L,D)
    if the rows of W+ differ."""
    return start_track(generator, edited_AD, size_px)()


def start_track(generator: FaceGenerator, edited_AD: torch.Tensor, size_px: int) -> Pixels:
    """As `render_track`, but on a GPU the images are not complete yet when it returns."""
    widest_px = size_px if getattr(generator, "splits", False) else max(generator.image_size_px, size_px)
    at_once = max(1, PIXELS_AT_ONCE // widest_px**2)
    pieces = [copying(resized(generator.render(w_ND, size_px), size_px)) for w_ND in edited_AD.split(at_once)]
    return pieces[0] if len(pieces) == 1 else lambda: np.concatenate([piece() for piece in pieces])


def unedited_face(generator: FaceGenerator, seed: int, psi: float) -> np.ndarray:
    """Render the unedited face of `seed`, (H,W,3) uint8, at most LARGEST_SIDE_PX wide, for face detection."""
    face_HW3: np.ndarray = start_faces(generator, [seed], psi)()[0]
    return face_HW3


def start_faces(generator: FaceGenerator, seeds: Sequence[int], psi: float) -> Pixels:
    """The unedited faces of `seeds`; on a GPU they are not complete yet when it returns."""
    side_px = min(generator.image_size_px, LARGEST_SIDE_PX)
    return copying(resized(generator.render(draw(generator, seeds, psi), side_px), side_px))


def encode(images_NHW3: np.ndarray, quality: int) -> list[bytes]:
    """Encode images as JPEG. The bytes depend on the pixels and the quality only."""
    chroma = "444" if images_NHW3.shape[1] < FULL_COLOUR_BELOW_PX else "420"
    return [
        simplejpeg.encode_jpeg(image, quality=quality, colorspace="RGB", colorsubsampling=chroma)
        for image in images_NHW3
    ]
