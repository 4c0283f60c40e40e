"""Arrays in .npy files, read without unpickling anything and without believing what they claim to hold.

In: a file that a person names, or the bytes of an object. Out: the array; whatever is wrong with it is a sentence that
names it. The header is read first, and nothing is allocated before the sizes in it fit the bytes that are there.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.errors import ConfigurationError, DataError
from comface.files import open_regular, read_bounded

MOST_BYTES = 4 * 2**30
"""500,000 latents of 512 numbers, as StyleGAN3-editing samples, have half in float64."""
LONGEST_HEADER = 10_000
READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_numbers(path: Path, what: str, finite: bool = True) -> NDArray[Any]:
    """The array of numbers in `path`, which holds `what` ('direction', 'latents'); `finite`: neither NaN nor infinity.

    Raises ConfigurationError where there is no regular file, DataError for anything else than one such array."""
    with open_regular(path, f"The file of the {what}", ConfigurationError):
        pass
    try:
        array = array_in(read_bounded(path, MOST_BYTES, f"The file of the {what}"))
    except ValueError as error:
        raise DataError(f"The {what} '{path}' cannot be read as .npy ({error}); write it with numpy.save.") from None
    if array.dtype.kind not in "fiu":
        raise DataError(f"The {what} '{path}' is not one array of numbers; write it with numpy.save.")
    if finite and not np.isfinite(array).all():
        raise DataError(f"The {what} '{path}' holds values that are not finite; make it again.")
    return array


def array_in(data: bytes) -> NDArray[Any]:
    """The array in the bytes of a .npy file. Raises ValueError, which says what is wrong."""
    if data[:2] == b"PK":
        raise ValueError("it is an .npz archive, not one array")
    head = io.BytesIO(data[: LONGEST_HEADER + 16])
    try:
        version = np.lib.format.read_magic(head)
        if version not in READERS:
            raise ValueError("its version is unknown")
        shape, in_fortran_order, dtype = READERS[version](head, LONGEST_HEADER)
    except Exception:  # numpy reads the header as Python and lets through what that raises
        raise ValueError("its header is damaged, or it is no .npy file") from None
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    there_bytes, count = len(data) - head.tell(), math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize != there_bytes:
        raise ValueError(
            f"it claims {count:,} values of {dtype.itemsize} bytes, but {there_bytes:,} bytes follow its header"
        )
    flat = np.frombuffer(data, dtype, count, head.tell()) if count else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if in_fortran_order else "C").copy()
