"""The section `evaluate`: the confidence intervals in the report."""

from __future__ import annotations

from pydantic import Field

from comface.config.section import Section, Seed


class EvaluateConfig(Section):
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="confidence level of the intervals over subjects")
    bootstrap: int = Field(default=1000, ge=50, le=100_000, description="number of bootstrap resamples of subjects")
    seed: Seed = Field(default=0, description="seed of the bootstrap resamples")
