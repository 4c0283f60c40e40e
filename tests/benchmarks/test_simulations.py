"""The statistics of the report, in simulation: coverage of every interval, family-wise error. Small versions of
benchmarks/simulations.py; the long ones are system tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "simulations.py"


@pytest.fixture(scope="module")
def simulations() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simulations", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_95_percent_interval_of_a_few_people_covers_about_95_percent(simulations: ModuleType) -> None:
    """250 repetitions: standard error 1.4 points."""
    found = simulations.coverage(12, "different", repetitions=250, resamples=300)
    assert len(found) == 10
    for name, share in found.items():
        assert 0.91 <= share <= 0.985, name


def test_equally_good_methods_rarely_get_a_wrong_word(simulations: ModuleType) -> None:
    """120 repetitions of 36 comparisons: standard error 2 points. Without a correction, 60 % have a wrong word."""
    wrong, small = simulations.family_wise_error(15, alike=True, repetitions=120, methods=4, swaps=199)
    assert wrong <= 0.09
    assert 0.03 <= small <= 0.07


@pytest.mark.system
@pytest.mark.parametrize("kind", ["alike", "different"])
@pytest.mark.parametrize("subjects", [10, 15, 20, 30, 60])
def test_the_coverage_of_every_interval_is_95_percent_up_to_one_and_a_half(
    simulations: ModuleType, kind: str, subjects: int
) -> None:
    """4,000 repetitions: standard error 0.35 points. With 10 people, intervals are a little too wide. Those that need a
    standard deviation are less exact, because its error depends on the tails."""
    of_deviations = {"lower limit", "upper limit", "detectable change"}
    for name, share in simulations.coverage(subjects, kind, repetitions=4000).items():
        low, high = (0.92, 0.975) if name in of_deviations else (0.935, 0.965 if subjects > 10 else 0.975)
        assert low <= share <= high, name


@pytest.mark.system
@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("subjects", [10, 15, 20, 30])
def test_the_family_wise_error_is_at_most_5_percent(simulations: ModuleType, alike: bool, subjects: int) -> None:
    """2,000 repetitions: standard error 0.5 points, of which two are allowed."""
    wrong, _ = simulations.family_wise_error(subjects, alike, repetitions=2000)
    assert wrong <= 0.06
