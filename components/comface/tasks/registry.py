"""The registry of tasks: name, definition, title, and table of the report.

To add a task, add an entry here, or define it in `tasks` of a run's configuration; the report lists the latter under
"Further tasks".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from comface.tasks.config import Task


@dataclass(frozen=True)
class Group:
    """Tasks that share a table of the report."""

    name: str
    title: str
    paper_table: str = ""
    """The corresponding table of the paper."""


@dataclass(frozen=True)
class KnownTask:
    title: str
    group: Group
    definition: Task
    asked: bool = False
    """Whether it is evaluated only if a run names it."""
    quantity: str = ""
    """The quantity whose change it estimates, if several tasks estimate the same one: a key of QUANTITIES."""


EXPRESSION = Group("expression", "Expression change", "table 2")
WEIGHT = Group("weight", "Weight change", "table 3")
PATIENTS = Group("patients", "Weight change, patient-specific and patient-generic", "table 5")
AGE = Group("age", "Age change", "table 6")
FURTHER = Group("further", "Further tasks")
GROUPS = (EXPRESSION, WEIGHT, PATIENTS, AGE, FURTHER)
"""Groups in the order of the report."""
INTENSITY, KILOGRAM = "AU intensity (0-5)", "kg"
QUANTITIES = {"weight": "Weight"}
"""Quantity that several tasks estimate → its title."""

KNOWN = {
    "au6": KnownTask("AU6, cheek raiser", EXPRESSION, Task(dataset="disfa", label="au6", unit=INTENSITY)),
    "au12": KnownTask("AU12, lip corner puller", EXPRESSION, Task(dataset="disfa", label="au12", unit=INTENSITY)),
    "edema-a": KnownTask(
        "Edema-A",
        WEIGHT,
        Task(dataset="edema-a", label="weight", unit=KILOGRAM, direction_accuracy=True),
        quantity="weight",
    ),
    "edema-b": KnownTask(
        "Edema-B",
        WEIGHT,
        Task(dataset="edema-b", label="weight", unit=KILOGRAM, direction_accuracy=True),
        quantity="weight",
    ),
    "edema-a-to-b": KnownTask(
        "Edema-A→B",
        WEIGHT,
        Task(dataset="edema-b", train_dataset="edema-a", label="weight", unit=KILOGRAM, direction_accuracy=True),
        quantity="weight",
    ),
    "edema-a-patients": KnownTask(
        "Edema-A, split of patients",
        PATIENTS,
        Task(
            dataset="edema-a",
            label="weight",
            unit=KILOGRAM,
            direction_accuracy=True,
            split=(24, 15),
            reserved_days=3,
        ),
        asked=True,
        quantity="weight",
    ),
    "age": KnownTask("Age", AGE, Task(dataset="fgnet", label="age", unit="years")),
    "smile": KnownTask(
        "Smile",
        EXPRESSION,
        Task(dataset="cohort", label="smile", unit="smile score (logit)", direction_accuracy=True),
    ),
    "apparent-age": KnownTask(
        "Apparent age", AGE, Task(dataset="cohort", label="apparent-age", unit="apparent years")
    ),
}  # fmt: skip
TASKS: dict[str, Task] = {name: known.definition for name, known in KNOWN.items()}
BY_DEFAULT = tuple(name for name, known in KNOWN.items() if not known.asked)


_own: ContextVar[Mapping[str, str]] = ContextVar("own", default={})  # noqa: B039 (never changed)


@contextlib.contextmanager
def titled(titles: Mapping[str, str]) -> Iterator[None]:
    """Within this context, `title` knows the titles that a run's configuration gives its tasks."""
    token = _own.set(titles)
    try:
        yield
    finally:
        _own.reset(token)


def title(task: str) -> str:
    return _own.get().get(task, "") or (KNOWN[task].title if task in KNOWN else task)


def quantity(task: str) -> str:
    """The quantity that a task estimates; for most tasks, the task itself."""
    return (KNOWN[task].quantity if task in KNOWN else "") or task


def quantity_title(task: str, own: str = "") -> str:
    """`own`: the title of the task in the model."""
    return QUANTITIES.get(quantity(task), own or title(task))


def group_of(task: str) -> Group:
    return KNOWN[task].group if task in KNOWN else FURTHER
