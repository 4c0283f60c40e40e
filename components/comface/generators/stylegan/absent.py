"""Tensors that a generator needs but some published files lack: the mean w and the constant noise.

In: a network without them. Out: both, reproducibly. The mean of w is over the z of 10,000 seeds, as in NVIDIA's
projector for StyleGAN2 (RandomState(123), 10,000 samples). The noise is N(0, 1), as in rosinality's code for a file
without noise, but with a fixed seed, so that all images of a track have the same noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

MEANS = {"stylegan": "truncation.w_avg", "stylegan2": "mapping.w_avg", "stylegan3": "mapping.w_avg"}
SAMPLES, SEED, NOISE_SEED = 10_000, 123, 0
AT_ONCE = 1_000
W_AVG = {
    "how": "the file holds none: mean of the mapping network's w over z = RandomState(seed).randn(samples, D)",
    "samples": SAMPLES,
    "seed": SEED,
}
NOISE = {
    "how": "the file holds none: constant, N(0, 1) drawn from the seed in the order of the layers",
    "seed": NOISE_SEED,
}


@torch.inference_mode()
def mean_of(network: Any, name: str) -> None:
    """Compute the mean w of `network` and store it under `name` in its state."""
    z_ND = np.random.RandomState(SEED).randn(SAMPLES, network.config.z_width).astype(np.float32)
    total_D = torch.zeros(network.config.w_width, dtype=torch.float64)
    for piece_ND in torch.from_numpy(z_ND).split(AT_ONCE):
        total_D += network.mapping(piece_ND).double().sum(0)
    network.get_buffer(name).copy_((total_D / SAMPLES).float())


def drawn_noise(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    random = np.random.RandomState(NOISE_SEED)
    return {name: random.randn(*shape).astype(np.float32) for name, shape in shapes.items()}
