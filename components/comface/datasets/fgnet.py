"""FG-NET (Panis et al. 2016): photos of people at several ages.

    images/001A02.JPG      subject 001 at age 2; a letter marks a second photo of the same age (001A43a.JPG)
    points/001a02.pts      optional: 68 points, used instead of face detection

In: the folder. Out: photos with the label 'age' in years. Pictures with other names are excluded and counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from comface.datasets.config import DataSource
from comface.datasets.dataset import DataSet, LeftOut, Photo
from comface.datasets.files import files_in, sort_pictures
from comface.datasets.landmarks import eyes_of_pts
from comface.datasets.registry import Layout
from comface.errors import DataError

NAME = re.compile(r"^(\d{3})A(\d{2})([a-z]?)$", re.IGNORECASE)
OTHER_NAME = "photos whose name is not like 001A02.JPG"


def read(folder: Path, source: DataSource, place: str, quick: bool = False) -> DataSet:
    files = files_in(folder)
    points = _by_stem((path for path in files if path.suffix.lower() == ".pts"), folder, place)
    pictures = sort_pictures((path for path in files if path.suffix.lower() != ".pts"), LeftOut(folder))
    named = _by_stem((path for path in pictures if NAME.match(path.stem)), folder, place)
    photos = []
    for stem, path in sorted(named.items()):
        match = NAME.match(stem)
        assert match is not None
        eyes = eyes_of_pts(points[stem]) if stem in points else ()
        photos.append(Photo(subject=match[1], labels={"age": float(match[2])}, path=path, eyes=eyes))
    if not photos:
        raise DataError(f"There is no FG-NET photo (001A02.JPG …) in '{place}'; correct the `uri` of the data set.")
    left_out = LeftOut(folder)
    left_out.add_files(OTHER_NAME, (path for path in pictures if not NAME.match(path.stem)))
    return DataSet(photos, ("age",), left_out.counts(), places=left_out.places)


def _by_stem(paths: Iterable[Path], folder: Path, place: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(path.stem.lower(), path)
        if other is not path:
            one, two = (each.relative_to(folder).as_posix() for each in (other, path))
            raise DataError(f"'{one}' and '{two}' of the data set at '{place}' have the same name; keep one of them.")
    return found


LAYOUT = Layout("fgnet", read, known_by=lambda name: NAME.match(Path(name).stem))
