"""Named random streams: the same seed and words give the same bits on any machine, in any order.

No code in this package uses a global random generator.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *words: object) -> int:
    """A 63-bit seed from the sha256 of `seed` and `words`; different words give independent seeds."""
    text = "/".join(str(word) for word in (seed, *words))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_rng(seed: int, *words: object) -> np.random.Generator:
    """A PCG64 generator seeded with `derive_seed(seed, *words)`."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *words)))
