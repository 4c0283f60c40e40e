"""StyleGAN2 against a slow reference written from its paper: float64, scipy, one image, one channel at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d, correlate2d
from weight_files import TINY2, State, random_state, stylegan2_state

from comface.generators.stylegan.build import build
from comface.generators.stylegan.stylegan2 import StyleGan2, StyleGan2Config

LOW_PASS = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def reference_map(state: dict[str, np.ndarray], z_D: np.ndarray, layers: int) -> np.ndarray:
    x_D = z_D / np.sqrt(np.mean(z_D**2) + 1e-8)
    for i in range(layers):
        weight, bias = state[f"mapping.fc{i}.weight"], state[f"mapping.fc{i}.bias"]
        y_D = weight @ x_D * (0.01 / np.sqrt(len(x_D))) + 0.01 * bias
        x_D = np.where(y_D > 0, y_D, 0.2 * y_D) * np.sqrt(2)
    return x_D


def reference_style(state: dict[str, np.ndarray], layer: str, w_D: np.ndarray) -> np.ndarray:
    return state[f"{layer}.affine.weight"] @ w_D / np.sqrt(len(w_D)) + state[f"{layer}.affine.bias"]


def with_zeros(x_HW: np.ndarray) -> np.ndarray:
    wide = np.zeros((2 * len(x_HW), 2 * len(x_HW)))
    wide[::2, ::2] = x_HW
    return wide


def reference_convolution(
    state: dict[str, np.ndarray], layer: str, x_CHW: np.ndarray, w_D: np.ndarray, up: bool, clamp: float | None
) -> np.ndarray:
    kernels = state[f"{layer}.weight"] * reference_style(state, layer, w_D)[None, :, None, None]
    kernels = kernels / np.sqrt((kernels**2).sum((1, 2, 3), keepdims=True) + 1e-8)
    made = []
    for kernel_I33 in kernels:
        if up:
            total = sum(convolve2d(with_zeros(x)[:-1, :-1], k, "full") for x, k in zip(x_CHW, kernel_I33, strict=True))
            made.append(correlate2d(np.pad(total, 1), 4 * LOW_PASS, "valid"))
        else:
            made.append(sum(correlate2d(x, k, "same") for x, k in zip(x_CHW, kernel_I33, strict=True)))
    y_CHW = np.stack(made) + state[f"{layer}.noise_const"] * state[f"{layer}.noise_strength"]
    y_CHW = y_CHW + state[f"{layer}.bias"][:, None, None]
    y_CHW = np.where(y_CHW > 0, y_CHW, 0.2 * y_CHW) * np.sqrt(2)
    return y_CHW if clamp is None else np.clip(y_CHW, -clamp, clamp)


def reference_image(
    state: dict[str, np.ndarray], w_LD: np.ndarray, sizes: list[int], clamp: float | None
) -> np.ndarray:
    x_CHW, image, row = state["synthesis.b4.const"], np.zeros((3, 2, 2)), 0
    for size in sizes:
        for part in ("conv0", "conv1") if size > 4 else ("conv1",):
            x_CHW = reference_convolution(state, f"synthesis.b{size}.{part}", x_CHW, w_LD[row], part == "conv0", clamp)
            row += 1
        layer = f"synthesis.b{size}.torgb"
        mix = state[f"{layer}.weight"][:, :, 0, 0] * reference_style(state, layer, w_LD[row]) / np.sqrt(len(x_CHW))
        own = np.tensordot(mix, x_CHW, 1) + state[f"{layer}.bias"][:, None, None]
        own = own if clamp is None else np.clip(own, -clamp, clamp)
        image = np.stack([correlate2d(np.pad(with_zeros(i), (2, 1)), 4 * LOW_PASS, "valid") for i in image]) + own
    return image


def in_float64(state: State) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().astype(np.float64) for name, tensor in state.items()}


@pytest.mark.parametrize("clamp", [None, 0.9])
def test_stylegan2_equals_a_slow_reference(clamp: float | None) -> None:
    state = random_state(StyleGan2(StyleGan2Config(6, 5, 3, (5, 4, 3))), seed=7)
    network = build("stylegan2", {n: t.numpy() for n, t in state.items()}, {"conv_clamp": clamp})
    generator = np.random.Generator(np.random.PCG64(1))
    z_D, w_LD = generator.standard_normal(6), generator.standard_normal((6, 5))
    found_D = network.mapping(torch.from_numpy(z_D).float()[None])[0].numpy()
    np.testing.assert_allclose(found_D, reference_map(in_float64(state), z_D, 3), atol=1e-6)
    found = network(torch.from_numpy(w_LD).float()[None])[0].numpy()
    wanted = reference_image(in_float64(state), w_LD, [4, 8, 16], clamp)
    np.testing.assert_allclose(found, wanted, atol=2e-5 * np.abs(wanted).max())


def test_the_full_network_has_the_published_names_and_counts() -> None:
    """Counts of parameters (with those of the affine layer) and of buffers: summaries that NVIDIA's training prints."""
    with torch.device("meta"):
        network = StyleGan2(StyleGan2Config())
    published = {
        "b32.torgb": (264195, 0),
        "b64.conv0": (2622465, 4112),
        "b64.conv1": (2622465, 4112),
        "b128.conv0": (1442561, 16400),
        "b128.conv1": (721409, 16400),
        "b128.torgb": (132099, 0),
        "b256.conv0": (426369, 65552),
        "b256.conv1": (213249, 65552),
        "b256.torgb": (66051, 0),
    }
    for name, counts in published.items():
        module = network.synthesis.get_submodule(name)
        found = sum(p.numel() for p in module.parameters()), sum(b.numel() for b in module.buffers())
        assert found == counts, name
    assert network.layers == 18
    assert all(network.mapping.get_submodule(f"fc{i}").weight.numel() == 512 * 512 for i in range(8))
    names = list(network.state_dict())
    assert names[:3] == ["synthesis.b4.const", "synthesis.b4.resample_filter", "synthesis.b4.conv1.weight"]
    assert names[-1] == "mapping.fc7.bias"
    assert network.state_dict()["synthesis.b1024.conv1.noise_const"].shape == (1024, 1024)


def test_truncation_reaches_every_layer() -> None:
    network = build("stylegan2", {n: t.numpy() for n, t in stylegan2_state().items()}, {})
    w_ND = torch.randn(2, TINY2.w_width)
    mean = network.mapping.w_avg
    torch.testing.assert_close(network.truncate(w_ND, 0.25), mean + 0.25 * (w_ND - mean))
