"""Generators of faces behind one interface: latent -> image, named directions, w + alpha n (section 3.1).

Legend: N images, D latent width, L layers of W+, A alphas, H = W = side length in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch


class FaceGenerator(Protocol):
    """What every generator offers. Rendering one row alone or in a batch gives the same image (to float32 rounding),
    and the same seed gives the same bits on the same machine."""

    name: str
    latent_width: int
    image_size_px: int
    """Native side length; a generator that renders at any size names its default."""

    def latents(self, seeds: Sequence[int]) -> torch.Tensor:
        """w_ND, one row per seed, each a function of its seed alone."""
        ...

    def render(self, w_ND: torch.Tensor, size_px: int | None = None) -> torch.Tensor:
        """Images (N,3,H,W), float32 in [-1, 1]; `w_ND` may be W+ (N,L,D) where the generator has layers."""
        ...

    def attributes(self) -> tuple[str, ...]:
        """Names for which a direction is at hand."""
        ...

    def direction(self, attribute: str) -> torch.Tensor:
        """n (1,D) float32. Raises ConfigurationError, naming those at hand, for an unknown attribute."""
        ...


def edit(w: torch.Tensor, direction: torch.Tensor, alphas: Sequence[float]) -> torch.Tensor:
    """w + alpha n (section 3.1) for every alpha: (N,A,D) from w (N,D) and n (1,D); where either has layers, w (N,L,D)
    or n (L,D), (N,A,L,D)."""
    import torch

    direction = direction.to(w)
    if w.ndim == 2 and len(direction) > 1:
        w = w[:, None, :]
    alpha_A = torch.tensor(alphas, dtype=w.dtype, device=w.device)
    if w.ndim == 2:
        return w[:, None, :] + alpha_A[None, :, None] * direction[None, :, :]
    return w[:, None, :, :] + alpha_A[None, :, None, None] * direction[None, None, :, :]


def draw(generator: FaceGenerator, seeds: Sequence[int], psi: float) -> torch.Tensor:
    """w_ND of the seeds, truncated towards the mean latent by `psi` where the generator knows truncation (the
    StyleGANs do: w_mean + psi (w - w_mean); `stylegan` gives W+ (N,L,D), since it truncates its first layers only)."""
    w_ND = generator.latents(seeds)
    truncate = getattr(generator, "truncate", None)
    return truncate(w_ND, psi) if truncate is not None else w_ND


def resized(images_NCHW: torch.Tensor, size_px: int) -> torch.Tensor:
    """Bicubic with antialiasing; images of that size as they are."""
    import torch

    if images_NCHW.shape[-1] == size_px:
        return images_NCHW
    return torch.nn.functional.interpolate(
        images_NCHW, (size_px, size_px), mode="bicubic", align_corners=False, antialias=True
    )


def to_uint8(images_NCHW: torch.Tensor) -> npt.NDArray[np.uint8]:
    """Rendered images ([-1, 1]) as RGB uint8 (N,H,W,3)."""
    import torch

    grey_NCHW = ((images_NCHW + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8)
    return grey_NCHW.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def load_generator(name: str, weights: Path | None = None, device: str = "cpu") -> FaceGenerator:
    """The generator called `name`. The embedded ones need no `weights`; the StyleGANs read a converted file or any
    public container."""
    from comface.generators.registry import generator

    return generator(name).load(weights, device)
