"""How often an equally good challenger passes, and what the gate says would help, also with a real champion."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from chains import Chain, build_chain
from opponents import paired
from scipy import stats

from comface.doctor.places import row_of
from comface.plan.checks import Check as RunCheck
from comface.plan.checks import check_margins
from comface.plan.configuration import resolve
from comface.register.champion import too_few_people
from comface.register.config import Margin, RegisterConfig
from comface.register.decision import CANNOT_TELL, Check, GateDecision
from comface.register.gate import Metric, decide
from comface.register.paired import Champion
from comface.register.power import POWER, WIDER, least_margin, people_for, power
from comface.register.report import powers
from comface.register.step import decision_markdown, register
from comface.store import FileStore

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

HALF, PEOPLE = 0.04, 25


def promoted_share(margin: float, half: float, confidence: float) -> float:
    """By drawing gains of an equally good challenger, whose interval has this half width."""
    gain_N = np.random.default_rng(0).normal(0, half / stats.norm.ppf((1 + confidence) / 2), 400_000)
    return float((gain_N - half > -margin).mean())


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
@pytest.mark.parametrize("margin", [0.02, 0.05, 0.1])
def test_the_power_is_that_of_drawn_gains_with_a_cautious_half_width(margin: float, confidence: float) -> None:
    wider = HALF * (1 + WIDER / 5)
    assert power(margin, HALF, PEOPLE, confidence) == pytest.approx(
        promoted_share(margin, wider, confidence), abs=0.003
    )


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_the_margin_that_is_named_has_a_power_of_80_percent(confidence: float) -> None:
    assert power(least_margin(HALF, PEOPLE, confidence), HALF, PEOPLE, confidence) == pytest.approx(POWER)


def test_the_number_of_people_that_is_named_makes_the_declared_margin_enough() -> None:
    wanted = people_for(0.05, HALF, PEOPLE, 0.95)
    assert wanted is not None
    assert least_margin(HALF * (PEOPLE / wanted) ** 0.5, wanted, 0.95) <= 0.05
    fewer = int(0.7 * wanted)
    assert least_margin(HALF * (PEOPLE / fewer) ** 0.5, fewer, 0.95) > 0.05


def test_no_number_of_people_is_named_if_nobody_has_so_many_or_the_margin_is_zero() -> None:
    assert people_for(1e-5, HALF, PEOPLE, 0.95) is None
    assert people_for(0.0, HALF, PEOPLE, 0.95) is None


def test_models_with_equal_estimates_have_full_power_at_any_margin_but_zero() -> None:
    assert power(0.05, 0.0, 40, 0.95) == 1
    assert power(0.0, 0.0, 40, 0.95) == 0


def decided(margin: Margin | None = None, **more: object) -> GateDecision:
    config = RegisterConfig(must_beat=None, margins=(margin,) if margin else ())
    champion = Champion("comface@v1", (paired("smile", **more),))  # type: ignore[arg-type]
    return decide([Metric("smile", "comface", "linear", 0.6)], config, champion)


def test_an_undecided_check_says_which_people_and_which_margin_would_do_and_both_do() -> None:
    noisy = {"ours": 0.55, "apart": 1.0}
    decision = decided(people=12, **noisy)
    assert decision.outcome == CANNOT_TELL
    said = re.search(r"in about (\d+) % of cases; about (\d+) people, or a margin of ([\d.]+) if", decision.reasons[0])
    assert said, decision.reasons[0]
    check = decision.checks[0]
    assert check.power == pytest.approx(int(said[1]) / 100, abs=0.006)
    assert check.least_margin == pytest.approx(float(said[3]), abs=0.0006)
    assert check.power < POWER
    assert decided(Margin(task="smile", margin=float(said[3]) + 0.001), people=12, **noisy).checks[0].power >= POWER
    assert decided(people=int(1.5 * int(said[2])), **noisy).checks[0].power >= POWER
    assert decision.checks[0].limit == -0.05, "the margin stays the one that was declared"


def test_with_enough_people_an_undecided_check_says_so_and_superiority_names_the_gain_that_would_show() -> None:
    assert "cases, so improve this one, or add people." in decided(ours=0.65, apart=1.0, people=40).reasons[0]
    superior = decided(Margin(task="smile", margin=0))
    assert re.search(r"with 40 people, a true gain of 0\.\d+ is shown in 80 % of cases\.$", superior.reasons[0])


def test_the_power_is_in_the_record_the_table_and_the_unit_of_the_task() -> None:
    decision = decided(Margin(task="smile", metric="mae", margin=0.02), ours=0.53, apart=1.0)
    check = decision.checks[0]
    assert GateDecision.of(json.loads(json.dumps(decision.record()))) == decision
    assert powers(check) == f"{100 * check.power:.0f} % (80 % at {check.least_margin:.3f} points)"
    assert powers(check) in decision_markdown(decision)
    assert powers(Check("measured", "smile", "linear", None, None, "failed")) == "–"


def test_a_decision_of_an_earlier_version_has_no_power_and_is_read() -> None:
    record = decided().record()
    for row in record["checks"]:
        del row["power"], row["least_margin"]
    assert [powers(check) for check in GateDecision.of(record).checks] == ["–"]


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """comface@v1 with a correlation of 0.8 on smile and age, tested on 30 people."""
    chain = build_chain(FileStore(tmp_path_factory.mktemp("power") / "store"), 0.8, 0.8, 0)
    assert register(
        chain.store, RegisterConfig(), chain.evaluation, chain.backbone, chain.heads, NOW, Path("none")
    ).promoted
    return chain


def test_a_run_warns_before_it_starts_if_the_margin_is_small_for_the_champions_people(
    champion: Chain, caplog: pytest.LogCaptureFixture
) -> None:
    config = resolve("laptop", ["register.margin=0.01", "transfer.tasks=[smile]"], {"store": champion.store.uri})
    with caplog.at_level(logging.WARNING):
        row = row_of(RunCheck("margins of the gate", lambda: check_margins(config)))
    assert (row.state, row.found) == ("note", "too small for 1 task")
    assert row.todo == "add people, or set a larger margin (register.margins)"
    assert len(caplog.messages) == 1
    assert re.fullmatch(
        r"The margin of 0\.01 for 'smile' is small for 30 people, on whom comface@v1 was tested: an equally good "
        r"challenger passes in about \d+ % of cases; about [\d,]+ people, or a margin of 0\.\d{3} if you accept such a "
        r"loss, would make that 80 % \(register\.margins\)\.",
        caplog.messages[0],
    )


def test_it_does_not_warn_of_a_wide_margin_superiority_other_tasks_or_without_a_champion(
    champion: Chain, tmp_path: Path
) -> None:
    from comface.models.registry import Registry

    registry = Registry(champion.store, "comface")
    assert not list(too_few_people(registry, RegisterConfig(margin=0.5), ["smile", "age"]))
    assert not list(too_few_people(registry, RegisterConfig(margin=0), ["smile", "age"]))
    assert not list(too_few_people(registry, RegisterConfig(margin=0.001), ["au6"]))
    assert len(list(too_few_people(registry, RegisterConfig(margin=0.001), ["smile", "age"]))) == 2
    assert check_margins(resolve("laptop", [], {"store": tmp_path.as_uri()})) == "no margin is known to be too small"


def test_the_champions_own_standard_error_is_that_of_leaving_out_one_person(champion: Chain) -> None:
    """For a margin in MAE: the named margin is that of a slow jackknife."""
    from comface.models.registry import Registry
    from comface.tasks.predictions import read_predictions

    registry = Registry(champion.store, "comface")
    model = registry.open(registry.version(1))
    tested = read_predictions(model.input("smile-linear", "transfer"))
    error_P, subject_P = np.abs(tested.predicted_P - tested.change_P), np.asarray(tested.subjects)
    left_out = np.array([error_P[subject_P != each].mean() for each in np.unique(subject_P)])
    count = len(left_out)
    se = float(np.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum()))
    config = RegisterConfig(margins=(Margin(task="smile", metric="mae", margin=1e-3),))
    (said,) = too_few_people(registry, config, ["smile"])
    assert f"a margin of {least_margin(1.959964 * se, count, 0.95):.3f}" in said
