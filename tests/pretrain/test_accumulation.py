"""A batch in parts: the losses and the gradient of the whole batch, with BatchNorm over each part."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from comface.pretrain.accumulation import backward_in_parts
from comface.pretrain.config import PretrainConfig
from comface.pretrain.network import VIEWS, ComFace, Outputs
from comface.pretrain.objective import Losses, losses_of, losses_of_outputs
from comface.pretrain.processes import Processes

ALONE = Processes(0, 1, torch.device("cpu"))
PAIRS = 12


def config_of(parts: int, learning: str) -> PretrainConfig:
    return PretrainConfig(accumulate=parts, learning=learning, pairs_per_step=PAIRS, precision="fp32")


def batch(learning: str) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    draw = torch.Generator().manual_seed(0)
    views = torch.randn(len(VIEWS[learning]) * PAIRS, 3, 32, 32, generator=draw)
    return views, (torch.randn(PAIRS, generator=draw), torch.randn(PAIRS, generator=draw))


def network_of(learning: str) -> ComFace:
    torch.manual_seed(0)
    return ComFace("narrow", 16, 8, learning=learning).train()


def gradient(network: nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def same(a: Losses, b: Losses) -> None:
    for one, other in ((a.total, b.total), (a.inter, b.inter), (a.intra, b.intra)):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("learning", ["both", "inter", "intra"])
def test_without_batch_statistics_the_gradient_is_that_of_the_whole_batch(learning: str) -> None:
    views, alphas = batch(learning)
    network = network_of(learning)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # uses its running statistics, so no image depends on another
    whole = losses_of(network, views, alphas, config_of(1, learning), ALONE)
    whole.total.backward()
    for parts in (2, 3, 12):
        other = copy.deepcopy(network)
        other.zero_grad()
        found = backward_in_parts(other, views, alphas, config_of(parts, learning), ALONE)
        same(found, whole)
        torch.testing.assert_close(gradient(other), gradient(network), rtol=1e-4, atol=1e-6)


def test_with_batchnorm_each_part_has_its_own_statistics_like_the_share_of_a_process() -> None:
    views, alphas = batch("both")
    network, parts = network_of("both"), 3
    shares = [Processes(rank, parts, torch.device("cpu")).share for rank in range(parts)]
    outputs, first = list[Outputs](), {}
    for share in shares:
        outputs.append(network(views.unflatten(0, (3, PAIRS))[:, share].flatten(0, 1)))
        first = first or {name: buffer.clone() for name, buffer in network.named_buffers()}
    z = torch.cat([o.z_2NP.chunk(2)[half] for half in range(2) for o in outputs])
    in_order = tuple(torch.cat([alpha_N[share] for share in shares]) for alpha_N in alphas)
    joined = Outputs(z, torch.cat([o.d_N for o in outputs]))
    expected = losses_of_outputs(joined, in_order, config_of(1, "both"), ALONE)
    expected.total.backward()
    other = network_of("both")
    same(backward_in_parts(other, views, alphas, config_of(parts, "both"), ALONE), expected)
    assert (gradient(other) - gradient(network)).norm() < 1e-5 * gradient(network).norm()
    for name, buffer in other.named_buffers():
        torch.testing.assert_close(buffer, first[name], msg=f"{name} changes once, as in the first process")


def test_statistics_of_the_whole_batch_cannot_be_had_in_parts() -> None:
    with pytest.raises(ValueError, match="needs the whole batch at once"):
        PretrainConfig(accumulate=2, batchnorm="global")
