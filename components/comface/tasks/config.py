"""The section `tasks`: the change to estimate from two photos of one person, and its data set (section 4.2).

A mode is how a method is evaluated: `linear` (f is frozen) or `finetune` (f and l are trained), as in the paper, and
options joined by `+`, which the paper does not have. A mode with an option is reported beside the mode without it.
"""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from comface.config.names import Label, Name, NameIfAny, Word
from comface.config.section import Section

Mode = Literal[
    "linear",
    "linear+antisymmetric",
    "linear+standardised",
    "linear+antisymmetric+standardised",
    "finetune",
    "finetune+fresh",
    "finetune+antisymmetric",
    "finetune+fresh+antisymmetric",
]
MODES: tuple[str, ...] = get_args(Mode)
"""In the order of the report."""
TITLES = {
    "linear": "Linear",
    "finetune": "Fine-tuning",
    "fresh": "new head",
    "antisymmetric": "antisymmetric",
    "standardised": "standardised features",
}


def base(mode: str) -> str:
    """`linear` or `finetune`."""
    return mode.partition("+")[0]


def options(mode: str) -> tuple[str, ...]:
    """`fresh`: fine-tuning begins with a new head; `antisymmetric`: the estimate is (d(x,y) - d(y,x)) / 2;
    `standardised`: every feature is divided by its own standard deviation."""
    return tuple(mode.split("+")[1:])


def mode_title(mode: str) -> str:
    """The mode as a heading: "Linear", "Fine-tuning, new head"."""
    return ", ".join(TITLES.get(word, word) for word in mode.split("+"))


class Task(Section):
    """A task: its data set, label and unit."""

    dataset: Name = Field(description="name of the data set in `data`")
    label: Label = Field(default="", description="the label, if the data set has several")
    train_dataset: NameIfAny = Field(default="", description="another data set for training (Edema-A to B)")
    unit: Word = Field(min_length=1, description="unit of the change")
    direction_accuracy: bool = Field(default=False, description="also report the accuracy of direction")
    min_change: float = Field(
        default=0.0, ge=0, le=1_000_000, description="smallest change between the photos of a drawn pair"
    )
