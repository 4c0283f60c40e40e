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


def test_a_challenger_at_the_margin_is_rarely_promoted_and_one_that_is_as_good_often(simulations: ModuleType) -> None:
    """200 repetitions of the gate's own code. The level is 2.5 %: more than 15 promotions (7.5 %) have a chance of
    1 in 10,000. Power, in a hundred people: see docs/gate.md."""
    margin = simulations.MARGINS["corr"]
    assert simulations.noise_for("corr", "different", -margin) == pytest.approx(1.14, abs=0.02)
    null = simulations.gate_outcomes(simulations.Comparison(30, "different"), (-margin,), repetitions=200)
    assert null["promote"] <= 0.075
    assert null["cannot tell"] >= 0.85
    good = simulations.gate_power(simulations.Comparison(160, "different"), repetitions=40)
    assert good.promoted >= 0.7
    assert good.said == pytest.approx(good.promoted, abs=0.2)
    assert 0.03 <= good.margin <= 0.05
    assert good.at_margin >= 0.7


@pytest.mark.system
@pytest.mark.parametrize("metric", ["corr", "mae"])
@pytest.mark.parametrize("kind", ["alike", "different"])
@pytest.mark.parametrize("subjects", [20, 40, 80])
def test_a_false_promotion_has_a_chance_of_at_most_5_percent(
    simulations: ModuleType, metric: str, kind: str, subjects: int
) -> None:
    """2,000 null challengers at the edge of the margin: standard error 0.5 points at 5 %."""
    found = simulations.gate_outcomes(
        simulations.Comparison(subjects, kind, metric), (-simulations.MARGINS[metric],), 2000
    )
    assert found["promote"] <= 0.05


@pytest.mark.system
@pytest.mark.parametrize("kind", ["alike", "different"])
@pytest.mark.parametrize(("metric", "subjects"), [("corr", 160), ("mae", 60)])
def test_a_challenger_that_is_as_good_is_promoted_in_at_least_80_percent(
    simulations: ModuleType, metric: str, subjects: int, kind: str
) -> None:
    assert simulations.gate_power(simulations.Comparison(subjects, kind, metric), 500).promoted >= 0.8


@pytest.mark.system
@pytest.mark.parametrize("metric", ["corr", "mae"])
@pytest.mark.parametrize("kind", ["alike", "different"])
@pytest.mark.parametrize("subjects", [20, 40, 80, 160])
def test_at_the_margin_that_the_gate_names_an_equally_good_challenger_is_promoted_in_80_percent(
    simulations: ModuleType, metric: str, kind: str, subjects: int
) -> None:
    """600 repetitions: standard error up to 2 points. The power that the gate states is not higher than the true one,
    so that a declared margin with a stated power of 80 % has it."""
    found = simulations.gate_power(simulations.Comparison(subjects, kind, metric), 600)
    assert found.at_margin >= 0.8
    assert found.said <= found.promoted + 0.04


@pytest.mark.system
def test_all_tasks_must_pass_so_several_tasks_do_not_raise_the_chance(simulations: ModuleType) -> None:
    margin = simulations.MARGINS["corr"]
    many, few = (simulations.Comparison(subjects, "different") for subjects in (160, 40))
    assert simulations.gate_outcomes(many, (-margin, 0.0, 0.0, 0.0), 1000)["promote"] <= 0.05
    assert simulations.gate_outcomes(few, (-margin,) * 4, 1000)["promote"] <= 0.005


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
