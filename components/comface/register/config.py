"""The section `register`: what a challenger must show at the gate, and the name under which it is registered."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from comface.config.names import ModelName, Name
from comface.config.section import Section
from comface.methods.registry import MethodName
from comface.tasks.config import Mode
from comface.tasks.conformal import NOMINAL

Amount = Annotated[float, Field(ge=0, le=1_000_000)]
People = Annotated[int, Field(ge=5, le=100_000)]


class Threshold(Section):
    task: Name = Field(description="name of the task, one of `tasks`")
    mode: Mode = Field(default="linear", description="transfer mode of the threshold")
    min_corr: float = Field(ge=-1, le=1, description="lowest Pearson correlation that passes")


class Margin(Section):
    """How much worse than the champion a challenger may be on one task."""

    task: Name = Field(description="name of the task, one of `tasks`")
    metric: Literal["corr", "mae"] = Field(
        default="corr", description="corr: Pearson correlation; mae: mean absolute error, in the unit of the task"
    )
    margin: Amount = Field(
        description="largest accepted loss against the champion, in the unit of the metric; 0: the challenger must be "
        "better (superiority)"
    )
    group_margin: Amount | None = Field(
        default=None,
        description="largest accepted loss in a subgroup, in the unit of the metric; null: register.group_margin for "
        "corr, twice the margin for mae",
    )

    @model_validator(mode="after")
    def _of_groups(self) -> Margin:
        if self.metric == "mae" and not self.margin and self.group_margin is None:
            raise ValueError("a margin of 0 in mae needs group_margin, in the unit of the task")
        return self


class RegisterConfig(Section):
    name: ModelName = Field(default="comface", description="model name in the registry")
    thresholds: tuple[Threshold, ...] = Field(
        default=(), max_length=200, description="correlations that a challenger must reach"
    )
    must_beat: MethodName | None = Field(default="scratch", description="method that ComFace must beat on every task")
    margin: float = Field(
        default=0.05,
        ge=0,
        le=2,
        description="non-inferiority margin of every task that is not in `margins`: largest accepted loss of "
        "correlation against the champion, on the same pairs; 0: the challenger must be better",
    )
    group_margin: float = Field(
        default=0.1, ge=0, le=2, description="largest accepted loss of correlation in a subgroup of people"
    )
    margins: tuple[Margin, ...] = Field(
        default=(), max_length=100, description="tasks with a margin, or a metric, of their own"
    )
    confidence: float = Field(
        default=0.95,
        ge=0.8,
        lt=1,
        description="confidence level of the two-sided intervals that are compared with the margins; the nominal "
        "chance to promote a challenger that is worse by a margin is half of the rest (0.95: 2.5 %; docs/gate.md)",
    )
    least_subjects: People = Field(
        default=10, description="a task that was tested on fewer people cannot tell whether a model may be promoted"
    )
    least_group_subjects: People = Field(
        default=20, description="subgroups of fewer people are counted, but not examined"
    )
    promote: bool = Field(
        default=True,
        description="whether a challenger with the outcome promote becomes the champion at once; false: it is "
        "registered, and a person promotes it (`comface models promote`)",
    )
    interval_coverage: float = Field(
        default=NOMINAL, gt=0.5, lt=1, description="coverage of the prediction intervals of `comface compare`"
    )

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, values: Any) -> Any:
        if isinstance(values, dict) and "champion_tolerance" in values:
            raise ValueError(
                "champion_tolerance does not exist any more: it was a tolerance of the mean correlation over all "
                "tasks; set register.margin, a margin of correlation that holds for each task"
            )
        return values

    @model_validator(mode="after")
    def _one_margin_per_task(self) -> RegisterConfig:
        named = [each.task for each in self.margins]
        if twice := next((task for task in named if named.count(task) > 1), None):
            raise ValueError(f"margins names '{twice}' twice; give one margin per task")
        return self

    def margin_of(self, task: str) -> tuple[str, float, float]:
        """(metric, margin, margin of subgroups) of a task."""
        own = next((each for each in self.margins if each.task == task), None)
        if own is None:
            return "corr", self.margin, self.group_margin
        of_groups = self.group_margin if own.metric == "corr" else 2 * own.margin
        return own.metric, own.margin, of_groups if own.group_margin is None else own.group_margin
