"""What one transfer evaluates, what it learns from, and what it finds.

Legend: P pairs, N photos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.arrays import Rows
from comface.artifacts.manifest import Artifact
from comface.methods import method as method_called
from comface.tasks.config import Task
from comface.transfer.protocol import FoldPairs, Labelled, read_all


@dataclass(frozen=True)
class Item:
    """What one transfer evaluates. `name` is the name of the task, `task` its definition. `seed`: of random weights and
    of fine-tuning."""

    name: str
    task: Task
    method: str
    mode: str
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.name}/{self.method}/{self.mode}"

    @property
    def registrable(self) -> bool:
        """Whether a registered model can use its head."""
        return method_called(self.method).challenger and self.task.registrable

    def record(self) -> dict[str, Any]:
        """What it adds to the address of its result."""
        definition = self.task.model_dump(mode="json")
        words = {"task": self.name, "method": self.method, "mode": self.mode, "seed": self.seed}
        return words | {"definition": definition}


@dataclass(frozen=True)
class Data:
    """What a mode learns from: rows of features (or faces) of both data sets, and the pairs of each fold. `mirrored_N`
    and `training_mirrored_N`: features of the mirrored faces, if the method has them."""

    tested_N: Rows
    training_N: Rows
    folds: Sequence[FoldPairs]
    protocol: Artifact
    mirrored_N: Rows | None = None
    training_mirrored_N: Rows | None = None

    def everyone(self) -> Labelled:
        """All pairs of the training data set, for the head that is registered; read after all predictions."""
        return read_all(self.protocol)


@dataclass(frozen=True)
class Estimates:
    """Result of one mode: the predictions for the test pairs of each fold, facts to record, and files to publish.
    `used`: the same as `compare` would estimate them (models/estimator.py), if they differ."""

    predicted: list[NDArray[np.float64]]
    facts: dict[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    used: list[NDArray[np.float64]] | None = None


def safetensors_bytes(tensors: Mapping[str, Any]) -> bytes:
    if all(isinstance(tensor, np.ndarray) for tensor in tensors.values()):
        import safetensors.numpy

        return safetensors.numpy.save(dict(tensors))
    import safetensors.torch

    return safetensors.torch.save(dict(tensors))
