"""Read arrays from .npy files without unpickling and without trusting the header.

In: a file that a user names, or the bytes of an object. Out: the array, or an error that names the problem. The header
is read first; memory is allocated only after its sizes match the number of bytes.
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
"""500,000 latents of 512 numbers in float64 (as StyleGAN3-editing samples) have half of this."""
LONGEST_HEADER = 10_000
READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_numbers(path: Path, what: str, finite: bool = True) -> NDArray[Any]:
    """The array of numbers in `path`. `what`: its content in messages ('direction', 'latents'); `finite`: refuse NaN
    and infinity.

    Raises ConfigurationError if `path` is not a regular file, DataError if it is not one such array."""
    with open_regular(path, f"The file of the {what}", ConfigurationError):
        pass
    try:
        array = array_in(read_bounded(path, MOST_BYTES, f"The file of the {what}"))
    except ValueError as error:
        raise DataError(f"The {what} '{path}' cannot be read as .npy ({error}); write it with numpy.save.") from None
    if array.dtype.kind not in "fiu":
        raise DataError(f"The {what} '{path}' is not one array of numbers; write it with numpy.save.")
    if finite and not np.isfinite(array).all():
        raise DataError(
            f"The {what} '{path}' contains values that are not finite (NaN or infinity); create the file again."
        )
    return array


def array_in(data: bytes) -> NDArray[Any]:
    """The array in the bytes of a .npy file. Raises ValueError that names the problem."""
    if data[:2] == b"PK":
        raise ValueError("it is an .npz archive, not one array")
    shape, in_fortran_order, dtype, start = header_in(data[: LONGEST_HEADER + 16])
    there_bytes, count = len(data) - start, math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize != there_bytes:
        raise ValueError(
            f"it claims {count:,} values of {dtype.itemsize} bytes, but {there_bytes:,} bytes follow its header"
        )
    flat = np.frombuffer(data, dtype, count, start) if count else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if in_fortran_order else "C").copy()


def header_in(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """(shape, whether it is in Fortran order, type, position of the first value) from the first bytes of a .npy file.
    Raises ValueError that names the problem."""
    head = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(head)
        if version not in READERS:
            raise ValueError("its .npy version is unknown")
        shape, in_fortran_order, dtype = READERS[version](head, LONGEST_HEADER)
    except Exception:  # numpy parses the header as Python and may raise almost anything
        raise ValueError("its header is damaged, or it is not a .npy file") from None
    if dtype.hasobject:
        raise ValueError("it contains Python objects")
    return shape, in_fortran_order, dtype, head.tell()
