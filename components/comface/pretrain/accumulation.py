"""The gradient of a whole batch in parts, for fewer GPUs with the same batch (`pretrain.accumulate`).

Equation (1) compares every view with all others, so the parts cannot have losses of their own. As in GradCache (Gao et
al. 2021): all parts pass through the network without gradients; the losses of the whole batch give the gradients of
their outputs; then each part passes again, and these gradients flow back through it. That costs a second forward pass.

Part k of A has every A-th pair of the process, starting at k. So the parts are the shares of A times as many processes,
and BatchNorm over a part gives what BatchNorm over the share of such a process gives (batchnorm: local).

Legend: N pairs of this process, V views of them, A parts, P projection width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from comface.pretrain.config import PretrainConfig
from comface.pretrain.network import VIEWS, Outputs
from comface.pretrain.objective import Losses, losses_of_outputs, outputs_of
from comface.pretrain.processes import Processes


def backward_in_parts(
    network: nn.Module,
    views_VCHW: Tensor,
    alphas: tuple[Tensor, Tensor],
    config: PretrainConfig,
    processes: Processes,
) -> Losses:
    """Add the gradient of the whole batch to that of the parameters, and return the losses. `network`: ComFace, or its
    wrapper for several processes. `alphas`: of x and of y, (N,) each."""
    starts = range(config.accumulate)
    parts = [_part(views_VCHW, len(VIEWS[config.learning]), start, config.accumulate) for start in starts]
    with torch.no_grad(), buffers_kept(network):
        outputs = [outputs_of(network, part, config) for part in parts]
    whole = _merged(outputs)
    alpha_x_N, alpha_y_N = (torch.cat([alpha_N[start :: config.accumulate] for start in starts]) for alpha_N in alphas)
    losses = losses_of_outputs(whole, (alpha_x_N, alpha_y_N), config, processes)
    losses.total.backward()
    for start, (part, gradient) in enumerate(zip(parts, _split(whole, config.accumulate), strict=True)):
        with _exchanged_only_if(start == config.accumulate - 1, network), buffers_kept(network, start > 0):
            again = [output for output in outputs_of(network, part, config) if output is not None]
            torch.autograd.backward(again, gradient)
    return losses


def _part(views_VCHW: Tensor, views: int, start: int, count: int) -> Tensor:
    part: Tensor = views_VCHW.unflatten(0, (views, -1))[:, start::count].flatten(0, 1)
    return part.contiguous(memory_format=torch.channels_last)


def _merged(outputs: list[Outputs]) -> Outputs:
    """Return the outputs of all parts as leaves, in the order of the parts; z has first views, then second views."""
    halves = [z_2NP.chunk(2) for z_2NP, _ in outputs if z_2NP is not None]
    changes = [d_N for _, d_N in outputs if d_N is not None]
    z_2NP = torch.cat([first for first, _ in halves] + [second for _, second in halves]) if halves else None
    d_N = torch.cat(changes) if changes else None
    return Outputs(*(None if whole is None else whole.requires_grad_() for whole in (z_2NP, d_N)))


def _split(whole: Outputs, count: int) -> Iterator[list[Tensor]]:
    """Yield the gradients of the outputs of each part."""
    z_parts: Sequence[Tensor] | None = None
    d_parts: Sequence[Tensor] | None = None
    if whole.z_2NP is not None and whole.z_2NP.grad is not None:
        firsts, seconds = (half.chunk(count) for half in whole.z_2NP.grad.chunk(2))
        z_parts = [torch.cat(pair) for pair in zip(firsts, seconds, strict=True)]
    if whole.d_N is not None and whole.d_N.grad is not None:
        d_parts = whole.d_N.grad.chunk(count)
    for part in range(count):
        yield [parts[part] for parts in (z_parts, d_parts) if parts is not None]


@contextlib.contextmanager
def buffers_kept(network: nn.Module, kept: bool = True) -> Iterator[None]:
    """Restore the buffers afterwards (the running statistics of BatchNorm), so that a step changes them once, as a step
    of one part does."""
    buffers = list(network.buffers()) if kept else []
    before = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)


def _exchanged_only_if(last: bool, network: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Several processes exchange their gradients once, with the last part."""
    if last or not isinstance(network, nn.parallel.DistributedDataParallel):
        return contextlib.nullcontext()
    kept_apart: contextlib.AbstractContextManager[None] = network.no_sync()
    return kept_apart
