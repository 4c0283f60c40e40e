"""Backbones: each gives features of the width it says, for the sizes that the configuration names."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn

from comface.networks import PATCH_PX, WITHOUT_BATCHNORM, Backbone
from comface.networks.backbones import ChangeHead, build_backbone, folded
from comface.plan.sizes import FEATURES

WIDTHS = {"narrow": (1440, 64), "resnet18": (512, 64), "resnet50": (2048, 64), "resnet101": (2048, 64),
          "vit_b_16": (768, 224)}  # fmt: skip
"""Feature width, and a side length to try it with."""


def test_every_backbone_of_the_configuration_is_built() -> None:
    assert set(WIDTHS) == set(get_args(Backbone))


@pytest.mark.parametrize("name", WIDTHS)
def test_features_have_the_width_that_is_told(name: str) -> None:
    expected, side_px = WIDTHS[name]
    network, width = build_backbone(name, side_px)
    assert width == expected
    with torch.inference_mode():
        h_ND = network.eval()(torch.zeros(2, 3, side_px, side_px))
    assert h_ND.shape == (2, width)
    assert torch.isfinite(h_ND).all()


@pytest.mark.parametrize("name", WIDTHS)
def test_what_is_known_of_a_backbone_without_torch_is_true_of_its_network(name: str) -> None:
    network, width = build_backbone(name)
    assert FEATURES[name] == width
    normed = any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert normed == (name not in WITHOUT_BATCHNORM)
    assert getattr(network, "patch_size", None) == PATCH_PX.get(name)


def test_a_vit_learns_one_position_embedding_per_patch_and_takes_no_other_side() -> None:
    network, _ = build_backbone("vit_b_16", 48)
    assert network.encoder.pos_embedding.shape == (1, 3 * 3 + 1, 768)
    with torch.inference_mode(), pytest.raises(AssertionError, match="Wrong image height"):
        network(torch.zeros(1, 3, 224, 224))


@pytest.mark.parametrize("name", [*WIDTHS, "tf_efficientnet_lite0"])
def test_a_folded_network_gives_the_same_features_and_leaves_the_network_as_it_was(name: str) -> None:
    torch.manual_seed(0)
    if name in WIDTHS:
        side_px = WIDTHS[name][1]
        network = build_backbone(name, side_px)[0].eval()
    else:
        import timm

        network, side_px = timm.create_model(name, pretrained=False, num_classes=0).eval(), 64
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.running_mean, -0.5, 0.5)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    x_NCHW = torch.randn(2, 3, side_px, side_px)
    with torch.inference_mode():
        h_ND = network(x_NCHW)
        quick = folded(network)
        torch.testing.assert_close(quick(x_NCHW), h_ND, rtol=1e-4, atol=1e-4 * float(h_ND.abs().max()))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in quick.modules())
    assert [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)] == norms


def test_a_name_that_is_not_configured_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no backbone resnet7"):
        build_backbone("resnet7")


def test_the_narrow_network_is_small_enough_for_a_laptop() -> None:
    network, _ = build_backbone("narrow")
    assert sum(parameter.numel() for parameter in network.parameters()) < 1_000_000


def test_the_change_head_is_a_line_on_the_rectified_difference() -> None:
    head = ChangeHead(3)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0, 10.0, 100.0]]))
        head.linear.bias.fill_(0.5)
    h_x = torch.tensor([[0.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    h_y = torch.tensor([[3.0, 1.0, 2.0], [1.0, 1.0, 1.0]])
    expected = [0.5 + 1 * 3 + 10 * 0 + 100 * 1, 0.5]
    assert head(h_x, h_y).tolist() == pytest.approx(expected)
