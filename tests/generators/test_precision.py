"""synthesize.precision: what exact forbids, where fast uses float16, and how far their images are apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from weight_files import random_state

from comface.generators import edit
from comface.generators.stylegan.build import build
from comface.generators.stylegan.generator import StyleGanGenerator, tf32
from comface.generators.stylegan.stylegan1 import StyleGan1, StyleGan1Config
from comface.generators.stylegan.stylegan2 import StyleGan2, StyleGan2Config
from comface.generators.stylegan.stylegan3 import StyleGan3, StyleGan3Config

CONTRAST = 60
"""Standard deviation of a photo of a face, in grey levels: the images of random weights are scaled to it."""


def flags() -> tuple[bool, bool]:
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.fixture
def tf32_everywhere() -> Iterator[None]:
    before = flags()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def stylegan2(channels: tuple[int, ...] = (5, 4), clamp: float | None = 256.0) -> StyleGan2:
    state = random_state(StyleGan2(StyleGan2Config(6, 6, 3, channels)), seed=3)
    network = build("stylegan2", {name: value.numpy() for name, value in state.items()}, {"conv_clamp": clamp})
    assert isinstance(network, StyleGan2)
    return network


@pytest.mark.usefixtures("tf32_everywhere")
def test_exact_uses_no_tf32_whatever_the_process_had_set() -> None:
    network, seen = stylegan2(), []
    network.register_forward_pre_hook(lambda *_: seen.append(flags()))
    network.mapping.register_forward_pre_hook(lambda *_: seen.append(flags()))
    generator = StyleGanGenerator(network)
    generator.render(generator.latents([1]))
    assert seen == [(False, False), (False, False)]
    assert flags() == (True, True)
    with tf32(True):
        assert flags() == (True, False), "fast: convolutions only"


def test_a_cpu_renders_the_same_images_in_both_precisions() -> None:
    generator = StyleGanGenerator(stylegan2())
    w_ND = generator.latents([1, 2])
    exact = generator.render(w_ND)
    assert not generator.set_precision("fast")
    assert torch.equal(generator.render(w_ND), exact)


def test_float16_is_used_where_nvidias_code_uses_it_and_only_with_a_clamp() -> None:
    with torch.device("meta"):
        two = StyleGan2(StyleGan2Config(clamp=256.0))
        three = StyleGan3(StyleGan3Config())
        unclamped, one = StyleGan2(StyleGan2Config()), StyleGan1(StyleGan1Config())
    assert two.use_float16(True)
    halves = [size for size in two.synthesis.sizes if two.synthesis.get_submodule(f"b{size}").float16]
    assert halves == [128, 256, 512, 1024]
    assert three.use_float16(True)
    layers = [name for name in three.synthesis.names if three.synthesis.get_submodule(name).float16]
    assert layers == [name for name in three.synthesis.names if int(name.split("_")[1]) >= 148]
    assert not two.use_float16(False)
    assert not any(two.synthesis.get_submodule(f"b{size}").float16 for size in two.synthesis.sizes)
    assert not unclamped.use_float16(True)
    assert not one.use_float16(True)


def test_fast_differs_by_less_than_a_grey_level_and_keeps_the_order_of_alphas() -> None:
    """On a CPU; benchmarks/precision.py does this for the published networks and, on a GPU, for real weights."""
    network = stylegan2((8, 8, 8, 8))
    w_AD = edit(
        torch.randn(1, 6, generator=torch.Generator().manual_seed(0)),
        torch.ones(1, 6) / 6**0.5,
        np.linspace(-5, 5, 101).tolist(),
    )[0]
    w_ALD = w_AD[:, None].expand(-1, network.layers, -1)
    with torch.inference_mode():
        exact = network(w_ALD)
        assert network.use_float16(True)
        fast = network(w_ALD)
    exact, fast = (images * (CONTRAST / exact.std()) for images in (exact, fast))
    assert 1e-4 < (fast - exact).abs().mean() < 0.5
    axis = (exact[-1] - exact[0]).flatten()
    assert torch.equal((fast.flatten(1) @ axis).argsort(), (exact.flatten(1) @ axis).argsort())
