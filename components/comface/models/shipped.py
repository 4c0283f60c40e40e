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
PIN = "model/3e70c0c0af17d45fd249#sha256=8239a4a6bc6dcaf3b62bd479357c28ffdf78970e5b9d6ffcce3df5ca8405321f"
"""Key of the model, and the sha256 of its manifest, which has the sha256 of every file."""


def shipped_model() -> Artifact:
    """Raises DataError if the manifest is not the one that was shipped."""
    return open_artifact(f"{FOLDER.as_uri()}/{PIN}", "model")
