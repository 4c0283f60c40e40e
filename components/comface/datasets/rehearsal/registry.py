"""The rehearsal data sets, by the name of the data set that each replaces. Importing an entry does not import torch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from comface.datasets.config import RehearseConfig
from comface.weights.fetched import AGE, DCGAN, EXPRESSION, IMAGENET, LANDMARKS

EDEMA = ("edema_sessions", "edema_frames")
COHORT = "cohort"
"""The scored cohort. Its photos are used for the first comparison after a run."""


@dataclass(frozen=True)
class Rehearsal:
    layout: str
    labels: Mapping[str, float]
    """Label → upper bound of the change between two photos of one person."""
    people: str
    """The field of RehearseConfig with the number of people."""
    fields: tuple[str, ...]
    """The other fields of RehearseConfig that it uses, apart from image size and seed."""
    photos: Callable[[RehearseConfig], int]
    """Returns the approximate number of photos per person."""
    module: str
    """Module of this package; its function `write_MODULE` writes the files."""
    which: tuple[str, ...] = ()
    """Further arguments of that function."""
    generator: str = "procedural"
    needs: tuple[str, ...] = ()
    """Downloaded files that it needs."""

    def write(self, folder: Path, config: RehearseConfig) -> None:
        """Write the files into an empty folder."""
        made_by = importlib.import_module(f"comface.datasets.rehearsal.{self.module}")
        getattr(made_by, f"write_{self.module}")(folder, config, *self.which)


def _edema_photos(config: RehearseConfig) -> int:
    return 2 * config.edema_sessions * config.edema_frames


REHEARSALS = {
    "disfa": Rehearsal(
        "disfa",
        {"au6": 4, "au12": 4},  # frames have intensities 1 to 5
        "disfa_subjects",
        ("disfa_frames",),
        lambda config: config.disfa_frames,
        "disfa",
    ),
    "fgnet": Rehearsal(
        "fgnet", {"age": 60}, "fgnet_subjects", ("fgnet_images",), lambda config: config.fgnet_images, "fgnet"
    ),
    "edema-a": Rehearsal("edema", {"weight": 20}, "edema_a_patients", EDEMA, _edema_photos, "edema", ("a",)),
    "edema-b": Rehearsal("edema", {"weight": 20}, "edema_b_patients", EDEMA, _edema_photos, "edema", ("b",)),
    COHORT: Rehearsal(
        "pairs",
        {"smile": 30, "apparent-age": 100},
        "cohort_subjects",
        ("cohort_photos",),
        lambda config: config.cohort_photos,
        "cohort",
        generator="dcgan",
        needs=(DCGAN, AGE, EXPRESSION, LANDMARKS, IMAGENET),
    ),
}
