"""Estimates of a challenger and of a champion for the same pairs, for tests of the gate."""

from __future__ import annotations

from typing import Any

import numpy as np

from comface.register.paired import Paired

PAIRS = 20


def paired(
    task: str = "smile",
    ours: float = 0.5,
    theirs: float = 0.5,
    people: int = 40,
    apart: float = 0.2,
    groups: dict[str, float] | None = None,
    **more: Any,
) -> Paired:
    """`ours`, `theirs`: standard deviation of the estimates' error, where the true change has 1. `apart`: share of the
    error that the two models do not have in common. `groups`: value of the column `site` → standard deviation of the
    challenger's error in it; the people are divided among them in turn."""
    rng = np.random.default_rng(len(task))
    shape = people, PAIRS
    change_SP, common_SP, own_SP = (rng.normal(size=shape) for _ in range(3))
    offset_S1 = 0.3 * rng.normal(size=(people, 1))  # the errors of one person are alike
    values = list(groups or {"": ours})
    error_S1 = np.array([(groups or {"": ours})[values[s % len(values)]] for s in range(people)])[:, None]
    mixed_SP = np.sqrt(1 - apart**2) * common_SP + apart * own_SP
    ours_P = (change_SP + error_S1 * (mixed_SP + offset_S1)).ravel()
    theirs_P = (change_SP + theirs * (common_SP + offset_S1)).ravel()
    subject_P = np.repeat(np.arange(people), PAIRS)
    columns = {"site": [values[s % len(values)] for s in subject_P]} if groups else {}
    settings = {"mode": "linear", "champion_mode": "linear", "unit": "points", "rehearsal": False} | more
    return Paired(
        task, subject_P=subject_P, change_P=change_SP.ravel(), ours_RP=ours_P[None], theirs_RP=theirs_P[None],
        groups_P=columns, **settings,
    )  # fmt: skip
