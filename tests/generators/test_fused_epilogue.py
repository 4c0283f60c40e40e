"""The kernels of StyleGAN and StyleGAN2 in Triton's interpreter, against the same in PyTorch operations."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from kernels_of import compiled, drawn
from torch import Tensor
from torch.nn import functional
from weight_files import random_state

from comface.generators.stylegan import epilogue
from comface.generators.stylegan.build import build
from comface.generators.stylegan.equalized import LayerEnd
from comface.generators.stylegan.stylegan1 import StyleGan1, StyleGan1Config
from comface.generators.stylegan.stylegan2 import StyleGan2, StyleGan2Config
from comface.networks.kernels import plain

pytest.importorskip("triton")
pytestmark = pytest.mark.usefixtures("interpreter")
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
ROUNDED = {torch.float32: 2e-6, torch.float16: 1e-3}
"""Largest difference relative to the largest value: sums in another order; in float16, one unit in the last place."""


@pytest.fixture
def one_tile(interpreter: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One program per image, because every program takes 0.1 s in the interpreter."""
    from comface.generators.stylegan import fused_epilogue

    monkeypatch.setattr(fused_epilogue, "_tile", lambda x_NCHW: (16, 16, 4))


def layer_end(images: int, channels: int, size: tuple[int, int], taps: int, clamp: float | None = None) -> LayerEnd:
    """Four taps as StyleGAN2 has them (one filter), three as StyleGAN (one per channel, without factors)."""
    kernel = {1: None, 3: drawn(channels, 3, 3), 4: drawn(4, 4)}[taps]
    scales_NC = None if taps == 3 else drawn(images, channels, seed=2)
    return LayerEnd(drawn(channels), drawn(*size), drawn(channels, seed=3), kernel, scales_NC, clamp)


def assert_same(found: Tensor, wanted: Tensor) -> None:
    assert found.dtype == wanted.dtype
    assert found.stride() == wanted.stride()
    torch.testing.assert_close(
        found.float(), wanted.float(), rtol=0, atol=ROUNDED[found.dtype] * wanted.abs().max().item()
    )


@pytest.mark.usefixtures("one_tile")
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", ROUNDED)
@pytest.mark.parametrize("taps", [1, 3, 4])
def test_the_end_of_a_layer_in_one_kernel_equals_pytorch(taps: int, dtype: torch.dtype, memory_format: str) -> None:
    x_NCHW = drawn(2, 3, 9, 13).to(dtype).contiguous(memory_format=FORMATS[memory_format])
    lost = 0 if taps == 1 else taps - 3
    end = layer_end(2, 3, (9 - lost, 13 - lost), taps, clamp=2.0)
    with plain():
        wanted = epilogue.activated(x_NCHW, end)
    assert_same(epilogue.activated(x_NCHW, end), wanted)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_tiles_meet_at_odd_edges(memory_format: str) -> None:
    """More rows, columns and channels than a tile has, none a multiple."""
    channels, width = (33, 17) if memory_format == "channels_last" else (2, 259)
    x_NCHW = drawn(1, channels, 9, width).contiguous(memory_format=FORMATS[memory_format])
    end = layer_end(1, channels, (9, width), 1)
    with plain():
        wanted = epilogue.activated(x_NCHW, end)
    assert_same(epilogue.activated(x_NCHW, end), wanted)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("taps", [1, 3])
