"""benchmarks/pretrain.py: the projection of the paper's training is the arithmetic that it states."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "pretrain.py"


def test_the_projection_is_pairs_by_rate_and_pixels() -> None:
    command = [sys.executable, str(SCRIPT), "--parts", "projection"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200).stdout
    hours, with_schedule = (float(words.split()[-1]) for words in said.splitlines()[-1].split(" h")[:2])
    assert hours == pytest.approx(378e6 / (32 * 0.9 * 823) / 3600, abs=0.05)
    share = (3 * 128**2 + 3 * 160**2 + 3 * 192**2 + 3 * 224**2) / (12 * 224**2)
    assert with_schedule == pytest.approx(hours * share, abs=0.06)
