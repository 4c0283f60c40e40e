"""Files of a data set as folders really hold them: without what operating systems leave there, names in any case.

In: a folder on this machine. Out: paths, sorted. A folder that may not be read is an error (OSError), never empty.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

from comface.artifacts.manifest import MANIFEST
from comface.errors import DataError
from comface.faces.photos import is_picture
from comface.files.tables import normal

LEFT_BY_SYSTEMS = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin")
"""Besides every name that begins with a dot: .DS_Store, and macOS' companion ._000.jpg of 000.jpg."""
PICTURES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".heic", ".heif", ".hif",
    ".avif",
)  # fmt: skip
NO_PICTURE = "files that are no picture"


def is_left_by_a_system(key: PurePath) -> bool:
    return any(part.startswith(".") or part.casefold() in LEFT_BY_SYSTEMS for part in key.parts)


def files_in(folder: Path) -> list[Path]:
    """All regular files of a data set, in folders and behind links."""
    return sorted(path for path in _walked(folder) if path.is_file())


def odd_entries(folder: Path) -> int:
    """How many links lead nowhere and how many pipes, sockets and devices lie in a data set."""
    return sum(not path.is_file() for path in _walked(folder))


def is_picture_file(path: Path) -> bool:
    """By its name, or by its content where the name says nothing: what a name promises is checked when it is read."""
    if path.suffix.casefold() in PICTURES:
        return True
    with path.open("rb") as file:
        return is_picture(file.read(16))


def split_pictures(paths: Iterable[Path]) -> tuple[list[Path], Counter[str]]:
    """(those that are pictures, how many are not)."""
    pictures, left_out = [], Counter[str]()
    for path in paths:
        if is_picture_file(path):
            pictures.append(path)
        else:
            left_out[NO_PICTURE] += 1
    return pictures, left_out


def file_called(folder: Path, name: str) -> Path | None:
    """The file `name` (a relative path) in `folder`: exactly so, or else the only one that differs from it in case,
    accents' encoding or `\\` for `/`. Raises DataError where several do."""
    if (folder / name).is_file():
        return folder / name
    places = [folder]
    for part in PurePath(name.replace("\\", "/")).parts:
        if part == "..":
            return None
        places = [each for place in places if place.is_dir() for each in _entries(place, normal(part))]
    found = [place for place in places if place.is_file()]
    if len(found) > 1:
        raise DataError(
            f"'{folder}' has several files '{name}' whose names differ in case alone; rename or delete some."
        )
    return found[0] if found else None


def table_called(folder: Path, name: str, columns: str, place: str) -> Path:
    """The data set's table; a workbook in its place is named. Raises DataError."""
    path = file_called(folder, name)
    if path is None:
        stem = PurePath(name).stem
        others = [each for each in sorted(os.listdir(folder)) if normal(each).startswith(f"{stem}.")]
        files = [each for each in others if (folder / each).is_file()]
        hint = f"save '{files[0]}' as CSV under this name" if files else "see docs/data.md"
        if others and not files:
            hint = f"'{others[0]}' is not a regular file"
        raise DataError(f"The data set at '{place}' lacks {name} ({columns}); {hint}.")
    return path


def _entries(folder: Path, wanted: str) -> list[Path]:
    return [folder / name for name in sorted(os.listdir(folder)) if normal(name) == wanted]


def _walked(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise error

    seen = set()
    for place, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        here = os.stat(place)
        if (here.st_dev, here.st_ino) in seen:  # a link to a folder above
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = [name for name in folders if not is_left_by_a_system(PurePath(name))]
        for name in names:
            path = Path(place, name)
            own = name == MANIFEST and Path(place) == folder  # a rehearsal data set is an artifact of ours
            if not own and not is_left_by_a_system(PurePath(name)):
                yield path
