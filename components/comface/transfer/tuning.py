"""Fine-tuning of one method on one task: the grid of learning rates in each fold (sections 3.4 and 4.2).

In: rows of faces and the pairs of each fold. Out: predictions for the test pairs, what the validation subjects chose
and, if the method can be registered, the network of all subjects.

Legend: P pairs, N photos.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.arrays import Rows
from comface.methods import load_method
from comface.methods.encoder import Encoder, Sources, best_device
from comface.tasks.config import options
from comface.transfer.config import TransferConfig
from comface.transfer.finetune import Batches, Finetuned, Training, finetune_all, finetune_best, predict
from comface.transfer.item import Data, Estimates, Item, safetensors_bytes


def finetuned(config: TransferConfig, item: Item, sources: Sources, data: Data) -> Estimates:
    """Train all layers in each fold, starting from the pre-trained weights. Then, if the method can be registered,
    train once on all subjects, with the rates that most folds chose and the median of their epochs."""
    device, loaded = best_device(), load_method(item.method, sources)
    preprocessing, origin = loaded.preprocessing, loaded.origin
    del loaded  # each training loads its own

    def load() -> Encoder:
        return load_method(item.method, sources)

    def batches(rows_N: Rows, x_P: NDArray[np.int64], y_P: NDArray[np.int64]) -> Batches:
        return Batches(preprocessing, rows_N, (x_P, y_P), device)

    predicted, tuned = [], []
    for number, fold in enumerate(data.folds):
        parts = (fold.train, fold.validation)
        known = [batches(data.training_N, part.x_P, part.y_P) for part in parts]
        best = finetune_best(load, known, [part.change_P for part in parts], _grid(config, item, number))
        tested = batches(data.tested_N, fold.test_x_P, fold.test_y_P)
        predicted.append(predict(best.network, tested, best.training))
        tuned.append(replace(best, network=None))  # type: ignore[arg-type]  # one network in memory, not one per fold
    facts: dict[str, Any] = (origin.described() if origin else {}) | {
        "heads": [each.head for each in tuned],
        "chosen": [each.chosen for each in tuned],
        "batchnorm": "of the batch in training",
    }
    if not item.registrable:  # it does not become a model, so one training is saved
        return Estimates(predicted, facts)
    everyone, training = data.everyone(), _final(config, item, tuned)
    final = finetune_all(load(), batches(data.training_N, everyone.x_P, everyone.y_P), everyone.change_P, training)
    backbone, head = final.tensors()
    files = {"head.safetensors": safetensors_bytes(head), "backbone.safetensors": safetensors_bytes(backbone)}
    last = {"final_epochs": final.epoch, "final_head": final.head}
    return Estimates(predicted, facts | last, files)


def _grid(config: TransferConfig, item: Item, fold: object) -> list[Training]:
    """Each backbone rate with each head rate, the same grid for every method."""
    fresh, antisymmetric = ("fresh" in options(item.mode), "antisymmetric" in options(item.mode))
    words, classes = (item.name, item.method, fold), len(item.task.classes) if item.task.kind == "single" else None
    return [
        Training(
            config.epochs, config.batch_pairs, *rates, fresh, antisymmetric, item.seed, words, config.precision, classes
        )
        for rates in itertools.product(config.backbone_rate, config.head_rate)
    ]


def _final(config: TransferConfig, item: Item, tuned: Sequence[Finetuned]) -> Training:
    """The rates that most folds chose (in a tie, those first in the grid), and the median epoch of these folds."""
    grid = _grid(config, item, "all")
    rates = [(each.training.backbone_rate, each.training.head_rate) for each in tuned]
    votes = Counter(rates)
    best = max(grid, key=lambda each: votes[each.backbone_rate, each.head_rate])
    chosen = (best.backbone_rate, best.head_rate)
    epochs = sorted(each.epoch for each, rate in zip(tuned, rates, strict=True) if rate == chosen)
    return replace(best, epochs=epochs[len(epochs) // 2])
