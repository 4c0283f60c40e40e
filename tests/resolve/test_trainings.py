"""Several pre-trainings in one run: variants, seeds, the transfers and features that follow from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from comface.errors import ConfigurationError
from comface.methods import METHODS, in_order, method
from comface.methods.comface import VARIANTS
from comface.methods.patients.entry import NAMES as PATIENT_SPECIFIC
from comface.plan.chosen import Chosen
from comface.plan.config_file import read_config
from comface.plan.configuration import RunConfig, resolve
from comface.plan.consistency import batch_problems, composition_problems, gate_problems, view_problems
from comface.plan.trainings import encodings, items, trainings
from comface.tasks.registry import TASKS
from comface.tracks.composition import totals

METHODS_OF_TABLE_7 = "transfer.methods=[scratch, comface, " + ", ".join(f"'comface:{name}'" for name in VARIANTS) + "]"


def laptop(*overrides: str) -> RunConfig:
    return resolve("laptop", overrides, {"store": "file:///somewhere"})


def test_a_run_has_one_training_unless_variants_or_seeds_are_asked_for() -> None:
    (training,) = trainings(laptop())
    assert training.config == laptop().pretrain
    assert [row.seed for row in items(laptop())] == [0] * len(items(laptop()))


def test_equal_configurations_are_one_training_and_the_first_is_the_one_that_is_registered() -> None:
    found = trainings(laptop(METHODS_OF_TABLE_7))
    assert [training.method for training in found] == [
        "comface", "comface:inter", "comface:intra", "comface:both", "comface:no-curriculum",
    ], "the laptop's ComFace is the variant 'signed'"  # fmt: skip
    rows = {(each.config.learning, each.config.target, each.config.curriculum) for each in found}
    assert len(rows) == 5
    paper = resolve("paper", [METHODS_OF_TABLE_7])
    assert "comface:both" not in [training.method for training in trainings(paper)], "it is the paper's ComFace"


def test_each_seed_trains_every_variant_again_and_published_weights_are_evaluated_once() -> None:
    config = laptop("seeds=[5, 6]", "transfer.methods=[pixels, scratch, comface, 'comface:inter']", "pretrain.seed=100")
    assert [(each.name, each.config.seed) for each in trainings(config)] == [
        ("comface/5", 105), ("comface/6", 106), ("comface:inter/5", 105), ("comface:inter/6", 106),
    ]  # fmt: skip
    seeds = {name: [row.seed for row in items(config) if (row.task, row.method) == ("age", name)] for name in METHODS}
    assert (seeds["pixels"], seeds["scratch"], seeds["comface"]) == ([5], [5, 6], [5, 6])


def test_fine_tuning_has_a_seed_whatever_the_weights() -> None:
    config = laptop("seeds=[0, 1]", "transfer.modes=[linear, finetune]", "transfer.methods=[imagenet, comface]")
    found = {(row.mode, row.seed) for row in items(config) if row.method == "imagenet"}
    assert found == {("linear", 0), ("finetune", 0), ("finetune", 1)}


def test_a_variant_of_the_configuration_changes_the_fields_that_it_names_and_nothing_else() -> None:
    config = laptop("variants.flipless.augmentation.flip=0", "transfer.methods=[scratch, comface, 'comface:flipless']")
    plain, changed = (training.config for training in trainings(config))
    assert changed.augmentation == plain.augmentation.model_copy(update={"flip": 0.0})
    assert changed.model_copy(update={"augmentation": plain.augmentation}) == plain
    assert method("comface:flipless").title == "ComFace, flipless"
    again = resolve("laptop", [], yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json", by_alias=True))))
    assert trainings(again) == trainings(config)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("transfer.methods=[comface, 'comface:iner']",), "names 'comface:iner', but `variants` has no 'iner'; it has"),
        (("transfer.methods=[comface, 'comface:../x']",), "is not a variant of ComFace; write comface:NAME"),
        (("variants.a.epoch=3",), "'variants.a.epoch' is not a field"),
        (("variants.a.epochs=0",), "'variants.a.epochs' is wrong: input should be greater"),
        (("variants.a.curriculum_ends=[3, 2]",), "'variants.a' is wrong: curriculum_ends must increase"),
        (("variants.inter.temperature=0.05",), "comface:inter is a row of the paper's table 7; choose another name"),
        (("transfer.methods=[comface, 'mocov2:400']",), "the method 'mocov2' has no option '400'; write mocov2"),
        (("seeds=[1, 1]",), "'1' is listed twice"),
        (("seeds=[]",), "'seeds' is empty"),
        (("seeds=[2, 1]",), "seeds must increase"),
    ],
)
def test_a_wrong_variant_or_seed_is_refused_by_name(overrides: tuple[str, ...], words: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        laptop(*overrides)
    assert words in str(error.value)


def test_the_checks_meet_every_variant() -> None:
    chosen = "transfer.methods=[comface, 'comface:vit', 'comface:few']"
    vit = "variants.vit={backbone: vit_b_16, image_size_px: 60}"
    config = laptop(chosen, vit, "variants.few={identities: 30}", "pretrain.gpus_per_node=3")
    assert [str(problem) for problem in view_problems(config)] == [
        "The network vit_b_16 takes views whose side is a multiple of 16 px; variants.vit.image_size_px is 60: use 48 "
        "or 64, or choose another variants.vit.backbone."
    ]
    said = [str(problem) for problem in batch_problems(config)]
    assert [sentence.partition(" ")[0] for sentence in said[:2]] == [
        "pretrain.pairs_per_step:",
        "variants.vit.pairs_per_step:",
    ]
    assert "variants.few.identities is 30" in said[-1]
    large = laptop("transfer.methods=[comface, 'comface:large']", "variants.large={pairs_per_step: 3800}")
    (problem,) = composition_problems(large)
    assert "A batch of 3800 pairs" in str(problem)
    assert "lower variants.large.pairs_per_step" in str(problem)


def test_features_are_computed_once_per_method_data_set_and_seed_whatever_the_tasks() -> None:
    config = laptop("transfer.tasks=[au6, au12, edema-a-to-b, age]", "data.fgnet.uri=file:///photos", "seeds=[0, 1]")
    found = encodings(config)
    flat = [(each.method, each.seed, each.dataset) for piece in found.values() for each in piece]
    assert len(flat) == len(set(flat))
    assert set(flat) == {
        (row.method, row.seed, dataset) for row in items(config) for dataset in ("disfa", "edema-a", "edema-b", "fgnet")
    }
    assert [each.dataset for each in found["pixels/0"]] == ["disfa", "edema-a", "edema-b"], "rehearsals, in one step"
    assert [each.dataset for each in found["pixels/0/fgnet"]] == ["fgnet"]
    assert encodings(laptop("transfer.modes=[finetune]", "transfer.methods=[scratch, comface]")) == {}


def test_variants_come_after_the_other_methods_and_before_comface() -> None:
    names = ["comface", "comface:other", "timm:resnet18", "comface:both", "comface:inter", "pixels"]
    assert in_order(names) == [
        "pixels", "timm:resnet18", "comface:inter", "comface:both", "comface:other", "comface",
    ]  # fmt: skip


# Studies


def test_table_7_has_the_papers_five_rows_linear_and_fine_tuned_with_three_seeds() -> None:
    rows = {("inter", "absolute", True), ("intra", "absolute", True), ("both", "absolute", True),
            ("both", "signed", True), ("both", "absolute", False)}  # fmt: skip
    for profile in ("laptop", "workstation", "paper"):
        config = resolve(profile, ["study=table7"])
        found = trainings(config)
        assert {(e.config.learning, e.config.target, e.config.curriculum) for e in found} == rows
        assert len(found) == 15
        assert found[0].method == "comface"
        assert {row.mode for row in items(config)} == {"linear", "finetune"}
        assert {row.task for row in items(config)} == {"au6", "au12", "edema-a", "edema-b", "age"}


def test_table_8_has_the_papers_four_networks_and_every_view_fits_its_network() -> None:
    for profile, more in (("laptop", {"narrow"}), ("workstation", set()), ("paper", set())):
        config = resolve(profile, ["study=table8"])
        networks = {training.config.backbone for training in trainings(config)}
        assert networks == {"resnet18", "resnet50", "resnet101", "vit_b_16"} | more
        assert list(view_problems(config)) == []
    config = resolve("laptop", ["study=table8", "pretrain.image_size_px=40"])
    assert [t.config.image_size_px for t in trainings(config) if t.config.backbone == "vit_b_16"] == [32]
    config = resolve("paper", ["study=table8", "pretrain.resolution=[[6, 128]]"])
    assert {t.config.backbone for t in trainings(config) if t.config.resolution} == networks - {"vit_b_16"}


def test_figure_3_trains_on_the_papers_shares_of_the_identities_in_batches_that_can_be_filled() -> None:
    config = resolve("paper", ["study=figure3"])
    tracks = totals(config.synthesize)
    scales = [t.config.identities / (0.9 * tracks.identities) * tracks.tracks for t in trainings(config)[1:]]
    assert scales == pytest.approx([1_000, 50_000, 200_000], rel=1e-3)
    assert trainings(config)[0].config.identities is None
    for profile in ("laptop", "workstation", "paper"):
        config = resolve(profile, ["study=figure3"])
        assert list(batch_problems(config)) == []
        assert len(trainings(config)) == 4
    parts = resolve(
        "paper", ["study=figure3", "pretrain.gpus_per_node=3", "pretrain.pairs_per_step=960", "pretrain.accumulate=5"]
    )
    assert list(batch_problems(parts)) == [], "60 parts of a batch"


def test_what_a_person_sets_wins_over_the_study_and_a_printed_configuration_is_the_same_run() -> None:
    config = laptop("study=table7", "seeds=[4]", "transfer.tasks=[age]", "transfer.epochs=9")
    assert (config.seeds, config.transfer.tasks, config.transfer.epochs) == ((4,), ("age",), 9)
    assert len(trainings(config)) == 5
    printed = yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json", by_alias=True)))
    assert resolve("laptop", [], printed) == config


@pytest.mark.parametrize(
    ("study", "own", "row"),
    [
        ("table5", "transfer.tasks=[edema-a]", "patient-specific:1-day"),
        ("table5", "transfer.modes=[linear]", "patient-specific:1-day"),
        ("table7", "transfer.methods=[scratch, comface]", "comface:inter"),
        ("table8", "transfer.methods=[scratch, comface]", "comface:resnet50"),
        ("figure3", "transfer.methods=[scratch, imagenet, comface]", "comface:identities-64"),
        ("baselines", "transfer.methods=[scratch, comface]", "comface:inter"),
    ],
)
def test_a_study_of_which_a_person_leaves_no_row_is_refused(study: str, own: str, row: str) -> None:
    (problem,) = gate_problems(laptop(f"study={study}", own))
    assert f"The study {study} compares " in str(problem)
    assert row in str(problem)
    assert list(gate_problems(laptop(f"study={study}"))) == []


def test_modes_and_tasks_that_leave_nothing_to_evaluate_are_refused() -> None:
    photo = "tasks.photo={dataset: fgnet, label: age, unit: years, kind: single}"
    only = ("transfer.tasks=[photo]", "transfer.modes=[linear+antisymmetric]", "register.thresholds=[]")
    (problem,) = gate_problems(laptop(photo, *only, "register.must_beat=null"))
    assert "would evaluate 'comface' on no task" in str(problem)


def test_the_full_rehearsal_has_every_method_task_and_mode_of_the_paper() -> None:
    path = Path(__file__).parents[2] / "benchmarks" / "rehearsal.yaml"
    config = Chosen(None, read_config(path), (), store="file:///somewhere").configuration()
    found = items(config)
    rows = {f"comface:{name}" for name in VARIANTS} - {"comface:signed"}  # ComFace of the profile
    assert {row.method for row in found} == {*METHODS, *rows, *PATIENT_SPECIFIC}
    assert {row.task for row in found} == set(TASKS)
    assert {row.mode for row in found} == {"linear", "finetune"}
    assert plans_of(config) == len(found), "no check refuses it"


def plans_of(config: RunConfig) -> int:
    for problems in (batch_problems, view_problems, composition_problems, gate_problems):
        assert list(problems(config)) == []
    return len(items(config))


def test_table_5_is_fine_tuned_on_the_split_of_patients_only_and_features_are_computed_of_no_method() -> None:
    config = laptop("study=table5")
    found = items(config)
    assert {row.task for row in found} == {"edema-a-patients"}
    assert {row.mode for row in found} == {"finetune"}
    assert {row.method for row in found} == {"comface", *PATIENT_SPECIFIC}
    assert encodings(config) == {}
    both = laptop("study=table5", "transfer.modes=[linear, finetune]", "transfer.tasks=[edema-a, edema-a-patients]")
    specific = {(row.task, row.mode) for row in items(both) if row.method in PATIENT_SPECIFIC}
    assert specific == {("edema-a-patients", "finetune")}
    assert not {piece.method for pieces in encodings(both).values() for piece in pieces} & set(PATIENT_SPECIFIC)


def test_a_threshold_for_a_task_that_no_model_has_is_refused() -> None:
    config = laptop("study=table5", "register.thresholds=[{task: edema-a-patients, mode: finetune, min_corr: 0.1}]")
    assert any("which no model has a head for" in str(problem) for problem in gate_problems(config))
