"""The rehearsal data sets, by the name of the data set that each stands in for. Reading an entry imports no tensors."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from comface.datasets.config import RehearseConfig
from comface.weights.fetched import AGE, DCGAN, EXPRESSION, IMAGENET, LANDMARKS

EDEMA = ("edema_sessions", "edema_frames")
COHORT = "cohort"
"""The scored cohort, of whose photos the first comparison after a run is made."""


@dataclass(frozen=True)
class Rehearsal:
    layout: str
    labels: Mapping[str, float]
    """Each with a change that no two photos of one person exceed."""
    people: str
    """The field of RehearseConfig that counts them."""
    fields: tuple[str, ...]
    """What else of it matters, beside the size and the seed that all have."""
    photos: Callable[[RehearseConfig], int]
    """Of each person, about."""
    module: str
    """Of this package: its function `write_MODULE` writes the files."""
    which: tuple[str, ...] = ()
    """What that function is told besides."""
    generator: str = "procedural"
    needs: tuple[str, ...] = ()
    """Fetched files that it is made with."""

    def write(self, folder: Path, config: RehearseConfig) -> None:
        """Its files, into an empty folder."""
        made_by = importlib.import_module(f"comface.datasets.rehearsal.{self.module}")
        getattr(made_by, f"write_{self.module}")(folder, config, *self.which)


def _edema_photos(config: RehearseConfig) -> int:
    return 2 * config.edema_sessions * config.edema_frames


REHEARSALS = {
    "disfa": Rehearsal(
        "disfa",
        {"au6": 4, "au12": 4},  # of frames with intensity 1 to 5
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
