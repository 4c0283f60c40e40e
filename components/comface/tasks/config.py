"""The section `tasks`: the change to estimate from two photos of one person, and its data set (section 4.2).

A mode is how a method is evaluated: `linear` (f is frozen) or `finetune` (f and l are trained), as in the paper, and
options joined by `+`, which the paper does not have. A mode with an option is reported beside the mode without it.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from comface.config.names import Label, Name, NameIfAny, Word
from comface.config.section import Once, Section

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
Subjects = Annotated[int, Field(ge=1, le=100_000)]
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

    title: Word = Field(default="", description="title in the report and in `comface compare`; empty: the name")
    dataset: Name = Field(description="name of the data set in `data`")
    label: Label = Field(default="", description="the label, if the data set has several")
    train_dataset: NameIfAny = Field(default="", description="another data set for training (Edema-A to B)")
    unit: Word = Field(min_length=1, description="unit of the change")
    direction_accuracy: bool = Field(default=False, description="also report the accuracy of direction")
    min_change: float = Field(
        default=0.0, ge=0, le=1_000_000, description="smallest change between the photos of a drawn pair"
    )
    kind: Literal["change", "single"] = Field(
        default="change",
        description="change: of the label between two photos of one person; single: the label of one photo",
    )
    classes: Annotated[tuple[Word, ...], Once] = Field(
        default=(),
        max_length=100,
        description="for a task of kind single, names of the classes 0, 1 … that the label numbers; empty: the label "
        "is a quantity",
    )
    split: tuple[Subjects, Subjects] | None = Field(
        default=None,
        description="numbers of training and test subjects of one split, instead of cross-validation; with another "
        "number of subjects, their proportion (table 5: 24 and 15)",
    )
    reserved_days: int = Field(
        default=0,
        ge=0,
        le=100,
        description="first sessions of every test subject that are not tested; patient-specific methods may use them "
        "(table 5: 3)",
    )

    @property
    def registrable(self) -> bool:
        """Whether a registered model has a head for it: `comface compare` estimates changes, and a task with its own
        split only compares methods."""
        return self.kind == "change" and self.split is None

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Task:
        if self.classes and self.kind != "single":
            raise ValueError("classes are of a task of kind single")
        if len(self.classes) == 1:
            raise ValueError("classes names one class; name at least two, or none")
        if self.kind == "single" and (self.direction_accuracy or self.min_change):
            raise ValueError("a task of kind single has no change, so it takes no direction_accuracy and no min_change")
        if self.reserved_days and self.split is None:
            raise ValueError("reserved_days needs a split into training and test subjects")
        if self.split and (self.train_dataset or self.kind == "single"):
            raise ValueError("a split is of a task of kind change that trains on its own data set")
        return self
