"""Everything that evaluate computed, as JSON for other programs (metrics.json; docs/report.md describes it).

In: results and comparisons. Out: plain values. A figure that is undefined is null, with a `reason` beside it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from comface.evaluate.results import Comparison, Result
from comface.methods import challenger
from comface.tasks.comparisons import ALPHA

ARRAYS = ("change_P", "predicted_P", "predicted_RP", "subject_P")
"""Columns over pairs: they are in the predictions, not in the records."""


def records(
    results: Sequence[Result],
    comparisons: Sequence[Comparison],
    confidence: float,
    absent: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the content of metrics.json."""
    rehearsal = {result.task: result.rehearsal for result in results}
    return {
        "confidence": confidence,
        "family_wise_error": ALPHA,
        "family": sum(not math.isnan(gain.p) for each in comparisons for gain in each.gains.values()),
        "absent": [{"method": name, "reason": reason} for name, reason in (absent or {}).items()],
        "results": [_result(each) for each in results],
        "comparisons": [
            {
                "task": each.task,
                "mode": each.mode,
                "method": challenger().name,
                "other": each.other,
                "rehearsal": rehearsal[each.task],
                "gain": {metric: _plain(gain) | {"word": gain.word} for metric, gain in each.gains.items()},
            }
            for each in comparisons
        ],
    }


def _result(result: Result) -> dict[str, Any]:
    fields = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    estimates = fields.pop("estimates")
    plain = {name: _plain(value) for name, value in fields.items() if name not in ARRAYS}
    plain |= {metric: _plain(estimate) for metric, estimate in estimates.items()}
    return plain | ({"no_change_mae": float(np.abs(result.change_P).mean())} if result.kind == "change" else {})


def _plain(value: Any) -> Any:
    """JSON values of dataclasses, mappings, sequences and numbers; a number that is not finite is null. A reason is
    left out where there is none."""
    if dataclasses.is_dataclass(value):
        plain = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {name: each for name, each in plain.items() if name != "reason" or each}
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
