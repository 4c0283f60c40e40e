"""Reads data sets of photos in the layouts in which their authors publish them (docs/data.md).

In: a folder and its layout. Out: a sorted list of `Photo`s with subjects and labels, and the excluded files by reason.
Only the headers of pictures and the lengths of videos are read here. Messages never contain photos of patients or their
file names; they give a row or a count instead.
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
    """Open a data set and log what is excluded. `folder`: its local copy, if there is one. `place`: its name in
    messages (default: its URI). `quick`: do not decode videos.

    Raises DataError if the data set is invalid or has no usable photo, ConfigurationError if permission to read it is
    missing."""
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
            raise DataError(f"The {source.layout} data set at '{place}' contains no usable photo; see docs/data.md.")
        photos, copies = without_copies(found.photos, hidden, place)
        check_pictures(photos, hidden)
        odd = odd_entries(folder)
    except OSError as error:
        raise _unreadable(error, place, hidden) from None
    left_out = Counter(found.left_out) + Counter({"copies of another photo": copies, ODD_ENTRIES: odd})
    found = DataSet(photos, found.labels, dict(left_out), (*found.remarks, *look_alikes(photos)))
    _require_labels(found, source, place)
    if told := found.told():
        logger.warning(f"The data set at '{place}': excluded: {told}")
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
            raise DataError(f"No photo of the data set at '{place}' has a value of '{label}'; add values.")


def _unreadable(error: OSError, place: str, hidden: bool) -> Exception:
    what = f"A file or folder of the data set at '{place}'"
    if not hidden and error.filename:
        what = f"'{error.filename}' of the data set at '{place}'"
    if isinstance(error, PermissionError):
        return ConfigurationError(f"{what} is not readable; check its owner and mode.")
    return DataError(f"{what} cannot be read ({error.strerror}); check the disk and the file.")
