"""Face generators with one interface: latent -> image, named directions, w + alpha n (section 3.1).

Legend: N images, D latent width, L layers of W+, A alphas, H = W = side length in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

Precision = Literal["exact", "fast"]
"""On CUDA: float32 (exact), or float16 in the highest resolutions and TF32 elsewhere, as the official code of the
StyleGANs computes (fast). On a CPU, both are float32."""


class FaceGenerator(Protocol):
    """The interface of every generator. An image does not depend on the batch (up to float32 rounding), and the same
    seed gives the same bits on the same machine. A generator with the attribute `splits` (true) renders any number of
    latents, in batches that it chooses itself; others get at most 16 images of 1024 px at once."""

    name: str
    latent_width: int
    image_size_px: int
    """Native side length; for a generator that renders at any size, its default."""

    def latents(self, seeds: Sequence[int]) -> torch.Tensor:
        """w_ND, one row per seed; each row depends only on its seed."""
        ...

    def render(self, w_ND: torch.Tensor, size_px: int | None = None) -> torch.Tensor:
        """Images (N,3,H,W), float32 in [-1, 1]; `w_ND` may be W+ (N,L,D) if the generator has layers."""
        ...

    def attributes(self) -> tuple[str, ...]:
        """Names of the available directions."""
        ...

    def direction(self, attribute: str) -> torch.Tensor:
        """n (1,D) float32. Raises ConfigurationError that lists the attributes for an unknown one."""
        ...


def edit(w: torch.Tensor, direction: torch.Tensor, alphas: Sequence[float]) -> torch.Tensor:
    """w + alpha n (section 3.1) for every alpha: (N,A,D) from w (N,D) and n (1,D); (N,A,L,D) if w (N,L,D) or n (L,D)
    has layers. Copies to a GPU do not wait for the work that it has still to do."""
    import torch

    direction = direction.to(w.device, w.dtype, non_blocking=True)
    if w.ndim == 2 and len(direction) > 1:
        w = w[:, None, :]
    alpha_A = torch.tensor(alphas, dtype=w.dtype).to(w.device, non_blocking=True)
    if w.ndim == 2:
        return w[:, None, :] + alpha_A[None, :, None] * direction[None, :, :]
    return w[:, None, :, :] + alpha_A[None, :, None, None] * direction[None, None, :, :]


def draw(generator: FaceGenerator, seeds: Sequence[int], psi: float) -> torch.Tensor:
    """w_ND of the seeds, truncated towards the mean latent by `psi` if the generator supports truncation. The StyleGANs
    do: w_mean + psi (w - w_mean). `stylegan` returns W+ (N,L,D), because it truncates only its first layers."""
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
    return copying(images_NCHW)()


def copying(images_NCHW: torch.Tensor) -> Callable[[], npt.NDArray[np.uint8]]:
    """As `to_uint8`, but without waiting for a GPU: the copy into pinned memory runs behind the rendering, and the
    returned function waits for it, in any thread."""
    import torch

    grey_NCHW = ((images_NCHW + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8)
    grey_NHWC = grey_NCHW.permute(0, 2, 3, 1).contiguous()
    if grey_NHWC.device.type != "cuda":
        return grey_NHWC.numpy
    host_NHWC = torch.empty(grey_NHWC.shape, dtype=torch.uint8, pin_memory=True)
    host_NHWC.copy_(grey_NHWC, non_blocking=True)
    copied = torch.cuda.Event(blocking=True)  # a waiting thread sleeps
    copied.record(torch.cuda.current_stream(grey_NHWC.device))

    def wait() -> npt.NDArray[np.uint8]:
        copied.synchronize()
        return host_NHWC.numpy()

    return wait
