"""Resolve: plans that hold just what a step needs, checks before anything starts, and what runs without dcgan."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from comface.artifacts.manifest import Draft
from comface.artifacts.plans import read_plan
from comface.errors import ConfigurationError, DataError
from comface.models.registry import Registry
from comface.plan.checks import check_store
from comface.plan.configuration import RunConfig, resolve
from comface.plan.consistency import composition_problems
from comface.plan.datasets import check_dataset
from comface.plan.from_parameters import FIELDS, configure, ending, resolve_parameters
from comface.plan.missing import without_missing
from comface.plan.parameters import Parameters
from comface.plan.step import make_plans, plan_run
from comface.plan.trainings import items
from comface.plan.weights import check_screening, find_generators
from comface.store import FileStore, open_store
from comface.weights.fetched import AGE, DCGAN, EXPRESSION, GENDER, IMAGENET, LANDMARKS

PROCEDURAL = "synthesize.composition=[{generator: procedural, identities: 80, attributes: [weight, age]}]"
BOTH = (
    "synthesize.composition=[{generator: dcgan, identities: 300, attributes: [smile]},"
    " {generator: procedural, identities: 100, attributes: [weight]}]"
)
DCGAN_ONLY = "synthesize.composition=[{generator: dcgan, identities: 300, attributes: [smile]}]"
TASKS = "transfer.tasks=[smile, edema-a, apparent-age, age]"
THRESHOLDS = "register.thresholds=[{task: smile, min_corr: 0.3}, {task: age, min_corr: 0.1}]"
METHODS = "transfer.methods=[scratch, imagenet, comface]"


def laptop(*overrides: str, store: str = "file:///somewhere") -> RunConfig:
    return resolve("laptop", overrides, {"store": store})


# Plans


def changed(*overrides: str) -> set[str]:
    """The fields of the plans that differ from those without `overrides`."""
    before, after = make_plans(laptop(), "run-1"), make_plans(laptop(*overrides), "run-1")
    return {name for name in FIELDS if getattr(before, name) != getattr(after, name)}


@pytest.mark.parametrize(
    ("override", "plans"),
    [
        ("evaluate.bootstrap=77", {"evaluate"}),
        ("register.name=other", {"register"}),
        ("pretrain.seed=7", {"pretrain"}),
        ("shard.seed=7", {"shard"}),
        ("screening.tracks=7", {"shard"}),
        ("synthesize.seed=7", {"synthesize"}),
        ("synthesize.parts=3", {"synthesize", "parts"}),
        ("transfer.folds=5", {"items"}),
        ("transfer.modes=[finetune]", {"items"}),
        ("rehearse.seed=7", {"datasets"}),
        ("tasks.age.min_change=2", {"items"}),
        ("data.fgnet.face_size_px=96", {"datasets"}),
    ],
)
def test_a_field_reaches_only_the_step_that_needs_it(override: str, plans: set[str]) -> None:
    assert changed(override) == plans


def test_a_plan_is_canonical_json_and_names_the_store() -> None:
    plans = make_plans(laptop(), "run-1")
    steps = [plans.synthesize, plans.shard, plans.pretrain, plans.items, plans.evaluate, plans.register]
    texts = [plan.text for plan in (*steps, *plans.datasets)]
    for text in texts:
        values = json.loads(text)
        assert values["store"] == "file:///somewhere"
        assert values["run"] == "run-1"
        assert text == json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_there_is_one_part_number_per_part_and_one_plan_per_data_set_that_a_task_reads() -> None:
    plans = make_plans(laptop("synthesize.parts=3", "transfer.tasks=[age, edema-a-to-b]"), "run-1")
    assert plans.parts == [0, 1, 2]
    assert [plan.dataset for plan in plans.datasets] == ["edema-a", "edema-b", "fgnet"]


def test_every_task_meets_every_method_in_every_mode_but_pixels_have_nothing_to_fine_tune() -> None:
    config = laptop(
        "transfer.tasks=[age, au6]", "transfer.methods=[pixels, comface]", "transfer.modes=[linear,finetune]"
    )
    found = items(config)
    assert len(found) == len(set(found)) == 2 * 2 + 2
    assert {row.method for row in found if row.mode == "finetune"} == {"comface"}


def test_a_data_set_of_ones_own_is_not_rehearsed() -> None:
    plans = make_plans(laptop("transfer.tasks=[age]", "data.fgnet.uri=file:///data/fgnet"), "run-1")
    assert plans.datasets[0].rehearse is None


# Checks


def test_a_store_is_written_read_and_left_as_it_was(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "store")
    check_store(store)
    assert list(store.keys()) == []


def test_a_generator_without_the_direction_is_named() -> None:
    share = "synthesize.composition=[{generator: procedural, identities: 99, attributes: [wings]}]"
    with pytest.raises(ConfigurationError, match="no direction for wings"):
        find_generators(laptop(share))


def test_too_few_identities_for_a_batch_are_said_with_both_numbers() -> None:
    (problem,) = composition_problems(laptop(PROCEDURAL, "pretrain.pairs_per_step=90"))
    assert "A batch of 90 pairs needs as many identities for training, but the composition has only 80" in str(problem)


def test_a_data_set_that_cannot_be_read_is_named_and_the_kind_of_error_kept(tmp_path: Path) -> None:
    config = laptop("transfer.tasks=[age]", f"data.fgnet.uri={(tmp_path / 'gone').as_uri()}")
    with pytest.raises(DataError, match="The data set 'fgnet' cannot be used: "):
        check_dataset(config, "fgnet")


# Without what could not be fetched


def test_nothing_changes_and_nothing_is_said_where_nothing_is_missing() -> None:
    config = laptop(BOTH, TASKS)
    assert without_missing(config, set()) == (config, [])
    assert without_missing(laptop(PROCEDURAL, "transfer.tasks=[age]"), {DCGAN}) == (
        laptop(PROCEDURAL, "transfer.tasks=[age]"), [],
    )  # fmt: skip


def test_without_dcgan_the_procedural_generator_runs_alone_and_the_cohort_is_left_out() -> None:
    config, notes = without_missing(laptop(BOTH, TASKS, THRESHOLDS), {DCGAN})
    assert [share.generator for share in config.synthesize.composition] == ["procedural"]
    assert config.synthesize.composition[0].identities == 100
    assert config.transfer.tasks == ("edema-a", "age")
    assert [threshold.task for threshold in config.register_model.thresholds] == ["age"]
    (note,) = notes
    assert "procedural generator alone" in note
    assert "leaves out the tasks smile, apparent-age" in note
    assert note.endswith("Run `comface fetch` to download them.")


def test_a_composition_of_dcgan_alone_becomes_as_many_procedural_identities() -> None:
    config, _ = without_missing(laptop(DCGAN_ONLY, "transfer.tasks=[age]"), {DCGAN})
    (share,) = config.synthesize.composition
    assert (share.generator, share.identities) == ("procedural", 300)
    find_generators(config)


def test_nothing_else_of_the_configuration_changes() -> None:
    before = laptop(BOTH, TASKS, THRESHOLDS)
    after, _ = without_missing(before, {DCGAN})
    assert (
        after.model_copy(
            update={
                "synthesize": before.synthesize,
                "transfer": before.transfer,
                "register_model": before.register_model,
            }
        )
        == before
    )
    assert after.pretrain == before.pretrain


@pytest.mark.parametrize("name", [DCGAN, AGE, EXPRESSION, LANDMARKS])
def test_the_cohort_needs_its_generator_and_its_scorers(name: str) -> None:
    config, notes = without_missing(laptop(PROCEDURAL, TASKS), {name})
    assert config.transfer.tasks == ("edema-a", "age")
    assert "procedural generator alone" not in notes[0], "it does already"


def test_a_cohort_of_ones_own_needs_nothing() -> None:
    config = laptop(PROCEDURAL, TASKS, "data.cohort.uri=file:///data/cohort")
    assert without_missing(config, {DCGAN, AGE, EXPRESSION, GENDER}) == (config, [])


def test_a_method_without_its_weights_is_left_out_and_said() -> None:
    config, notes = without_missing(laptop(PROCEDURAL, "transfer.tasks=[age]", METHODS), {IMAGENET})
    assert config.transfer.methods == ("scratch", "comface")
    assert "leaves out the method imagenet" in notes[0]


SCREENED = (PROCEDURAL, "transfer.tasks=[age]", "transfer.methods=[scratch]")


@pytest.mark.parametrize("name", [LANDMARKS, AGE, GENDER, EXPRESSION, IMAGENET])
def test_without_its_instruments_faces_are_not_screened_and_that_is_said(name: str) -> None:
    config, notes = without_missing(laptop(*SCREENED, "screening.action=report"), {name})
    assert config.screening.action == "skip"
    assert "the faces are not screened" in notes[0]
    assert without_missing(laptop(*SCREENED, "screening.action=skip"), {name})[1] == []


@pytest.mark.parametrize("action", ["restrict", "refuse"])
def test_a_run_whose_data_depend_on_screening_is_refused_without_its_instruments(action: str) -> None:
    with pytest.raises(ConfigurationError, match=f"screening.action={action} needs published weights .*{AGE}"):
        without_missing(laptop(*SCREENED, f"screening.action={action}"), {AGE})
    assert without_missing(laptop(*SCREENED, f"screening.action={action}", "screening.method=pixels"), {IMAGENET})


def test_screening_by_a_backbone_that_is_not_at_hand_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'screening.method' is wrong: there is no method 'fable'; cho"):
        laptop("screening.action=report", "screening.method=fable")
    absent = f"screening.backbone={(tmp_path / 'none').as_uri()}"
    with pytest.raises(DataError, match="There is no finished artifact"):
        check_screening(laptop("screening.action=report", "screening.method=comface", absent))
    with pytest.raises(ConfigurationError, match=r"needs screening\.backbone"):
        laptop("screening.method=comface")
    check_screening(laptop("screening.action=skip"))


def test_the_backbone_that_screens_may_be_named_by_a_model_and_is_fixed_in_the_plan(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    backbone = Draft(store, "backbone", {}, {}, {"test": 1}).publish({})
    made = Draft(store, "model", {}, {"backbone": backbone}, {"test": 1}).publish({})
    Registry(store, "comface").register(made, datetime(2026, 3, 1, tzinfo=UTC))
    method = ("screening.action=report", "screening.method=comface", "screening.backbone=comface@v1")
    plans = make_plans(laptop(*method, store=store.uri), "run-1")
    assert plans.shard.screening.backbone == backbone.pinned
    with pytest.raises(ConfigurationError, match="no version v2 of 'comface'"):
        check_screening(laptop(*method[:2], "screening.backbone=comface@v2", store=store.uri))


@pytest.mark.parametrize(
    "overrides", [("transfer.tasks=[smile]",), ("transfer.tasks=[age]", "transfer.methods=[imagenet]")]
)
def test_a_run_of_which_nothing_is_left_is_refused(overrides: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match=r"is left without .* run `comface fetch`"):
        without_missing(laptop(PROCEDURAL, *overrides), {DCGAN, IMAGENET})


def test_the_note_is_part_of_the_plan_of_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.prefix", str(tmp_path / "an-environment-without-models"))
    plans = plan_run(laptop(BOTH, "transfer.tasks=[smile, age]", METHODS, store=(tmp_path / "s").as_uri()), "run-1")
    (note,) = plans.evaluate.notes
    assert "procedural generator alone" in note
    assert {row.task for row in plans.items.rows} == {"age"}


# As the pipeline calls it


def test_the_pipelines_parameters_mean_the_same_configuration_as_overrides_do() -> None:
    config = configure(Parameters(
        "laptop", "pretrain.seed=3\n\n  \nevaluate.seed=4", "file:///s", "s3://w", "{fgnet: {layout: fgnet, uri: file:///f}}",
        "age, au6", "scratch,comface", 2, 0, "mine",
    ))  # fmt: skip
    assert (config.pretrain.seed, config.evaluate.seed) == (3, 4)
    assert (config.store, config.weights) == ("file:///s", "s3://w")
    assert config.data["fgnet"].uri == "file:///f"
    assert config.data["fgnet"].face_size_px == laptop().data["fgnet"].face_size_px
    assert config.transfer.tasks == ("age", "au6")
    assert config.transfer.methods == ("scratch", "comface")
    assert (config.pretrain.nodes, config.pretrain.gpus_per_node) == (2, 0)
    assert config.register_model.name == "mine"


def test_empty_parameters_leave_the_profile_as_it_is() -> None:
    assert configure(Parameters("laptop", "")) == resolve("laptop")


@pytest.mark.parametrize("data", ["[a, b]", "{a: [", "fgnet"])
def test_a_parameter_data_that_is_no_mapping_is_refused(data: str) -> None:
    with pytest.raises(ConfigurationError, match="The parameter 'data' is not a mapping"):
        configure(Parameters("laptop", "", data=data))


def resolved(tmp_path: Path, profile: str = "laptop", overrides: str = "", tasks: str = "age") -> object:
    store = (tmp_path / "store").as_uri()
    parameters = Parameters(profile, overrides, store, tasks=tasks, methods="scratch,comface", nodes=1, gpus_per_node=0)
    return resolve_parameters(parameters, "run-7")


def test_the_component_hands_out_one_value_per_output(tmp_path: Path) -> None:
    plans = resolved(tmp_path, overrides=PROCEDURAL)
    assert plans._fields == FIELDS
    store = open_store((tmp_path / "store").as_uri())
    assert read_plan(plans.pretrain, store)["run"] == "run-7"


def test_a_wrong_parameter_is_recorded_so_that_the_exit_handler_can_say_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        resolved(tmp_path, overrides="pretrain.epoch=3")
    assert ended.value.code == 64
    line = ending("FAILED", "laptop", (tmp_path / "store").as_uri(), "run-7")
    assert line == (
        "run-7: failed in resolve: The configuration's 'pretrain.epoch' is not a field; see docs/configuration.md."
    )
    assert line in capsys.readouterr().err
    assert ending("SUCCEEDED", "laptop", (tmp_path / "store").as_uri(), "run-8") == "run-8: succeeded"


def test_an_unknown_profile_is_one_sentence_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        resolve_parameters(Parameters("desk"), "run-7")
    assert ended.value.code == 64
    assert "There is no profile 'desk'" in capsys.readouterr().err
    assert ending("FAILED", "desk", "", "run-7") == "run-7: failed"
