from __future__ import annotations

import csv
import io

import pytest

from comface.errors import DataError
from comface.evaluate import tables
from comface.evaluate.config import EvaluateConfig
from comface.evaluate.results import read_results
from comface.evaluate.tables import Column

CONFIG = EvaluateConfig(bootstrap=50)


def test_tables_have_methods_down_and_tasks_by_mode_across_as_the_paper_does(results):
    scored = read_results(results(("au6", "au12"), ("scratch", "imagenet", "comface"), ("linear", "finetune")), CONFIG)
    (group,) = tables.groups_of(scored)
    assert (group.name, group.tasks) == ("expression", ("au6", "au12"))
    header, *rows = list(csv.reader(io.StringIO(tables.table_csv(group, scored))))
    assert header == ["source", "method"] + [
        f"{task}_{mode}_{metric}" for task in ("au6", "au12") for mode in ("linear", "finetune")
        for metric in ("mae", "corr")
    ]  # fmt: skip
    assert [row[:2] for row in rows[:3]] == [["this run", "Scratch"], ["this run", "ImageNet"], ["this run", "ComFace"]]


def test_the_papers_own_figures_stand_beside_the_methods_and_tasks_at_hand(results):
    scored = read_results(results(("au6", "smile"), ("scratch", "pixels", "comface"), ("linear",)), CONFIG)
    (group,) = tables.groups_of(scored)
    paper = dict(tables.paper_rows(group, scored))
    assert paper == {
        "comface": {Column("au6", "linear", "mae"): 0.639, Column("au6", "linear", "corr"): 0.648},
    }  # the paper gives random features no linear evaluation, and knows no pixels and no smile
    row = next(r for r in csv.DictReader(io.StringIO(tables.table_csv(group, scored))) if r["source"] == "paper")
    assert (row["method"], row["au6_linear_mae"], row["smile_linear_corr"]) == ("ComFace", "0.639", "")


def test_the_papers_figures_are_those_of_its_tables():
    figures = tables.paper_figures()
    assert len(figures) == 11 * 2 + 12 * 3 + 4 + 5 + 4 * 5 + 3 * 5  # of tables 2, 3 and 4, 5, 6, 7, 8
    assert figures["edema-b", "comface"] == {
        Column("edema-b", "finetune", "mae"): 1.523,
        Column("edema-b", "finetune", "corr"): 0.801,
        Column("edema-b", "finetune", "acc"): pytest.approx(0.963),
    }
    assert figures["age", "farl"][Column("age", "finetune", "corr")] == 0.851


def test_accuracy_of_direction_is_shown_where_the_task_asks_for_it_and_in_percent(results):
    scored = read_results(results(("edema-a",), ("pixels", "comface"), ("linear",), direction=True), CONFIG)
    (group,) = tables.groups_of(scored)
    row = next(iter(csv.DictReader(io.StringIO(tables.table_csv(group, scored)))))
    assert 40 < float(row["edema_a_linear_acc"]) <= 100


def test_the_best_is_the_smallest_error_and_the_largest_correlation_and_ties_are_shared(results):
    made = results(
        ("age",), ("scratch", "pixels", "comface"), ("linear",), noise={"scratch": 3, "pixels": 1, "comface": 1}
    )
    scored = read_results(made, CONFIG)
    assert tables.best_methods(scored, Column("age", "linear", "mae")) == {"pixels", "comface"}
    assert tables.best_methods(scored, Column("age", "linear", "corr")) == {"pixels", "comface"}


def test_a_task_that_the_paper_does_not_know_gets_a_table_of_its_own(results):
    scored = read_results(results(("au6", "wrinkles"), ("comface",), ("linear",)), CONFIG)
    assert [(group.name, group.tasks) for group in tables.groups_of(scored)] == [
        ("expression", ("au6",)),
        ("further", ("wrinkles",)),
    ]


def test_results_that_answer_twice_or_are_of_other_pairs_are_refused(results):
    made = results(("age",), ("scratch", "comface"), ("linear",))
    with pytest.raises(DataError, match="two results for age/linear/comface"):
        read_results([*made, made[-1]], CONFIG)
    with pytest.raises(DataError, match="no transfer results to evaluate"):
        read_results([], CONFIG)
    other = results(("age",), ("pixels",), ("linear",), seed=5)
    with pytest.raises(DataError, match="'age' are not of the same protocol"):
        read_results([*made, *other], CONFIG)
