"""Measures images: whether a face is found, its scores, and whether the identity is kept.

In: a Sample and Instruments. Out: Measured, per generator and attribute. For identity, the features of every image are
compared with those of the track's own image at alpha 0 and with those of other identities at alpha 0 (the gallery).
Only the numbers are kept, not the images: about 1 KB of memory per track.

Legend: N tracks, A alphas, G gallery, D feature width, H = W side length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.errors import DataError
from comface.faces.sheet import spread
from comface.methods.gallery import LEAST_GALLERY, Gallery, gallery_of, own_nearest, unit
from comface.runtime.progress import shown
from comface.screening.config import ScreeningConfig
from comface.screening.sample import Kind, Pixels, Sample, sampled_identities
from comface.tracks.tar import Track

Floats = NDArray[np.float64]

GALLERY_PER_OTHER = 3
"""Size of the gallery per compared identity. With a small gallery the result depends on the selection."""


@dataclass(frozen=True)
class Instruments:
    """`score`: images (N,H,W,3) → scores (N,), NaN if no face is found. `embed`: images → features (N,D)."""

    score: Callable[[Pixels], Mapping[str, Floats]]
    embed: Callable[[Pixels], NDArray[np.floating]]
    described: Mapping[str, Any]
    """Methods and weights; part of the artifact's address."""


@dataclass(frozen=True)
class Measured:
    """Measurements of one attribute of one generator over N tracks. `reference`: index in alphas_A of the alpha nearest
    0."""

    kind: Kind
    tracks: tuple[Track, ...]
    alphas_A: Floats
    reference: int
    scores: Mapping[str, Floats]
    parameters: Mapping[str, Floats]
    own_nearest_NA: Floats
    """Probability that the image is nearer to its own image at alpha 0 than to those of `others` random identities."""
    distance_NA: Floats
    """Distance to the own image at alpha 0; 1 is the median distance between two identities."""
    example_AHW3: Pixels

    @property
    def faces(self) -> NDArray[np.bool_]:
        """Return whether a face is found, per image (N,A)."""
        return np.isfinite(next(iter(self.scores.values())))


def measured_alphas(alphas: Sequence[float], most: int) -> tuple[list[int], int]:
    """Return the indices of the measured alphas (among them both ends and the alpha nearest 0), and the position of the
    latter among them."""
    nearest = min(range(len(alphas)), key=lambda i: abs(alphas[i]))
    chosen = sorted({*spread(len(alphas), most), nearest})
    return chosen, chosen.index(nearest)


def measure(sample: Sample, config: ScreeningConfig, instruments: Instruments) -> list[Measured]:
    """Measure every attribute of every generator. Raises DataError if a generator has too few identities."""
    at, reference = measured_alphas(sample.alphas, config.alphas)
    found = []
    galleries: dict[str, Gallery] = {}
    for kind in shown(sample.kinds, "screening", unit="attribute"):
        if kind[0] not in galleries:
            galleries[kind[0]] = make_gallery(sample, kind[0], at[reference], config, instruments)
        measured = _measure_one(sample, kind, at, reference, galleries[kind[0]], config, instruments)
        if measured is not None:
            found.append(measured)
    return found


def make_gallery(
    sample: Sample, generator: str, reference: int, config: ScreeningConfig, instruments: Instruments
) -> Gallery:
    names: list[str] = []
    images: list[Pixels] = []
    for track in sampled_identities(sample, generator, config.seed):
        image = sample.images(track, [reference])
        if image is not None:
            names.append(track.identity)
            images.append(image[0])
        if len(names) > GALLERY_PER_OTHER * config.others:
            break
    if len(names) < LEAST_GALLERY:
        raise DataError(
            f"The generator '{generator}' has {len(names)} identities with a face, but the identity check needs at "
            "least three; raise its identities in synthesize.composition."
        )
    return gallery_of(names, instruments.embed(np.stack(images)))


def _measure_one(
    sample: Sample,
    kind: Kind,
    at: Sequence[int],
    reference: int,
    gallery: Gallery,
    config: ScreeningConfig,
    instruments: Instruments,
) -> Measured | None:
    tracks: list[Track] = []
    rows: list[tuple[Mapping[str, Floats], Mapping[str, Floats], Floats, Floats]] = []
    example_AHW3, shows_face = np.zeros((len(at), 1, 1, 3), np.uint8), False
    for track in sample.tracks(kind):
        images_AHW3 = sample.images(track, at)
        if images_AHW3 is None:
            continue
        scores = instruments.score(images_AHW3)
        nearest_A, distance_A = _identity(instruments.embed(images_AHW3), reference, track.identity, gallery, config)
        rows.append((scores, sample.parameters(track, at), nearest_A, distance_A))
        tracks.append(track)
        if not shows_face:
            example_AHW3, shows_face = images_AHW3, bool(np.isfinite(next(iter(scores.values()))[reference]))
        if len(tracks) == config.tracks:
            break
    if not tracks:
        return None
    return Measured(
        kind=kind,
        tracks=tuple(tracks),
        alphas_A=np.array([sample.alphas[i] for i in at]),
        reference=reference,
        scores=_stacked([row[0] for row in rows]),
        parameters=_stacked([row[1] for row in rows]),
        own_nearest_NA=np.stack([row[2] for row in rows]),
        distance_NA=np.stack([row[3] for row in rows]),
        example_AHW3=example_AHW3,
    )


def _identity(
    feature_AD: NDArray[np.floating], reference: int, name: str, gallery: Gallery, config: ScreeningConfig
) -> tuple[Floats, Floats]:
    """Return per image the probability that its own image at alpha 0 is the nearest, and the distance to it."""
    unit_AD = unit(np.asarray(feature_AD, np.float64) - gallery.mean_D)
    own_A = 1 - unit_AD @ unit_AD[reference]
    own_A[reference] = -1.0  # the same image
    other = [i for i, each in enumerate(gallery.names) if each != name]
    nearest_A = own_nearest(own_A, gallery.distances(feature_AD)[:, other], config.others)
    own_A[reference] = 0.0
    return nearest_A, own_A / gallery.between


def _stacked(rows: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}
