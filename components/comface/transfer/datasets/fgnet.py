"""FG-NET (Panis et al. 2016): photos of people at several ages.

    images/001A02.JPG      subject 001 at age 2; a letter marks a second photo of the same age (001A43a.JPG)
    points/001a02.pts      optional: 68 points, used instead of finding the face

In: the folder. Out: photos with the label 'age' in years.
"""

from __future__ import annotations

import re
from pathlib import Path

from comface.config import DataSource
from comface.errors import DataError
from comface.transfer.datasets import Photo
from comface.transfer.datasets.landmarks import eyes_of_pts

IMAGE = re.compile(r"^(\d{3})A(\d{2})([a-z]?)\.(jpg|jpeg|png)$", re.IGNORECASE)


def read(folder: Path, source: DataSource) -> list[Photo]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    points = {path.stem.lower(): path for path in files if path.suffix.lower() == ".pts"}
    photos = []
    for path in files:
        if match := IMAGE.match(path.name):
            landmarks = points.get(path.stem.lower())
            eyes = eyes_of_pts(landmarks) if landmarks else ()
            photos.append(Photo(subject=match[1], labels={"age": float(match[2])}, path=path, eyes=eyes))
    if not photos:
        raise DataError(f"No FG-NET photo (001A02.JPG …) lies in '{folder}'; mend the `uri` of the data set.")
    return photos
