"""Faces and features by row, read without cv2 and torch.

In: an artifact `faces` or `features`. Out: its array, of which only the requested rows are in memory.

Legend: N faces, S side length, C = 3 channels, D feature width.
"""

from __future__ import annotations

from comface.artifacts.arrays import Rows, chunk_name
from comface.artifacts.manifest import Artifact


def read_faces(artifact: Artifact) -> Rows:
    """Return the aligned faces, uint8 (N,S,S,C)."""
    return Rows(artifact, "faces")


def read_features(artifact: Artifact) -> Rows:
    """Return the features, float32 (N,D)."""
    return Rows(artifact, "features")


def read_mirrored(artifact: Artifact) -> Rows | None:
    """Return the features of the mirrored faces, float32 (N,D); None if the artifact has none."""
    return Rows(artifact, "mirrored") if chunk_name("mirrored", 0) in artifact.manifest.objects else None
