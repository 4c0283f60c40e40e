"""Linear evaluation of one method on one task: a head per fold on frozen features (sections 3.4 and 4.2).

In: rows of features and the pairs of each fold. Out: predictions for the test pairs, the chosen penalties and, if the
method can be registered, the head of all subjects.

Legend: P pairs, N photos, D feature width.
"""

from __future__ import annotations

import numpy as np

from comface.artifacts.arrays import Rows
from comface.networks.head import Head
from comface.tasks.config import options
from comface.transfer import ridge, single
from comface.transfer.config import TransferConfig
from comface.transfer.item import Data, Estimates, Item, safetensors_bytes
from comface.transfer.protocol import FoldPairs, Labelled


def linear(config: TransferConfig, item: Item, data: Data) -> Estimates:
    """Fit l to frozen features in each fold. Then, if it can be registered, on all subjects with the median of the
    chosen penalties."""
    if item.task.kind == "single":
        return _linear_single(config, item, data)
    form = ridge.Form("antisymmetric" in options(item.mode), "standardised" in options(item.mode))
    predicted, penalties = [], []
    for fold in data.folds:
        head, penalty = _fitted(config, form, data.training_N, fold)
        predicted.append(ridge.predicted(head, data.tested_N, fold.test_x_P, fold.test_y_P))
        penalties.append(penalty)
    if not item.registrable:
        return Estimates(predicted, {"penalties": penalties})
    final_penalty = sorted(penalties)[len(penalties) // 2]
    final = ridge.fit(_samples(data.training_N, data.everyone()), final_penalty, form)
    files = {"head.safetensors": safetensors_bytes(final.tensors())}
    return Estimates(predicted, {"penalties": penalties, "final_penalty": final_penalty}, files)


def _linear_single(config: TransferConfig, item: Item, data: Data) -> Estimates:
    """Fit a linear head for the label of single photos in each fold. No head is registered."""

    def sample(*parts: Labelled) -> single.Sample:
        row_P, label_P = (np.concatenate([getattr(part, name) for part in parts]) for name in ("x_P", "change_P"))
        return single.Sample(data.training_N, row_P, single.targets(label_P, len(item.task.classes)))

    predicted, penalties = [], []
    for fold in data.folds:
        turns, standardised = _turns(config, fold), "standardised" in options(item.mode)
        groups = [sample(*parts) for parts in turns] or [sample(fold.train)]
        head, penalty = single.fit(groups, None if turns else sample(fold.validation), standardised)
        predicted.append(single.predicted(head, data.tested_N, fold.test_x_P))
        penalties.append(penalty)
    return Estimates(predicted, {"penalties": penalties})


def _turns(config: TransferConfig, fold: FoldPairs) -> list[list[Labelled]]:
    """Return the groups of training subjects that validate in turn; none if only the validation subjects do."""
    if config.validation_turns == 1:
        return []
    parts = [part.of([number]) for part in (fold.validation, fold.train) for number in part.numbers]
    turns = min(config.validation_turns, len(parts))
    return [parts[turn::turns] for turn in range(turns)]


def _fitted(config: TransferConfig, form: ridge.Form, rows_ND: Rows, fold: FoldPairs) -> tuple[Head, float]:
    """Return the head of one fold and its penalty, chosen on the validation subjects or on all training subjects in
    turn."""
    if turns := _turns(config, fold):
        return ridge.fit_in_turns([_samples(rows_ND, *parts) for parts in turns], form)
    return ridge.fit_validated(_samples(rows_ND, fold.train), _samples(rows_ND, fold.validation), form)


def _samples(rows_ND: Rows, *parts: Labelled) -> ridge.Samples:
    sides = (np.concatenate([getattr(part, name) for part in parts]) for name in ("x_P", "y_P", "change_P"))
    return ridge.Samples(rows_ND, *sides)
