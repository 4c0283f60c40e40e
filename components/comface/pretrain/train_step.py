"""One step of training on this process's pairs: views, networks, losses, gradients, update of the weights.

A step launches its work on the device and returns nothing: the losses stay on the device until `read` (step_losses.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from comface.pretrain.accumulation import backward_in_parts
from comface.pretrain.config import PretrainConfig
from comface.pretrain.cuda_graph import replay, replayable
from comface.pretrain.data import Batch
from comface.pretrain.draws import Draws
from comface.pretrain.network import ComFace
from comface.pretrain.objective import Losses, alphas_of, losses_of, views_of
from comface.pretrain.optimiser import learning_rate
from comface.pretrain.position import Position
from comface.pretrain.processes import Processes
from comface.pretrain.step_losses import Reading, StepLosses
from comface.seeds import derive_seed


class TrainStep:
    """The steps of one training: its network, its optimiser, and the losses that were not read yet."""

    def __init__(
        self, network: ComFace, optimizer: torch.optim.Optimizer, config: PretrainConfig, processes: Processes
    ) -> None:
        _fuse(network.backbone)
        self.network: nn.Module = network if replayable(config, processes) else _in_parallel(network, config, processes)
        """ComFace, or its wrapper for several processes."""
        self.optimizer, self.config, self.processes = optimizer, config, processes
        self._losses = StepLosses(processes.device)
        self._plain = network
        self._recorded: torch.Size | None = None
        """Shape of the views for which the backbone was last recorded as a CUDA graph."""

    def __call__(self, batch: Batch, at: Position) -> None:
        """Launch the step that follows `at`. Nothing here waits for the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, at) * group["factor"]
        draw = torch.Generator().manual_seed(derive_seed(self.config.seed, "views", at.epoch, at.step))
        draws = Draws(draw, self.config.pairs_per_step, self.processes.share)
        alphas = alphas_of(batch, self.processes.device)
        views_VCHW = views_of(batch, self.config, draws, self.config.size_px(at.epoch), self.processes.device)
        self.optimizer.zero_grad(set_to_none=True)
        self._record(views_VCHW)
        losses = self._backward(views_VCHW, alphas)
        self.optimizer.step()
        self._losses.add(losses.inter, None if losses.intra is None else self.processes.mean(losses.intra))

    def _record(self, views_VCHW: Tensor) -> None:
        """Record the backbone for views of another shape than before. That waits for the device."""
        if views_VCHW.shape == self._recorded or not replayable(self.config, self.processes):
            return
        self._recorded = views_VCHW.shape
        self.network = self._plain  # the wrapper would keep parts of the graph that is replaced
        replay(self._plain.backbone, views_VCHW, self.config)
        self.network = _in_parallel(self._plain, self.config, self.processes)  # its hooks must come after the recording

    def _backward(self, views_VCHW: Tensor, alphas: tuple[Tensor, Tensor]) -> Losses:
        if self.config.accumulate > 1:
            return backward_in_parts(self.network, views_VCHW, alphas, self.config, self.processes)
        losses = losses_of(self.network, views_VCHW, alphas, self.config, self.processes)
        losses.total.backward()
        return losses

    def read(self) -> Reading:
        """Return the losses of the steps since the last reading. The host waits for the device here."""
        return self._losses.read(self.network.parameters())


def _fuse(backbone: nn.Module) -> None:
    """Prepare a ResNet of torchvision for the kernels of a GPU. Other networks need no torchvision, whose import takes
    two seconds."""
    if type(backbone).__module__.startswith("torchvision."):
        from comface.pretrain.fused_resnet import fuse

        fuse(backbone)


def _in_parallel(network: ComFace, config: PretrainConfig, processes: Processes) -> nn.Module:
    """Wrap `network` so that gradients are averaged over the processes. If one loss is not used, g or l has no
    gradient. Each process keeps its own BatchNorm statistics."""
    if processes.count == 1:
        return network
    unused = config.learning != "both"
    if unused and processes.device.type == "cuda":
        # Or in every step the host would wait for the device, to ask which parameters had no gradient.
        (network.head if config.learning == "inter" else network.projection).requires_grad_(False)
        unused = False
    return nn.parallel.DistributedDataParallel(network, find_unused_parameters=unused, broadcast_buffers=False)
