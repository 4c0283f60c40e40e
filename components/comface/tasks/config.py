"""The section `tasks`: the change to estimate from two photos of one person, and its data set (section 4.2)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from comface.config.names import Label, Name, NameIfAny, Word
from comface.config.section import Section

Mode = Literal["linear", "finetune"]


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
