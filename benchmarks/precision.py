"""The difference between synthesize.precision fast and exact, in grey levels, and the order of alphas in both.

    python benchmarks/precision.py [--networks stylegan stylegan2 stylegan3-t stylegan3-r] [--size 1024] [--alphas 21]
        [--weights FILE --direction FILE.npy] [--device cuda]

Renders one sweep in both precisions, from random weights of the published architecture or from a weight file. On a
CPU (default without a GPU) fast is emulated: images are stored in float16 where they are on a GPU; the operands of the
other convolutions are rounded to TF32 (10 bits of mantissa); sums are in float32. (StyleGAN3 has float16 layers only in
its kernels: without TRITON_INTERPRET=1, its rows show TF32 alone.)

Images of random weights have no natural contrast; they are scaled to a standard deviation of 60 grey levels, as a
photo of a face has. Those of a weight file are compared as stored: rounded and clipped to 0 … 255.

The order of alphas: each image is projected on the difference of the last and the first one. The order of these values
must be the same in both precisions. Printed besides: the difference of neighbouring images in exact, in grey levels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from generators import NETWORKS, ours, random_state
from torch import Tensor
from torch.nn import functional

from comface.generators import edit
from comface.generators.stylegan.generator import StyleGanGenerator, load_stylegan
from comface.weights.container import read_container

MOST_LEVELS = 1.0
CONTRAST = 60.0
"""Standard deviation of the images of random weights, in grey levels."""


def as_tf32(x: Tensor) -> Tensor:
    """float32 rounded to TF32: 10 bits of mantissa, to nearest."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0x0FFF + (bits >> 13 & 1)) & ~0x1FFF).view(torch.float32).view_as(x)


@contextmanager
def emulated() -> Iterator[None]:
    """Convolutions as tensor cores compute them: operands in TF32 or float16, sums in float32."""

    def rounded(convolve: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def run(x: Tensor, weight: Tensor, *rest: object, **options: object) -> Tensor:
            if x.dtype == torch.float32:
                return convolve(as_tf32(x), as_tf32(weight), *rest, **options)
            return convolve(x.float(), weight.float(), *rest, **options).to(x.dtype)

        return run

    with ExitStack() as stack:
        for name in ("conv2d", "conv_transpose2d"):
            stack.enter_context(patch.object(functional, name, rounded(getattr(functional, name))))
        yield


def in_both(generator: StyleGanGenerator, w_AD: Tensor) -> tuple[Tensor, Tensor]:
    """(exact, fast) images (A,3,H,W)."""
    exact = generator.render(w_AD).cpu()
    if generator.set_precision("fast"):
        return exact, generator.render(w_AD).cpu()
    generator.network.use_float16(True)
    with emulated():
        return exact, generator.render(w_AD).cpu()


def compare(name: str, generator: StyleGanGenerator, direction_1D: Tensor, alphas: int, natural: bool) -> bool:
    seeds = generator.truncate(generator.latents([0]), 0.7)
    w = edit(seeds.cpu(), direction_1D, np.linspace(-5, 5, alphas).tolist())[0]
    exact, fast = in_both(generator, w)
    if natural:
        exact, fast = (((images + 1) * 127.5).round().clamp(0, 255) for images in (exact, fast))
    else:
        exact, fast = (images * (CONTRAST / exact.std()) for images in (exact, fast))
    apart, step = (fast - exact).abs(), (exact[1:] - exact[:-1]).abs().mean()
    axis = (exact[-1] - exact[0]).flatten()
    orders = [(images.flatten(1) @ axis).argsort() for images in (exact, fast)]
    same = bool((orders[0] == orders[1]).all())
    mean = apart.mean().item()
    print(
        f"| {name} | {generator.image_size_px} | {generator.device.type} | {mean:.3f} | {apart.max():.1f} | {step:.3f} "
        f"| {'same' if same else 'DIFFERENT'} |",
        flush=True,
    )
    return mean <= MOST_LEVELS and same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--size", type=int, default=1024, choices=(64, 128, 256, 512, 1024), help="native side length")
    parser.add_argument("--alphas", type=int, default=21)
    parser.add_argument("--weights", type=Path, help="a weight file instead of random weights")
    parser.add_argument("--direction", type=Path, help="with --weights: a direction (1,D); default: a random one")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    options = parser.parse_args()
    torch.manual_seed(0)
    print("| network | px | device | mean difference, grey levels | largest | neighbouring alphas | order |")
    print("|---|---|---|---|---|---|---|")
    good = True
    if options.weights:
        generator = load_stylegan(read_container(options.weights).family, options.weights, options.device)
        direction_1D = torch.randn(1, generator.latent_width)
        if options.direction:
            direction_1D = torch.from_numpy(np.load(options.direction)).float().reshape(1, -1)
        direction_1D = direction_1D / direction_1D.norm()
        good = compare(generator.name, generator, direction_1D, options.alphas, True)
    else:
        for name in options.networks:
            network = ours(name, random_state(name, options.size)).network
            generator = StyleGanGenerator(network, options.device)
            direction_1D = torch.randn(1, generator.latent_width)
            good &= compare(name, generator, direction_1D / direction_1D.norm(), options.alphas, False)
    if not good:
        raise SystemExit(f"fast differs from exact by more than {MOST_LEVELS:g} grey level on average, or in order.")


if __name__ == "__main__":
    main()
