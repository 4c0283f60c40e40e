"""Comparisons of many pairs of photos: a table in, a table out.

In: a table with the columns `before` and `after` (paths, relative to the table's folder) and any others. Out: a CSV in
UTF-8 with commas and decimal points. It has one row per pair and quantity (column `task`): the columns of the input,
then those of MADE; `reasons` has codes. A pair that cannot be compared has one row, whose last column says why.
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comface.errors import ComfaceError, ConfigurationError, DataError, TryAgain
from comface.files.tables import Row, Table, read_table
from comface.models.compare import Comparison, compared
from comface.models.estimator import Estimator
from comface.models.photo import Prepared, prepared
from comface.runtime.progress import shown

PAIR = ("before", "after")
MADE = (
    "task", "title", "change", "unit", "low", "high", "coverage", "rehearsal", "verdict", "reasons", "model", "error",
)  # fmt: skip
KEPT = 4
"""Photos in memory: a baseline that several rows name is read once."""


@dataclass(frozen=True)
class Pair:
    line: int
    cells: dict[str, str]
    comparison: Comparison | None
    error: str = ""

    def record(self) -> dict[str, Any]:
        found = {"error": self.error} if self.comparison is None else self.comparison.to_dict()
        return {"line": self.line, "cells": self.cells, **found}


def read_pairs(path: Path, made: Collection[str] = MADE) -> Table:
    """`made`: the columns that the output adds. Raises DataError for a table without the two columns, or with one that
    the output would have twice."""
    table = read_table(path, "The table", PAIR, ConfigurationError)
    if twice := [name for name in table.columns if name in made]:
        raise DataError(f"The column '{twice[0]}' of {table.what} is one that the output adds; rename it.")
    return table


def compare_pairs(
    estimator: Estimator, table: Table, folder: Path, reference: str, everything: bool = False
) -> Iterator[Pair]:
    """Compare each row's photos. `folder`: what relative paths start from."""

    @functools.lru_cache(maxsize=KEPT)
    def photo(path: Path, role: str) -> Prepared:
        return prepared(estimator, path, role)

    def of(row: Row) -> Comparison:
        before, after = (_path(row, role, folder) for role in PAIR)
        return compared(estimator, photo(before, "BEFORE"), photo(after, "AFTER"), reference, everything)

    for row in shown(table.rows, "comparing photos", unit="pair"):
        try:
            yield Pair(row.line, dict(row.cells), of(row))
        except TryAgain:
            raise
        except ComfaceError as error:
            yield Pair(row.line, dict(row.cells), None, str(error))


def _path(row: Row, role: str, folder: Path) -> Path:
    if not row.cells[role]:
        raise DataError(f"The cell '{role}' is empty; write the path of a photo.")
    return folder / row.cells[role].replace("\\", "/")


def csv_of(pairs: Sequence[Pair], columns: Sequence[str], reference: str) -> bytes:
    text = io.StringIO()
    rows = csv.DictWriter(text, [*columns, *MADE], lineterminator="\n")
    rows.writeheader()
    for pair in pairs:
        for made in _rows(pair):
            rows.writerow({**pair.cells, **made, "model": reference})
    return text.getvalue().encode()


def _rows(pair: Pair) -> Iterator[dict[str, str]]:
    if pair.comparison is None:
        yield {"error": pair.error}
        return
    for task, each in pair.comparison.changes.items():
        low, high = (f"{end:.6g}" for end in each.interval) if each.interval else ("", "")
        yield {
            "task": task,
            "title": each.title or task,
            "change": f"{each.change:.6g}",
            "unit": each.unit,
            "low": low,
            "high": high,
            "coverage": f"{each.coverage:g}",
            "rehearsal": str(each.rehearsal).lower(),
            "verdict": each.verdict,
            "reasons": "; ".join(reason.code for reason in each.reasons),
        }
