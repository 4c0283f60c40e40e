"""The layout 'pairs': any data set of photos with numeric labels.

    labels.csv     subject,file,<label>,<label>…    one row per photo; an empty cell: no label
    …              the photos; `file` gives their paths relative to the folder

In: the folder. Out: photos with all other columns as labels, except groups (datasets/groups.py). The photos may show
patients: messages give the line of labels.csv, never the file.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

from comface.datasets.config import DataSource
from comface.datasets.dataset import DataSet, Photo
from comface.datasets.files import file_called, files_in, split_pictures, table_called
from comface.datasets.groups import group_columns, groups_of
from comface.datasets.registry import Layout
from comface.errors import DataError
from comface.files.tables import Row, Table, assume, normal, read_table

TABLE = "labels.csv"
COLUMNS = ("subject", "file")
LARGEST = 1e9
"""Largest absolute value of a label, so that squared errors remain finite."""
NO_LINE = "photos without a line in labels.csv"


def read(folder: Path, source: DataSource, place: str, quick: bool = False) -> DataSet:
    path = table_called(folder, TABLE, "subject,file,<label>…", place)
    table = read_table(path, "The table", COLUMNS, name=f"{TABLE} of the data set at '{place}'")
    groups = [name for name in group_columns(table.columns) if name not in source.labels]
    others = [column for column in table.columns if column not in (*COLUMNS, *groups)]
    if not others:
        raise DataError(f"{table.what} has only the columns subject and file; add one column per label.")
    labels = [column for column in others if column in source.labels or not table.is_text(column)] or others
    texts = [column for column in others if column not in labels]
    remarks = [f"columns of {TABLE} without numbers, which are ignored: {', '.join(texts)}"] if texts else []
    values = {label: table.numbers(label) for label in labels}
    for label, numbers in values.items():
        for row, value in zip(table.rows, numbers, strict=True):
            if value is not None and abs(value) > LARGEST:
                raise DataError(
                    f"Line {row.line} of {table.what} has a number above {LARGEST:,.0f} in the column '{label}'; "
                    "correct it, or choose a larger unit."
                )
    subjects = _subjects(table)
    photos: dict[Path, Photo] = {}
    for number, row in enumerate(table.rows):
        photo_path = _photo_path(folder, row, table)
        of = {label: value for label in labels if (value := values[label][number]) is not None}
        photo = Photo(subjects[number], of, photo_path, groups=groups_of(row.cells, groups), line=row.line)
        other = photos.setdefault(photo_path.resolve(), photo)
        if other is not photo:
            raise DataError(f"Lines {other.line} and {row.line} of {table.what} name the same photo; delete one.")
    pictures, _ = split_pictures(files_in(folder))
    unnamed = sum(picture.resolve() not in photos for picture in pictures)
    ordered = sorted(photos.values(), key=lambda photo: (photo.subject, photo.path))
    return DataSet(ordered, labels, Counter({NO_LINE: unnamed}), remarks)


def _subjects(table: Table) -> list[str]:
    """Return the subject of each row. Names that differ only in case are one person: to treat two people as one is less
    harmful than to have photos of one person in both the training and the test set."""
    spelled: dict[str, str] = {}
    for row in table.rows:
        subject = row.cells["subject"]
        if not subject or not row.cells["file"]:
            raise DataError(
                f"Line {row.line} of {table.what} has no subject or no file; fill it in, or delete the line."
            )
        if spelled.setdefault(normal(subject), subject) != subject:
            assume(f"{table.what} was read so that subjects whose names differ only in case are one person")
    return [spelled[normal(row.cells["subject"])] for row in table.rows]


def _photo_path(folder: Path, row: Row, table: Table) -> Path:
    where, name = f"Line {row.line} of {table.what}", row.cells["file"]
    try:
        relative = PurePosixPath(name.replace("\\", "/"))
        plain = not relative.is_absolute() and ".." not in relative.parts  # links may lead out of the folder
        inside = plain or (folder / relative).resolve().is_relative_to(folder.resolve())
        path = file_called(folder, name) if inside else None
    except PermissionError:
        raise
    except (DataError, OSError):  # several names that differ only in case, or a name that is too long
        inside, path = True, None
    if not inside:
        raise DataError(f"{where} names a file outside the data set; use a path relative to its folder.")
    if path is None:
        raise DataError(f"{where} names a photo that does not exist; add the photo, or delete the line.")
    return path


LAYOUT = Layout("pairs", read, patients=True, labels_from=TABLE)