def test_instance_norm_and_style_equal_pytorch_however_far_the_mean_is(
    taps: int, memory_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from comface.generators.stylegan import fused_epilogue

    monkeypatch.setattr(fused_epilogue, "_tile", lambda x_NCHW: (4, 8, 4))
    monkeypatch.setattr(fused_epilogue, "CHUNKS", 4)  # of two tiles each, the last with one
    x_NCHW = drawn(1, 3, 19, 13).contiguous(memory_format=FORMATS[memory_format])
    end = dataclasses.replace(
        layer_end(1, 3, (19, 13), taps), scales_NC=None, bias_C=torch.tensor([0.0, 40.0, -3000.0])
    )
    scale_NC, shift_NC = drawn(1, 3, seed=4), drawn(1, 3, seed=5)
    y_NCHW = x_NCHW.double()
    if end.taps is not None:
        y_NCHW = functional.conv2d(y_NCHW, end.taps[:, None].double(), padding=1, groups=3)
    y_NCHW = y_NCHW + end.bias_C[:, None, None] + end.strength_C[:, None, None] * end.noise_HW
    y_NCHW = functional.leaky_relu(y_NCHW, 0.2)
    mean_NC11, variance_NC11 = y_NCHW.mean((2, 3), keepdim=True), y_NCHW.var((2, 3), correction=0, keepdim=True)
    normal_NCHW = (y_NCHW - mean_NC11) / (variance_NC11 + 1e-8).sqrt()
    wanted = normal_NCHW * (scale_NC + 1)[:, :, None, None] + shift_NC[:, :, None, None]
    found = epilogue.styled(x_NCHW, end, scale_NC, shift_NC)
    torch.testing.assert_close(found[:, :2].double(), wanted[:, :2], rtol=0, atol=2e-5)
    torch.testing.assert_close(found.double(), wanted, rtol=0, atol=5e-3)  # near -3000, float32 is rounded to 2e-4


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("below", [False, True])
def test_the_image_of_a_resolution_in_one_kernel_equals_pytorch(below: bool, memory_format: str) -> None:
    channels = 35 if memory_format == "channels_last" else 5
    x_NCHW = drawn(1, channels, 6, 10).half().contiguous(memory_format=FORMATS[memory_format])
    weight_N3C, bias_3, taps = drawn(1, 3, channels), drawn(3), drawn(4, 4)
    image = drawn(1, 3, 3, 5) if below else None
    with plain():
        wanted = epilogue.to_rgb(x_NCHW, weight_N3C, bias_3, 3.0, image, taps)
    assert_same(epilogue.to_rgb(x_NCHW, weight_N3C, bias_3, 3.0, image, taps).contiguous(), wanted.contiguous())


@pytest.mark.usefixtures("one_tile")
@pytest.mark.parametrize("half", [False, True])
def test_stylegan2_with_kernels_equals_stylegan2_without(half: bool) -> None:
    arrays = {name: value.numpy() for name, value in random_state(StyleGan2(StyleGan2Config(6, 5, 2, (4, 3)))).items()}
    network = build("stylegan2", arrays, {"conv_clamp": 2.0})
    w_NLD = drawn(1, network.layers, 5)
    with plain():
        exact = network(w_NLD)
        assert network.use_float16(half) == half
        wanted = network(w_NLD)
    found = network(w_NLD)
    assert_same(found.contiguous(), wanted.contiguous())
    apart = (found - exact).abs().max() / exact.abs().max()
    assert (1e-5 < apart < 5e-3) == half


@pytest.mark.usefixtures("one_tile")
@pytest.mark.parametrize("fused", [False, True])
def test_stylegan_with_kernels_equals_stylegan_without(fused: bool) -> None:
    config = StyleGan1Config(6, 6, 6, 2, (4, 3), (False, fused))
    arrays = {name: value.numpy() for name, value in random_state(StyleGan1(config)).items()}
    network = build("stylegan", arrays, {})
    w_NLD = drawn(1, network.layers, 6)
    with plain():
        wanted = network(w_NLD)
    assert_same(network(w_NLD).contiguous(), wanted.contiguous())


LAUNCHES = """
import torch
from comface.generators.stylegan import epilogue
from comface.generators.stylegan.build import build
from comface.generators.stylegan.stylegan1 import StyleGan1, StyleGan1Config
from comface.generators.stylegan.stylegan2 import StyleGan2, StyleGan2Config

epilogue.fused = lambda x_NCHW: True
for network, half in (
    (StyleGan2(StyleGan2Config(32, 32, 2, (512, 64, 32), clamp=256.0)), False),
    (StyleGan2(StyleGan2Config(32, 32, 2, (512, 64, 32), clamp=256.0)), True),
    (StyleGan1(StyleGan1Config(32, 32, 32, 2, (512, 16), (False, True))), False),
):
    for form in (torch.channels_last, torch.contiguous_format):
        network = network.requires_grad_(False).to(memory_format=form)
        torch.backends.cudnn.allow_tf32 = form == torch.channels_last
        if half:
            network.use_float16(True)
        network(torch.zeros(2, network.layers, 32))
"""


@pytest.mark.system
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_for_gpus_as_the_networks_launch_them(capability: int, tmp_path: Path) -> None:
    """Without a GPU: launches compile only. Layers of both networks, in float32 and float16."""
    found = compiled(LAUNCHES, capability, tmp_path)
    assert {"_finish", "_moments", "_normalisation", "_to_rgb"} <= {*found}


@pytest.mark.system
@pytest.mark.parametrize("memory_format", FORMATS)
def test_every_layer_of_the_published_networks_equals_pytorch_at_small_sizes(memory_format: str) -> None:
    """With the tiles of a GPU: channels-last with the true numbers of channels; contiguous, where a program makes one
    channel, with 1/32 of them."""
    form, share = FORMATS[memory_format], 1 if memory_format == "channels_last" else 32
    for i, channels in enumerate(max(1, every // share) for every in StyleGan2Config().channels):
        for taps, dtype in ((4, torch.float16 if i >= 5 else torch.float32), (1, torch.float32)):
            x_NCHW = drawn(1, channels, 6, 9).to(dtype).contiguous(memory_format=form)
            end = layer_end(1, channels, (6 - taps // 4, 9 - taps // 4), taps, 256.0)
            with plain():
                wanted = epilogue.activated(x_NCHW, end)
            assert_same(epilogue.activated(x_NCHW, end), wanted)
    for channels in (max(1, every // share) for every in StyleGan1Config().channels):
        for taps in (3, 1):
            x_NCHW = drawn(1, channels, 9, 5).contiguous(memory_format=form)
            end = layer_end(1, channels, (9, 5), taps)
            end = dataclasses.replace(end, scales_NC=None)
            with plain():
                wanted = epilogue.styled(x_NCHW, end, drawn(1, channels), drawn(1, channels))
            found = epilogue.styled(x_NCHW, end, drawn(1, channels), drawn(1, channels))
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
