"""Rehearse: generates the synthetic data set that replaces a real one, in its layout, as an artifact.

In: RehearseConfig. Out: an artifact `dataset` with the files of the data set under their own names.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

from comface.artifacts.manifest import Artifact, Draft
from comface.datasets.config import RehearseConfig
from comface.datasets.rehearsal.registry import REHEARSALS, Rehearsal
from comface.errors import ConfigurationError
from comface.faces import REVISION as FACES
from comface.generators.registry import GENERATORS
from comface.methods import REVISION as METHODS
from comface.store import Store
from comface.weights.fetched import model_digest

logger = logging.getLogger(__name__)

REVISION = 3
"""Raise it when a change in this package, or of the built-in directions of `dcgan`, gives other photos or labels for
the same settings. The scored cohort also depends on the revisions of faces/ and methods/, which detect, score and
recognise its faces."""


def rehearsal_of(name: str) -> Rehearsal:
    """Return the rehearsal of a data set. Raises ConfigurationError if there is none."""
    if name not in REHEARSALS:
        raise ConfigurationError(
            f"The data set '{name}' has no `uri`, and there is no rehearsal of it; set data.{name}.uri to its location."
        )
    return REHEARSALS[name]


def _made_from(name: str, rehearsal: Rehearsal, config: RehearseConfig) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the fields, files and revisions that determine the data set's bytes. Raises ConfigurationError if a file
    is missing."""
    fields = {rehearsal.people, *rehearsal.fields, "image_size_px", "seed"}
    files = {file: model_digest(file)[1] for file in rehearsal.needs}
    revisions = {"rehearse": REVISION, rehearsal.generator: GENERATORS[rehearsal.generator].revision}
    if rehearsal.needs:
        revisions |= {"faces": FACES, "methods": METHODS}
    return config.model_dump(mode="json", include=fields) | {"dataset": name, "files_sha256": files}, revisions


def rehearse(store: Store, name: str, layout: str, config: RehearseConfig) -> Artifact:
    """Publish the rehearsal of the data set `name`, or return it if it exists."""
    rehearsal = rehearsal_of(name)
    made_from, revisions = _made_from(name, rehearsal, config)
    draft = Draft(store, "dataset", made_from, {}, revisions)
    if (done := draft.published()) is not None:
        return done
    logger.info(f"generating the synthetic rehearsal data set '{name}'")
    with tempfile.TemporaryDirectory(prefix="comface-rehearse-") as scratch:
        rehearsal.write(Path(scratch), config)
        files = sorted(path for path in Path(scratch).rglob("*") if path.is_file())
        for path in files:
            draft.upload(path.relative_to(scratch).as_posix(), path)
    return draft.publish({"rehearsal": True, "dataset": name, "layout": layout, "files": len(files)})
