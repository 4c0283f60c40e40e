"""A table of the report: rendered as HTML by the page, and published as CSV and JSON.

In: headings and rows of values. Out: text of every cell as the page shows it; CSV and JSON with plain numbers, in which
an interval has columns of its own.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comface.config.names import csv_cell
from comface.tasks.metrics import Estimate

NONE = "–"
MINUS = "−"
Value = str | int | float | Estimate | None


@dataclass(frozen=True)
class Heading:
    key: str
    """Its name in CSV and JSON."""
    heading: str
    digits: int = 3
    percent: bool = False
    """Whether a share is shown and written in percent."""
    signed: bool = False
    over: str = ""
    """A heading above this one, shared with its neighbours."""

    @property
    def label(self) -> str:
        """Both headings, for a narrow screen, on which each cell has its own."""
        return f"{self.over.partition(',')[0]}: {self.heading}" if self.over else self.heading

    def text(self, value: Value) -> str:
        if isinstance(value, Estimate):
            value = value.value
        if value is None:
            return NONE
        if isinstance(value, str):
            return value
        if isinstance(value, int):
            return f"{value:,}".replace("-", MINUS)
        if not math.isfinite(value):
            return NONE
        scaled = 100 * value if self.percent else value
        text = f"{scaled:{'+' if self.signed else ''},.{self.digits}f}"
        return text.replace("-", MINUS) if float(text.replace(",", "")) else text.lstrip("+-")

    def interval(self, value: Value) -> str:
        """The interval, or why there is none."""
        if not isinstance(value, Estimate):
            return ""
        if not math.isfinite(value.low):
            return value.reason
        return f"{self.text(value.low)} to {self.text(value.high)}"

    def plain(self, value: Value) -> dict[str, Any]:
        """The columns of CSV and JSON; None for what is unknown."""
        if isinstance(value, Estimate):
            ends = {"": value.value, "_low": value.low, "_high": value.high}
            return {f"{self.key}{end}": self._number(number) for end, number in ends.items()}
        return {self.key: self._number(value) if isinstance(value, float) else value}

    def _number(self, value: float) -> float | None:
        return round(100 * value if self.percent else value, 6) if math.isfinite(value) else None


@dataclass(frozen=True)
class Row:
    """`name`: its first cell. `marks`: words that the page shows beside the name. `kind`: "ours", "absent" or "" """

    name: str
    cells: tuple[Value, ...]
    kind: str = ""
    marks: tuple[str, ...] = ()
    best: tuple[int, ...] = ()
    """Numbers of the cells that are the best of their column."""
    beside: Mapping[int, str] | None = None
    """Number of a cell → a second line (the paper's figure)."""


@dataclass(frozen=True)
class Table:
    name: str
    """Of its files: table-NAME.csv and .json."""
    caption: str
    first: str
    """Heading of the names."""
    columns: tuple[Heading, ...]
    rows: tuple[Row, ...]

    @property
    def overs(self) -> list[tuple[str, int]]:
        """The upper headings with the number of their columns; empty without any."""
        found: list[tuple[str, int]] = []
        for column in self.columns:
            if found and found[-1][0] == column.over:
                found[-1] = (column.over, found[-1][1] + 1)
            else:
                found.append((column.over, 1))
        return found if any(column.over for column in self.columns) else []

    def starts(self, number: int) -> bool:
        """Whether a group of columns begins with this one."""
        return number > 0 and self.columns[number].over != self.columns[number - 1].over

    def records(self) -> list[dict[str, Any]]:
        found = []
        for row in self.rows:
            record: dict[str, Any] = {self.first.lower(): row.name}
            for column, value in zip(self.columns, row.cells, strict=True):
                record |= column.plain(value)
            found.append(record)
        return found


def csv_text(records: Sequence[Mapping[str, Any]]) -> str:
    """The records as CSV; a cell that a spreadsheet would evaluate is text."""
    names = list(dict.fromkeys(name for record in records for name in record))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([csv_cell(name) for name in names])
    for record in records:
        values = (record.get(name) for name in names)
        writer.writerow(["" if v is None else csv_cell(v) if isinstance(v, str) else v for v in values])
    return buffer.getvalue()
