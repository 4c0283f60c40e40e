"""The second stage: fine-tunes a copy of the backbone with a linear head on the first days of one patient.

In: the encoder of the first stage, the photos of a patient's days before and after dialysis. Out: a weight for any
photo of the patient. Loss: the squared error of the weight. All layers are trained; BatchNorm keeps the statistics of
the first stage, because the photos of one patient in one room are no sample of faces. Without a day of the patient, the
head is a ridge regression on the patients of the first stage. A constant in the weight does not matter, because only
differences are tested: weights are measured from the patient's mean.

Legend: N photos, D feature width, P photos to estimate.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from comface.methods.encoder import Encoder
from comface.methods.patients.config import PatientsConfig
from comface.methods.patients.photos import Faces, Photos
from comface.seeds import numpy_rng

Floats = NDArray[np.float64]
PENALTIES = tuple(float(penalty) for penalty in np.logspace(-4, 4, 9))
"""Candidate penalties of the pooled head, relative to the mean variance of a feature."""


@dataclass(frozen=True)
class PooledHead:
    """weight above the patient's mean = (h - mean) / scale · w. Features have one scale, so that features which hardly
    vary are not amplified."""

    mean_D: Floats
    scale: float
    weight_D: Floats

    def __call__(self, h_ND: NDArray[np.floating]) -> Floats:
        above_N: Floats = (h_ND - self.mean_D) / self.scale @ self.weight_D
        return above_N


def pooled_heads(h_ND: NDArray[np.float32], photos: Photos, config: PatientsConfig) -> list[PooledHead]:
    """Fit the head to the features of the patients of the first stage, once per penalty."""
    mean_D = h_ND.mean(axis=0, dtype=np.float64)
    scale = float(np.sqrt(h_ND.var(axis=0, dtype=np.float64).mean())) or 1.0
    z_ND = (h_ND - mean_D) / scale
    weight_N = photos.weight_N - photos.weight_N.mean() if config.weight == "absolute" else photos.above_mean()
    gram_DD, product_D = z_ND.T @ z_ND / len(z_ND), z_ND.T @ weight_N / len(z_ND)
    eye_DD = np.eye(len(gram_DD))
    return [PooledHead(mean_D, scale, np.linalg.solve(gram_DD + p * eye_DD, product_D)) for p in PENALTIES]


class WeightNetwork(nn.Module):
    """The weight of a photo above the patient's mean, divided by `spread_kg`."""

    def __init__(self, backbone: nn.Module, start: PooledHead, spread_kg: float, fresh: bool) -> None:
        super().__init__()
        self.backbone, self.spread_kg = backbone, spread_kg
        self.register_buffer("mean_D", torch.from_numpy(start.mean_D).float())
        self.scale = start.scale
        self.head = nn.Linear(len(start.weight_D), 1)
        with torch.no_grad():
            self.head.bias.zero_()
            self.head.weight.copy_(torch.from_numpy(start.weight_D)[None] * (0.0 if fresh else 1 / spread_kg))

    def forward(self, x_NCSS: Tensor) -> Tensor:
        above_N: Tensor = self.head((self.backbone(x_NCSS) - self.mean_D) / self.scale).squeeze(1)
        return above_N


def adapted(
    encoder: Encoder,
    start: PooledHead,
    faces: Faces,
    photos: Photos,
    config: PatientsConfig,
    words: tuple[object, ...],
    seed: int,
    device: str,
) -> Iterator[WeightNetwork]:
    """Train a copy of the network on the photos of one patient and yield it after every epoch (the same object)."""
    target_N = photos.above_mean()
    network = WeightNetwork(copy.deepcopy(encoder.network), start, float(target_N.std()) or 1.0, config.head == "fresh")
    network = network.to(device).eval()  # BatchNorm keeps its statistics; gradients are computed all the same
    rates = ((network.backbone, config.backbone_rate), (network.head, config.head_rate))
    optimizer = torch.optim.Adam([{"params": part.parameters(), "lr": rate} for part, rate in rates])
    for epoch in range(1, config.adapt_epochs + 1):
        rng = numpy_rng(seed, "patients", "adapt", *words, epoch)
        order_N = rng.permutation(len(photos))
        for begin in range(0, len(order_N), config.batch_photos):
            chosen_N = order_N[begin : begin + config.batch_photos]
            x_NCSS = encoder.preprocessing(faces[photos.row_N[chosen_N]]).to(device)
            mirror_N = torch.from_numpy(rng.random(len(chosen_N)) < 0.5).to(device)[:, None, None, None]
            wanted_N = torch.from_numpy(target_N[chosen_N] / network.spread_kg).float().to(device)
            loss = torch.mean((network(torch.where(mirror_N, x_NCSS.flip(3), x_NCSS)) - wanted_N) ** 2)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        yield network


def weights_of(
    network: WeightNetwork, encoder: Encoder, faces: Faces, row_P: NDArray[np.int64], batch: int, device: str
) -> Floats:
    """Estimate the weight (P,) above the patient's mean, in kilograms."""
    parts = [np.empty(0)]
    with torch.inference_mode():
        for begin in range(0, len(row_P), batch):
            x_NCSS = encoder.preprocessing(faces[row_P[begin : begin + batch]]).to(device)
            parts.append(network(x_NCSS).double().cpu().numpy() * network.spread_kg)
    return np.concatenate(parts)
