"""The gate's truth table: what goes in, which outcome comes out, and what its first reason or a note says.

A row: what is tried, the outcome, words of its reason or of a note; the champion and the estimates of both (the error
of the champion has a standard deviation of 0.5), the settings, ComFace's correlation per task, the number of people.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from opponents import paired

from comface.register.config import Margin, RegisterConfig, Threshold
from comface.register.decision import CANNOT_TELL, FAILED, KEEP, PASSED, PROMOTE, UNKNOWN
from comface.register.gate import Metric, decide
from comface.register.paired import Champion, Paired, Unpaired

SMILE, AGE = Metric("smile", "comface", "linear", 0.6), Metric("age", "comface", "linear", 0.5)
RANDOM = (Metric("smile", "scratch", "linear", 0.1), Metric("age", "scratch", "linear", 0.1))
BEATS = {"must_beat": "scratch"}
FLOOR = {"thresholds": (Threshold(task="smile", min_corr=0.6),)}
HIGH = {"thresholds": (Threshold(task="smile", min_corr=0.7),)}
BETTER = {"margins": (Margin(task="smile", margin=0),)}
POINTS = {"margins": (Margin(task="smile", metric="mae", margin=0.1),)}
FEW_POINTS = {"margins": (Margin(task="smile", metric="mae", margin=0.02),)}


def against(*tasks: Paired | Unpaired) -> Champion:
    return Champion("comface@v1", tasks)


def smile(**more: Any) -> Champion:
    return against(paired("smile", **more))


def apart(reason: str, blocks: bool = True) -> Champion:
    return against(Unpaired("smile", "linear", reason, blocks))


class Case(NamedTuple):
    what: str
    outcome: str
    says: str = ""
    champion: Champion | None = None
    config: dict[str, Any] = {}  # noqa: RUF012 (never changed)
    metrics: tuple[Metric, ...] = (SMILE,)
    people: int = 40


NONE = None
GROUPS = {"north": 0.5, "south": 0.5}
TABLE = [
    # No champion: thresholds, the method to beat, the number of people.
    Case("first model, nothing asked", PROMOTE, "there is no champion to compare it with"),
    Case("first model beats random features", PROMOTE, "2 checks", NONE, BEATS, (SMILE, *RANDOM)),
    Case("first model, a draw with random features", KEEP, "not higher than", NONE, BEATS,
         (SMILE, Metric("smile", "scratch", "linear", 0.6))),
    Case("first model loses one task to random features", KEEP, "age (linear) is 0.50, not higher", NONE, BEATS,
         (SMILE, AGE, RANDOM[0], Metric("age", "scratch", "linear", 0.7))),
    Case("random features were not evaluated", KEEP, "was not evaluated on smile", NONE, BEATS),
    Case("first model at the threshold", PROMOTE, "", NONE, FLOOR),
    Case("first model below the threshold", KEEP, "below the threshold of 0.70", NONE, HIGH),
    Case("threshold of a task that was not evaluated", KEEP, "which was not evaluated", NONE, FLOOR, (AGE,)),
    Case("estimates do not vary", KEEP, "cannot be computed", NONE, {}, (Metric("smile", "comface", "linear", None),)),
    Case("nothing was evaluated", KEEP, "not evaluated on any task", NONE, {}, ()),
    Case("first model, exactly the least number of people", PROMOTE, "", NONE, {}, (SMILE,), 10),
    Case("first model, one person too few", CANNOT_TELL, "(register.least_subjects); add people", NONE, {},
         (SMILE,), 9),
    Case("too few people and below the threshold", KEEP, "below the threshold", NONE, HIGH, (SMILE,), 9),
    # A champion that cannot be compared as a whole.
    Case("the champion cannot be read", CANNOT_TELL, "restore it, or promote another version",
         Champion("comface@v1", problem="its manifest is damaged")),
    Case("the champion cannot be read, and a threshold is missed", KEEP, "below the threshold",
         Champion("comface@v1", problem="its manifest is damaged"), HIGH),
    Case("the challenger is the champion itself", PROMOTE, "the champion comface@v1 itself",
         Champion("comface@v1", is_challenger=True)),
    Case("a champion without a task", PROMOTE, "no task can be compared", against()),
    # Non-inferiority of one task, in correlation (margin 0.05).
    Case("equal estimates", PROMOTE, "on 1 task", smile(ours=0.5, apart=0.0)),
    Case("as good, retrained", PROMOTE, "on 1 task", smile()),
    Case("as good, another network", PROMOTE, "", smile(apart=1.0)),
    Case("better", PROMOTE, "", smile(ours=0.4)),
    Case("a little worse, surely within the margin", PROMOTE, "", smile(ours=0.6)),
    Case("worse, on both sides of the margin", CANNOT_TELL, "contains the margin of −0.050",
         smile(ours=0.65, apart=1.0)),
    Case("surely worse by more than the margin", KEEP, "lies at or below the margin of −0.050", smile(ours=0.7)),
    Case("the same, with a wide margin", PROMOTE, "", smile(ours=0.7), {"margin": 0.15}),
    Case("the same, with a wide margin of this task alone", PROMOTE, "", smile(ours=0.7),
         {"margins": (Margin(task="smile", margin=0.15),)}),
    Case("the margin of another task does not help", KEEP, "", smile(ours=0.7),
         {"margins": (Margin(task="age", margin=0.15),)}),
    Case("a margin of 2 always passes", PROMOTE, "", smile(ours=5.0), {"margin": 2}),
    Case("noisy and as good, few people", CANNOT_TELL, "if you accept such a loss, would make that 80 %",
         smile(apart=1.0, people=12, ours=0.55)),
    Case("the same noise, many people", PROMOTE, "", smile(apart=1.0, people=150, ours=0.55)),
    Case("a higher confidence needs more people", CANNOT_TELL, "99.9 % interval", smile(apart=1.0, people=12),
         {"confidence": 0.999}),
    # Superiority (margin 0) and mean absolute error (margin in points).
    Case("superiority: better", PROMOTE, "", smile(ours=0.4), BETTER),
    Case("superiority: as good", CANNOT_TELL, "contains zero, above which it must lie", smile(), BETTER),
    Case("superiority: equal estimates are not better", KEEP, "lies at or below zero", smile(apart=0.0), BETTER),
    Case("superiority: worse", KEEP, "lies at or below zero", smile(ours=0.6), BETTER),
    Case("MAE: a little worse, within 0.1 points", PROMOTE, "", smile(ours=0.55), POINTS),
    Case("MAE: surely worse by more than 0.1 points", KEEP, "mean absolute error over comface@v1 is −0.",
         smile(ours=0.8), POINTS),
    Case("MAE: on both sides of 0.02 points", CANNOT_TELL, "points", smile(ours=0.53, apart=1.0), FEW_POINTS),
    # Several tasks: all must pass (intersection-union).
    Case("two tasks, both as good", PROMOTE, "on 2 tasks", against(paired("smile"), paired("age")), {}, (SMILE, AGE)),
    Case("two tasks, one much better, one worse", KEEP, "age (linear)",
         against(paired("smile", ours=0.3), paired("age", ours=0.7)), {}, (SMILE, AGE)),
    Case("two tasks, one undecided", CANNOT_TELL, "age (linear)",
         against(paired("smile"), paired("age", ours=0.65, apart=1.0)), {}, (SMILE, AGE)),
    Case("one worse and one undecided: worse decides", KEEP, "smile (linear)",
         against(paired("smile", ours=0.7), paired("age", ours=0.65, apart=1.0)), {}, (SMILE, AGE)),
    Case("as good as the champion, but below the threshold", KEEP, "below the threshold", smile(), HIGH),
    Case("better than the champion, but not than random features", KEEP, "not higher than", smile(ours=0.4), BEATS,
         (SMILE, Metric("smile", "scratch", "linear", 0.9))),
    # Subgroups: at least 20 people each, margin 0.1.
    Case("both subgroups as good", PROMOTE, "2 subgroups", smile(groups=GROUPS)),
    Case("all as good, one subgroup surely worse", KEEP, "site = south",
         smile(groups=GROUPS | {"south": 0.9}, people=60),
         {"margin": 0.5}),
    Case("the worse subgroup is within a wide margin", PROMOTE, "", smile(groups=GROUPS | {"south": 0.9}, people=60),
         {"margin": 0.5, "group_margin": 0.5}),
    Case("one subgroup undecided", CANNOT_TELL, "site = south", smile(groups=GROUPS | {"south": 0.75}),
         {"margin": 0.5}),
    Case("a subgroup that is too small is counted, not examined", PROMOTE,
         "2 of 2 subgroups by 'site' have fewer than 20",
         smile(groups=GROUPS | {"south": 0.9}, people=30), {"margin": 0.5}),
    Case("the least number of a subgroup is a setting", KEEP, "site = south",
         smile(groups=GROUPS | {"south": 0.9}, people=30), {"margin": 0.5, "least_group_subjects": 15}),
    Case("a margin of MAE is doubled for subgroups", PROMOTE, "", smile(groups=GROUPS | {"south": 0.6}, people=60),
         POINTS),
    # People of a comparison.
    Case("compared on too few people", CANNOT_TELL, "tested on 9 subjects", smile(people=9), {}, (SMILE,), 9),
    Case("worse, but on too few people to say so", CANNOT_TELL, "tested on 9 subjects", smile(people=9, ours=0.9), {},
         (SMILE,), 9),
    Case("the least number of people is a setting", PROMOTE, "", smile(people=9), {"least_subjects": 8}, (SMILE,), 9),
    # Tasks that cannot be compared.
    Case("changed data", CANNOT_TELL, "is not comparable with comface@v1: the photos changed",
         apart("the photos changed.")),
    Case("a new task", PROMOTE, "not compared with the champion: new", apart("new.", blocks=False)),
    Case("a rehearsal champion, real photos", PROMOTE, "not compared with the champion: a rehearsal",
         apart("a rehearsal.", blocks=False)),
    Case("changed data, and a threshold is missed", KEEP, "below the threshold", apart("the photos changed."), HIGH),
    Case("one task changed, the other as good", CANNOT_TELL, "smile is not comparable",
         against(paired("age"), Unpaired("smile", "linear", "the photos changed.")), {}, (SMILE, AGE)),
    Case("one task changed, the other worse", KEEP, "age (linear)",
         against(paired("age", ours=0.7), Unpaired("smile", "linear", "the photos changed.")), {}, (SMILE, AGE)),
    Case("another mode is in use", KEEP, "smile (finetune, champion linear)", smile(ours=0.7, mode="finetune")),
    Case("evaluated anew beside the challenger", PROMOTE, "was evaluated anew", smile(note="it was evaluated anew.")),
]  # fmt: skip


@pytest.mark.parametrize("case", TABLE, ids=[case.what for case in TABLE])
def test_the_gate_decides(case: Case) -> None:
    config = RegisterConfig(**({"must_beat": None} | case.config))
    people = {metric.task: case.people for metric in case.metrics if metric.method == "comface"}
    decision = decide(case.metrics, config, case.champion, people)
    assert decision.outcome == case.outcome, decision
    assert decision.reasons, "every outcome has a reason"
    if decision.outcome == PROMOTE:
        assert {check.result for check in decision.checks} <= {PASSED}
    else:
        assert len(decision.reasons) == sum(check.result != PASSED for check in decision.checks)
        worst = FAILED if decision.outcome == KEEP else UNKNOWN
        assert worst in {check.result for check in decision.checks}
        assert FAILED not in {check.result for check in decision.checks} or decision.outcome == KEEP
    said = decision.reasons[0] if decision.outcome != PROMOTE else " ".join([*decision.reasons, *decision.notes])
    assert case.says in said
    for sentence in (*decision.reasons, *decision.notes):
        assert sentence.endswith("."), sentence
        assert "nan" not in sentence, sentence


def test_the_table_has_every_outcome_often() -> None:
    outcomes = [case.outcome for case in TABLE]
    assert len(TABLE) >= 40
    assert min(outcomes.count(each) for each in (PROMOTE, KEEP, CANNOT_TELL)) >= 12
