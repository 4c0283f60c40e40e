"""Fine-tuning (section 3.4): backbone f and head l trained together on L_task, the squared error of the change.

In: an encoder, faces, pairs to train and to validate on. Out: predicted changes of the test pairs, from the epoch with
the least validation error. Choices where the paper is silent: Adam, with a higher rate for the head; both photos of
a pair are mirrored together at random; the change is scaled to unit spread while training; BatchNorm trains with the
statistics of the batch (both photos in one forward pass) and is evaluated with its running ones; training stops
after PATIENCE epochs without a better validation error. A transferred head (the paper's) is first rescaled so that its
estimates spread like the changes to be learned, since it was fitted to |dalpha|; a method that brings no head starts
with a fresh one.

Legend: P pairs, N photos, S side length.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from comface.backbones import ChangeHead
from comface.config import TransferConfig
from comface.errors import DataError
from comface.progress import say
from comface.seeds import derive_seed, numpy_rng
from comface.transfer.methods import Encoder
from comface.transfer.pairs import Pairs

PATIENCE = 6
Floats = NDArray[np.float64]


class ChangeNetwork(nn.Module):
    """d = l(ReLU(f(y) - f(x))), times the spread of the changes it was trained on."""

    def __init__(self, backbone: nn.Module, head: ChangeHead, spread: float) -> None:
        super().__init__()
        self.backbone, self.head, self.spread = backbone, head, spread

    def forward(self, x_PCSS: Tensor, y_PCSS: Tensor) -> Tensor:
        h_x_PD, h_y_PD = self.backbone(torch.cat([x_PCSS, y_PCSS])).chunk(2)
        return self.head(h_x_PD, h_y_PD)

    def change(self, x_PCSS: Tensor, y_PCSS: Tensor, antisymmetric: bool) -> Tensor:
        h_x_PD, h_y_PD = self.backbone(torch.cat([x_PCSS, y_PCSS])).chunk(2)
        d_P = self.head(h_x_PD, h_y_PD)
        if antisymmetric:
            d_P = (d_P - self.head(h_y_PD, h_x_PD)) / 2
        return d_P * self.spread


class Batches:
    """Pairs of faces as the network takes them."""

    def __init__(
        self,
        preprocess: Callable[[NDArray[np.uint8]], Tensor],
        faces_NSSC: NDArray[np.uint8],
        pairs: Pairs,
        device: str,
    ) -> None:
        self.preprocess, self.faces_NSSC, self.pairs, self.device = preprocess, faces_NSSC, pairs, device

    def __call__(self, which_P: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        x_PCSS, y_PCSS = (
            self.preprocess(self.faces_NSSC[side_P[which_P]]).to(self.device)
            for side_P in (self.pairs.x_P, self.pairs.y_P)
        )
        return x_PCSS, y_PCSS


def finetune(
    encoder: Encoder,
    data: Batches,
    train_P: NDArray[np.int64],
    validation_P: NDArray[np.int64],
    config: TransferConfig,
    words: tuple[object, ...],
) -> tuple[ChangeNetwork, int]:
    """The trained network and the epoch (from 1) it is taken from. `words` name the run, for its seeds."""
    change_P = data.pairs.change_P
    spread = float(change_P[train_P].std()) or 1.0
    network = ChangeNetwork(encoder.network, _head(encoder, config, words), spread).to(data.device)
    if config.head == "transferred" and encoder.head:
        _rescale(network, data, train_P, config)
    rates = ((network.backbone, config.backbone_rate), (network.head, config.head_rate))
    optimizer = torch.optim.Adam([{"params": part.parameters(), "lr": rate} for part, rate in rates])
    best_error, best_epoch, best_state = np.inf, 0, copy.deepcopy(network.state_dict())
    for epoch in range(1, config.epochs + 1):
        rng = numpy_rng(config.seed, "finetune", *words, epoch)
        _train_epoch(network, optimizer, data, rng.permutation(train_P), config, rng)
        error = float(np.mean((predict(network, data, validation_P, config) - change_P[validation_P]) ** 2))
        if not np.isfinite(error):
            raise DataError(f"Fine-tuning of {'/'.join(map(str, words))} diverged; lower transfer.backbone_rate.")
        if error < best_error:
            best_error, best_epoch, best_state = error, epoch, copy.deepcopy(network.state_dict())
        if epoch - best_epoch >= PATIENCE:
            break
    network.load_state_dict(best_state)
    say(f"fine-tuning {'/'.join(map(str, words))}: best after {best_epoch} epochs, validation MSE {best_error:.3g}")
    return network, best_epoch


def predict(network: ChangeNetwork, data: Batches, which_P: NDArray[np.int64], config: TransferConfig) -> Floats:
    """The estimated change of these pairs (P,), in the task's unit."""
    network.eval()
    parts = [np.empty(0)]
    with torch.inference_mode():
        for batch_P in _batches(which_P, config.batch_pairs):
            parts.append(network.change(*data(batch_P), config.antisymmetric).double().cpu().numpy())
    return np.concatenate(parts)


def _train_epoch(
    network: ChangeNetwork,
    optimizer: torch.optim.Optimizer,
    data: Batches,
    order_P: NDArray[np.int64],
    config: TransferConfig,
    rng: np.random.Generator,
) -> None:
    network.train()
    for batch_P in _batches(order_P, config.batch_pairs):
        if len(batch_P) < 2:
            continue  # BatchNorm has no statistics of one pair
        x_PCSS, y_PCSS = data(batch_P)
        mirror_P = torch.from_numpy(rng.random(len(batch_P)) < 0.5).to(x_PCSS.device)[:, None, None, None]
        x_PCSS, y_PCSS = (torch.where(mirror_P, images.flip(3), images) for images in (x_PCSS, y_PCSS))
        target_P = torch.from_numpy(data.pairs.change_P[batch_P] / network.spread).float().to(x_PCSS.device)
        loss = torch.mean((network(x_PCSS, y_PCSS) - target_P) ** 2)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def _batches(which_P: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(which_P), size):
        yield which_P[start : start + size]


def _head(encoder: Encoder, config: TransferConfig, words: tuple[object, ...]) -> ChangeHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config.seed, "head", *words))
        head = ChangeHead(encoder.width)
    if config.head == "transferred" and encoder.head:
        head.load_state_dict({f"linear.{name}": torch.from_numpy(value) for name, value in encoder.head.items()})
    return head


def _rescale(network: ChangeNetwork, data: Batches, train_P: NDArray[np.int64], config: TransferConfig) -> None:
    """Scale and shift the head so that its estimates have the mean and unit spread of the targets."""
    estimate_P = torch.from_numpy(predict(network, data, train_P, config) / network.spread)
    spread, mean = float(estimate_P.std()), float(estimate_P.mean())
    if spread < 1e-9:
        return
    with torch.no_grad():
        network.head.linear.weight /= spread
        network.head.linear.bias.sub_(mean).div_(spread).add_(
            float(data.pairs.change_P[train_P].mean()) / network.spread
        )
