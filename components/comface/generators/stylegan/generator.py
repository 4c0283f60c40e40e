"""The FaceGenerator of the StyleGANs: seeds -> z -> w, truncation, w or w+ -> image.

In: a weight file (converted, or any public container, which is then converted in memory). Out: images in about [-1, 1],
as the published code renders them (float32, constant noise), not clipped.

Legend: N images, L layers of W+, D latent width, H = W side length.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from comface.errors import ConfigurationError, DataError
from comface.generators import Precision, resized
from comface.generators.batches import Batches
from comface.generators.stylegan.build import StyleGan, network_of
from comface.generators.stylegan.stylegan3 import StyleGan3, user_transform
from comface.weights.container import read_container

logger = logging.getLogger(__name__)


class StyleGanGenerator:
    """`pseudo_aligned` (StyleGAN3 only): row 0 of w+, which rotates and shifts the image, is the mean w."""

    splits = True

    def __init__(self, network: StyleGan, device: str = "cpu", pseudo_aligned: bool = False) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device)
        last = self.device.type == "cpu"  # weights in the memory format of the images (equalized.laid_out)
        self.network.to(memory_format=torch.channels_last if last else torch.contiguous_format)
        self.name: str = network.family
        self.latent_width = network.config.w_width
        self.z_width = network.config.z_width
        self.image_size_px = network.config.image_size_px
        self.layers = network.layers
        self.precision: Precision = "exact"
        self._batches = self._unmeasured()
        self.pseudo_aligned = False
        if pseudo_aligned:
            self.pose(pseudo_aligned)

    def latents(self, seeds: Sequence[int]) -> Tensor:
        """w_ND, not truncated. Seeds below 2^32 give the same faces as the published tools."""
        if not len(seeds):
            return torch.zeros(0, self.latent_width, device=self.device)
        return self.mapped(torch.from_numpy(np.concatenate([z_of(seed, self.z_width) for seed in seeds])))

    def z(self, seeds: Sequence[int]) -> Tensor:
        """z (N,D), scaled to the length sqrt(D) as in the mapping, for edits in Z."""
        z_ND = torch.from_numpy(np.concatenate([z_of(seed, self.z_width) for seed in seeds]))
        long_ND: Tensor = z_ND * (self.z_width**0.5 / z_ND.norm(dim=1, keepdim=True))
        return long_ND.to(self.device, torch.float32)

    def set_precision(self, precision: Precision) -> bool:
        """Set the precision of the images on CUDA: "fast" uses float16 in the highest resolutions, if the weights were
        trained with a clamp, and TF32 for the other convolutions. Returns whether the images differ from "exact": on a
        CPU they do not. Latents are always exact."""
        if self.device.type != "cuda":
            return False
        fast = precision == "fast"
        if precision == self.precision:
            return fast
        self.precision = precision
        halves = self.network.use_float16(fast)
        if fast and not halves:
            logger.info(f"{self.name}: these weights have no clamp, so all resolutions are in float32 (with TF32)")
        self.network.to(memory_format=torch.channels_last if fast else torch.contiguous_format)
        self._batches = self._unmeasured()
        return fast

    def pose(self, pseudo_aligned: bool, transform: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
        """Set the rotation and shift of StyleGAN3's images. `transform`: rotation in degrees, translation x and y.

        Raises ConfigurationError for any other network."""
        if not isinstance(self.network, StyleGan3):
            raise ConfigurationError(
                f"Only StyleGAN3 supports pseudo-alignment and an input transform, not '{self.name}'; leave them out."
            )
        self.pseudo_aligned = pseudo_aligned
        if any(transform):
            self.network.synthesis.input.transform.copy_(user_transform(*transform))

    @torch.inference_mode()
    def mapped(self, z_ND: Tensor) -> Tensor:
        """z (N,D) -> w (N,D)."""
        with tf32(False):
            w_ND: Tensor = self.network.mapping(z_ND.to(self.device, torch.float32, non_blocking=True)).clone()
        return w_ND

    @torch.inference_mode()
    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """w_mean + psi (w - w_mean) for w (N,D) or w+ (N,L,D), of the same shape; for StyleGAN always (N,L,D), where
        only the first 8 layers are truncated."""
        return self.network.truncate(w.to(self.device, torch.float32), psi)

    @torch.inference_mode()
    def render(self, w: Tensor, size_px: int | None = None) -> Tensor:
        """Images (N,3,H,W), float32, of w (N,D) or w+ (N,L,D); for a size other than the native one, resized
        bicubically with antialiasing."""
        if w.shape[1:] not in ((self.latent_width,), (self.layers, self.latent_width)):
            raise DataError(
                f"The generator '{self.name}' needs latents of shape (N, {self.latent_width}) or (N, {self.layers}, "
                f"{self.latent_width}), not {tuple(w.shape)}; pass latents of this generator."
            )
        w = w.to(self.device, torch.float32)
        w_NLD = w[:, None].expand(-1, self.layers, -1) if w.ndim == 2 else w
        if self.pseudo_aligned:
            w_NLD = torch.cat([self._mean().expand(len(w_NLD), 1, -1), w_NLD[:, 1:]], 1)
        size_px = size_px or self.image_size_px
        if not len(w):
            return w.new_zeros(0, 3, size_px, size_px)
        with tf32(self.precision == "fast"), torch.cuda.device_of(w):  # Triton launches on the current device
            return self._batches.render(lambda piece_NLD: resized(self.network(piece_NLD), size_px), w_NLD)

    def attributes(self) -> tuple[str, ...]:
        return ()

    def direction(self, attribute: str) -> Tensor:
        raise ConfigurationError(
            f"The generator '{self.name}' has no built-in direction '{attribute}'; give a direction file."
        )

    def _unmeasured(self) -> Batches:
        """The batches of this network in the precision that is set."""
        parameters = sum(each.numel() for each in self.network.parameters())
        gpu = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else ""
        return Batches(f"{self.name} {self.image_size_px} px {parameters / 1e6:.2f} M", self.precision, gpu)

    def _mean(self) -> Tensor:
        assert isinstance(self.network, StyleGan3)
        return self.network.mapping.w_avg


@contextmanager
def tf32(wanted: bool) -> Iterator[None]:
    """Convolutions with or without TF32, by algorithms that give the same bits every time; matrix products (mapping,
    styles) always in float32. Whatever the process had set before is restored."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=wanted):
            yield
    finally:
        matmul.allow_tf32 = before


def z_of(seed: int, width: int) -> np.ndarray:
    """z (1,D) from numpy's legacy generator, as in the published tools; larger seeds are split into 32-bit words."""
    words = [seed >> shift & 0xFFFFFFFF for shift in range(0, max(32, seed.bit_length()), 32)]
    return np.random.RandomState(words[0] if len(words) == 1 else words).randn(1, width)


def load_stylegan(name: str, weights: Path | None, device: str = "cpu") -> StyleGanGenerator:
    """The generator `name` with `weights`. Raises ConfigurationError without weights or for weights of another family,
    DataError for a file that is refused."""
    if weights is None:
        raise ConfigurationError(
            f"The generator '{name}' needs its public weight file; give it as the weights (see docs/generators.md)."
        )
    container = read_container(weights)
    if container.family != name:
        raise ConfigurationError(
            f"The weight file {weights} contains a '{container.family}', not a '{name}'; use it with that generator."
        )
    network = network_of(container, weights)
    for part, made in network.computed.items():
        logger.info(f"{weights.name}: {part}: {made['how']} (seed {made['seed']})")
    return StyleGanGenerator(network, device)
