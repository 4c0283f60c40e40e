"""Arrays in .npy files, read without unpickling anything; whatever is wrong with one is a sentence that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.errors import ConfigurationError, DataError


def read_numbers(path: Path, what: str, finite: bool = True) -> NDArray[Any]:
    """The array of numbers in `path`, which holds `what` ('direction', 'latents'); `finite`: neither NaN nor infinity.

    Raises ConfigurationError where there is no file, DataError for anything else than one such array."""
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ConfigurationError(f"There is no file '{path}' with the {what}; give its path.") from None
    except (OSError, ValueError, EOFError):
        raise DataError(f"The {what} '{path}' cannot be read as .npy; write it with numpy.save.") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise DataError(f"The {what} '{path}' is not one array of numbers; write it with numpy.save.")
    if finite and not np.isfinite(array).all():
        raise DataError(f"The {what} '{path}' holds values that are not finite; make it again.")
    return array
