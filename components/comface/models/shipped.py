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
PIN = "model/953be0d8349c4846cf7c#sha256=b44168238fc06e0e5a2f8113a8b972ad12298a5e802db3421e54835c1c21e26f"
"""Key of the model, and the sha256 of its manifest, which has the sha256 of every file."""


def shipped_model() -> Artifact:
    """Raises DataError if the manifest is not the one that was shipped."""
    return open_artifact(f"{FOLDER.as_uri()}/{PIN}", "model")
