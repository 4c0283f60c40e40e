"""The network of a task of single photos in fine-tuning: label = l(f(x)), with a new linear layer l.

In: photos and their labels. Out: a loss, and the estimated labels. A quantity is learned by its squared error, scaled
to unit standard deviation; classes are learned by the cross-entropy. The pre-trained head of ComFace is of differences,
so it is not used here. `PhotoNetwork` has the interface of `ChangeNetwork` (finetune.py); of each pair, a photo with
itself, it reads x only.

Legend: P photos, S side length, D feature width, K values per photo (1, or the number of classes).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Floats = NDArray[np.float64]


class PhotoNetwork(nn.Module):
    def __init__(self, backbone: nn.Module, width: int, classes: int, label_P: Floats) -> None:
        super().__init__()
        self.backbone, self.head, self.classes = backbone, nn.Linear(width, classes or 1), classes
        self.mean, self.spread = float(label_P.mean()), float(label_P.std()) or 1.0

    def forward(self, x_PCSS: Tensor) -> Tensor:
        value_PK: Tensor = self.head(self.backbone(x_PCSS))
        return value_PK

    def loss(self, x_PCSS: Tensor, _: Tensor, label_P: Floats) -> Tensor:
        value_PK, wanted_P = self(x_PCSS), torch.from_numpy(label_P).to(x_PCSS.device)
        if self.classes:
            return functional.cross_entropy(value_PK, wanted_P.long())
        return torch.mean((value_PK[:, 0] - ((wanted_P - self.mean) / self.spread).float()) ** 2)

    def change(self, x_PCSS: Tensor, _: Tensor, antisymmetric: bool) -> Tensor:
        """Return the estimated label of every photo, or the number of its class."""
        value_PK = self(x_PCSS)
        label_P: Tensor = value_PK.argmax(dim=1) if self.classes else value_PK[:, 0] * self.spread + self.mean
        return label_P

    def error(self, predicted_P: Floats, label_P: Floats) -> float:
        """Return the mean squared error, or the share of photos in a wrong class."""
        return float(np.mean(predicted_P != label_P if self.classes else (predicted_P - label_P) ** 2))
