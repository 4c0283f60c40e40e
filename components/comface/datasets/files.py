"""Lists the files of a data set without the files of operating systems, and finds files without regard to case.

In: a local folder. Out: sorted paths. Raises OSError for a folder that cannot be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

from comface.artifacts.manifest import MANIFEST
from comface.datasets.dataset import LeftOut
from comface.errors import DataError
from comface.faces.photos import is_picture
from comface.files.headings import normal, plain

LEFT_BY_SYSTEMS = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin")
"""Names that operating systems create. Names that begin with a dot are skipped too, such as .DS_Store and macOS's file
._000.jpg beside 000.jpg, and Excel's ~$weights.xlsx."""
PICTURES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".heic", ".heif", ".hif",
    ".avif",
)  # fmt: skip
TABLES = (".csv", ".xlsx", ".xlsm", ".tsv", ".tab", ".txt")
NO_PICTURE = "files that are not pictures"


def is_left_by_a_system(key: PurePath) -> bool:
    return any(part.startswith((".", "~$")) or part.casefold() in LEFT_BY_SYSTEMS for part in key.parts)


def files_in(folder: Path) -> list[Path]:
    """Return all regular files of a data set, sorted; links are followed."""
    return sorted(path for path in _walked(folder) if path.is_file())


def odd_entries(folder: Path) -> int:
    """Return the number of broken links, pipes, sockets and devices in a data set."""
    return sum(not path.is_file() for path in _walked(folder))


def is_picture_file(path: Path) -> bool:
    """Whether a file is a picture by its suffix or, without a known suffix, by its content. Pictures are checked again
    when they are read."""
    if path.suffix.casefold() in PICTURES:
        return True
    with path.open("rb") as file:
        return is_picture(file.read(16))


def sort_pictures(paths: Iterable[Path], left_out: LeftOut) -> list[Path]:
    """Return the pictures; the other files are left out."""
    pictures, others = list[Path](), list[Path]()
    for path in paths:
        (pictures if is_picture_file(path) else others).append(path)
    left_out.add_files(NO_PICTURE, others)
    return pictures


def file_called(folder: Path, name: str) -> Path | None:
    """Find the file `name` (a relative path) in `folder`: the exact name, or the only file that differs from it in
    case, in the encoding of accents, or in `\\` for `/`. Raises DataError if there are several."""
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
            f"'{folder}' has several files '{name}' whose names differ only in case; rename or delete some."
        )
    return found[0] if found else None


def table_called(folder: Path, name: str, columns: str, place: str) -> Path:
    """Find the table of a data set: the file `name`, also as .xlsx, .tsv or .txt, or else the only table in the folder.
    Raises DataError if there is none or if there are several."""
    stem = PurePath(name).stem
    for each in (name, *(f"{stem}{suffix}" for suffix in TABLES)):
        if (path := file_called(folder, each)) is not None:
            return path
    entries = [each for each in sorted(os.listdir(folder)) if not is_left_by_a_system(PurePath(each))]
    suffixes = set(TABLES) - {".txt"}  # a readme
    tables = [each for each in entries if PurePath(each).suffix.casefold() in suffixes and (folder / each).is_file()]
    if len(tables) == 1:
        return folder / tables[0]
    hint = "see docs/data.md"
    if tables:
        hint = f"it has the tables {', '.join(tables)}: rename the right one"
    elif others := [each for each in entries if plain(PurePath(each).stem) == plain(stem)]:
        regular = (folder / others[0]).is_file()
        hint = f"save '{others[0]}' as .xlsx or CSV" if regular else f"'{others[0]}' is not a regular file"
    raise DataError(f"The data set at '{place}' has no {name} ({columns}); {hint}.")


def _entries(folder: Path, wanted: str) -> list[Path]:
    return [folder / name for name in sorted(os.listdir(folder)) if normal(name) == wanted]


def _walked(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise error

    seen = set()
    for place, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        here = os.stat(place)
        if (here.st_dev, here.st_ino) in seen:  # a link to a parent folder
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders[:] = [name for name in folders if not is_left_by_a_system(PurePath(name))]
        for name in names:
            path = Path(place, name)
            own = name == MANIFEST and Path(place) == folder  # a rehearsal data set is an artifact and has a manifest
            if not own and not is_left_by_a_system(PurePath(name)):
                yield path
