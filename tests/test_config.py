"""Configuration: the paper's defaults, one canonical text per section, and one sentence per mistake."""

from __future__ import annotations

import json

import pytest

from comface.config.reading import parse
from comface.errors import ConfigurationError
from comface.methods import METHODS
from comface.methods.registry import FORMS
from comface.plan.configuration import RunConfig, profiles, resolve
from comface.pretrain.config import PretrainConfig
from comface.register.config import RegisterConfig, Threshold
from comface.shard.config import ShardConfig
from comface.tasks.registry import TASKS
from comface.tracks.config import CELEBA, SynthesizeConfig
from comface.transfer.config import TransferConfig


def refused(call, *arguments, **options) -> str:
    with pytest.raises(ConfigurationError) as error:
        call(*arguments, **options)
    assert error.value.exit_code == 64
    text = str(error.value)
    assert text[0].isupper()
    assert text.endswith(".")
    assert "\n" not in text
    return text


# Section 4.1


def test_the_default_data_set_is_the_papers_35_million_images() -> None:
    config = SynthesizeConfig()
    assert len(config.alphas) == 101
    assert (config.alphas[0], config.alphas[1], config.alphas[50], config.alphas[-1]) == (-5.0, -4.9, 0.0, 5.0)
    identities = sum(share.identities for share in config.composition)
    tracks = sum(share.identities * share.attributes_per_identity for share in config.composition)
    assert identities == 250_000
    assert tracks == 350_000
    assert tracks * len(config.alphas) == 35_350_000
    named = {attribute for share in config.composition for attribute in share.attributes}
    assert len(named) == 43
    assert len(CELEBA) == len(set(CELEBA)) == 40
    assert {share.generator for share in config.composition} == {"stylegan", "stylegan3"}


def test_the_default_split_is_90_to_10() -> None:
    assert ShardConfig().validation_fraction == 0.1
    assert TransferConfig().validation_fraction == 0.1


def test_the_default_training_is_the_papers() -> None:
    config = PretrainConfig()
    assert config.backbone == "resnet50"
    assert config.image_size_px == 224
    assert config.temperature == 0.1
    assert config.epochs == 12
    assert config.pairs_per_step == 1024
    assert config.nodes * config.gpus_per_node == 32
    assert config.curriculum
    assert config.curriculum_ends == (3, 6, 9, 12)
    assert (config.optimizer, config.learning_rate, config.halve_at_epoch) == ("adam", 4e-4, 10)
    assert (config.learning, config.target) == ("both", "absolute")


def test_a_laptop_run_compares_with_both_networks_whose_real_weights_are_in_packages() -> None:
    config = resolve("laptop").transfer
    real = {name for name, entry in METHODS.all().items() if entry.fetched}
    assert real == {"imagenet", "dlib"}
    assert real <= set(config.methods)


def test_the_default_transfer_is_the_papers() -> None:
    config = TransferConfig()
    assert config.folds == 4
    assert config.modes == ("linear", "finetune")
    assert set(config.tasks) == set(TASKS) - {"edema-a-patients"}  # table 5 is a study of its own
    accuracy = {name for name, task in TASKS.items() if task.direction_accuracy}
    assert {"edema-a", "edema-b", "edema-a-to-b"} <= accuracy
    assert TASKS["edema-a-to-b"].train_dataset == "edema-a"
    assert TASKS["edema-a-to-b"].dataset == "edema-b"


# Canonical text


@pytest.mark.parametrize("model", [RunConfig, SynthesizeConfig, PretrainConfig, TransferConfig, RegisterConfig])
def test_the_canonical_text_reads_back_to_the_same_configuration(model) -> None:
    config = model()
    text = config.canonical()
    assert parse(model, text) == config
    assert parse(model, text).canonical() == text
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_a_large_integer_and_a_float_survive_the_text_exactly() -> None:
    config = SynthesizeConfig(seed=2**62 + 1, alpha_step=0.1)
    assert parse(SynthesizeConfig, config.canonical()).seed == 2**62 + 1
    assert '"seed":4611686018427387905' in config.canonical()


def test_a_configuration_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="frozen"):
        PretrainConfig().epochs = 3


# Mistakes


def test_an_unknown_field_is_named() -> None:
    assert refused(parse, PretrainConfig, {"epoch": 3}) == (
        "The configuration's 'epoch' is not a field; see docs/configuration.md."
    )
    assert "'pretrain.epoch' is not a field" in refused(parse, RunConfig, {"pretrain": {"epoch": 3}})


