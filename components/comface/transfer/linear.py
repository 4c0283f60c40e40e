"""Linear evaluation of one method on one task: a head per fold on frozen features (sections 3.4 and 4.2).

In: rows of features and the pairs of each fold. Out: predictions for the test pairs, the chosen penalties and, if the
method can be registered, the head of all subjects.

Legend: P pairs, N photos, D feature width.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from comface.artifacts.arrays import Rows
from comface.networks.head import Head
from comface.tasks.config import options
from comface.transfer import ridge, single
from comface.transfer.config import TransferConfig
from comface.transfer.item import Data, Estimates, Item, safetensors_bytes
from comface.transfer.protocol import FoldPairs, Labelled

COLUMNS = ("x_P", "y_P", "change_P")


def linear(config: TransferConfig, item: Item, data: Data) -> Estimates:
    """Fit l to frozen features in each fold. Then, if it can be registered, fit the head that `compare` uses: in each
    fold, and on all subjects with the median of the chosen penalties. `compare` takes the mean of d(x,y) and -d(y,x)
    over the faces and their mirror images (models/estimator.py), so that is what this head is fitted for."""
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
    both, used, its_penalties = dataclasses.replace(form, antisymmetric=True), [], []
    for fold in data.folds:
        head, penalty = _fitted(config, both, data.training_N, fold, data.training_mirrored_N)
        views = [data.tested_N, *([] if data.mirrored_N is None else [data.mirrored_N])]
        used.append(np.mean([ridge.predicted(head, h_ND, fold.test_x_P, fold.test_y_P) for h_ND in views], axis=0))
        its_penalties.append(penalty)
    final_penalty = sorted(its_penalties)[len(its_penalties) // 2]
    everyone = _samples(data.training_N, data.everyone(), mirrored_ND=data.training_mirrored_N)
    files = {"head.safetensors": safetensors_bytes(ridge.fit(everyone, final_penalty, both).tensors())}
    return Estimates(predicted, {"penalties": penalties, "final_penalty": final_penalty}, files, used)


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


def _fitted(
    config: TransferConfig, form: ridge.Form, rows_ND: Rows, fold: FoldPairs, mirrored_ND: Rows | None = None
) -> tuple[Head, float]:
    """Return the head of one fold and its penalty, chosen on the validation subjects or on all training subjects in
    turn."""
    if turns := _turns(config, fold):
        return ridge.fit_in_turns([_samples(rows_ND, *parts, mirrored_ND=mirrored_ND) for parts in turns], form)
    train, validation = (_samples(rows_ND, part, mirrored_ND=mirrored_ND) for part in (fold.train, fold.validation))
    return ridge.fit_validated(train, validation, form)


def _samples(rows_ND: Rows, *parts: Labelled, mirrored_ND: Rows | None = None) -> ridge.Samples:
    x_P, y_P, change_P = (np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS)
    return ridge.Samples(rows_ND, x_P, y_P, change_P, mirrored_ND)
