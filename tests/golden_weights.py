"""Weights that are a function of their names: the rule by which the golden features in data/baselines were computed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parent / "data/baselines"
X_2CHW = torch.from_numpy(np.random.RandomState(20240525).standard_normal((2, 3, 224, 224)).astype(np.float32))
"""The input of the golden features, as a tensor."""
IMAGE_HW3 = np.random.RandomState(1234).randint(0, 256, (224, 224, 3)).astype(np.uint8)


def filled(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The tensor `key` of a backbone (the name without the wrapper's prefix)."""
    z = np.random.RandomState(zlib.crc32(key.encode())).standard_normal(shape)
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    if key.endswith("running_var"):
        z = 1 + 0.1 * abs(z)
    elif len(shape) <= 1:
        z = 1 + 0.1 * z if key.endswith("weight") else 0.1 * z
    else:
        z = z / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(z, np.float32))


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    """The tensors of a published file: name -> shape."""
    return {key: tuple(shape) for key, shape in json.loads((DATA / f"{name}.shapes.json").read_text()).items()}


def checkpoint(names: Mapping[str, tuple[int, ...]], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors of a file: those with the backbone's prefix by the rule, the others as ones."""
    return {
        key: filled(key.removeprefix(prefix), shape) if key.startswith(prefix) else torch.ones(shape)
        for key, shape in names.items()
    }
