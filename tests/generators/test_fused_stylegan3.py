"""The kernel of StyleGAN3's filtered leaky ReLU in Triton's interpreter, against the same in PyTorch operations."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from kernels_of import drawn
from weight_files import random_state

from comface.generators.stylegan.equalized import SQRT2
from comface.generators.stylegan.resampling import Filters, filtered_leaky_relu
from comface.generators.stylegan.stylegan3 import StyledLayer, StyleGan3, StyleGan3Config, layer_plans
from comface.networks.kernels import fused, plain

pytest.importorskip("triton")
pytestmark = pytest.mark.usefixtures("interpreter")
T = StyleGan3Config()
R = StyleGan3Config(channel_base=65536, channel_max=1024, kernel=1, radial=True)
PUBLISHED = {"t": T, "r": R, "t 256": dataclasses.replace(T, image_size_px=256)}
LAST, FIRST = torch.channels_last, torch.contiguous_format
ROUNDED = {torch.float32: 4e-6, torch.float16: 4e-3}
"""Largest difference relative to the largest value: sums in another order; float16 between the two products along x."""


def published(config: StyleGan3Config, layer: int) -> Filters:
    return StyledLayer(layer_plans(config)[layer], config.kernel, 8, config.clamp).filters()


def assert_one_kernel_equals_pytorch(
    filters: Filters,
    size: tuple[int, int],
    channels: int = 3,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = LAST,
    images: int = 1,
) -> None:
    from comface.generators.stylegan.fused_filter import FusedFilter

    x_NCHW = drawn(images, channels, *size).to(dtype).contiguous(memory_format=memory_format)
    scales_NC, bias_C, gains_NC = drawn(images, channels, seed=2), drawn(channels, seed=3), drawn(images, channels)
    found = FusedFilter(filters, x_NCHW.device, dtype)(x_NCHW, scales_NC, bias_C, gains_NC)
    before_NCHW = x_NCHW.float() * scales_NC[:, :, None, None] + bias_C[:, None, None]
    wanted = filtered_leaky_relu(before_NCHW, filters, 2**40) * gains_NC[:, :, None, None]
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=memory_format)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= ROUNDED[dtype] * wanted.abs().max()


@pytest.mark.parametrize(
    ("network", "layer", "dtype", "memory_format"),
    [
        ("t", 0, torch.float32, FIRST),
        ("t", 2, torch.float16, LAST),
        ("r", 2, torch.float32, LAST),
        ("r", 11, torch.float16, LAST),
    ],
)
def test_layers_of_the_published_networks(
    network: str, layer: int, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    """Separable and radial, up 2 and 4, padded and cropped."""
    assert_one_kernel_equals_pytorch(published(PUBLISHED[network], layer), (17, 16), 3, dtype, memory_format)


@pytest.mark.parametrize(("up", "down"), [(1, 1), (1, 2), (2, 1), (4, 1), (1, 4), (2, 4), (4, 4)])
def test_any_factors_and_a_filter_of_any_phase(up: int, down: int) -> None:
    up_taps, down_taps = drawn(1 if up == 1 else 3 * up), drawn(1 if down == 1 else 2 * down + 1, seed=4)
    filters = Filters(up_taps, down_taps, up, down, (3 * up - 2, down + 3), SQRT2, None)
    assert_one_kernel_equals_pytorch(filters, (4, 5))


def test_images_larger_than_a_tile_and_a_strip_of_rows() -> None:
    """Two tiles of 64 columns, two strips of 24 rows, two blocks of 64 channels, two images."""
    filters = dataclasses.replace(published(T, 0), up_taps=drawn(4), down_taps=drawn(2), padding=(3, 2))
    assert_one_kernel_equals_pytorch(filters, (27, 66), 65, images=2)


def test_a_radial_filter_of_any_taps_and_an_input_that_is_cropped_to_few_rows() -> None:
    radial = dataclasses.replace(published(R, 0), down_taps=drawn(4, 4), up_taps=drawn(4), padding=(-3, -2))
    assert_one_kernel_equals_pytorch(radial, (8, 9))


@pytest.mark.parametrize(("radial", "half"), [(False, True), (True, False)])
def test_stylegan3_with_kernels_equals_stylegan3_without(radial: bool, half: bool) -> None:
    """Two layers with filters (one of them critically sampled), the image; channels that are no multiple of 8."""
    config = StyleGan3Config(
        z_width=8, w_width=8, image_size_px=8, layers=2, critical=1, margin=2, mapping_layers=1,
        channels=(5, 9, 3), kernel=1 if radial else 3, radial=radial,
    )  # fmt: skip
    network = StyleGan3(config)
    state = {**random_state(network), "synthesis.input.transform": torch.eye(3)}
    for name, tensor in network.state_dict().items():
        if name.endswith("_filter"):
            state[name] = tensor
        elif name.endswith("magnitude_ema"):
            state[name] = torch.tensor(1.5)
    network.load_state_dict(state)
    network.requires_grad_(False)
    w_NLD = drawn(2, network.layers, 8)
    with plain():
        wanted = network(w_NLD)
    assert network.use_float16(half) == half
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=half):  # decides the memory format
        found = network(w_NLD)
    apart = (found - wanted).abs().max() / wanted.abs().max()
    assert apart < (5e-3 if half else 5e-6)
    assert (apart > 1e-5) == half


def test_kernels_only_on_a_gpu_or_in_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(1)
    assert fused(x)
    with plain():
        assert not fused(x)
        with plain(False):
            assert not fused(x)
    with plain(False):
        assert fused(x)
    monkeypatch.delenv("TRITON_INTERPRET")
    assert not fused(x)


@pytest.mark.system
@pytest.mark.parametrize("dtype", ROUNDED)
@pytest.mark.parametrize("network", PUBLISHED)
def test_every_layer_of_the_published_networks(network: str, dtype: torch.dtype) -> None:
    config = PUBLISHED[network]
    for i, plan in enumerate(layer_plans(config)[:-1]):
        size = 24 - i, 30 + i  # the filters crop up to 12 rows
        assert_one_kernel_equals_pytorch(published(config, i), size, 1 + plan.after.channels % 8, dtype, images=2)


@pytest.mark.system
@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernel_compiles_for_gpus(capability: int, tmp_path: Path) -> None:
    """The interpreter accepts what the compiler does not. No GPU is needed: Triton contains NVIDIA's assembler."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    script = Path(__file__).parents[2] / "benchmarks" / "filtered_relu.py"
    subprocess.run(
        [sys.executable, str(script), "--compile", str(capability), "--networks", "t"],
        env={**environment, "TRITON_CACHE_DIR": str(tmp_path)},
        check=True,
    )
