"""Rehearse: the data set that stands in where no real one is given, on disk in the true layout, as an artifact.

In: RehearseConfig. Out: an artifact `dataset` with the files of the data set under their own names.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from comface.artifacts.manifest import Artifact, Draft
from comface.datasets.config import RehearseConfig
from comface.errors import ConfigurationError
from comface.store import Store

logger = logging.getLogger(__name__)


class Rehearsal(NamedTuple):
    """`labels`: each with a change that no two photos of one person exceed; `people`: the field of RehearseConfig that
    counts them."""

    layout: str
    labels: Mapping[str, float]
    people: str


REHEARSALS = {
    "disfa": Rehearsal("disfa", {"au6": 4, "au12": 4}, "disfa_subjects"),  # of frames with intensity 1 to 5
    "fgnet": Rehearsal("fgnet", {"age": 60}, "fgnet_subjects"),
    "edema-a": Rehearsal("edema", {"weight": 20}, "edema_a_patients"),
    "edema-b": Rehearsal("edema", {"weight": 20}, "edema_b_patients"),
    "cohort": Rehearsal("pairs", {"smile": 30, "apparent-age": 100}, "cohort_subjects"),
}
"""By the name of the data set that each stands for."""


def write(name: str, folder: Path, config: RehearseConfig) -> None:
    """Write the rehearsal of the data set `name` into `folder`. Raises ConfigurationError for a name without one."""
    if name == "disfa":
        from comface.datasets.rehearsal.disfa import write_disfa

        write_disfa(folder, config)
    elif name == "fgnet":
        from comface.datasets.rehearsal.fgnet import write_fgnet

        write_fgnet(folder, config)
    elif name in ("edema-a", "edema-b"):
        from comface.datasets.rehearsal.edema import write_edema

        write_edema(folder, config, "a" if name == "edema-a" else "b")
    elif name == "cohort":
        from comface.datasets.rehearsal.cohort import write_cohort

        write_cohort(folder, config)
    else:
        raise ConfigurationError(
            f"The data set '{name}' has no `uri`, and there is no rehearsal of it; say where it lies (data.{name}.uri)."
        )


def rehearse(store: Store, name: str, layout: str, config: RehearseConfig) -> Artifact:
    """The rehearsal of the data set `name`, made or found made."""
    address = config.model_dump(mode="json") | {"dataset": name}
    draft = Draft(store, "dataset", address, {}, __name__)
    if (done := draft.published()) is not None:
        return done
    logger.info(f"making the synthetic rehearsal data set '{name}'")
    with tempfile.TemporaryDirectory(prefix="comface-rehearse-") as scratch:
        write(name, Path(scratch), config)
        files = sorted(path for path in Path(scratch).rglob("*") if path.is_file())
        for path in files:
            draft.upload(path.relative_to(scratch).as_posix(), path)
    return draft.publish({"rehearsal": True, "dataset": name, "layout": layout, "files": len(files)})
