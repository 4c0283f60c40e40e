"""The section `tasks`: what is estimated from two photos of one person, on which data set (section 4.2)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from comface.config.names import Label, Name, NameIfAny, Word
from comface.config.section import Section

Mode = Literal["linear", "finetune"]


class Task(Section):
    """A task: which data set, which label, what is measured in."""

    dataset: Name = Field(description="name of the data set in `data`")
    label: Label = Field(default="", description="which of its labels, where it has several")
    train_dataset: NameIfAny = Field(default="", description="another data set to train on (Edema-A to B)")
    unit: Word = Field(min_length=1, description="unit of the change")
    direction_accuracy: bool = Field(default=False, description="report accuracy of direction as well")
    min_change: float = Field(default=0.0, ge=0, le=1_000_000, description="pairs that change less are not drawn")
