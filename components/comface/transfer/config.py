"""The section `transfer`: tasks, methods, folds and the two evaluation modes (sections 3.4 and 4.2)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from comface.config.names import Name
from comface.config.section import Once, Seed, Small
from comface.methods.config import UntrainedConfig
from comface.methods.patients.config import PatientsConfig
from comface.methods.registry import METHODS, MethodName
from comface.tasks.config import Mode
from comface.tasks.registry import BY_DEFAULT


def _listed(value: Any) -> Any:
    """One number as a list of it."""
    return (value,) if isinstance(value, int | float | str) else value


Rate = Annotated[float, Field(ge=1e-12, le=100)]
Rates = Annotated[tuple[Rate, ...], BeforeValidator(_listed), Once]


class TransferConfig(UntrainedConfig):
    patients: PatientsConfig = Field(
        default=PatientsConfig(), description="the patient-specific method of table 5 (docs/reproduction.md)"
    )
    tasks: Annotated[tuple[Name, ...], Once] = Field(
        default=BY_DEFAULT,
        min_length=1,
        max_length=100,
        description="names of the tasks to evaluate, from `tasks`",
    )
    methods: Annotated[tuple[MethodName, ...], Once] = Field(
        default=tuple(METHODS),
        min_length=1,
        max_length=100,
        description="methods to compare: comface and other methods (docs/reproduction.md)",
    )
    modes: Annotated[tuple[Mode, ...], Once] = Field(
        default=("linear", "finetune"),
        min_length=1,
        description="linear: f is frozen and a linear head is fitted to its features; finetune: f and l are trained, "
        "beginning with the pre-trained l if the method has one (section 4.1). Options that the paper does not have: "
        "fresh (begin with a new head), antisymmetric (estimate (d(x,y) - d(y,x)) / 2), standardised (each feature by "
        "its own standard deviation)",
    )
    folds: int = Field(default=4, ge=2, le=100, description="cross-validation folds by subject")
    validation_fraction: float = Field(
        default=0.1,
        ge=0.001,
        lt=0.5,
        description="share of the training subjects used for validation (section 4.1: 10 %)",
    )
    validation_turns: int = Field(
        default=1,
        ge=1,
        le=100,
        description="linear evaluation: number of groups of training subjects that are used for validation in turn; 1: "
        "only the share validation_fraction is used for validation",
    )
    pairs_per_subject: int = Field(
        default=200, ge=1, le=100_000, description="number of random pairs drawn per subject"
    )
    epochs: Small = Field(
        default=30,
        description="maximum number of epochs of fine-tuning, with early stopping on the validation subjects",
    )
    batch_pairs: int = Field(default=64, ge=1, le=4096, description="pairs per step of fine-tuning")
    backbone_rate: Rates = Field(
        default=(1e-4, 3e-5),
        min_length=1,
        max_length=10,
        description="learning rates (Adam) of the backbone f to try in fine-tuning, one or several; the validation "
        "subjects of each fold decide (the paper does not say; FaRL's 1e-4, and a smaller one)",
    )
    head_rate: Rates = Field(
        default=(1e-3, 3e-4),
        min_length=1,
        max_length=10,
        description="learning rates (Adam) of the head l to try in fine-tuning, each with each backbone_rate (the "
        "paper does not say; ten times the rates of the backbone)",
    )
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="number format of the forward pass in fine-tuning; weights stay in fp32"
    )
    seed: Seed = Field(
        default=0, description="seed of folds, validation subjects and pairs, the same for every method and mode"
    )
