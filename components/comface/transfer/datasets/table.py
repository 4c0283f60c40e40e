"""Any data set of photos with numbers: the layout 'pairs'.

    labels.csv     subject,file,<label>,<label>…    one row per photo; an empty cell: not labelled
    …              the photos, at the paths that `file` gives, relative to the folder

In: the folder. Out: photos with the columns after `file` as labels. These may be patients: errors name the line of
labels.csv, never the file.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

from comface.config import DataSource
from comface.errors import DataError
from comface.transfer.datasets import Photo

TABLE = "labels.csv"


def read(folder: Path, source: DataSource) -> list[Photo]:
    path = folder / TABLE
    if not path.is_file():
        raise DataError(f"The data set at '{folder}' lacks {TABLE} (subject,file,<label>…); see docs/data.md.")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        header = [name.strip() for name in next(rows, [])]
        if header[:2] != ["subject", "file"] or len(header) < 3 or len(set(header)) < len(header):
            raise DataError(f"The first line of {TABLE} in '{folder}' is not subject,file,<label>…; mend it.")
        photos = [_photo(folder, header, row, rows.line_num) for row in rows if any(cell.strip() for cell in row)]
    return sorted(photos, key=lambda photo: (photo.subject, photo.path))


def _photo(folder: Path, header: list[str], row: list[str], line: int) -> Photo:
    where = f"Line {line} of {TABLE} in '{folder}'"
    if len(row) != len(header):
        raise DataError(f"{where} has {len(row)} columns instead of {len(header)}; mend it.")
    subject, name = row[0].strip(), row[1].strip()
    if not subject or not name:
        raise DataError(f"{where} lacks a subject or a file; fill it in, or delete the line.")
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{where} names a file outside the data set; use a path relative to its folder.")
    if not path.is_file():
        raise DataError(f"{where} names a photo that does not exist; add the photo, or delete the line.")
    labels = {}
    for column, cell in zip(header[2:], row[2:], strict=True):
        if not cell.strip():
            continue
        try:
            labels[column] = float(cell)
        except ValueError:
            labels[column] = math.nan
        if not math.isfinite(labels[column]):
            raise DataError(f"{where} has no number in the column '{column}'; write one, or leave it empty.")
    return Photo(subject=subject, labels=labels, path=path)
