"""Results over seeds, folds, subgroups and photos, and their records in metrics.json."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from protocols import make_protocol, protocol_sha256

from comface.artifacts.manifest import Artifact, Draft
from comface.errors import DataError
from comface.evaluate.config import EvaluateConfig
from comface.evaluate.records import records
from comface.evaluate.results import Result, compare, read_results
from comface.evaluate.step import evaluate
from comface.store import FileStore
from comface.tasks.metrics import mean_absolute_error, pearson

CONFIG = EvaluateConfig(bootstrap=200)
SUBJECTS, PAIRS = 20, 12


class Bench:
    """One task with predictions of known quality. `folds`: every fold is tested on all pairs."""

    def __init__(self, store: FileStore, folds: int = 1, groups: bool = False, rehearsal: bool = True) -> None:
        rng = np.random.default_rng(0)
        count = SUBJECTS * PAIRS
        self.store, self.folds, self.rehearsal, self.subjects = store, folds, rehearsal, SUBJECTS
        self.light_P = np.abs(rng.normal(size=count))
        self.change_P = np.round(rng.normal(size=count) * 3)
        self.wrong_P = rng.normal(size=count) * (0.2 + self.light_P)
        photos = []
        for n in range(folds * count + 1):  # the pair n has the photos n and n + 1
            light = float(np.tile(self.light_P, folds)[:n].sum())
            row = {"subject": "?", "conditions": {"light": light}}
            photos.append(
                row | ({"groups": {"skin": ("dark", "Dark ")[n % 2] if n < count // 4 else "light"}} if groups else {})
            )
        draft = Draft(store, "faces", {}, {}, {"test": 1})
        draft.write_json("photos.json", photos)
        self.faces = draft.publish({"dataset": "edema-b", "rehearsal": rehearsal})
        names = [f"s{p // PAIRS:03d}" for p in range(count)] * folds
        fold = np.repeat(np.arange(folds), count)
        self.protocol = make_protocol(
            store, "edema-b", names, np.tile(self.change_P, folds), {"faces": self.faces}, fold
        )

    def transfer(self, method: str, predicted: Sequence[float], seed: int = 0, direction: bool = True) -> Artifact:
        address = {"method": method, "seed": seed, "first": float(predicted[0])}
        inputs = {"protocol": self.protocol, "faces": self.faces}
        draft = Draft(self.store, "transfer", address, inputs, {"test": 1})
        fold = np.repeat(np.arange(self.folds), len(self.change_P)).tolist()
        draft.write_json("predictions.json", {"fold": fold, "predicted": list(map(float, predicted))})
        return draft.publish({
            "task": "edema-b", "method": method, "mode": "linear", "unit": "kg", "direction_accuracy": direction,
            "dataset": "edema-b", "rehearsal": self.rehearsal, "pairs": len(fold), "subjects": self.subjects,
            "protocol_sha256": protocol_sha256(), "seed": seed,
        })  # fmt: skip


@pytest.fixture
def store(tmp_path) -> FileStore:
    return FileStore(tmp_path / "store")


def one(artifacts: list[Artifact]) -> Result:
    (result,) = read_results(artifacts, CONFIG)
    return result


def test_a_result_is_the_mean_over_its_seeds_with_their_spread(store):
    bench = Bench(store)
    predicted = {seed: bench.change_P + (1 + seed) * bench.wrong_P for seed in (2, 0, 1)}
    result = one([bench.transfer("comface", values, seed) for seed, values in predicted.items()])
    each = [mean_absolute_error(bench.change_P, predicted[seed]) for seed in (0, 1, 2)]
    assert result.seeds == (0, 1, 2)
    assert result.estimates["mae"].value == pytest.approx(np.mean(each))
    assert result.estimates["corr"].value == pytest.approx(
        np.mean([pearson(bench.change_P, predicted[seed]) for seed in (0, 1, 2)])
    )
    assert result.seed_spread["mae"].sd == pytest.approx(np.std(each, ddof=1))
    assert result.seed_spread["mae"].count == 3
    assert np.array_equal(result.predicted_P, predicted[0]), "the plots show the seed that is registered"
    assert result.fold_spread == {}


def test_one_seed_has_no_spread_and_no_number_that_is_not_json(store):
    bench = Bench(store)
    result = one([bench.transfer("comface", bench.change_P + bench.wrong_P)])
    assert math.isnan(result.seed_spread["mae"].sd)
    written = records([result], [], 0.95)["results"][0]
    assert written["seed_spread"]["mae"] == {"sd": None, "count": 1}


def test_folds_that_are_tested_on_the_same_pairs_count_as_repeats_and_their_spread_is_said(store):
    bench = Bench(store, folds=3)
    parts = [bench.change_P + (1 + fold) * bench.wrong_P for fold in range(3)]
    result = one([bench.transfer("comface", np.concatenate(parts))])
    each = [mean_absolute_error(bench.change_P, part) for part in parts]
    assert result.pairs == len(bench.change_P)
    assert result.subjects == SUBJECTS
    assert result.estimates["mae"].value == pytest.approx(np.mean(each))
    assert result.fold_spread["mae"].sd == pytest.approx(np.std(each, ddof=1))
    assert result.fold_spread["mae"].count == 3
    assert result.seed_spread["mae"].count == 1


def test_more_repeats_of_the_same_people_do_not_narrow_the_interval(store):
    bench = Bench(store)
    once = one([bench.transfer("comface", bench.change_P + bench.wrong_P)])
    thrice = one([bench.transfer("comface", bench.change_P + bench.wrong_P, seed) for seed in range(3)])
    first, last = once.estimates["mae"], thrice.estimates["mae"]
    assert (last.value, last.low, last.high) == pytest.approx((first.value, first.low, first.high))


def test_a_seed_that_is_given_twice_is_refused(store):
    bench = Bench(store)
    made = [bench.transfer("comface", bench.change_P + noise, seed=1) for noise in (1.0, 2.0)]
    with pytest.raises(DataError, match="two results for edema-b/linear/comface, seed 1"):
        read_results(made, CONFIG)


def test_subgroups_of_the_data_set_are_reported_where_both_photos_agree(store, tmp_path):
    bench = Bench(store, groups=True)
    result = one([bench.transfer("comface", bench.change_P + bench.wrong_P)])
    dark, light = result.by_group
    assert (dark.group, dark.value, light.value) == ("skin", "dark", "light")
    assert dark.pairs + light.pairs == len(bench.change_P) - 1, "one pair has a photo of each"
    assert dark.subjects == 5
    of_P = np.arange(len(bench.change_P)) < dark.pairs
    assert dark.estimates["mae"].value == pytest.approx(np.abs(bench.wrong_P[of_P]).mean())
    assert one([Bench(FileStore(tmp_path / "without")).transfer("comface", bench.change_P)]).by_group == ()


def test_coverage_of_single_pairs_is_measured_for_comface_and_follows_the_conditions(store):
    bench = Bench(store)
    made = [bench.transfer(method, bench.change_P + bench.wrong_P) for method in ("comface", "scratch")]
    scratch, ours = read_results(made, CONFIG)
    assert scratch.method == "scratch"
    assert scratch.coverage is None
    assert ours.coverage is not None
    assert ours.coverage.measured.value == pytest.approx(0.93, abs=0.04)
    assert ours.coverage.half_width < ours.coverage.constant_half_width
    assert ours.coverage.strata[0].half_width < ours.coverage.strata[2].half_width


def test_every_comparison_of_an_evaluation_is_in_one_family(store):
    bench = Bench(store)
    methods = ("scratch", "pixels", "imagenet")
    made = [
        bench.transfer(name, bench.change_P + size * bench.wrong_P)
        for name, size in zip(methods, (9, 1.05, 1), strict=True)
    ]
    scored = read_results([*made, bench.transfer("comface", bench.change_P + bench.wrong_P)], CONFIG)
    comparisons = compare(scored, CONFIG)
    words = {each.other: {metric: gain.word for metric, gain in each.gains.items()} for each in comparisons}
    assert words["scratch"] == {"mae": "better", "corr": "better", "acc": "better"}
    assert words["imagenet"] == {"mae": "not different", "corr": "not different", "acc": "not different"}
    assert records(scored, comparisons, 0.95)["family"] == 9
    (alone,) = compare([each for each in scored if each.method in ("comface", "scratch")], CONFIG)
    among = next(each for each in comparisons if each.other == "scratch")
    assert alone.gains["mae"].p == among.gains["mae"].p
    assert alone.gains["mae"].corrected_p <= among.gains["mae"].corrected_p


def test_metrics_json_holds_everything_and_says_what_is_undefined(store):
    bench = Bench(store, groups=True)
    made = [
        bench.transfer("comface", bench.change_P + bench.wrong_P),
        bench.transfer("scratch", np.full_like(bench.change_P, 0.5)),
    ]
    evaluation = evaluate(store, CONFIG, made)
    text = evaluation.read("metrics.json").decode()
    written = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    scratch, ours = written["results"]
    assert scratch["corr"] == {"value": None, "low": None, "high": None, "reason": "all estimates are equal"}
    (comparison,) = written["comparisons"]
    assert comparison["rehearsal"] is True
    assert comparison["gain"]["corr"]["word"] == "unknown"
    assert comparison["gain"]["corr"]["reason"] == "all estimates are equal"
    assert comparison["gain"]["mae"]["word"] == "better"
    assert 0 < comparison["gain"]["mae"]["p"] <= comparison["gain"]["mae"]["corrected_p"] <= 0.05
    assert ours["rehearsal"] is True
    assert (
        ours["agreement"]["lower"]["value"] < ours["agreement"]["bias"]["value"] < ours["agreement"]["upper"]["value"]
    )
    assert ours["by_size"][0]["high"] == 0
    assert ours["by_size"][0]["acc"]["reason"] == "no pair has a change"
    assert ours["smallest_change"]["by_interval"] == ours["agreement"]["half_width"]
    assert ours["coverage"]["nominal"] == 0.9
    assert ours["protocol_sha256"] == protocol_sha256()
    assert ours["no_change_mae"] == pytest.approx(float(np.abs(bench.change_P).mean()))
    assert "change_P" not in ours
    assert (written["confidence"], written["family_wise_error"], written["family"]) == (0.95, 0.05, 2)


def test_one_subject_gives_figures_without_intervals_and_the_reason(store):
    bench = Bench(store)
    bench.change_P, bench.wrong_P, bench.subjects = bench.change_P[:PAIRS], bench.wrong_P[:PAIRS], 1
    bench.protocol = make_protocol(store, "edema-b", ["s000"] * PAIRS, bench.change_P, {"faces": bench.faces})
    made = [
        bench.transfer(name, bench.change_P + bench.wrong_P * size) for name, size in (("comface", 1), ("pixels", 2))
    ]
    written = json.loads(evaluate(store, CONFIG, made).read("metrics.json"))
    for result in written["results"]:
        assert result["mae"]["low"] is None
        assert result["mae"]["reason"] == "no interval: fewer than 5 subjects"
    assert written["comparisons"][0]["gain"]["mae"]["word"] == "unknown"
