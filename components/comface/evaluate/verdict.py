"""The statement at the top of the report, in one or two sentences, and the sentence that opens each task.

In: results and comparisons. Out: text. On rehearsal data it says so first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from comface.evaluate.findings import word
from comface.evaluate.results import Comparison, Result
from comface.evaluate.tables import is_variant, modes_of
from comface.methods import challenger, method
from comface.runtime.progress import counted
from comface.tasks.comparisons import BETTER
from comface.tasks.config import MODES, base, mode_title
from comface.tasks.registry import title

REHEARSAL = "On rehearsal data (generated faces, not evidence about people):"


def main_mode(results: Sequence[Result]) -> str:
    """Return "linear" if it was run, because it shows what pre-training alone has learned; else the first mode."""
    return (modes_of(results) or MODES)[0]


def verdict(results: Sequence[Result], comparisons: Sequence[Comparison], mode: str) -> str:
    """State on how many tasks ComFace is best, on how many the gain is statistically clear, and which are
    rehearsals."""
    chosen = [result for result in results if result.mode == mode]
    if not chosen:
        return "No task of changes was evaluated, only tasks of single photos."
    text = _ahead(chosen, comparisons, mode)
    rehearsed = [title(task) for task in sorted({result.task for result in chosen if result.rehearsal})]
    if rehearsed and all(result.rehearsal for result in chosen):
        return f"{REHEARSAL} {text}"
    return f"{text} {REHEARSAL} {', '.join(rehearsed)}." if rehearsed else text


def _ahead(chosen: Sequence[Result], comparisons: Sequence[Comparison], mode: str) -> str:
    tasks = sorted({result.task for result in chosen})
    ours = {result.task: result for result in chosen if result.ours}
    against = [c for c in comparisons if c.mode == mode and not is_variant(c.other)]
    if not ours or not against:
        return f"{counted(len(tasks), 'task')} evaluated, no comparison: run ComFace and at least one other method."
    first = sum(1 for task in ours if _is_first(task, chosen))
    clear = sum(1 for task in ours if _all_clear([c for c in against if c.task == task]))
    how = mode_title(mode).lower() + (" evaluation" if base(mode) == "linear" else "")
    on_all = f"all {counted(len(ours), 'task')}" if len(ours) > 1 else f"the task {title(next(iter(ours)))}"
    on_some = f"{first} of {counted(len(ours), 'task')}"
    where = on_all if first == len(ours) else on_some
    text = f"ComFace has the highest correlation with the true change on {where} in {how}"
    scratch = [c for c in against if method(c.other).random]
    if scratch:
        above = sum(word(c.gains["corr"]) == BETTER for c in scratch)
        text += f". It is clearly better than random features on {above} of {counted(len(scratch), 'task')}"
        text += f" and than every other method on {clear} of {counted(len(ours), 'task')}."
    else:
        text += f". It is clearly better than every other method on {clear} of {counted(len(ours), 'task')}."
    return f"{text} Its variants are not counted." if any(is_variant(r.method) for r in chosen) else text


def _is_first(task: str, chosen: Sequence[Result]) -> bool:
    corrs = {r.method: r.estimates["corr"].value for r in chosen if r.task == task and not is_variant(r.method)}
    known = {name: value for name, value in corrs.items() if math.isfinite(value)}
    return bool(known) and max(known, key=known.__getitem__) == challenger().name


def _all_clear(comparisons: Sequence[Comparison]) -> bool:
    return bool(comparisons) and all(word(c.gains["corr"]) == BETTER for c in comparisons)


def in_words(result: Result) -> str:
    """What the figures of a task mean for one pair of photos, without a statistical term."""
    error, still = result.estimates["mae"].value, float(abs(result.change_P).mean())
    unit = result.unit
    name = "ComFace" if result.ours else method(result.method).title
    parts = [
        f"For a person whom it has not seen, the estimate of {name} is off by {error:.2f} on average, in {unit}; "
        f"always answering “no change” would be off by {still:.2f}."
    ]
    if "acc" in result.estimates and math.isfinite(direction := result.estimates["acc"].value):
        parts.append(f"Where there is a change, its direction is right in {100 * direction:.0f} % of the pairs.")
    if (least := result.smallest_change) is not None:
        size, share = least.by_direction.value, f"{100 * least.share:g} %"
        if math.isfinite(size):
            parts.append(f"From {size:.2f} on, the direction is right in at least {share} of the pairs.")
        else:
            parts.append(f"There is no size of change from which the direction is right in {share} of the pairs.")
    if error >= still:
        parts.append("So it has not learned the size of the changes.")
    return " ".join(parts)