@pytest.mark.parametrize(
    ("model", "values", "expected"),
    [
        (PretrainConfig, {"epochs": 0}, "'epochs' is wrong: input should be greater than or equal to 1"),
        (PretrainConfig, {"epochs": "many"}, "'epochs' is wrong: input should be a valid integer"),
        (PretrainConfig, {"learning_rate": float("nan")}, "'learning_rate' is wrong: "),
        (PretrainConfig, {"backbone": "ResNet50"}, "'backbone' is wrong: input should be 'narrow', 'resnet18'"),
        (PretrainConfig, {"curriculum_ends": [3, 3]}, "curriculum_ends must increase"),
        (PretrainConfig, {"epochs": 13}, "curriculum_ends stop at epoch 12, before the last epoch 13"),
        (SynthesizeConfig, {"alpha_step": 0.3}, "alpha_step must divide 2 * alpha_max"),
        (SynthesizeConfig, {"composition": []}, "'composition' is empty"),
        (
            SynthesizeConfig,
            {"composition": [{"generator": "dcgan", "identities": 1, "attributes": ["age"],
                              "attributes_per_identity": 2}]},
            "asks for 2 of 1 attributes",
        ),
        (TransferConfig, {"tasks": []}, "'tasks' is empty"),
        (TransferConfig, {"methods": ["resnet"]}, "there is no method 'resnet'; choose from scratch"),
        (TransferConfig, {"folds": 1}, "'folds' is wrong: input should be greater than or equal to 2"),
        (RegisterConfig, {"name": "Com Face"}, "'name' is wrong"),
        (RegisterConfig, {"interval_coverage": 1.0}, "'interval_coverage' is wrong: input should be less than 1"),
        (RunConfig, {"transfer": {"tasks": ["smirk"]}}, "transfer.tasks names 'smirk', which `tasks` does not define"),
        (RunConfig, {"data": {}}, "reads the data set 'disfa', which `data` lacks"),
        (
            RunConfig,
            {"register": {"thresholds": [{"task": "smirk", "min_corr": 0.3}]}},
            "register.thresholds names 'smirk', which `tasks` does not define",
        ),
        (PretrainConfig, "{not json", "is wrong: invalid JSON"),
        (PretrainConfig, "[]", "is wrong: it must be a mapping, {name: value}"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_sentence(model, values, expected: str) -> None:
    assert expected in refused(parse, model, values)


def test_several_mistakes_are_all_said() -> None:
    with pytest.raises(ConfigurationError) as error:
        resolve("paper", ["pretrain.epochs=0", "pretrain.temperature=-1", "seed", "transfer.methods=[scratch, fable]"])
    assert [str(problem) for problem in error.value.problems] == [
        "The override 'seed' is not of the form field=value; write field=value.",
        "The configuration's 'pretrain.temperature' is wrong: input should be greater than or equal to 0.001; see "
        "docs/configuration.md.",
        "The configuration's 'pretrain.epochs' is wrong: input should be greater than or equal to 1; see "
        "docs/configuration.md.",
        "The configuration's 'transfer.methods.1' is wrong: there is no method 'fable'; choose from "
        f"{', '.join(METHODS)}, or name your own ({', '.join(FORMS)}); see docs/configuration.md.",
    ]
    assert str(error.value).startswith("There are 4 problems:\n  1. The override 'seed'")


# Profiles and overrides


@pytest.mark.parametrize("name", ["laptop", "workstation", "paper"])
def test_the_profiles_that_the_design_names_resolve(name: str) -> None:
    assert name in profiles()
    assert resolve(name).profile == name


def test_the_paper_profile_keeps_the_papers_numbers() -> None:
    config = resolve("paper")
    default = RunConfig()
    assert config.synthesize.composition == default.synthesize.composition
    assert (config.pretrain.epochs, config.pretrain.pairs_per_step) == (12, 1024)
    assert config.pretrain.curriculum_ends == (3, 6, 9, 12)


def test_the_workstation_keeps_the_papers_training_apart_from_sizes_and_augmentation() -> None:
    ours, papers = (resolve(name).pretrain.model_dump() for name in ("workstation", "paper"))
    changed = {name for name in papers if ours[name] != papers[name]}
    sizes = {"image_size_px", "view_share", "pairs_per_step"}
    places = {"nodes", "gpus_per_node", "job", "checkpoint_every_s"}
    assert changed == sizes | places | {"augmentation"}


def test_views_of_early_epochs_can_be_smaller() -> None:
    config = resolve("paper", ["pretrain.resolution=[[6, 128], [9, 160]]"]).pretrain
    assert [config.size_px(epoch) for epoch in (1, 6, 7, 9, 10, 12)] == [128, 128, 160, 160, 224, 224]
    assert resolve("paper").pretrain.size_px(1) == 224


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["pretrain.resolution=[[9, 128], [6, 160]]"], "the epochs of resolution must increase"),
        (["pretrain.resolution=[[12, 128]]"], "at least the last epoch must have image_size_px"),
        (["pretrain.resolution=[[3, 256]]"], r"must not exceed image_size_px \(224\)"),
        (["pretrain.resolution=[[3, 16]]"], "greater than or equal to 32"),
        (["pretrain.resolution=[[3, 128]]", "pretrain.backbone=vit_b_16"], "a position embedding for each patch"),
        (["pretrain.augmentation.crop_max_area=0.5"], "crop_min_area must not exceed crop_max_area"),
    ],
)
def test_a_resolution_or_crop_that_cannot_be_is_refused(overrides: list[str], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        resolve("paper", overrides)


def test_an_override_wins_over_the_profile_and_reaches_only_its_field() -> None:
    plain = resolve("paper")
    changed = resolve("paper", ["pretrain.seed=7", "pretrain.learning_rate=1e-3", "transfer.modes=[linear]"])
    assert changed.pretrain == plain.pretrain.model_copy(update={"seed": 7, "learning_rate": 1e-3})
    assert changed.transfer.modes == ("linear",)
    assert changed.synthesize == plain.synthesize


def test_values_of_the_pipeline_come_between_profile_and_overrides() -> None:
    extra = {"pretrain": {"seed": 1, "nodes": 2}}
    config = resolve("paper", ["pretrain.seed=2"], extra)
    assert (config.pretrain.seed, config.pretrain.nodes) == (2, 2)


def test_an_override_can_add_a_data_set_a_task_and_a_threshold() -> None:
    config = resolve(
        "paper",
        [
            "data.ours={layout: pairs, uri: 's3://b/ours'}",
            "tasks.redness={dataset: ours, unit: points}",
            "transfer.tasks=[redness]",
            "register.thresholds=[{task: redness, min_corr: 0.3}]",
        ],
    )
    assert config.tasks["redness"].dataset == "ours"
    assert config.register_model.thresholds == (Threshold(task="redness", min_corr=0.3),)
    assert set(TASKS) <= set(config.tasks)


def test_the_place_of_one_data_set_can_be_given_without_naming_the_others() -> None:
    config = resolve("paper", ["data.edema-a.uri=file:///data/edema-a"])
    assert config.data["edema-a"].uri == "file:///data/edema-a"
    assert config.data["edema-a"].layout == "edema"
    assert set(config.data) == set(RunConfig().data)


@pytest.mark.parametrize(
    ("profile", "override", "expected"),
    [
        ("desk", "", "There is no profile 'desk'; choose one of "),
        ("paper", "pretrain.epochs", "The override 'pretrain.epochs' is not of the form field=value"),
        ("paper", "=3", "is not of the form field=value"),
        ("paper", "pretrain.epochs=[1", "The value of 'pretrain.epochs=[1' is not valid YAML"),
        ("paper", "pretrain.epoch=3", "'pretrain.epoch' is not a field"),
        ("paper", "pretrain=3", "'pretrain' is wrong"),
        ("paper", "transfer.tasks=", "'transfer.tasks' is wrong: it must be a list, [a, b]; see"),
        ("paper", "transfer=", "'transfer' is wrong: it must be a mapping, {name: value}; see"),
        ("paper", "weights=", "'weights' is wrong: it must be text; see"),
        ("paper", "tasks.x={dataset: fgnet}", "'tasks.x.unit' is missing; set it; see"),
        (
            "paper",
            "pretrain.job.image=a b",
            "'a b' is not a valid name for Kubernetes or an image; see docs/launcher",
        ),
        ("paper", ".=1", "The override '.=1' names no field; write section.field=value."),
        ("paper", "pretrain..epochs=1", "names no field; write section.field=value."),
    ],
)
def test_a_wrong_profile_or_override_has_its_sentence(profile: str, override: str, expected: str) -> None:
    assert expected in refused(resolve, profile, [override] if override else [])
