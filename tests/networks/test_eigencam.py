"""Eigen-CAM against the maps of a public implementation (pytorch-grad-cam) and a slow reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

from comface.networks.activations import last_map
from comface.networks.backbones import NarrowResNet, build_backbone
from comface.networks.dlib_resnet import DlibResNet
from comface.networks.eigencam import heat, projection
from comface.networks.pcl import PclEncoder

GOLDEN = np.load(Path(__file__).parent.parent / "data/features/eigencam.npz")


def golden_activation() -> np.ndarray:
    """Noise in 64 channels, and a blob at row 3, column 4 with another weight in each."""
    noise_NCHW = np.abs(np.random.RandomState(5).standard_normal((2, 64, 7, 7))).astype(np.float32)
    weight_C = np.abs(np.random.RandomState(6).standard_normal(64)).astype(np.float32)
    y_HW, x_HW = np.mgrid[0:7, 0:7].astype(np.float32)
    blob_HW = np.exp(-((y_HW - 3) ** 2 + (x_HW - 4) ** 2) / 4).astype(np.float32)
    return noise_NCHW + 2 * weight_C[:, None, None] * blob_HW


def slow_projection(activation_CHW: np.ndarray) -> np.ndarray:
    """By power iteration on the covariance of the channels, in float64, pixel by pixel."""
    count, height, width = activation_CHW.shape
    pixels = [activation_CHW[:, y, x].astype(np.float64) for y in range(height) for x in range(width)]
    mean = sum(pixels) / len(pixels)
    covariance = np.zeros((count, count))
    for pixel in pixels:
        covariance += np.outer(pixel - mean, pixel - mean)
    component = np.ones(count)
    for _ in range(2_000):
        component = covariance @ component
        component /= np.linalg.norm(component)
    found = np.array([(pixel - mean) @ component for pixel in pixels]).reshape(height, width)
    return -found if abs(found.min()) > abs(found.max()) else found


@pytest.mark.parametrize("image", [0, 1])
def test_projections_and_maps_equal_the_golden_ones(image: int) -> None:
    map_HW = projection(golden_activation()[image])
    np.testing.assert_allclose(map_HW, GOLDEN["projection_signcorr"][image], rtol=1e-4, atol=1e-4)
    assert abs(np.abs(map_HW) - np.abs(GOLDEN["projection"][image])).max() < 1e-4
    strength_SS = heat(map_HW, 224, 224)
    np.testing.assert_allclose(strength_SS[::8, ::8], GOLDEN["cam224_signcorr"][image], rtol=1e-4, atol=1e-4)
    assert strength_SS.mean() == pytest.approx(GOLDEN["cam224_signcorr_mean"][image], abs=1e-5)


def test_a_projection_equals_that_of_a_slow_reference_whatever_its_sides() -> None:
    activation_CHW = np.random.RandomState(3).standard_normal((12, 5, 8)).astype(np.float32) ** 3
    np.testing.assert_allclose(projection(activation_CHW), slow_projection(activation_CHW), rtol=1e-4, atol=1e-4)


def test_the_sign_does_not_depend_on_the_sign_of_the_component() -> None:
    activation_CHW = golden_activation()[0]
    y, x = np.unravel_index(np.argmax(projection(activation_CHW)), (7, 7))
    assert (y, x) == (3, 4)
    np.testing.assert_allclose(projection(activation_CHW[::-1].copy()), projection(activation_CHW), atol=1e-4)


def test_a_constant_map_is_zero_everywhere() -> None:
    strength_HW = heat(projection(np.ones((4, 3, 3), np.float32)), 10, 6)
    assert strength_HW.shape == (6, 10)
    assert not strength_HW.any()


@pytest.mark.parametrize(
    ("network", "side_px", "shape"),
    [
        (NarrowResNet, 48, (160, 3, 3)),
        (lambda: build_backbone("resnet18")[0], 96, (512, 3, 3)),
        (lambda: build_backbone("vit_b_16")[0], 224, (768, 14, 14)),
        (lambda: timm.create_model("tf_efficientnet_lite0", num_classes=0), 96, (1280, 3, 3)),
        (lambda: timm.create_model("test_vit", num_classes=0), 160, (64, 10, 10)),
        (lambda: PclEncoder("exp"), 64, (128, 4, 4)),
        (DlibResNet, 150, (256, 4, 4)),
    ],
    ids=["narrow", "resnet18", "vit_b_16", "lite0", "timm-vit", "pcl", "dlib"],
)
def test_the_last_feature_map_of_each_family(network, side_px: int, shape: tuple[int, ...]) -> None:
    activation_NCHW = last_map(network().eval(), torch.rand(1, 3, side_px, side_px))
    assert activation_NCHW is not None
    assert tuple(activation_NCHW.shape[1:]) == shape


def test_the_map_of_a_resnet_is_the_output_of_its_last_block() -> None:
    network, x_NCHW = build_backbone("resnet18")[0].eval(), torch.rand(1, 3, 96, 96)
    found = last_map(network, x_NCHW)
    assert found is not None
    with torch.inference_mode():
        torch.testing.assert_close(found.mean((2, 3)), network(x_NCHW))


def test_a_network_without_a_feature_map_has_none() -> None:
    assert last_map(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), torch.rand(1, 3, 2, 2)) is None
