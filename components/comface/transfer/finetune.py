"""Fine-tuning (section 3.4): trains backbone f and head l together on L_task, the squared error of the change.

In: an encoder, faces, training and validation pairs, a grid of learning rates. Out: the network with the lowest
validation error over the grid and the epochs; or, when trained on all subjects, the network after a given number of
epochs. The paper leaves these choices open: Adam with a higher learning rate for the head; both photos of a pair are
randomly mirrored together; changes are scaled to unit standard deviation in training; BatchNorm uses the batch
statistics in training (both photos in one forward pass) and its running statistics in evaluation; early stopping after
PATIENCE epochs without a lower validation error. A transferred head (as in the paper) is first rescaled so that its
estimates have the spread of the target changes, because it was fitted to |dalpha|. Training starts with a new head if
the method has none or its estimates do not vary on the training pairs.

Legend: P pairs, N photos, S side length.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from comface.artifacts.arrays import Rows
from comface.errors import DataError
from comface.faces.preprocessing import Preprocessing
from comface.methods.encoder import Encoder
from comface.networks.backbones import ChangeHead
from comface.networks.head import Head
from comface.runtime.progress import counted
from comface.seeds import derive_seed, numpy_rng
from comface.transfer.photo_network import PhotoNetwork

logger = logging.getLogger(__name__)

PATIENCE = 6
"""Epochs without a lower validation error before early stopping."""
READERS = 4
"""Threads that read and resize faces for a GPU; a core resizes some hundred faces per second."""
Floats = NDArray[np.float64]
Sides = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Rows of the photos before (x) and after (y) of every pair."""


class ChangeNetwork(nn.Module):
    """d = l(ReLU(f(y) - f(x))), multiplied by the standard deviation of the training changes."""

    def __init__(self, backbone: nn.Module, head: ChangeHead, spread: float) -> None:
        super().__init__()
        self.backbone, self.head, self.spread = backbone, head, spread

    def forward(self, x_PCSS: Tensor, y_PCSS: Tensor) -> Tensor:
        h_x_PD, h_y_PD = self.backbone(torch.cat([x_PCSS, y_PCSS])).chunk(2)
        d_P: Tensor = self.head(h_x_PD, h_y_PD)
        return d_P

    def loss(self, x_PCSS: Tensor, y_PCSS: Tensor, change_P: Floats) -> Tensor:
        target_P = torch.from_numpy(change_P / self.spread).float().to(x_PCSS.device)
        return torch.mean((self(x_PCSS, y_PCSS) - target_P) ** 2)

    def error(self, predicted_P: Floats, change_P: Floats) -> float:
        return float(np.mean((predicted_P - change_P) ** 2))

    def change(self, x_PCSS: Tensor, y_PCSS: Tensor, antisymmetric: bool) -> Tensor:
        h_x_PD, h_y_PD = self.backbone(torch.cat([x_PCSS, y_PCSS])).chunk(2)
        d_P: Tensor = self.head(h_x_PD, h_y_PD)
        if antisymmetric:
            d_P = (d_P - self.head(h_y_PD, h_x_PD)) / 2
        return d_P * self.spread


Network = ChangeNetwork | PhotoNetwork


