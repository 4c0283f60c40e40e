"""`comface.load_model`, `comface.compare` and `comface.features`.

In: photos as paths, bytes, images of Pillow or arrays of uint8. Out: comparisons and features.

Legend: N photos, D feature width.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from comface.datasets.config import FACE_PX
from comface.errors import ConfigurationError
from comface.methods.encoder import Encoder, encode, encode_images
from comface.models.model import DrawnComparison, Model, aligned_face, check_several, stacked
from comface.plan.chosen import Chosen
from comface.store import open_named, open_store

if TYPE_CHECKING:
    from comface.faces.photos import Photo
    from comface.plan.configuration import RunConfig


Place = str | os.PathLike[str]


def load_model(reference: Place | None = None, store: Place | None = None) -> Model:
    """Load a registered model.

    `reference`: `comface@champion`, `comface@v3`, `comface` (its newest version), `shipped`, or the URI or path of a
    model. None: the champion, else the newest version; if the store has no models, the one that ships. `store`: the
    object store, a folder that exists or s3://bucket/prefix. None: the folder runs/laptop/store, which may be absent,
    as on the command line.

    Raises ConfigurationError if there is no such model, DataError if it was changed after its registration, TryAgain if
    the store cannot be reached."""
    named = _text(store, "store")
    return Model.load(open_named(named) if named else open_store(_default_store()), _text(reference, "model"))


def compare(
    before: Photo, after: Photo, model: Model | Place | None = None, *, everything: bool = False
) -> DrawnComparison:
    """Estimate the change from `before` to `after`, two photos of one person. `model`: a model or its reference. None:
    that of `load_model()`, which is loaded once. `everything`: every task, also those of one quantity.

    Raises DataError that names the photo if one cannot be used, for example because it shows no face."""
    loaded = model if isinstance(model, Model) else _loaded(_text(model, "model"), _default_store())
    return loaded.compare(before, after, everything=everything)


def features(
    photos: Iterable[Photo],
    method: str | None = None,
    *,
    model: Model | Place | None = None,
    weights: str | Path | None = None,
    find_face: bool = True,
) -> NDArray[np.float32]:
    """The features (N,D) of photos, by a model or by a method, e.g. "imagenet" or "timm:resnet18".

    `model`: as for `compare`, if there is no method. `weights`: the weight file of a published method. `find_face`:
    find the face and align it first, as evaluation does; False: take the images as they are, as `comface features`
    does.

    Raises DataError if a photo cannot be used, ConfigurationError for a method or weights that are not there."""
    if method is not None and model is not None:
        raise ConfigurationError("`features` got a method and a model; give one of them.")
    if weights is not None and method is None:
        raise ConfigurationError("`features` got weights without a method; name the method that they belong to.")
    check_several(photos)
    if method is None:
        loaded = model if isinstance(model, Model) else _loaded(_text(model, "model"), _default_store())
        if find_face:
            return loaded.features(photos)
        encoder = loaded.encoder
    else:
        config = Chosen(None, None, ()).configuration()
        encoder = load_encoder(method, Path(weights) if weights is not None else None, None, config)
    if not find_face:
        from comface.faces.photos import read_photo

        return encode_images(encoder, (read_photo(photo, opaque=True) for photo in photos))
    faces = (aligned_face(photo, f"number {number}", FACE_PX) for number, photo in enumerate(photos, start=1))
    parts = [encode(encoder, chunk_NSS3) for chunk_NSS3 in stacked(faces)]
    return np.concatenate([np.empty((0, encoder.width), np.float32), *parts])


def load_encoder(method: str, weights: Path | None, backbone: str | None, config: RunConfig) -> Encoder:
    """Load a method. Raises ConfigurationError for an option that the method does not take."""
    from comface.methods import load_method
    from comface.methods import method as method_called
    from comface.methods.encoder import Sources
    from comface.models.references import resolve_backbone, resolve_model

    wanted, artifact = method_called(method), None
    if weights is not None and not wanted.takes_weights:
        raise ConfigurationError(f"The method '{method}' takes no weights; omit them.")
    if backbone is not None and not wanted.reads_backbone:
        raise ConfigurationError(f"The method '{method}' takes no backbone; omit it.")
    if wanted.reads_backbone:
        store = open_store(config.store)
        artifact = resolve_backbone(store, backbone or resolve_model(store, None)[0])
    return load_method(method, Sources.of(artifact, weights, config.transfer))


@functools.lru_cache(maxsize=4)
def _loaded(reference: str | None, store: str) -> Model:
    return Model.load(open_store(store), reference)


def _default_store() -> str:
    return (Chosen(None, None, ()).folder() / "store").as_uri()


def _text(named: Place | None, what: str) -> str | None:
    """A reference or URI as it is, a path as an absolute one. Raises ConfigurationError for anything else."""
    if named is None or isinstance(named, str):
        return named
    if isinstance(named, os.PathLike):
        return str(Path(named).expanduser().absolute())
    kind = type(named).__name__
    raise ConfigurationError(f"The {what} is an object of type {kind}; give a text or a path.")
