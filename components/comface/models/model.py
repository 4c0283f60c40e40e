"""A loaded model, for many pairs of photos: what `comface.load_model` returns.

In: photos as paths, bytes, images of Pillow or arrays of uint8 (faces/photos.py). Out: comparisons, features, the card.
A model is loaded once and does not change; several threads may share it.

Legend: N photos, V views (the face, its mirror image), S = H = W side length of an aligned face, D feature width.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.manifest import Artifact
from comface.errors import ConfigurationError
from comface.methods.encoder import Encoder, encode
from comface.models.compare import Comparison, compare_with, table
from comface.models.estimator import Estimator, load_estimator, shared_encoder
from comface.models.format import read_card
from comface.models.references import resolve_model
from comface.store import Store

if TYPE_CHECKING:
    from comface.faces.photos import Photo

AT_ONCE = 64
"""Aligned faces that are held in memory before they are encoded."""


class DrawnComparison(Comparison):
    """A comparison that shows itself: as the table of `comface compare` in Python, as its picture in a notebook."""

    def picture(self) -> bytes:
        """The PNG that `comface compare --picture` writes. It contains both faces. Needs the extra `train`."""
        from comface.models.picture import picture

        return picture(self)

    def _repr_png_(self) -> bytes | None:
        return self.picture() if find_spec("matplotlib") else None

    def __repr__(self) -> str:
        return table(self)


@dataclass(frozen=True, eq=False)
class Model:
    """`reference`: what the output of a comparison calls the model, e.g. `comface@v3` or `shipped`."""

    reference: str
    artifact: Artifact
    estimator: Estimator

    @classmethod
    def load(cls, store: Store, reference: str | None = None) -> Model:
        """Load a model by its reference (models/references.py). Raises ConfigurationError if there is none, DataError
        if it was changed after its registration."""
        called, artifact = resolve_model(store, reference)
        return cls(called, artifact, load_estimator(artifact))

    @property
    def card(self) -> str:
        """The model card, as Markdown."""
        return read_card(self.artifact)

    def compare(self, before: Photo, after: Photo, *, everything: bool = False) -> DrawnComparison:
        """Estimate the change from `before` to `after`, two photos of one person, for every quantity that the model
        knows. `everything`: for every task, also those of one quantity. Raises DataError that names the photo if one
        cannot be used, for example because it shows no face."""
        found = compare_with(self.estimator, before, after, self.reference, everything)
        return DrawnComparison(*(getattr(found, each.name) for each in fields(found)))

    def features(self, photos: Iterable[Photo]) -> NDArray[np.float32]:
        """The features (N,D) of the backbone that the model's linear tasks share. Raises DataError if a photo cannot be
        used."""
        found_ND: NDArray[np.float32] = self.views(photos)[0]
        return found_ND

    def views(self, photos: Iterable[Photo], mirrored: bool = False) -> NDArray[np.float32]:
        """The features (1,N,D) of the faces, or (2,N,D) with those of their mirror images."""
        check_several(photos)
        size_px = self.estimator.preprocessing.aligned_px
        faces = (aligned_face(photo, f"number {number}", size_px) for number, photo in enumerate(photos, start=1))
        parts = [np.empty((1 + mirrored, 0, self.encoder.width), np.float32)]
        for chunk_NSS3 in stacked(faces):
            sides = [chunk_NSS3, chunk_NSS3[:, :, ::-1]][: 1 + mirrored]
            parts.append(np.stack([encode(self.encoder, side_NSS3) for side_NSS3 in sides]))
        return np.concatenate(parts, axis=1)

    @functools.cached_property
    def encoder(self) -> Encoder:
        return shared_encoder(self.artifact, self.estimator)

    def __deepcopy__(self, _: dict[int, Any]) -> Model:
        """The model itself: it does not change, and scikit-learn copies the parameters of an estimator."""
        return self

    def __repr__(self) -> str:
        return f"<comface model {self.reference}: {', '.join(self.estimator.record)}>"


def aligned_face(photo: Photo, role: str, size_px: int) -> NDArray[np.uint8]:
    """The aligned face (S,S,3) in a photo. `role`: how messages call the photo, e.g. `number 3`."""
    from comface.faces.detection import align
    from comface.models.photo import found_face

    image_HW3, face = found_face(photo, role)
    return align(image_HW3, face.points_52, size_px)


def stacked(faces: Iterable[NDArray[np.uint8]], size: int = AT_ONCE) -> Iterator[NDArray[np.uint8]]:
    """Faces in arrays of at most `size`."""
    remaining = iter(faces)
    while chunk := list(itertools.islice(remaining, size)):
        yield np.stack(chunk)


def check_several(photos: object) -> None:
    """Raises ConfigurationError for a single photo in the place of several."""
    one = isinstance(photos, (str, bytes, Path)) or type(photos).__module__.startswith("PIL.")
    if one or (isinstance(photos, np.ndarray) and photos.dtype == np.uint8 and photos.ndim < 4):
        raise ConfigurationError("`features` takes several photos; put a single one into a list.")
