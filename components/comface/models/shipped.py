"""The model that ships with the package: made by `make run` on a laptop, a rehearsal.

In: the folder comface/shipped, a store that holds one `model` artifact as the run published it. Out: the artifact,
verified against PIN. `make model` copies a newer model there and changes PIN (docs/python.md).
"""

from __future__ import annotations

from pathlib import Path

from comface.artifacts.manifest import Artifact, open_artifact

NAME = "shipped"
"""The reference of this model, which no registered model may have."""
FOLDER = Path(__file__).parents[1] / "shipped"
PIN = "model/bd4d8711523947d1dd86#sha256=4d0da4c6ce9ae36472dd6264926cfe6a9b0a2fc48a78b9eccfe84303b161ce36"
"""Key of the model, and the sha256 of its manifest, which has the sha256 of every file."""


def shipped_model() -> Artifact:
    """Raises DataError if the manifest is not the one that was shipped."""
    return open_artifact(f"{FOLDER.as_uri()}/{PIN}", "model")
