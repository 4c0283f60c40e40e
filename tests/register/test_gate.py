"""The gate is a pure function: every check, its sentence, and what is not comparable."""

from __future__ import annotations

import json

import pytest

from comface.register.config import RegisterConfig, Threshold
from comface.register.decision import FAILED, KEEP, PROMOTE, GateDecision
from comface.register.gate import Metric, decide

CONFIG = RegisterConfig()


def metric(task: str, method: str, corr: float | None, mode: str = "linear", **more) -> Metric:
    return Metric(task, method, mode, corr, dataset=f"{task} data", **more)


GOOD = [
    metric("smile", "comface", 0.6),
    metric("smile", "scratch", 0.2),
    metric("age", "comface", 0.4),
    metric("age", "scratch", 0.3),
]


def refused_for(metrics, config=CONFIG) -> str:
    decision = decide(metrics, config, None)
    assert decision.outcome == KEEP
    assert len(decision.reasons) == sum(check.result == FAILED for check in decision.checks)
    for reason in decision.reasons:
        assert reason[0].isupper() or reason[0] == "'"
        assert reason.endswith(".")
    return " ".join(decision.reasons)


def test_a_challenger_that_beats_its_rival_everywhere_passes_with_a_row_per_check() -> None:
    decision = decide(GOOD, CONFIG, None)
    assert decision.outcome == PROMOTE
    assert decision.reasons == ("The challenger passes 2 checks; there is no champion to compare it with.",)
    assert [(check.check, check.task, check.value, check.limit) for check in decision.checks] == [
        ("beats scratch", "smile", 0.6, 0.2),
        ("beats scratch", "age", 0.4, 0.3),
    ]
    assert GateDecision.of(json.loads(json.dumps(decision.record()))) == decision


@pytest.mark.parametrize(("corr", "passes"), [(0.3, True), (0.2999, False), (0.9, True), (-0.5, False), (None, False)])
def test_a_threshold_is_reached_at_its_value(corr: float | None, passes: bool) -> None:
    config = RegisterConfig(thresholds=(Threshold(task="smile", min_corr=0.3),), must_beat=None)
    assert decide([metric("smile", "comface", corr)], config, None).outcome == (PROMOTE if passes else KEEP)


def test_a_missed_threshold_is_told_with_both_numbers() -> None:
    config = RegisterConfig(thresholds=(Threshold(task="smile", min_corr=0.7),))
    assert refused_for(GOOD, config) == "The correlation of smile (linear) is 0.60, below the threshold of 0.70."


def test_a_threshold_of_what_was_not_evaluated_refuses() -> None:
    config = RegisterConfig(thresholds=(Threshold(task="smile", mode="finetune", min_corr=0.1),))
    assert refused_for(GOOD, config) == "There is a threshold for smile (finetune), which was not evaluated."


def test_a_draw_with_the_rival_refuses() -> None:
    metrics = [metric("smile", "comface", 0.2), metric("smile", "scratch", 0.2)]
    assert refused_for(metrics) == (
        "The correlation of smile (linear) is 0.20, not higher than that of 'scratch' (0.20)."
    )


def test_one_lost_task_refuses_and_all_others_are_still_checked() -> None:
    metrics = [*GOOD, metric("au6", "comface", 0.1), metric("au6", "scratch", 0.5)]
    assert "au6" in refused_for(metrics)
    assert len(decide(metrics, CONFIG, None).checks) == 3


def test_a_rival_that_was_not_evaluated_refuses() -> None:
    assert refused_for([metric("smile", "comface", 0.9)]) == (
        "'scratch', which ComFace must beat, was not evaluated on smile."
    )


def test_a_rival_without_layers_to_fine_tune_is_compared_where_it_can_be() -> None:
    metrics = [
        metric("smile", "comface", 0.6),
        metric("smile", "comface", 0.7, mode="finetune"),
        metric("smile", "pixels", 0.4),
    ]
    decision = decide(metrics, RegisterConfig(must_beat="pixels"), None)
    assert decision.outcome == PROMOTE
    assert len(decision.checks) == 1


def test_a_rival_whose_estimates_do_not_vary_is_beaten() -> None:
    assert decide([metric("smile", "comface", 0.01), metric("smile", "scratch", None)], CONFIG, None).outcome == PROMOTE


def test_a_correlation_that_cannot_be_computed_refuses_even_without_thresholds() -> None:
    config = RegisterConfig(must_beat=None)
    assert refused_for([metric("smile", "comface", None)], config) == (
        "The correlation of smile (linear) cannot be computed: the estimates do not vary."
    )


def test_nothing_measured_refuses() -> None:
    assert refused_for([], RegisterConfig(must_beat=None)).startswith("ComFace was not evaluated on any task")


def test_a_rival_of_another_test_set_is_not_beaten() -> None:
    metrics = [metric("smile", "comface", 0.9), metric("smile", "scratch", 0.1, protocol_sha256="b" * 64)]
    assert refused_for(metrics) == (
        "'scratch', which ComFace must beat, was not evaluated on the same test pairs of smile."
    )
