"""The table of views: a pair's numbers depend on its place only, and the views match a slow reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from comface.pretrain.augment import apply_views
from comface.pretrain.config import Augmentation
from comface.pretrain.draws import (
    BRIGHTNESS,
    CAST,
    CONTRAST,
    GAMMA,
    MATRIX,
    SLOPE,
    THETA,
    TO_YIQ,
    WIDTH,
    X1,
    X2,
    Draws,
    Y,
    draw_views,
)  # fmt: skip

EVERYTHING = Augmentation(rotation_deg=10, side_light=0.7)


def draw(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("processes", [1, 2, 3, 4, 8])
def test_a_pair_has_the_same_views_whatever_the_number_of_processes(processes: int) -> None:
    whole = draw_views(EVERYTHING, Draws(draw(), 24))
    assert whole.shape == (3, 24, WIDTH)
    for rank in range(processes):
        share = slice(rank, None, processes)
        assert torch.equal(draw_views(EVERYTHING, Draws(draw(), 24, share)), whole[:, share])


def test_pairs_and_views_differ_and_x_and_y_share_what_the_configuration_says() -> None:
    for shared, columns in (
        ("none", []),
        ("crop", [THETA]),
        ("colour", [MATRIX, CAST]),
        ("all", [THETA, MATRIX, CAST]),
    ):
        table = draw_views(EVERYTHING.model_copy(update={"shared": shared}), Draws(draw(), 5))
        for part in (THETA, MATRIX, CAST):
            assert torch.equal(table[X1, :, part], table[Y, :, part]) == (part in columns), (shared, part)
            assert not torch.equal(table[X1, :, part], table[X2, :, part])
        assert len(table[X1].unique(dim=0)) == 5


def slow_view(image_HW3: np.ndarray, row: np.ndarray, size: int, lit: bool) -> np.ndarray:
    """Pixel by pixel, in float64: reflect and interpolate, light, then colours as torchvision's ColorJitter orders
    them: hue and saturation, contrast around the mean luminance, brightness."""
    height = image_HW3.shape[0]
    theta, matrix = row[THETA].reshape(2, 3), row[MATRIX].reshape(3, 3)
    out = np.zeros((size, size, 3))
    for r in range(size):
        for c in range(size):
            at = np.array([(2 * c + 1) / size - 1, (2 * r + 1) / size - 1, 1])
            u, v = (((theta @ at) + 1) * height - 1) / 2
            u, v = (np.clip(reflected(w, height), 0, height - 1) for w in (u, v))
            u0, v0 = math.floor(u), math.floor(v)
            for dv, du in ((0, 0), (0, 1), (1, 0), (1, 1)):
                weight = (1 - abs(u - u0 - du)) * (1 - abs(v - v0 - dv))
                out[r, c] += weight * image_HW3[min(v0 + dv, height - 1), min(u0 + du, height - 1)]
    if lit:
        axis = np.linspace(-1, 1, size)
        shade = np.maximum(0.1, 1 + row[SLOPE][0] * axis[None, :] + row[SLOPE][1] * axis[:, None])
        unit = np.clip((out + 1) / 2, 1e-4, 1) ** row[GAMMA]
        out = np.clip(unit * shade[:, :, None] * row[CAST], 0, 1) * 2 - 1
    mean = (out.mean(axis=(0, 1)) * [0.299, 0.587, 0.114]).sum()
    out = (out - mean) @ matrix.T * row[CONTRAST] + mean
    return np.clip((out + 1) * row[BRIGHTNESS] - 1, -1, 1)


def reflected(w: float, height: int) -> float:
    w = abs(w + 0.5) % (2 * height)
    return min(w, 2 * height - w) - 0.5


@pytest.mark.parametrize(("stored", "size", "lit"), [(20, 16, False), (13, 17, True)])
def test_views_are_those_of_a_slow_reference(stored: int, size: int, lit: bool) -> None:
    images = torch.randint(256, (4, stored, stored, 3), generator=draw())
    x_NCHW = images.permute(0, 3, 1, 2).float() / 127.5 - 1
    table_NC = draw_views(EVERYTHING.model_copy(update={"rotation_deg": 40}), Draws(draw(), 4))[X1]
    seen = apply_views(x_NCHW, table_NC, size, lit).permute(0, 2, 3, 1).numpy()
    for number, row in enumerate(table_NC.double().numpy()):
        expected = slow_view(images[number].numpy() / 127.5 - 1, row, size, lit)
        np.testing.assert_allclose(seen[number], expected, atol=2e-5)


def test_hue_and_saturation_leave_the_luminance_and_grayscale_leaves_nothing_else() -> None:
    table = draw_views(EVERYTHING.model_copy(update={"grayscale": 0.0}), Draws(draw(), 50))[X1]
    matrices = table[:, MATRIX].unflatten(1, (3, 3))
    torch.testing.assert_close(TO_YIQ[0] @ matrices, TO_YIQ[0].expand(50, 3), atol=1e-3, rtol=0)
    gray = draw_views(EVERYTHING.model_copy(update={"grayscale": 1.0}), Draws(draw(), 3))[X1]
    torch.testing.assert_close(gray[:, MATRIX].unflatten(1, (3, 3)), TO_YIQ[0].expand(3, 3, 3), atol=1e-3, rtol=0)
