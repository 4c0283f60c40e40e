"""torchvision's ResNets with BatchNorm, addition and ReLU in one kernel while they train on a GPU (norm_kernels.py).

Parameters, buffers and their names stay. In evaluation, on a CPU and without Triton the blocks are torchvision's own,
which are also the reference.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from comface.networks.kernels import fused


class FusedNorm(nn.BatchNorm2d):
    """BatchNorm2d, with the ReLU that follows it if `relu`."""

    relu = False

    def forward(self, input: Tensor) -> Tensor:
        return norm_relu(self, input, relu=self.relu) if self.training and fused(input) else super().forward(input)


class ReLUOfNorm(nn.ReLU):
    """The ReLU of the stem, where the kernel of its BatchNorm has done it."""

    def forward(self, input: Tensor) -> Tensor:
        return input if self.training and fused(input) else super().forward(input)


class FusedBasicBlock(BasicBlock):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and fused(x)):
            plain: Tensor = super().forward(x)
            return plain
        identity = x if self.downsample is None else self.downsample(x)
        out = norm_relu(self.bn1, self.conv1(x))
        return norm_relu(self.bn2, self.conv2(out), identity)


class FusedBottleneck(Bottleneck):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and fused(x)):
            plain: Tensor = super().forward(x)
            return plain
        identity = x if self.downsample is None else self.downsample(x)
        out = norm_relu(self.bn1, self.conv1(x))
        out = norm_relu(self.bn2, self.conv2(out))
        return norm_relu(self.bn3, self.conv3(out), identity)


FUSED = {BasicBlock: FusedBasicBlock, Bottleneck: FusedBottleneck}


def fuse(network: nn.Module) -> None:
    """Let the blocks of `network`, if it is a ResNet of torchvision, use the kernels. BatchNorm over several processes
    stays as it is."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not isinstance(network, ResNet) or any(type(norm) is not nn.BatchNorm2d for norm in norms):
        return
    for module in list(network.modules()):
        if type(module) in FUSED:
            module.__class__ = FUSED[type(module)]
            if module.downsample is not None:
                module.downsample[1].__class__ = FusedNorm
    network.bn1.__class__, network.bn1.relu, network.relu.__class__ = FusedNorm, True, ReLUOfNorm


def norm_relu(norm: nn.BatchNorm2d, x_NCHW: Tensor, residual_NCHW: Tensor | None = None, relu: bool = True) -> Tensor:
    """Return ReLU(norm(x) + residual) in training mode, and update the running statistics."""
    from comface.pretrain.norm_kernels import NormReLU

    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.num_batches_tracked.add_(1)
    running, factors = (norm.running_mean, norm.running_var), (norm.momentum, norm.eps)
    if residual_NCHW is not None:
        residual_NCHW = residual_NCHW.to(x_NCHW.dtype)
    y_NCHW: Tensor = NormReLU.apply(x_NCHW, residual_NCHW, norm.weight, norm.bias, running, factors, relu)
    return y_NCHW
