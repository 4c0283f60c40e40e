"""Randomness that is a function of its name: the same seed and words give the same bits on any machine, in any order.

Nothing in the package draws from a global generator.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *words: object) -> int:
    """A 63-bit seed for what `words` name, independent of every other name (sha256 of the words)."""
    text = "/".join(str(word) for word in (seed, *words))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_rng(seed: int, *words: object) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *words)))
