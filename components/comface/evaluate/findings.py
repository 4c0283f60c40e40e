"""The statistics of a task as tables: gains over each method, agreement, error by size of change, intervals for single
pairs, subgroups, spread over seeds; and the summary that opens the report.

In: results and comparisons of one task and mode (tasks/agreement.py, comparisons.py, conformal.py). Out: tables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from comface.evaluate.results import Comparison, Result
from comface.evaluate.table import NONE, Heading, Row, Table, Value
from comface.evaluate.tables import HEADINGS, method_title
from comface.methods import method
from comface.tasks.comparisons import BETTER, SAME, UNKNOWN, WORSE, Gain
from comface.tasks.config import mode_title
from comface.tasks.registry import title

NAMES = {"mae": "error (MAE)", "corr": "correlation", "acc": "direction"}


def word(gain: Gain) -> str:
    """ "better", "worse" or "not different": by the corrected p-value, or where there is none by the interval."""
    if not math.isnan(gain.corrected_p):
        return gain.word
    if not math.isfinite(gain.low):
        return UNKNOWN
    return BETTER if gain.low > 0 else WORSE if gain.high < 0 else SAME


def gains(comparisons: Sequence[Comparison], result: Result) -> Table:
    """How much better ComFace is than each other method, on the same pairs."""
    mine = [c for c in comparisons if (c.task, c.mode) == (result.task, result.mode)]
    columns = [
        Heading(f"{m}_gain", f"gain, {NAMES[m]}", 1 if m == "acc" else 3, m == "acc", True) for m in result.metrics
    ]
    columns += [Heading("corrected_p", "p, corrected", 3), Heading("result", "by correlation")]
    rows = []
    for each in mine:
        corr = each.gains["corr"]
        p: Value = "< 0.001" if corr.corrected_p < 0.001 else corr.corrected_p
        cells = (*(each.gains[m] for m in result.metrics), p, word(corr))
        rows.append(Row(method(each.other).title, cells))
    return Table(_name("gains", result), "Gain of ComFace over each method, on the same pairs", "Method",
                 tuple(columns), tuple(rows))  # fmt: skip


def agreement(results: Sequence[Result]) -> Table:
    """Bland–Altman limits and the smallest change that can be told, per method."""
    unit = results[0].unit
    headings = (
        Heading("bias", f"bias ({unit})", 2, signed=True),
        Heading("lower_limit", "lower limit", 2, signed=True),
        Heading("upper_limit", "upper limit", 2, signed=True),
        Heading("sd_within", "spread within a person", 2),
        Heading("sd_between", "between people", 2),
        Heading("smallest_by_direction", "direction told from", 2),
        Heading("smallest_by_interval", "change told from", 2),
    )
    rows = []
    for result in (each for each in results if each.agreement is not None):
        found, least = result.agreement, result.smallest_change
        assert found is not None
        told: tuple[Value, Value] = (least.by_direction, least.by_interval) if least else (None, None)
        cells = (found.bias, found.lower, found.upper, found.sd_within, found.sd_between, *told)
        rows.append(Row(method_title(result.method), cells, "ours" if result.ours else ""))
    return Table(_name("agreement", results[0]), "Agreement with the true change", "Method", headings, tuple(rows))


def by_size(results: Sequence[Result]) -> Table:
    """Error and direction of each method by the size of the true change."""
    bins = [(result, each) for result in results for each in result.by_size]
    headings = (
        Heading("from", "from", 2), Heading("to", "to", 2), Heading("pairs", "pairs"), Heading("people", "people"),
        Heading("mae", HEADINGS["mae"], 3), Heading("acc", HEADINGS["acc"], 1, percent=True),
    )  # fmt: skip
    rows = [
        Row(method_title(r.method), (b.low, b.high, b.pairs, b.subjects, b.mae, b.acc), "ours" if r.ours else "")
        for r, b in bins
    ]
    return Table(_name("by-size", results[0]), f"Error by size of the true change ({results[0].unit})", "Method",
                 headings, tuple(rows))  # fmt: skip


def single_pairs(result: Result) -> Table:
    """Prediction intervals for a single pair: promised and measured coverage, and their width."""
    headings = (
        Heading("pairs", "pairs"), Heading("coverage", "true change inside (%)", 1, percent=True),
        Heading("half_width", f"half width ({result.unit})", 2),
    )  # fmt: skip
    found, rows = result.coverage, []
    if found is not None and not found.reason:
        rows = [
            Row("all pairs", (result.pairs, found.measured, found.half_width), "ours"),
            *(Row(f"photos: {s.name}", (s.pairs, s.coverage, s.half_width)) for s in found.strata),
            Row("one width for all pairs", (result.pairs, found.constant_measured, found.constant_half_width)),
        ]
    promised = f"{100 * found.nominal:g} %" if found else ""
    caption = f"{promised} prediction intervals for a single pair, measured on people who had no part in them"
    return Table(_name("single-pairs", result), caption, "Pairs", headings, tuple(rows))


def subgroups(result: Result) -> Table:
    headings = (Heading("pairs", "pairs"), Heading("people", "people"), *_metrics(result))
    rows = [
        Row(f"{g.group}: {g.value}", (g.pairs, g.subjects, *(g.estimates.get(m) for m in result.metrics)))
        for g in result.by_group
    ]
    return Table(_name("subgroups", result), "ComFace by subgroup", "Subgroup", headings, tuple(rows))


def spread(results: Sequence[Result]) -> Table:
    """Standard deviation over seeds, and over folds that were tested on the same pairs."""
    shown = [result for result in results if len(result.seeds) > 1 or result.fold_spread]
    metrics = results[0].metrics
    headings = (Heading("seeds", "seeds"), *(_sd(m, "seeds") for m in metrics), *(_sd(m, "folds") for m in metrics))
    rows = []
    for result in shown:
        sds = [kind[m].sd if m in kind else None for kind in (result.seed_spread, result.fold_spread) for m in metrics]
        rows.append(Row(method_title(result.method), (len(result.seeds), *sds), "ours" if result.ours else ""))
    return Table(_name("spread", results[0]), "Spread over seeds and folds (standard deviation)", "Method",
                 headings, tuple(rows))  # fmt: skip


def summary(results: Sequence[Result]) -> Table:
    """One row per task for readers in a hurry: how far off the estimates of ComFace are, and compared with what."""
    headings = (
        Heading("data", "data"), Heading("people", "people"), Heading("pairs", "pairs"),
        Heading("mae", "mean error", 2), Heading("no_change_mae", "error of “no change”", 2),
        Heading("corr", "correlation", 2), Heading("acc", "right direction (%)", 0, percent=True),
        Heading("smallest", "change told from", 2),
    )  # fmt: skip
    rows = []
    for each in results:
        still = float(abs(each.change_P).mean())
        least: Value = each.smallest_change.by_direction if each.smallest_change else None
        cells = (
            badge(each.rehearsal), each.subjects, each.pairs, each.estimates["mae"], still, each.estimates["corr"],
            each.estimates.get("acc"), least,
        )  # fmt: skip
        rows.append(Row(f"{title(each.task)} ({each.unit})", cells))
    form = mode_title(results[0].mode).lower() if results else NONE
    return Table("summary", f"What ComFace estimates, per task ({form})", "Task", headings, tuple(rows))


def badge(rehearsal: bool) -> str:
    return "rehearsal" if rehearsal else "your data"


def _metrics(result: Result) -> tuple[Heading, ...]:
    return tuple(Heading(m, HEADINGS[m], 1 if m == "acc" else 3, m == "acc") for m in result.metrics)


def _sd(metric: str, over: str) -> Heading:
    name = HEADINGS[metric].rstrip(" ↑↓")
    return Heading(f"{metric}_sd_{over}", name, 1 if metric == "acc" else 3, metric == "acc", over=f"over {over}")


def _name(kind: str, result: Result) -> str:
    return f"{kind}-{result.task}-{result.mode}"
