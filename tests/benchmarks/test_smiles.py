"""Shares of right directions and verdicts on people who smile."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from comface.models.caveats import NONE, Caveats
from comface.models.compare import Change, Comparison

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "smiles.py"


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("smiles_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SMILES = script()


def pair(label: str, change: float, half_width: float | None) -> object:
    """Without a half width, the pair is refused."""
    interval = None if half_width is None else (change - half_width, change + half_width)
    face_SS3 = np.zeros((4, 4, 3), np.uint8)
    caveats = Caveats(refused=True) if half_width is None else NONE
    return SMILES.Pair(
        label, Comparison("m", {"smile": Change(change, "nat", interval, 0.9)}, *2 * (face_SS3,), caveats)
    )


def test_verdicts_are_counted_over_full_smiles_and_directions_over_all_pairs() -> None:
    pairs = [
        pair("smile", 3.0, 2.0),
        pair("smile", 3.0, 4.0),
        pair("smile", -3.0, 2.0),
        pair("smile", 3.0, None),
        pair("slight", -1.0, 2.0),
    ]
    found = SMILES.Shares.of(pairs, "smile")
    assert (found.pairs, found.full) == (5, 4)
    assert (found.right, found.increase, found.decrease, found.refused) == (0.6, 0.25, 0.25, 0.2)
    assert (found.change, found.half_width) == (pytest.approx(1.0), pytest.approx(2.5))


def test_no_photo_has_two_labels_and_everybody_has_a_neutral_one() -> None:
    assert len({person.name for person in SMILES.PEOPLE}) == len(SMILES.PEOPLE)
    for person in SMILES.PEOPLE:
        files = [file for of in person.files.values() for file in of]
        assert person.files["neutral"]
        assert len(files) == len(set(files)) > len(person.files["neutral"])
