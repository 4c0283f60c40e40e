"""Rehearse: the data set that stands in where no real one is given, on disk in the true layout, as an artifact.

In: RehearseConfig. Out: an artifact `dataset` with the files of the data set under their own names.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from comface.artifacts.manifest import Artifact, Draft
from comface.datasets.config import RehearseConfig
from comface.datasets.rehearsal.registry import REHEARSALS, Rehearsal
from comface.errors import ConfigurationError
from comface.store import Store

logger = logging.getLogger(__name__)


def rehearsal_of(name: str) -> Rehearsal:
    """Raises ConfigurationError for a data set that has none."""
    if name not in REHEARSALS:
        raise ConfigurationError(
            f"The data set '{name}' has no `uri`, and there is no rehearsal of it; say where it lies (data.{name}.uri)."
        )
    return REHEARSALS[name]


def rehearse(store: Store, name: str, layout: str, config: RehearseConfig) -> Artifact:
    """The rehearsal of the data set `name`, made or found made."""
    rehearsal = rehearsal_of(name)
    address = config.model_dump(mode="json") | {"dataset": name}
    draft = Draft(store, "dataset", address, {}, __name__)
    if (done := draft.published()) is not None:
        return done
    logger.info(f"making the synthetic rehearsal data set '{name}'")
    with tempfile.TemporaryDirectory(prefix="comface-rehearse-") as scratch:
        rehearsal.write(Path(scratch), config)
        files = sorted(path for path in Path(scratch).rglob("*") if path.is_file())
        for path in files:
            draft.upload(path.relative_to(scratch).as_posix(), path)
    return draft.publish({"rehearsal": True, "dataset": name, "layout": layout, "files": len(files)})
