"""Data sets of photos in the layouts that their authors publish (docs/data.md), read as one list of photos.

In: a folder and its layout. Out: `Photo`s, sorted, with subject and labels. Nothing is decoded except the lengths of
videos. Photos of patients and their file names never enter a message: such errors name a row or a count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from comface.config import DataSource
from comface.errors import DataError


@dataclass(frozen=True)
class Photo:
    """One photo (or one frame of a video) of one subject."""

    subject: str
    labels: Mapping[str, float]
    path: Path
    frame: int | None = None
    """0-based position of the frame in the video at `path`; None: `path` is an image."""
    session: str = ""
    phase: str = ""
    """'before' or 'after' dialysis; pairs are drawn between phases where a data set has them."""
    eyes: tuple[tuple[float, float], ...] = field(default=())
    """Landmarks shipped by the data set: the four eye corners, as faces.align takes them; empty: find the face."""


def read_dataset(source: DataSource, folder: Path | None = None) -> list[Photo]:
    """The photos of a data set, at least one; `folder` is where it lies on this machine, if it is there already.

    Raises DataError, one sentence, for what cannot be trusted."""
    from comface.transfer.datasets import disfa, edema, fgnet, table
    from comface.transfer.datasets.place import local_folder

    readers: dict[str, Callable[[Path, DataSource], list[Photo]]]
    readers = {"disfa": disfa.read, "fgnet": fgnet.read, "edema": edema.read, "pairs": table.read}
    folder = folder or local_folder(source.uri)
    if not folder.is_dir():
        raise DataError(f"The data set folder '{folder}' does not exist; mount it, or mend the `uri` of the data set.")
    photos = readers[source.layout](folder, source)
    if not photos:
        raise DataError(
            f"The {source.layout} data set at '{folder}' holds no photo that can be used; see docs/data.md."
        )
    _require_labels(source.layout, folder, photos, source.labels)
    return photos


def _require_labels(layout: str, folder: Path, photos: Sequence[Photo], labels: Sequence[str]) -> None:
    known = sorted({name for photo in photos for name in photo.labels})
    for label in labels:
        if label not in known:
            raise DataError(
                f"The {layout} data set at '{folder}' has no photo labelled '{label}'; it has {', '.join(known)}."
            )
