"""The section `register`: the thresholds that a challenger must reach, and the name under which it is registered."""

from __future__ import annotations

from pydantic import Field

from comface.config.names import ModelName, Name
from comface.config.section import Section
from comface.methods.registry import MethodName
from comface.tasks.config import Mode
from comface.tasks.conformal import NOMINAL


class Threshold(Section):
    task: Name = Field(description="name of the task, one of `tasks`")
    mode: Mode = Field(default="linear", description="transfer mode of the threshold")
    min_corr: float = Field(ge=-1, le=1, description="lowest Pearson correlation that passes")


class RegisterConfig(Section):
    name: ModelName = Field(default="comface", description="model name in the registry")
    thresholds: tuple[Threshold, ...] = Field(
        default=(), max_length=200, description="correlations that a challenger must reach"
    )
    must_beat: MethodName | None = Field(default="scratch", description="method that ComFace must beat on every task")
    champion_tolerance: float = Field(
        default=0.05,
        ge=0,
        le=2,
        description="largest accepted loss of mean correlation against the champion, on the same tasks",
    )
    interval_coverage: float = Field(
        default=NOMINAL, gt=0.5, lt=1, description="coverage of the prediction intervals of `comface compare`"
    )
