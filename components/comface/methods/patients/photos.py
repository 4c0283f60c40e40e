"""Labelled photos of patients: what both stages are trained on.

Legend: N photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Faces(Protocol):
    """Aligned faces; only the rows that are asked for are read."""

    def __getitem__(self, rows: Any, /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class Photos:
    row_N: NDArray[np.int64]
    """Positions of the photos among the aligned faces."""
    patient_N: NDArray[Any]
    """Names or numbers of the patients."""
    day_N: NDArray[np.int64]
    """The session of the patient, counted from 0."""
    phase_N: NDArray[np.int64]
    """Before or after dialysis, as a number."""
    weight_N: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.row_N)

    def where(self, chosen_N: NDArray[np.bool_]) -> Photos:
        columns: dict[str, Any] = {each.name: getattr(self, each.name)[chosen_N] for each in fields(self)}
        return Photos(**columns)

    def of(self, patients: Sequence[Any]) -> Photos:
        return self.where(np.isin(self.patient_N, list(patients)))

    def days(self, first: int, end: int) -> Photos:
        """Return the photos of the days `first` to `end` - 1."""
        return self.where((self.day_N >= first) & (self.day_N < end))

    def above_mean(self) -> NDArray[np.float64]:
        """Return the weights (N,) minus the mean weight of the patient's photos."""
        above_N = self.weight_N.copy()
        for patient in set(self.patient_N.tolist()):
            own_N = self.patient_N == patient
            above_N[own_N] -= self.weight_N[own_N].mean()
        return above_N
