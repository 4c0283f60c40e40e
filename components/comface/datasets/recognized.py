"""Recognizes the layout of a folder of photos.

In: the location of a data set. Out: the name of a layout in the registry.
"""

from __future__ import annotations

import contextlib

from comface.config.reading import parse
from comface.datasets import survey_dataset
from comface.datasets.config import DataSource
from comface.datasets.place import local_folder
from comface.datasets.registry import LAYOUTS
from comface.errors import ComfaceError
from comface.files.headings import phase_of


def layout_in(uri: str) -> str:
    """The layout at a path or URI: the one in which the most photos are read; else, by its folders and tables, the one
    that was probably meant."""
    folder, found = local_folder(uri), dict[str, int]()
    for layout in ("edema", "pairs", "fgnet", "disfa"):
        source = parse(DataSource, {"layout": layout, "uri": uri})
        with contextlib.suppress(ComfaceError):
            data = survey_dataset(source, folder, quick=True)
            found[layout] = len(data.photos)
    best = max(found, key=lambda layout: found[layout], default="")
    if best and found[best]:
        return best
    inside = list(folder.rglob("*"))
    for name, entry in LAYOUTS.all().items():
        if entry.known_by and any(entry.known_by(path.name) for path in inside):
            return name
    phases = any(phase_of(path.name) for path in inside if path.is_dir())
    return best if best and not phases else "edema" if phases else "pairs"
