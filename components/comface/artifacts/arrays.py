"""NumPy arrays as objects of artifacts."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.manifest import Artifact
from comface.errors import DataError
from comface.files.arrays import array_in


def read_array(artifact: Artifact, name: str) -> NDArray[Any]:
    """The array in the object `name`, verified against the manifest. Raises DataError if it is not a NumPy array."""
    try:
        return array_in(artifact.read(name))
    except ValueError:
        raise DataError(f"'{name}' of {artifact.uri} is not a NumPy array; rerun the step that makes it.") from None


def array_bytes(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
