"""The network of figure 2: the shapes of its heads."""

from __future__ import annotations

import pytest
import torch

from comface.pretrain.network import ComFace


@pytest.mark.parametrize(("hidden", "inner"), [(None, 1440), (8, 8)])
def test_the_projection_head_is_as_wide_inside_as_the_features_unless_told_otherwise(
    hidden: int | None, inner: int
) -> None:
    network = ComFace("narrow", hidden, 16)
    assert [layer.weight.shape for layer in network.projection if hasattr(layer, "weight")] == [
        (inner, 1440),
        (16, inner),
    ]
    z_2NP, d_N = network(torch.zeros(9, 3, 48, 48))
    assert z_2NP.shape == (6, 16)
    assert d_N.shape == (3,)
