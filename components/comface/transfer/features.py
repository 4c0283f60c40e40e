"""Computes the features of all faces of a data set with one method, once for all tasks.

In: a `faces` artifact and the weights of a method. Out: an artifact `features` with features-00000.npy …, float32 (n,D)
(n faces of the chunk, D feature width), and for ComFace mirrored-00000.npy …, those of the mirrored faces, which
`compare` uses too; for a rehearsal, an example face with its saliency map. One chunk of faces and its features are in
memory at a time. An interrupted run resumes at the first missing chunk.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.arrays import Rows, array_bytes, chunk_name
from comface.artifacts.facts import FacesFacts
from comface.artifacts.manifest import Artifact, Draft
from comface.errors import DataError
from comface.files.arrays import array_in
from comface.methods import REVISION, load_method
from comface.methods import method as method_called
from comface.methods.encoder import GPU_BATCH, Sources, best_device, encoding
from comface.methods.example import example_files, example_row
from comface.runtime.cores import usable_cores
from comface.runtime.progress import counted, shown
from comface.store import Store
from comface.transfer.rows import read_faces
from comface.transfer.rows import read_features as read_features

logger = logging.getLogger(__name__)

VIEWS = ("features", "mirrored")
"""Names of the arrays: of the faces, and of their mirror images, which only ComFace needs."""


def features(store: Store, method: str, faces: Artifact, sources: Sources) -> Artifact:
    """Publish the features of `faces`, or return them if they exist. Raises DataError if a feature is not finite."""
    made, inputs = method_called(method).inputs(sources)
    views = {"views": list(VIEWS)} if method_called(method).challenger else {}
    address = {"method": method} | made | views
    draft = Draft(store, "features", address, {"faces": faces} | inputs, {"methods": REVISION})
    return draft.published() or _make(draft, method, faces, sources)


def _make(draft: Draft, method: str, faces: Artifact, sources: Sources) -> Artifact:
    """Compute and write the features of one chunk of faces after the other, after those of an interrupted run."""
    import torch

    images = read_faces(faces)
    encoder = load_method(method, sources)
    device = best_device()
    if device == "cpu":
        torch.set_num_threads(usable_cores())
    views = VIEWS if method_called(method).challenger else VIEWS[:1]
    first = _adopted(draft, images, encoder.width, views)
    where = "on the GPU" if device == "cuda" else "on the CPU"
    what = f"{counted(len(images), 'face')} of {faces.facts_as(FacesFacts).dataset}"
    logger.info(f"features of {method}: {what}, {where}{f', resuming at chunk {first + 1}' if first else ''}")
    rows = _encoded(images, first, encoding(encoder, device), views)
    rows = shown(rows, f"features of {method}", len(views) * sum(images.sizes[first:]), "image")
    for number, name in itertools.product(range(first, len(images.sizes)), views):
        size = images.sizes[number]
        h_ND = np.stack([*itertools.islice(rows, size)]) if size else np.empty((0, encoder.width), np.float32)
        if not np.isfinite(h_ND).all():
            raise DataError(
                f"The method '{method}' returns features that are not finite: its weights are damaged; get them again."
            )
        draft.write(chunk_name(name, number), array_bytes(h_ND))
    next(rows, None)  # ends the progress
    if len(images) and faces.facts_as(FacesFacts).rehearsal:
        face_SS3 = images[[example_row(faces.read_json("photos.json"))]][0]
        for name, data in example_files(encoder, face_SS3, method).items():
            draft.write(name, data)
    return draft.publish(
        {
            "method": method,
            "preprocessing": encoder.preprocessing.described(),
            "photos": len(images),
            "width": encoder.width,
        }
        | (encoder.origin.described() if encoder.origin else {})
    )


def _adopted(draft: Draft, images: Rows, width: int, views: Sequence[str]) -> int:
    """Adopt the first chunks that an interrupted run wrote; return their number."""
    for number, size in enumerate(images.sizes):

        def accept(*data: bytes, shape: tuple[int, int] = (size, width)) -> bool | None:
            return all(array_in(each).shape == shape for each in data) or None

        if draft.adopt([chunk_name(name, number) for name in views], accept) is None:
            return number
    return len(images.sizes)


def _encoded(
    images: Rows, first: int, encode: Callable[[NDArray[np.uint8]], NDArray[np.float32]], views: Sequence[str]
) -> Iterator[NDArray[np.float32]]:
    """Yield the features (D,) of each face from the chunk `first` on, one view of a chunk after the other."""
    for number in range(first, len(images.sizes)):
        chunk_NSSC = images.chunk(number)
        for view in views:
            faces_NSSC = np.ascontiguousarray(chunk_NSSC[:, :, ::-1]) if view == "mirrored" else chunk_NSSC
            for start in range(0, len(faces_NSSC), GPU_BATCH):
                yield from encode(faces_NSSC[start : start + GPU_BATCH])
