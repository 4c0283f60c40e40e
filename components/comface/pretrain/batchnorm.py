"""BatchNorm over the whole batch, although each process holds a share of it (`pretrain.batchnorm: global`).

Sources: Ioffe and Szegedy 2015 (BatchNorm); the variance of equal parts, Chan et al. 1983. PyTorch's SyncBatchNorm does
the same on GPUs, but refuses tensors of a CPU, where the equality with one process is tested.

Legend: N images of this process, C channels, H = W side length, P processes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn

from comface.pretrain.processes import Processes


def over_all_processes(network: nn.Module, processes: Processes) -> nn.Module:
    """Return `network` with every BatchNorm replaced by one with the same parameters and names that uses the statistics
    of all processes. Each process must have the same number of images. One process: `network` itself."""
    if processes.count == 1:
        return network
    if processes.device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return converted
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = GlobalBatchNorm
    return network


class GlobalBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d whose training statistics are those of all processes. In evaluation it is BatchNorm2d."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        out_NCHW: Tensor
        out_NCHW, mean_C, var_C = _Normalise.apply(input, self.weight, self.bias, self.eps)
        with torch.no_grad():
            count = distributed.get_world_size() * input.numel() // input.shape[1]
            for running, value_C in (("mean", mean_C), ("var", var_C * count / (count - 1))):
                running_C = self.get_buffer(f"running_{running}")
                running_C.lerp_(value_C.to(running_C.dtype), self.momentum or 0.0)
            self.get_buffer("num_batches_tracked").add_(1)
        return out_NCHW


class _Normalise(torch.autograd.Function):
    """(x - mean) / std * weight + bias, with mean and variance of all processes; computed in float32 or better.

    PyTorch's own kernels do the passes over the images: 0.4 times the processor time of elementwise operations."""

    @staticmethod
    def forward(ctx: Any, x_NCHW: Tensor, weight_C: Tensor, bias_C: Tensor, eps: float) -> tuple[Tensor, ...]:
        x = x_NCHW.to(torch.promote_types(x_NCHW.dtype, torch.float32))
        own_2C = torch.stack(torch.batch_norm_update_stats(x, None, None, 0.0))
        parts = [torch.empty_like(own_2C) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, own_2C)
        mean_PC, var_PC = torch.stack(parts, dim=1)
        mean_C = mean_PC.mean(dim=0)
        var_C = (var_PC + (mean_PC - mean_C).square()).mean(dim=0)
        ctx.save_for_backward(x_NCHW, weight_C, mean_C, torch.rsqrt(var_C + eps))
        ctx.mark_non_differentiable(mean_C, var_C)
        weight_C, bias_C = weight_C.to(x.dtype), bias_C.to(x.dtype)
        out = nn.functional.batch_norm(x, mean_C, var_C, weight_C, bias_C, eps=eps)
        return out.to(x_NCHW.dtype), mean_C, var_C

    @staticmethod
    def backward(ctx: Any, grad_NCHW: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of weight and bias are those of this process's share: DistributedDataParallel averages them.
        That of x contains the losses of all processes, because x changes the statistics of all. PyTorch's kernel
        subtracts means over the share; `more_2C` is what the means over all processes differ from them."""
        x_NCHW, weight_C, mean_C, scale_C = ctx.saved_tensors
        x, grad, weight = (each.to(mean_C.dtype) for each in (x_NCHW, grad_NCHW, weight_C))
        layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        grad_x, grad_weight_C, grad_bias_C = torch.ops.aten.native_batch_norm_backward(
            grad.contiguous(memory_format=layout), x, weight, None, None, mean_C, scale_C, True, 0.0, [True] * 3
        )
        own_2C = torch.stack([grad_bias_C, grad_weight_C])
        total_2C = own_2C.clone()
        distributed.all_reduce(total_2C)
        more_2C = (own_2C - total_2C / distributed.get_world_size()) / (grad.numel() // grad.shape[1])
        gain_C, slope_C = scale_C * weight, scale_C * more_2C[1]
        grad_x.addcmul_(x, _wide(gain_C * slope_C)).add_(_wide(gain_C * (more_2C[0] - mean_C * slope_C)))
        return grad_x.to(x_NCHW.dtype), grad_weight_C.to(weight_C.dtype), grad_bias_C.to(weight_C.dtype), None


def _wide(values_C: Tensor) -> Tensor:
    return values_C[None, :, None, None]
