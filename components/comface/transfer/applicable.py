"""Which methods can be evaluated on which tasks in which modes.

In: a task, the entry of a method, a mode. Out: why not, and what to do instead; None if it can. A run leaves such items
out; a transfer that names one is refused.
"""

from __future__ import annotations

from typing import NamedTuple

from comface.methods.method import Method
from comface.tasks.config import Task, base, options

OF_PAIRS = ("antisymmetric", "fresh")
"""Options of a mode that are about two photos, or about the pre-trained change head l."""


class Misfit(NamedTuple):
    """The end of a sentence about the method, and what to do."""

    problem: str
    advice: str


def misfit(task: Task, method: Method, mode: str) -> Misfit | None:
    if method.patient_days is not None:
        if mode != "finetune":
            return Misfit("is fine-tuned for every patient", "evaluate it with 'finetune'")
        if task.reserved_days < method.patient_days or task.split is None:
            days = max(method.patient_days, 1)
            return Misfit(
                f"needs a task that reserves {days} {'days' if days > 1 else 'day'} of every test patient",
                "evaluate it on 'edema-a-patients'",
            )
    if base(mode) == "finetune" and not method.trainable:
        return Misfit("has no layers to fine-tune", "evaluate it with 'linear' only")
    if task.kind == "single" and (found := [word for word in options(mode) if word in OF_PAIRS]):
        problem = f"cannot be evaluated on single photos with the option '{found[0]}'"
        return Misfit(problem, f"use '{base(mode)}' without it")
    return None