class Batches:
    """Converts pairs of faces to the network's input. `faces_NSSC`: anything that is indexed by rows."""

    def __init__(
        self, preprocessing: Preprocessing, faces_NSSC: NDArray[np.uint8] | Rows, sides: Sides, device: str
    ) -> None:
        self.preprocessing, self.faces_NSSC, self.sides, self.device = preprocessing, faces_NSSC, sides, device

    def __len__(self) -> int:
        return len(self.sides[0])

    def __call__(self, which_P: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        x_PCSS, y_PCSS = (self.preprocessing(self.faces_NSSC[side_P[which_P]], self.device) for side_P in self.sides)
        return x_PCSS, y_PCSS

    def in_order(self, order_P: NDArray[np.int64], size: int) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
        """Batches of at most `size` pairs, each with the positions of its pairs. For a GPU, other threads read the next
        batches while the network works on one."""
        parts = [order_P[start : start + size] for start in range(0, len(order_P), size)]
        if self.device == "cpu":
            yield from ((batch_P, *self(batch_P)) for batch_P in parts)
            return
        with ThreadPoolExecutor(READERS) as readers:
            coming = deque(readers.submit(self, batch_P) for batch_P in parts[:READERS])
            for number, batch_P in enumerate(parts):
                x_PCSS, y_PCSS = coming.popleft().result()
                coming.extend(readers.submit(self, each) for each in parts[number + READERS : number + READERS + 1])
                yield batch_P, x_PCSS, y_PCSS


@dataclass(frozen=True)
class Training:
    """How one network is trained. `fresh`: begin with a new head even if the method has one. `words` name the run and,
    with `seed`, determine its head and the order of its pairs."""

    epochs: int
    batch_pairs: int
    backbone_rate: float
    head_rate: float
    fresh: bool
    antisymmetric: bool
    seed: int
    words: tuple[object, ...]
    precision: str = "fp32"
    classes: int | None = None
    """For a task of single photos: their number, or 0 if the label is a quantity."""

    def formats(self) -> contextlib.AbstractContextManager[None]:
        """For all work on the network: fp32 is without TF32, which cuDNN uses by default."""
        return torch.backends.cudnn.flags(enabled=True, allow_tf32=self.precision == "bf16")

    def forward(self, device: str) -> torch.autocast:
        """For forward passes."""
        return torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16")

    @property
    def name(self) -> str:
        return "/".join(map(str, self.words))


@dataclass(frozen=True)
class Finetuned:
    """A trained network, its epoch (from 1), its initial head ('transferred' or 'fresh'), how it was trained, and its
    error on the validation pairs (squared, or of classes the share that is wrong; NaN if there were none)."""

    network: Network
    epoch: int
    head: str
    training: Training
    error: float

    @property
    def chosen(self) -> dict[str, float]:
        rates = {"backbone_rate": self.training.backbone_rate, "head_rate": self.training.head_rate}
        return rates | {"epochs": self.epoch, "validation_error": float(f"{self.error:.6g}")}

    def tensors(self) -> tuple[dict[str, Tensor], dict[str, NDArray[Any]]]:
        """Return the tensors of f, and of l in the format of `Head`, which both modes share. Matrices and kernels are
        stored in half precision (half the size; estimates differ in the fourth digit), vectors in full precision."""
        state = {f"backbone.{key}": value.cpu() for key, value in self.network.backbone.state_dict().items()}
        kept = {k: (v.half() if v.dim() > 1 else v).contiguous() for k, v in state.items()}
        assert isinstance(self.network, ChangeNetwork)  # heads of single photos are not registered
        linear = self.network.head.linear
        weight_D = linear.weight.detach().double().cpu().numpy()[0] * self.network.spread
        bias = float(linear.bias.detach().cpu()) * self.network.spread
        return kept, Head.of_layer(weight_D, bias, self.training.antisymmetric).tensors()


def finetune_best(
    load: Callable[[], Encoder], data: Sequence[Batches], change: Sequence[Floats], grid: Sequence[Training]
) -> Finetuned:
    """Train once for each point of the grid, and return the network with the lowest validation error. `data` and
    `change`: of the training and the validation pairs. A point at which training diverges is not chosen; raises
    DataError if all diverge."""
    best: Finetuned | None = None
    for training in grid:
        tuned = finetune(load(), data, change, training)
        if tuned is not None and (best is None or tuned.error < best.error):
            best = tuned
    if best is None:
        raise _diverged(grid[0].name)
    logger.info(
        f"fine-tuning {best.training.name}: best after {counted(best.epoch, 'epoch')} with the rates "
        f"{best.training.backbone_rate:g} and {best.training.head_rate:g}, validation error {best.error:.3g}"
    )
    return best


def finetune(
    encoder: Encoder, data: Sequence[Batches], change: Sequence[Floats], training: Training
) -> Finetuned | None:
    """Train with early stopping on the validation error; None if training diverges."""
    (train, validation), (change_P, wanted_P) = data, change
    network, began, optimizer = _start(encoder, train, change_P, training)
    best_error, best_epoch, best_state = np.inf, 0, copy.deepcopy(network.state_dict())
    for epoch in range(1, training.epochs + 1):
        with training.formats():
            _train_epoch(network, optimizer, train, change_P, training, epoch)
        error = network.error(predict(network, validation, training), wanted_P)
        if not np.isfinite(error):
            return None
        if error < best_error:
            best_error, best_epoch, best_state = error, epoch, copy.deepcopy(network.state_dict())
        if epoch - best_epoch >= PATIENCE:
            break
    network.load_state_dict(best_state)
    return Finetuned(network, best_epoch, began, training, best_error)


def finetune_all(encoder: Encoder, train: Batches, change_P: Floats, training: Training) -> Finetuned:
    """Train on all pairs for `training.epochs` epochs, without validation. Raises DataError if training diverges."""
    network, began, optimizer = _start(encoder, train, change_P, training)
    for epoch in range(1, training.epochs + 1):
        with training.formats():
            _train_epoch(network, optimizer, train, change_P, training, epoch)
    if not all(bool(torch.isfinite(tensor).all()) for tensor in network.state_dict().values()):
        raise _diverged(training.name)
    logger.info(f"fine-tuning {training.name}: {counted(training.epochs, 'epoch')} on all subjects")
    return Finetuned(network, training.epochs, began, training, float("nan"))


def _start(
    encoder: Encoder, train: Batches, change_P: Floats, training: Training
) -> tuple[Network, str, torch.optim.Optimizer]:
    """Return the network before training, the name of its initial head, and the optimizer."""
    network, moved = _network(encoder, change_P, training).to(train.device), False
    if isinstance(network, ChangeNetwork) and not training.fresh:
        moved = _transfer_head(network, encoder.head, train, change_P, training)
    rates = ((network.backbone, training.backbone_rate), (network.head, training.head_rate))
    optimizer = torch.optim.Adam([{"params": part.parameters(), "lr": rate} for part, rate in rates])
    return network, "transferred" if moved else "fresh", optimizer


def _network(encoder: Encoder, change_P: Floats, training: Training) -> Network:
    """Return the network with a new head."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(training.seed, "head", *training.words))
        if training.classes is not None:
            return PhotoNetwork(encoder.network, encoder.width, training.classes, change_P)
        return ChangeNetwork(encoder.network, ChangeHead(encoder.width), float(change_P.std()) or 1.0)


def _diverged(name: str) -> DataError:
    return DataError(f"Fine-tuning of {name} diverged; lower transfer.backbone_rate and transfer.head_rate.")


def predict(network: Network, data: Batches, training: Training) -> Floats:
    """Estimate the changes (P,) of all pairs, in the task's unit."""
    network.eval()
    parts = [np.empty(0)]
    with training.formats(), torch.inference_mode():
        for _, x_PCSS, y_PCSS in data.in_order(np.arange(len(data)), training.batch_pairs):
            with training.forward(data.device):
                d_P = network.change(x_PCSS, y_PCSS, training.antisymmetric)
            parts.append(d_P.double().cpu().numpy())
    return np.concatenate(parts)


def _train_epoch(
    network: Network,
    optimizer: torch.optim.Optimizer,
    data: Batches,
    change_P: Floats,
    training: Training,
    epoch: int,
) -> None:
    rng = numpy_rng(training.seed, "finetune", *training.words, epoch)
    network.train()
    for batch_P, x_PCSS, y_PCSS in data.in_order(rng.permutation(len(data)), training.batch_pairs):
        if len(batch_P) < 2:
            continue  # BatchNorm needs at least two pairs
        mirror_P = torch.from_numpy(rng.random(len(batch_P)) < 0.5).to(x_PCSS.device)[:, None, None, None]
        x_PCSS, y_PCSS = (torch.where(mirror_P, images.flip(3), images) for images in (x_PCSS, y_PCSS))
        with training.forward(data.device):
            loss = network.loss(x_PCSS, y_PCSS, change_P[batch_P])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()


def _transfer_head(
    network: ChangeNetwork,
    head: Mapping[str, NDArray[np.float32]],
    train: Batches,
    change_P: Floats,
    training: Training,
) -> bool:
    """Load the pre-trained `head`, scaled and shifted so that its estimates have the mean and the unit standard
    deviation of the targets. Returns False and leaves the network unchanged if there is no head or its estimates do not
    vary."""
    if not head:
        return False
    fresh = copy.deepcopy(network.head.state_dict())
    network.head.load_state_dict({f"linear.{name}": torch.from_numpy(value) for name, value in head.items()})
    estimate_P = predict(network, train, training) / network.spread
    spread, mean = float(estimate_P.std()), float(estimate_P.mean())
    if not np.isfinite(spread) or spread < 1e-9:
        network.head.load_state_dict(fresh)
        return False
    with torch.no_grad():
        network.head.linear.weight /= spread
        network.head.linear.bias.sub_(mean).div_(spread).add_(float(change_P.mean()) / network.spread)
    return True
