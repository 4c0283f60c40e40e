"""The layout 'pairs': any data set of photos with numeric labels.

    labels.csv     subject,file,<label>,<label>…    one row per photo; an empty cell: no label
    …              the photos; `file` gives their paths relative to the folder, or only their names

In: the folder. Out: photos with all other columns as labels, except groups (datasets/groups.py). The photos may show
patients: messages give the line of labels.csv, never the file.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from comface.datasets.config import DataSource
from comface.datasets.dataset import DataSet, LeftOut, Photo
from comface.datasets.files import file_called, files_in, sort_pictures, table_called
from comface.datasets.groups import group_columns, groups_of
from comface.datasets.registry import Layout
from comface.errors import DataError
from comface.files.headings import normal, same_label, unit_in
from comface.files.tables import Table, survey_table

TABLE = "labels.csv"
COLUMNS = ("subject", "file")
LARGEST = 1e9
"""Largest absolute value of a label, so that squared errors remain finite."""
NO_LINE = "photos without a line in labels.csv"


def read(folder: Path, source: DataSource, place: str, quick: bool = False) -> DataSet:
    path = table_called(folder, TABLE, "subject,file,<label>…", place)
    table = survey_table(path, "The table", COLUMNS, name=f"{TABLE} of the data set at '{place}'")
    left_out = LeftOut(folder)
    pictures = sort_pictures((each for each in files_in(folder) if each != path), LeftOut(folder))
    labels, groups, texts = _columns(table, source)
    values = {label: _bounded(table, label) for label in labels}
    subjects, incomplete = _subjects(table), list[int]()
    paths = _photo_paths(folder, table, pictures)
    photos: dict[Path, Photo] = {}
    for number, row in enumerate(table.rows):
        if not subjects[number] or not row.cells["file"]:
            incomplete.append(row.line)
        elif (photo_path := paths[number]) is not None:
            of = {label: value for label in labels if (value := values[label][number]) is not None}
            photo = Photo(subjects[number], of, photo_path, groups=groups_of(row.cells, groups), line=row.line)
            other = photos.setdefault(photo_path.resolve(), photo)
            if other is not photo:
                table.problems.append(
                    DataError(f"Lines {other.line} and {row.line} of {table.what} name the same photo; delete one.")
                )
    if incomplete:
        table.problems.append(
            DataError(f"{table.has(incomplete)} no subject or no file; fill it in, or delete the line.")
        )
    left_out.add_files(NO_LINE, (picture for picture in pictures if picture.resolve() not in photos))
    ordered = sorted(photos.values(), key=lambda photo: (photo.subject, photo.path))
    remarks = [f"columns of {TABLE} without numbers, which are ignored: {', '.join(texts)}"] if texts else []
    taken = {f"column '{table.headings[name]}'": name for name in COLUMNS}
    taken |= {f"column '{table.headings[name]}'": f"the label '{name}'" for name in labels}
    taken |= {f"column '{table.headings[name]}'": "a group" for name in groups}
    taken |= {f"column '{table.headings[name]}'": "not read: it has no numbers" for name in texts}
    units = {label: unit for label in labels if (unit := unit_in(table.headings[label]) or table.units.get(label))}
    return DataSet(
        ordered, labels, left_out.counts(), remarks, table.assumed, taken, left_out.places, table.problems, units
    )


def _columns(table: Table, source: DataSource) -> tuple[list[str], list[str], list[str]]:
    """(labels, groups, columns of words)."""
    asked = {same_label(label, table.columns) for label in source.labels} - {""}
    groups = [name for name in group_columns(table.columns) if name not in asked]
    others = [column for column in table.columns if column not in (*COLUMNS, *groups)]
    if not others:
        raise DataError(f"{table.what} has only the columns subject and file; add one column per label.")
    labels = [column for column in others if column in asked or not table.is_text(column)] or others
    return labels, groups, [column for column in others if column not in labels]


def _bounded(table: Table, label: str) -> list[float | None]:
    numbers = table.read(label)
    lines = [
        row.line for row, value in zip(table.rows, numbers, strict=True) if value is not None and abs(value) > LARGEST
    ]
    if lines:
        table.problems.append(
            DataError(
                f"{table.has(lines)} a number above {LARGEST:,.0f} in the column '{label}'; correct it, or choose a "
                "larger unit."
            )
        )
    return numbers


def _subjects(table: Table) -> list[str]:
    """Return the subject of each row. Names that differ only in case are one person: to treat two people as one is less
    harmful than to have photos of one person in both the training and the test set."""
    spelled: dict[str, str] = {}
    for row in table.rows:
        subject = row.cells["subject"]
        if subject and spelled.setdefault(normal(subject), subject) != subject:
            table.assume(f"{table.what} was read so that subjects whose names differ only in case are one person")
    return [spelled.get(normal(row.cells["subject"]), "") for row in table.rows]


def _photo_paths(folder: Path, table: Table, pictures: Sequence[Path]) -> list[Path | None]:
    """The photo of each row; None, and a problem, if there is none."""
    by_name = defaultdict[str, list[Path]](list)
    for picture in pictures:
        for name in {normal(picture.name), normal(picture.stem)}:
            by_name[name].append(picture)
    paths: list[Path | None] = []
    outside, absent = [], []
    for row in table.rows:
        name = row.cells["file"]
        inside, path = _located(folder, name, by_name) if name else (True, None)
        paths.append(path)
        if not inside:
            outside.append(row.line)
        elif name and path is None:
            absent.append(row.line)
        elif path is not None and normal(path.relative_to(folder).as_posix()) != normal(name.replace("\\", "/")):
            table.assume(
                f"{table.what} was read so that a file without its folder or suffix is the only photo of that name"
            )
    if outside:
        verb = "names" if len(outside) == 1 else "name"
        table.problems.append(
            DataError(f"{table.where(outside)} {verb} a file outside the data set; use a path relative to its folder.")
        )
    if absent:
        verb = "names a photo that does" if len(absent) == 1 else "name photos that do"
        table.problems.append(DataError(f"{table.where(absent)} {verb} not exist; add the photo, or delete the line."))
    return paths


def _located(folder: Path, name: str, by_name: Mapping[str, Sequence[Path]]) -> tuple[bool, Path | None]:
    """(whether the name is inside the folder, the photo)."""
    name = name.replace("\\", "/").removeprefix("./")
    relative = PurePosixPath(name)
    try:
        plain = not relative.is_absolute() and ".." not in relative.parts  # links may lead out of the folder
        inside = plain or (folder / relative).resolve().is_relative_to(folder.resolve())
        if not inside:
            return False, None
        if (path := file_called(folder, name)) is not None:
            return True, path
    except PermissionError:
        raise
    except (DataError, OSError):  # several names that differ only in case, or a name that is too long
        return True, None
    same = by_name.get(normal(relative.name), ()) if len(relative.parts) == 1 else ()
    return True, same[0] if len(same) == 1 else None


LAYOUT = Layout("pairs", read, patients=True, labels_from=TABLE)
