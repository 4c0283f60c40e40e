"""Reads data sets of photos in the layouts in which their authors publish them (docs/data.md).

In: a folder and its layout. Out: a sorted list of `Photo`s with subjects and labels, and the excluded files by reason.
Only the headers of pictures and the lengths of videos are read here. Messages never contain photos of patients or their
file names; they give a row or a count instead.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from comface.datasets.config import DataSource
from comface.datasets.dataset import ODD_ENTRIES, DataSet, LeftOut
from comface.datasets.registry import layout as layout_called
from comface.errors import ConfigurationError, DataError, raise_any
from comface.files.headings import nearest, same_label
from comface.files.tables import assume

logger = logging.getLogger(__name__)

COPIES = "copies of another photo"
DAMAGED = "photos that cannot be read"


def open_dataset(source: DataSource, folder: Path | None = None, place: str = "", quick: bool = False) -> DataSet:
    """Open a data set and log what is excluded and assumed. `folder`: its local copy, if there is one. `place`: its
    name in messages (default: its URI). `quick`: do not decode videos.

    Raises all problems together: DataError if the data set is invalid or has no usable photo, ConfigurationError if
    permission to read it is missing."""
    place = place or source.uri or str(folder)
    found = survey_dataset(source, folder, place, quick)
    raise_any(found.problems)
    for sentence in found.assumed:
        assume(sentence)
    if told := found.told():
        logger.warning(f"The data set at '{place}': excluded: {told}")
    for remark in found.remarks:
        logger.warning(f"The data set at '{place}': {remark}")
    return found


def survey_dataset(source: DataSource, folder: Path | None = None, place: str = "", quick: bool = False) -> DataSet:
    """As `open_dataset`, but what is wrong is in `problems`, and nothing is logged. Raises if there is nothing to
    read."""
    from comface.datasets.copies import look_alikes, without_copies
    from comface.datasets.files import odd_entries
    from comface.datasets.media import unreadable_pictures
    from comface.datasets.place import local_folder

    folder = folder or local_folder(source.uri)
    place = place or source.uri or str(folder)
    layout = layout_called(source.layout)
    try:
        if not folder.is_dir():
            raise _absent(folder, place)
        found = layout.read(folder, source, place, quick)
        photos, copies, wrong = without_copies(found.photos, layout.patients, place)
        damaged = unreadable_pictures(photos, layout.patients)
        odd = odd_entries(folder)
    except OSError as error:
        raise _unreadable(error, place, layout.patients) from None
    problems = [*found.problems, *wrong, *damaged.values(), *_label_problems(found, source, place)]
    if not found.photos and not problems:
        problems = [DataError(f"The {source.layout} data set at '{place}' contains no usable photo; see docs/data.md.")]
    left = LeftOut(folder)
    left.add_files(COPIES, (photo.path for photo in copies))
    left.add_files(DAMAGED, (photos[position].path for position in damaged))
    return dataclasses.replace(
        found,
        photos=[photo for position, photo in enumerate(photos) if position not in damaged],
        left_out=dict(Counter(found.left_out) + Counter({COPIES: len(copies), ODD_ENTRIES: odd})),
        remarks=(*found.remarks, *look_alikes(photos)),
        places={**found.places, **left.places},
        problems=problems,
    )


def _label_problems(found: DataSet, source: DataSource, place: str) -> Iterator[DataError]:
    have = {name for photo in found.photos for name in photo.labels}
    table = layout_called(source.layout).labels_from
    what = (f"{table} of the", "column") if table else ("The", "label")
    for label in source.labels:
        if not (name := same_label(label, found.labels)):
            there, close = ", ".join(found.labels), nearest(label, found.labels)
            hint = f" Did you mean '{close}'?" if close else ""
            yield DataError(f"{what[0]} data set at '{place}' has no {what[1]} '{label}'; it has: {there}.{hint}")
        elif name not in have and found.photos:
            yield DataError(f"No photo of the data set at '{place}' has a value of '{label}'; add values.")


def _absent(folder: Path, place: str) -> DataError:
    if folder.exists():
        return DataError(f"'{place}' is a file, not the folder of a data set; give the folder '{folder.parent}'.")
    if folder.is_absolute():
        return DataError(f"The data set folder '{place}' does not exist; mount it, or correct its `uri`.")
    return DataError(
        f"The data set folder '{place}' does not exist in the current folder, '{Path.cwd()}', from which a relative "
        "path counts; change the folder, or give the whole path as its `uri`."
    )


def _unreadable(error: OSError, place: str, hidden: bool) -> Exception:
    what = f"A file or folder of the data set at '{place}'"
    if not hidden and error.filename:
        what = f"'{error.filename}' of the data set at '{place}'"
    if isinstance(error, PermissionError):
        return ConfigurationError(f"{what} is not readable; check its owner and mode.")
    return DataError(f"{what} cannot be read ({error.strerror}); check the disk and the file.")
