"""Data sets of photos in the layouts that their authors publish (docs/data.md), read as one list of photos.

In: a folder and its layout. Out: `Photo`s, sorted, with subject and labels, and what was left out and why. Of pictures
the headers are read, of videos the lengths. Photos of patients and their file names never enter a message: such
errors name a row or a count.
"""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from comface.datasets.config import DataSource
from comface.datasets.dataset import ODD_ENTRIES, DataSet
from comface.datasets.registry import layout as layout_called
from comface.errors import ConfigurationError, DataError

logger = logging.getLogger(__name__)


def open_dataset(source: DataSource, folder: Path | None = None, place: str = "", quick: bool = False) -> DataSet:
    """A data set with at least one photo; `folder` is where it lies on this machine, if it is there already, and
    `place` how it is called (default: its uri). `quick`: no video is decoded. What was left out is said.

    Raises DataError, one sentence, for what cannot be trusted, ConfigurationError for what may not be read."""
    from comface.datasets.copies import look_alikes, without_copies
    from comface.datasets.files import odd_entries
    from comface.datasets.media import check_pictures
    from comface.datasets.place import local_folder

    folder = folder or local_folder(source.uri)
    place = place or source.uri or str(folder)
    layout = layout_called(source.layout)
    hidden = layout.patients
    try:
        if not folder.is_dir():
            raise DataError(f"The data set folder '{place}' does not exist; mount it, or correct its `uri`.")
        found = layout.read(folder, source, place, quick)
        if not found.photos:
            raise DataError(
                f"The {source.layout} data set at '{place}' holds no photo that can be used; see docs/data.md."
            )
        photos, copies = without_copies(found.photos, hidden, place)
        check_pictures(photos, hidden)
        odd = odd_entries(folder)
    except OSError as error:
        raise _unreadable(error, place, hidden) from None
    left_out = Counter(found.left_out) + Counter({"copies of another photo": copies, ODD_ENTRIES: odd})
    found = DataSet(photos, found.labels, dict(left_out), (*found.remarks, *look_alikes(photos)))
    _require_labels(found, source, place)
    if told := found.told():
        logger.warning(f"The data set at '{place}': left out: {told}")
    for remark in found.remarks:
        logger.warning(f"The data set at '{place}': {remark}")
    return found


def _require_labels(found: DataSet, source: DataSource, place: str) -> None:
    have = {name for photo in found.photos for name in photo.labels}
    table = layout_called(source.layout).labels_from
    what = (f"{table} of the", "column") if table else ("The", "label")
    for label in source.labels:
        if label not in found.labels:
            there = ", ".join(found.labels)
            raise DataError(f"{what[0]} data set at '{place}' has no {what[1]} '{label}'; it has: {there}.")
        if label not in have:
            raise DataError(f"The data set at '{place}' has no photo with a value of '{label}'; fill in some.")


def _unreadable(error: OSError, place: str, hidden: bool) -> Exception:
    what = f"A file or folder of the data set at '{place}'"
    if not hidden and error.filename:
        what = f"'{error.filename}' of the data set at '{place}'"
    if isinstance(error, PermissionError):
        return ConfigurationError(f"{what} is not readable; check its owner and mode.")
    return DataError(f"{what} cannot be read ({error.strerror}); check it.")
