"""Identity check: compares an edited image with the unedited image of the same identity and with those of other people.

In: features of faces. Out: the probability that the own unedited image is the nearest. ImageNet features describe
appearance rather than identity, so other hair or a turned head can count as another person (docs/screening.md).

Legend: A images, G gallery of other people, D feature width, N images, H = W side length.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.manifest import Artifact
from comface.faces.framing import FACE_SHARE
from comface.methods import load_method
from comface.methods import method as method_called
from comface.methods.encoder import Sources, encode

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Embed = Callable[[Pixels], Floats]
LEAST_GALLERY = 3
"""Minimum number of people per generator for the identity check."""


def embedder(method: str, backbone: Artifact | None = None) -> tuple[Embed, dict[str, Any], Mapping[str, Artifact]]:
    """Return a function from images (N,H,W,3) to features (N,D), the inputs of the method as values, and its input
    artifacts. A network whose view is the whole frame gets the face only, because hair and background do not change
    along a track and would be recognised instead."""
    sources = Sources(backbone)
    made, inputs = method_called(method).inputs(sources)
    encoder = load_method(method, sources)
    seen = encoder.preprocessing
    if seen.view_share == 1:
        seen = seen.model_copy(update={"view_share": FACE_SHARE})
    network = encoder.for_inference()  # folded once
    encoder = dataclasses.replace(encoder, preprocessing=seen, network=network, folds=False)

    def embed(images_NHW3: Pixels) -> Floats:
        return np.asarray(encode(encoder, images_NHW3), np.float64)

    return embed, made, inputs


@dataclass(frozen=True)
class Gallery:
    """Unit-length features (G,D) of other people at alpha 0, centred on their mean. `between`: median cosine distance
    between two of them."""

    names: tuple[str, ...]
    unit_GD: Floats
    mean_D: Floats
    between: float

    def distances(self, feature_AD: NDArray[np.floating]) -> Floats:
        """Return the cosine distances (A,G) between the images and the people in the gallery."""
        return 1 - unit(np.asarray(feature_AD, np.float64) - self.mean_D) @ self.unit_GD.T


def gallery_of(names: Sequence[str], feature_GD: NDArray[np.floating]) -> Gallery:
    """Build the gallery of the people `names` from the features (G,D) of their unedited faces."""
    mean_D = np.asarray(feature_GD, np.float64).mean(axis=0)
    unit_GD = unit(feature_GD - mean_D)
    apart = np.triu_indices(len(names), 1)
    return Gallery(tuple(names), unit_GD, mean_D, float(np.median((1 - unit_GD @ unit_GD.T)[apart])))


def own_nearest(own_A: Floats, others_AG: Floats, among: int) -> Floats:
    """Return, per image (A,), the probability that none of `among` people drawn from the gallery is as near as the own
    image. If r of G people are as near, it is C(G - r, among) / C(G, among)."""
    count = others_AG.shape[1]
    among = min(among, count)
    nearer_A = (others_AG <= own_A[:, None]).sum(axis=1)
    left_AK = count - nearer_A[:, None] - np.arange(among)[None, :]
    probability_A: Floats = (np.maximum(left_AK, 0) / (count - np.arange(among))[None, :]).prod(axis=1)
    return probability_A


def unit(feature_ND: Floats) -> Floats:
    unit_ND: Floats = feature_ND / np.maximum(np.linalg.norm(feature_ND, axis=-1, keepdims=True), 1e-12)
    return unit_ND
