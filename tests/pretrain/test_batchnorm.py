"""BatchNorm over the batch of all processes: the same statistics and gradients as in one process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from gloo import together
from torch import Tensor, nn

from comface.pretrain.batchnorm import GlobalBatchNorm, over_all_processes
from comface.pretrain.processes import Processes

IMAGES = 16


def small_network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = (nn.Conv2d(a, b, 3, bias=False) for a, b in ((3, 6), (6, 4)))
        norms = nn.BatchNorm2d(6), nn.BatchNorm2d(4)
        for norm in norms:
            nn.init.normal_(norm.weight, 1, 0.3)
            nn.init.normal_(norm.bias, 0, 0.3)
        return nn.Sequential(first, norms[0], nn.ReLU(), second, norms[1], nn.Flatten(), nn.Linear(64, 1))


def one_step(processes: Processes) -> dict[str, Tensor]:
    """Gradients and running statistics after one step on this process's share of the images."""
    found = {}
    for kind in (torch.float32, torch.float64):
        found |= {f"{name}, {kind}": value for name, value in one_step_in(kind, processes).items()}
    return found


def one_step_in(kind: torch.dtype, processes: Processes) -> dict[str, Tensor]:
    network = over_all_processes(small_network().to(kind), processes)
    wrapped = nn.parallel.DistributedDataParallel(network) if processes.count > 1 else network
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(IMAGES, 3, 8, 8, generator=draw).to(kind) + (0 if kind == torch.float32 else 1000)
    weight = torch.randn(IMAGES, generator=draw).to(kind)
    (wrapped(images[processes.share]).squeeze(1) * weight[processes.share]).square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    return gradients | {name: buffer.clone() for name, buffer in network.named_buffers()}


@pytest.mark.parametrize("count", [2, 4, 8])
def test_statistics_and_gradients_are_those_of_one_process(count: int, tmp_path: Path) -> None:
    (alone,) = together(1, one_step, tmp_path)
    for found in together(count, one_step, tmp_path):
        assert found.keys() == alone.keys()
        for name, expected in alone.items():
            tolerance = 1e-5 if expected.dtype == torch.float32 else 1e-9
            assert (found[name] - expected).abs().max() <= tolerance * expected.abs().max(), name


def half_precision(processes: Processes) -> tuple[str, bool]:
    network = over_all_processes(small_network(), processes)
    with torch.autocast("cpu", torch.bfloat16):
        out = network[1](network[0](torch.randn(4, 3, 8, 8)))
    return str(out.dtype), bool(out.isfinite().all())


def test_under_autocast_the_precision_of_the_input_is_kept(tmp_path: Path) -> None:
    assert together(2, half_precision, tmp_path) == [("torch.bfloat16", True)] * 2


def test_in_evaluation_it_is_an_ordinary_batchnorm() -> None:
    ordinary, network = small_network().eval(), small_network()
    over_all_processes(network, Processes(0, 2, torch.device("cpu"))).eval()
    assert sum(isinstance(module, GlobalBatchNorm) for module in network.modules()) == 2
    assert network.state_dict().keys() == ordinary.state_dict().keys()
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(network(images), ordinary(images))
