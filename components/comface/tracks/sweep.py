"""One identity swept along one direction, as JPEGs: w + alpha n for every alpha (section 3.1).

In: a generator and the edited latents of one track (directions/edits.py). Out: uint8 images, then JPEG bytes. The
alphas of one track make batches of their own, so that a track's bits do not depend on its neighbours in a part.

Legend: A alphas (or N images), L rows of W+, D latent width, H = W side length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import simplejpeg

from comface.generators import FaceGenerator, draw

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
    pieces = [to_uint8(generator.render(w_ND, size_px), size_px).cpu() for w_ND in edited_AD.split(at_once)]
    return np.concatenate([piece.numpy() for piece in pieces])


def unedited_face(generator: FaceGenerator, seed: int, psi: float) -> np.ndarray:
    """The identity of `seed` without an edit (H,W,3) uint8, at most LARGEST_SIDE_PX wide: what screening looks at."""
    side_px = min(generator.image_size_px, LARGEST_SIDE_PX)
    face_HW3: np.ndarray = to_uint8(generator.render(draw(generator, [seed], psi), side_px), side_px).cpu().numpy()[0]
    return face_HW3


def to_uint8(images_NCHW: torch.Tensor, size_px: int) -> torch.Tensor:
    """[-1, 1] float to uint8 (N,H,W,3), brought to size with antialiasing where the generator did not."""
    import torch

    if images_NCHW.shape[-1] != size_px:
        images_NCHW = torch.nn.functional.interpolate(
            images_NCHW, (size_px, size_px), mode="bicubic", align_corners=False, antialias=True
        )
    grey_NCHW = ((images_NCHW + 1) * 127.5).round_().clamp_(0, 255)
    return grey_NCHW.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def encode(images_NHW3: np.ndarray, quality: int) -> list[bytes]:
    """JPEGs; libjpeg's bits are a function of pixels and quality."""
    chroma = "444" if images_NHW3.shape[1] < FULL_COLOUR_BELOW_PX else "420"
    return [
        simplejpeg.encode_jpeg(image, quality=quality, colorspace="RGB", colorsubsampling=chroma)
        for image in images_NHW3
    ]
