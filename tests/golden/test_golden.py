"""What every step makes is what it made when its known outputs were recorded, or its REVISION says that it changed.

known.json holds the outputs of small_run.py. After a wanted change: raise the REVISION, then record anew with

    python tests/golden/record.py
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_run import FETCHED, Made, recorded, small_run

KNOWN = recorded(Path(__file__).with_name("known.json"))
ANEW = "record anew: python tests/golden/record.py"
SHARE = 2e-3
"""Of an array's spread, or of a number: what another processor may change (twenty times what leaving out AVX-512 does).
"""
FITTED, FITTED_SHARE = ("transfer", "evaluation", "model"), 0.1
"""Heads are fitted to 14 pairs of 1,440 features: another processor changes their estimates by 3 %."""
LEVELS = 6.0
"""Of 255, of one pixel of a JPEG; SHARE holds for means and spreads."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Made]:
    return small_run(tmp_path_factory.mktemp("golden"))


@pytest.mark.parametrize("name", KNOWN)
def test_an_output_changes_only_with_a_revision(name: str, made: Mapping[str, Made]) -> None:
    if name not in made and not FETCHED:
        pytest.skip("the fetched weights are not at hand")
    assert name in made, f"'{name}' is no longer made; {ANEW}"
    share = FITTED_SHARE if any(word in name for word in FITTED) else SHARE
    problem = compared(KNOWN[name], made[name], share)
    assert not problem, f"{name}: {problem}"


def test_everything_that_is_made_is_recorded(made: Mapping[str, Made]) -> None:
    assert not [name for name in made if name not in KNOWN], ANEW


def test_another_output_under_the_same_revision_is_told_from_a_raised_revision() -> None:
    known = KNOWN["features of pixels"]
    (array, values), *_ = known.values.items()
    other = Made(known.revisions, {array: {**values, "mean": values["mean"] + 0.1 * values["sd"]}})
    assert "raise the REVISION of" in compared(known, other)
    raised = {step: revision + 1 for step, revision in known.revisions.items()}
    assert compared(known, Made(raised, other.values)).endswith(ANEW)
    assert not compared(known, known)


def compared(known: Made, now: Made, share: float = SHARE) -> str:
    """What is wrong, or nothing."""
    if now.revisions != known.revisions:
        return f"made by {dict(now.revisions)}, recorded of {dict(known.revisions)}; {ANEW}"
    change = next(changes(known.values, now.values, share), None)
    if change is None:
        return ""
    of = ", ".join(f"'{step}' ({revision})" for step, revision in now.revisions.items())
    return (
        f"{change}, under the same revision. Unless an input changed (see the first failure here), undo the "
        f"change, or raise the REVISION of {of} and then {ANEW}"
    )


def changes(known: Any, now: Any, share: float, where: str = "") -> Iterator[str]:
    if isinstance(known, Mapping) and isinstance(now, Mapping):
        if known.get("kind") in ("levels", "numbers"):
            yield from array_changes(known, now, share, where)
            return
        if known.keys() != now.keys():
            yield f"{where or 'it'} holds {sorted(now)}, not {sorted(known)}"
        for key in known.keys() & now.keys():
            yield from changes(known[key], now[key], share, f"{where} {key}".strip())
    elif isinstance(known, list) and isinstance(now, list) and len(known) == len(now):
        for number, pair in enumerate(zip(known, now, strict=True)):
            yield from changes(*pair, share, f"{where}[{number}]")
    elif isinstance(known, float) and isinstance(now, int | float):
        if abs(known - now) > share * max(abs(known), 0.01):
            yield f"{where} is {now:g}, not {known:g}"
    elif known != now:
        yield f"{where} is {now!r}, not {known!r}"


def array_changes(known: Mapping[str, Any], now: Mapping[str, Any], share: float, where: str) -> Iterator[str]:
    if now.get("shape") != known["shape"] or now.get("kind") != known["kind"]:
        yield f"{where} has shape {now.get('shape')}, not {known['shape']}"
        return
    spread = max(known["sd"], 1e-6)
    for word in ("mean", "sd"):
        if abs(now[word] - known[word]) > share * spread:
            yield f"the {word} of {where} is {now[word]:g}, not {known[word]:g}"
    furthest = np.abs(np.array(now["samples"]) - known["samples"]).max()
    if furthest > (LEVELS if known["kind"] == "levels" else share * spread):
        yield f"a value of {where} differs by {furthest:.3g}; its spread is {spread:.3g}"
