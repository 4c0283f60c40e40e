"""BatchNorm, addition and ReLU in Triton's interpreter, against PyTorch: values, gradients, running statistics."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from kernels_of import compiled, drawn
from torch import Tensor, nn

pytest.importorskip("triton")
pytestmark = pytest.mark.usefixtures("interpreter")


def trained_step(
    norm: nn.BatchNorm2d, x: Tensor, residual: Tensor | None, relu: bool, fused: bool
) -> tuple[Tensor, list[Tensor]]:
    """The output and the gradients of x, residual, weight and bias."""
    from comface.pretrain.fused_resnet import norm_relu

    leaves = [leaf.detach().clone().requires_grad_() for leaf in (x, residual) if leaf is not None]
    if fused:
        y = norm_relu(norm, leaves[0], leaves[1] if residual is not None else None, relu)
    else:
        y = norm(leaves[0]) + (leaves[1] if residual is not None else 0)
        y = torch.relu(y) if relu else y
    y.backward(drawn(*y.shape, seed=9).to(y.dtype).contiguous(memory_format=torch.channels_last))
    return y.detach(), [leaf.grad for leaf in (*leaves, norm.weight, norm.bias)]


@pytest.mark.parametrize(
    ("shape", "added", "relu", "dtype"),
    [
        ((2, 5, 3, 4), True, True, torch.float32),
        ((3, 70, 5, 5), False, True, torch.bfloat16),  # rows and channels beyond one tile, several chunks
        ((2, 16, 9, 8), True, False, torch.bfloat16),
    ],
)
def test_values_gradients_and_running_statistics_are_those_of_pytorch(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], added: bool, relu: bool, dtype: torch.dtype
) -> None:
    from comface.pretrain import norm_kernels

    monkeypatch.setattr(norm_kernels, "PROGRAMS", 4)
    norm = nn.BatchNorm2d(shape[1])
    with torch.no_grad():
        norm.weight.copy_(drawn(shape[1], seed=2))
        norm.bias.copy_(drawn(shape[1], seed=3))
    x = (drawn(*shape) + 30).to(dtype).contiguous(memory_format=torch.channels_last)  # a mean far from zero
    residual = drawn(*shape, seed=4).to(dtype).contiguous(memory_format=torch.channels_last) if added else None
    exact = copy.deepcopy(norm).double()
    wide = [None if t is None else t.double() for t in (x, residual)]
    wanted_y, wanted = trained_step(exact, wide[0], wide[1], relu, fused=False)
    y, gradients = trained_step(norm, x, residual, relu, fused=True)
    tolerance = 1e-4 if dtype == torch.float32 else 1e-2
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert (y - wanted_y).abs().max() < tolerance * wanted_y.abs().max()
    for found, expected in zip(gradients, wanted, strict=True):
        assert (found - expected).norm() < tolerance * expected.norm()
    for (name, found), expected in zip(norm.named_buffers(), exact.buffers(), strict=True):
        torch.testing.assert_close(found.double(), expected.double(), rtol=1e-5, atol=1e-5, msg=name)


def test_a_pixel_that_is_not_a_number_is_seen_behind_the_relu() -> None:
    """A maximum with 0 would hide it, and the loss of a broken network would be finite."""
    from comface.pretrain.fused_resnet import norm_relu

    x = drawn(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    x[1, 2, 0, 1] = torch.nan
    y = norm_relu(nn.BatchNorm2d(3), x)
    assert bool(y[:, 2].isnan().all())
    assert bool(y[:, :2].isfinite().all())


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_a_fused_resnet_has_the_same_state_and_in_evaluation_the_same_code(name: str) -> None:
    from comface.networks.backbones import build_backbone
    from comface.pretrain.fused_resnet import fuse

    network, _ = build_backbone(name)
    plain = copy.deepcopy(network)
    fuse(network)
    assert any(type(m).__name__.startswith("Fused") for m in network.modules())
    assert list(network.state_dict()) == list(plain.state_dict())
    x = drawn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(network.eval()(x), plain.eval()(x))


@pytest.mark.parametrize("kind", ["BasicBlock", "Bottleneck"])
def test_a_fused_block_computes_what_torchvisions_does(kind: str) -> None:
    from torchvision.models import resnet

    from comface.networks.kernels import plain
    from comface.pretrain.fused_resnet import fuse

    torch.manual_seed(0)
    whole = resnet.ResNet(getattr(resnet, kind), [1, 1, 1, 1])
    fuse(whole)
    block = whole.layer2[0]  # with a residual path of its own
    x = drawn(2, block.conv1.in_channels, 4, 4).contiguous(memory_format=torch.channels_last)
    with plain():
        reference = copy.deepcopy(block)
        wanted = reference(x)
        wanted.square().sum().backward()
    found = block(x)
    found.square().sum().backward()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    for (name, p), q in zip(block.named_parameters(), reference.parameters(), strict=True):
        assert (p.grad - q.grad).norm() < 1e-4 * q.grad.norm(), name
    for (name, p), q in zip(block.named_buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5, msg=name)


LAUNCHES = """
import torch
from comface.pretrain.draws import WIDTH
from comface.pretrain.norm_kernels import NormReLU
from comface.pretrain.view_kernels import all_views

images, source = torch.zeros(4, 64, 64, 3, dtype=torch.uint8), torch.arange(4)
for dtype in (torch.bfloat16, torch.float32):
    for added, relu in ((True, True), (False, True), (False, False)):
        x = torch.zeros(6, 64, 8, 8, dtype=dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
        residual = torch.zeros_like(x).requires_grad_() if added else None
        weight, bias = (torch.ones(64, requires_grad=True) for _ in range(2))
        running = (torch.zeros(64), torch.ones(64))
        NormReLU.apply(x, residual, weight, bias, running, (0.1, 1e-5), relu).sum().backward()
    for lit in (False, True):
        all_views(images, source, torch.zeros(4, WIDTH), 48, lit, dtype)
"""


@pytest.mark.system
@pytest.mark.parametrize("capability", [80, 90])
def test_the_kernels_of_a_step_compile_for_gpus(capability: int, tmp_path: Path) -> None:
    """Without a GPU: launches compile only."""
    expected = "_gradient _gradient_sums _merge_moments _merge_sums _moments _normalise _view"
    assert compiled(LAUNCHES, capability, tmp_path) == expected.split()
