from __future__ import annotations

import csv
import io

import pytest

from comface.errors import DataError
from comface.evaluate import exports, paper, tables
from comface.evaluate.config import EvaluateConfig
from comface.evaluate.results import compare, read_results
from comface.evaluate.table import csv_text
from comface.evaluate.tables import About

CONFIG = EvaluateConfig(bootstrap=50)


def written(group, scored, about: About | None = None) -> list[list[str]]:
    """The rows of the CSV file of a group."""
    return list(csv.reader(io.StringIO(csv_text(exports.group_records(group, scored, about or About())))))


def rows_of(group, scored) -> list[dict[str, str]]:
    header, *rows = written(group, scored)
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_tables_have_methods_down_and_tasks_by_mode_across_as_the_paper_does(results):
    scored = read_results(results(("au6", "au12"), ("scratch", "imagenet", "comface"), ("linear", "finetune")), CONFIG)
    (group,) = tables.groups_of(scored)
    assert (group.name, group.tasks) == ("expression", ("au6", "au12"))
    header, *rows = written(group, scored)
    assert header == ["source", "method"] + [
        f"{task}_{mode}_{metric}" for task in ("au6", "au12") for mode in ("linear", "finetune")
        for metric in ("mae", "corr")
    ]  # fmt: skip
    assert [row[:2] for row in rows[:3]] == [["this run", "Scratch"], ["this run", "ImageNet"], ["this run", "ComFace"]]


def test_the_papers_own_figures_stand_beside_the_methods_and_tasks_at_hand(results):
    scored = read_results(results(("au6", "smile"), ("scratch", "pixels", "comface"), ("linear",)), CONFIG)
    (group,) = tables.groups_of(scored)
    by_source = {row["source"]: row for row in rows_of(group, scored) if row["method"] == "ComFace"}
    here, there, difference = (by_source[name] for name in ("this run", "paper", "this run minus paper"))
    assert (there["au6_linear_mae"], there["au6_linear_corr"], there["smile_linear_corr"]) == ("0.639", "0.648", "")
    assert float(difference["au6_linear_mae"]) == pytest.approx(float(here["au6_linear_mae"]) - 0.639, abs=1e-5)
    # the paper gives random features no linear evaluation, and knows no pixels and no smile
    assert [row["method"] for row in rows_of(group, scored) if row["source"] == "paper"] == ["ComFace"]
    (table,) = tables.method_tables(group, "linear", scored, About())
    ours = next(row for row in table.rows if row.kind == "ours")
    assert ours.beside[0].startswith("paper 0.639 (")
    assert [row.name for row in table.rows if row.kind == "paper"][:2] == ["ImageNet", "VGGFace2"]


def test_the_papers_figures_are_those_of_its_tables():
    figures = paper.figures()
    two, three, five, six, seven, eight = 21 * 2 * 2, 12 * 3 * 3, 4 * 3, 5 * 2, 4 * 5, 3 * 5
    assert len(figures) == two + three + five + six + seven + eight
    edema = [figures["edema-b", "finetune", "comface", metric] for metric in ("mae", "corr", "acc")]
    assert edema == [1.523, 0.801, pytest.approx(0.963)]
    assert figures["age", "finetune", "farl", "corr"] == 0.851
    assert figures["edema-b", "finetune", "comface:no-curriculum", "acc"] == pytest.approx(0.949)
    assert figures["au6", "finetune", "comface:vit_b_16", "corr"] == 0.609


def test_an_ordering_of_the_paper_that_does_not_hold_is_said_in_a_sentence(results):
    noise = {"imagenet": 0.5, "scratch": 60.0, "comface": 5.0}
    scored = read_results(results(("au6",), ("scratch", "imagenet", "comface"), ("linear",), noise=noise), CONFIG)
    found = paper.orderings(scored, compare(scored, CONFIG))
    assert {(each.metric, each.better, each.worse, each.holds) for each in found} == {
        ("mae", "comface", "imagenet", False), ("corr", "comface", "imagenet", False),
    }  # fmt: skip
    sentences = paper.contradictions(found)
    assert sentences[1] == (
        "AU6, cheek raiser, linear, Corr.: in the paper ComFace is better than ImageNet; here it is not better."
    )
    clear = {"imagenet": 60.0, "comface": 0.5}
    scored = read_results(results(("au6",), ("imagenet", "comface"), ("linear",), noise=clear, seed=1), CONFIG)
    assert paper.contradictions(paper.orderings(scored, compare(scored, CONFIG))) == []


def test_accuracy_of_direction_is_shown_where_the_task_asks_for_it_and_in_percent(results):
    scored = read_results(results(("edema-a",), ("pixels", "comface"), ("linear",), direction=True), CONFIG)
    (group,) = tables.groups_of(scored)
    row = rows_of(group, scored)[0]
    assert 40 < float(row["edema_a_linear_acc"]) <= 100


def test_the_best_is_the_smallest_error_and_the_largest_correlation_and_ties_are_shared(results):
    made = results(
        ("age",), ("scratch", "pixels", "comface"), ("linear",), noise={"scratch": 3, "pixels": 1, "comface": 1}
    )
    scored = read_results(made, CONFIG)
    assert tables.best_methods(scored, "age", "linear", "mae") == {"pixels", "comface"}
    assert tables.best_methods(scored, "age", "linear", "corr") == {"pixels", "comface"}


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
