"""What can be known before the first image is said there, all of it at once, for the right reasons and in seconds."""

from __future__ import annotations

import csv
import json
import re
import time
from pathlib import Path

import pytest
from PIL import Image
from tiny_run import comface
from weights_location import ATTRIBUTES, fill

from comface.cli import main
from comface.doctor.places import place_checks
from comface.errors import ComfaceError, ConfigurationError, DataError, TryAgain, gathered
from comface.methods import METHODS
from comface.plan.checks import check_configuration
from comface.plan.configuration import RunConfig, resolve
from comface.plan.datasets import check_dataset
from comface.plan.missing import absent_methods, rival_problems, without_missing
from comface.plan.sizes import room_problems, sizes_of
from comface.plan.step import make_plans, plan_run
from comface.pretrain.draft import loader_bytes
from comface.store import FileStore
from comface.transfer.config import TransferConfig
from comface.weights.fetched import IMAGENET

FACE = Path(__file__).parents[1] / "data/cases/photos/face_ok.jpg"
SECONDS = 20
COMPOSITION = "synthesize.composition"


def laptop(*overrides: str) -> RunConfig:
    return resolve("laptop", overrides, {"store": "file:///somewhere"})


def problems(config: RunConfig) -> list[str]:
    """Of what the configuration alone tells."""
    try:
        check_configuration(config)
    except ConfigurationError as error:
        return [str(problem) for problem in error.problems]
    return []


def pairs_data_set(folder: Path, rows: list[tuple[str, float]], column: str = "weight") -> str:
    """A data set of the layout `pairs`, with one face in slightly different photos."""
    folder.mkdir()
    face = Image.open(FACE).resize((160, 160))
    with (folder / "labels.csv").open("w") as file:
        table = csv.writer(file)
        table.writerow(["subject", "file", column])
        for number, (subject, value) in enumerate(rows):
            face.putpixel((number, 0), (255, 0, 0))
            face.save(folder / f"{number}.png")
            table.writerow([subject, f"{number}.png", value])
    return folder.as_uri()


# The default run


def test_the_default_run_without_weights_is_refused_with_everything_that_is_wrong(
    tmp_path: Path, s3_environment: dict[str, str]
) -> None:
    rows = [(f"p{n % 3}", float(n)) for n in range(9)]
    place = pairs_data_set(tmp_path / "mine", rows)
    (tmp_path / "weights").mkdir()
    config = resolve(
        "paper",
        [
            f"data.mine={{layout: pairs, uri: '{place}'}}",
            "tasks.edema={dataset: mine, label: wieght, unit: kg}",
            "tasks.weight={dataset: mine, label: weight, unit: kg}",
            "transfer.tasks=[edema, weight, age]",
            "pretrain.nodes=3",
            "pretrain.backbone=vit_b_16",
            "pretrain.image_size_px=250",
            "register.must_beat=comface",
            "register.thresholds=[{task: au6, min_corr: 0.5}]",
        ],
        {"store": "s3://comface/preflight", "weights": str(tmp_path / "weights")},
    )
    started = time.monotonic()
    with pytest.raises(ConfigurationError) as error:
        plan_run(config, "run-1")
    assert time.monotonic() - started < SECONDS
    said = [str(problem) for problem in error.value.problems]
    expected = [
        "pretrain.pairs_per_step: 1,024 pairs do not divide by 24 processes; use 1,008 or 1,032.",
        "vit_b_16 takes views whose side is a multiple of 16 px; pretrain.image_size_px is 250: use 240 or 256",
        "register.thresholds names 'au6' (linear), which the run does not evaluate",
        "register.must_beat names 'comface', which cannot beat itself",
        "does not contain, for 'stylegan', its weights (karras2019stylegan-ffhq-1024x1024.pkl) and 3 directions (",
        "does not contain, for 'stylegan3', its weights (stylegan3-r-ffhq-1024x1024.pkl) and 40 directions (",
        "The task 'edema' cannot use the data set 'mine': labels.csv has no column 'wieght'; it has: weight.",
        "The task 'weight' needs 4 people of 'mine' with two photos between which 'weight' changes, but there are 3",
    ]
    assert len(said) == len(expected), said
    for words, sentence in zip(expected, said, strict=True):
        assert words in sentence
    assert all(name in said[5] for name in (f"{attribute}_boundary.npy" for attribute in ATTRIBUTES["stylegan3"]))
    assert str(error.value).startswith("There are 8 problems:\n  1. pretrain.pairs_per_step: 1,024 pairs do not divide")


def test_the_default_run_with_all_weights_is_accepted_and_its_broken_data_set_alone_is_said(
    tmp_path: Path, s3_environment: dict[str, str]
) -> None:
    location = FileStore(tmp_path / "weights")
    fill(location)
    places = {"store": "s3://comface/preflight", "weights": location.uri}
    started = time.monotonic()
    plans = plan_run(resolve("paper", (), places), "run-1")
    assert time.monotonic() - started < SECONDS
    methods = {row.method for row in plans.items.rows}
    assert methods | set(plans.evaluate.absent) == set(TransferConfig().methods)
    place = pairs_data_set(tmp_path / "mine", [("a", 1.0)])
    (tmp_path / "mine" / "0.png").unlink()
    broken = [f"data.mine={{layout: pairs, uri: '{place}'}}", "tasks.t={dataset: mine, label: weight, unit: kg}"]
    with pytest.raises(DataError, match=r"The data set 'mine' cannot be used: .*Line 2|line 2"):
        plan_run(resolve("paper", [*broken, "transfer.tasks=[t, age]"], places), "run-1")


def test_doctor_prints_the_very_checks_that_resolve_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("KFP_ENDPOINT", "KUBERNETES_SERVICE_HOST", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    place = pairs_data_set(tmp_path / "mine", [(f"p{n // 2}", float(n)) for n in range(10)])
    overrides = [
        f"data.mine={{layout: pairs, uri: '{place}'}}",
        "tasks.edema={dataset: mine, label: wieght, unit: kg}",
        "transfer.tasks=[edema]",
        "pretrain.pairs_per_step=41",
        "pretrain.nodes=2",
        "synthesize.composition=[{generator: stylegan2, identities: 90, attributes: [age]}]",
        f"weights={tmp_path / 'weights'}",
        "register.must_beat=null",
        "register.thresholds=[{task: au6, min_corr: 0.5}]",
    ]
    store = str(tmp_path / "store")
    words = [word for override in overrides for word in ("--set", override)]
    assert main(["doctor", "--json", "--store", store, *words]) == 64
    red = [row for row in json.loads(capsys.readouterr().out)["checks"] if row["state"] == "red"]
    with pytest.raises(ConfigurationError) as error:
        plan_run(resolve("laptop", overrides, {"store": store}), "run-1")
    told = [f"{row['found']}; {row['todo']}".removesuffix("; check AWS_ENDPOINT_URL and the network") for row in red]
    assert told == [str(problem).removesuffix(".") for problem in error.value.problems]
    assert [row["name"] for row in red] == ["batch", "methods and gate", "weights", "data set mine"]


# Methods and the gate


def test_the_methods_that_can_be_named_are_those_that_are_built() -> None:
    assert set(TransferConfig().methods) <= set(METHODS)
    for name in METHODS:
        assert laptop(f"transfer.methods=[comface, {name}]" if name != "comface" else "transfer.methods=[comface]")


def test_a_competitor_without_its_weights_is_absent_and_named_but_never_the_one_to_beat() -> None:
    config = laptop("transfer.methods=[scratch, imagenet, comface]", "transfer.tasks=[age]")
    absent = absent_methods(config, {IMAGENET})
    assert absent == {"imagenet": f"{IMAGENET} is not on this machine; `comface fetch` downloads it"}
    left, _ = without_missing(config, {IMAGENET})
    plans = make_plans(left, "run-1", absent=absent)
    assert plans.evaluate.absent == absent
    assert {row.method for row in plans.items.rows} == {"scratch", "comface"}
    assert list(rival_problems(config, absent)) == []
    only_tuned = laptop("transfer.modes=[finetune]", "transfer.methods=[scratch, pixels, comface]")
    assert list(absent_methods(only_tuned, set())) == ["pixels"], "it has no layers"
    (problem,) = rival_problems(laptop("register.must_beat=imagenet"), absent)
    assert f"names 'imagenet', which cannot run ({IMAGENET} is not on this machine" in str(problem)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("transfer.methods=[scratch]",), "transfer.methods has no 'comface'"),
        (
            ("register.must_beat=pixels", "transfer.methods=[scratch, comface]"),
            "'pixels', which is not among transfer.",
        ),
        (
            ("register.must_beat=pixels", "transfer.modes=[finetune]"),
            "which transfer.modes (finetune) does not evaluate",
        ),
        (
            ("register.thresholds=[{task: age, mode: finetune, min_corr: 0}]",),
            "names 'age' (finetune), which the run does not evaluate",
        ),
        (("pretrain.backbone=vit_b_16", "pretrain.image_size_px=40"), "pretrain.image_size_px is 40: use 32 or 48"),
        (("transfer.backbone=vit_b_16", "transfer.image_size_px=40"), "transfer.image_size_px is 40: use 32 or 48"),
        (("pretrain.pairs_per_step=7", "pretrain.gpus_per_node=8"), "7 pairs do not divide by 8 processes; use 8."),
        (("synthesize.parts=4096",), "is 4096, but there are only 3600 identities"),
        (
            (f"{COMPOSITION}=[{{generator: procedural, identities: 48, attributes: [age]}}]",),
            "A batch of 40 pairs needs as many identities for training, but the composition has 48, of which about 38 ",
        ),
        (
            (f"{COMPOSITION}=[{{generator: procedural, identities: 60, attributes: [Weight]}}]",),
            "'procedural' has no direction for Weight; it has ",
        ),
        (
            (f"{COMPOSITION}=[{{generator: dcgan, identities: 60, attributes: [weight]}}]",),
            "The generator 'dcgan' has no direction for weight; it has smile, ",
        ),
        (
            ("synthesize.directions={stylegan: {smlie: {file: x.npy}}}",),
            "changes 'smlie' of 'stylegan', which synthesize.composition does not sweep",
        ),
        (
            ("screening.action=restrict", "screening.min_range=11"),
            "screening.min_range is 11, but tracks cover a range of alpha of only 10",
        ),
        (
            (
                "screening.action=report",
                f"{COMPOSITION}=[{{generator: procedural, identities: 2, attributes: [age]}}, "
                "{generator: dcgan, identities: 90, attributes: [age]}]",
            ),
            "compares at least 3 people, but the composition has 2 of 'procedural'",
        ),
        (
            ("tasks.t={dataset: fgnet, train_dataset: fgnet, unit: years}", "transfer.tasks=[t]"),
            "The task 't' would train and test on the same people ('fgnet')",
        ),
        (
            ("tasks.age.min_change=61",),
            "tasks.age.min_change is 61, but 'age' of the rehearsal of 'fgnet' changes by at most 60",
        ),
        (
            ("data.fgnet.uri=/somewhere",),
            "The store file:///somewhere is the folder of the data set 'fgnet'",
        ),
        (("data.disfa.labels=[au12]",), "'au6' cannot use the data set 'disfa': the data set has no label 'au6'"),
    ],
)
def test_each_contradiction_within_a_configuration_is_said_alone(overrides: tuple[str, ...], words: str) -> None:
    (said,) = problems(laptop(*overrides))
    assert words in said


def test_the_profiles_contradict_nothing() -> None:
    assert problems(laptop()) == problems(resolve("paper")) == []


@pytest.mark.parametrize("field", ["transfer.methods=[scratch, comface, scratch]", "transfer.tasks=[age, age]",
                                   "transfer.modes=[linear, linear]"])  # fmt: skip
def test_what_is_named_twice_is_refused(field: str) -> None:
    with pytest.raises(ConfigurationError, match="is listed twice; list it once"):
        laptop(field)


# Data sets


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("transfer.folds=100",), r"needs 100 people of 'fgnet' \(transfer.folds\), but rehearse.fgnet_subjects is 82"),
        (("tasks.age.label=agee",), "The task 'age' cannot use the data set 'fgnet': the data set has no label 'agee'"),
        (
            ("data.fgnet.layout=pairs",),
            "has no `uri`, and there is no rehearsal of the layout pairs; give data.fgnet.uri",
        ),
    ],
)
def test_a_rehearsal_that_a_task_cannot_use_is_refused(overrides: tuple[str, ...], words: str) -> None:
    (said,) = problems(laptop("transfer.tasks=[age]", *overrides))
    assert re.search(words, said)


def test_people_are_counted_by_pairs_that_the_task_may_use(tmp_path: Path) -> None:
    rows = [(f"p{person}", 60.0 + change * photo) for person, change in enumerate((0, 1, 2, 3, 4)) for photo in (0, 1)]
    place = pairs_data_set(tmp_path / "mine", rows)
    own = [f"data.mine={{layout: pairs, uri: '{place}'}}", "transfer.tasks=[t]"]

    def check(definition: str) -> str:
        return check_dataset(laptop(*own, f"tasks.t={{dataset: mine, unit: kg, {definition}}}"), "mine")

    assert check("label: weight") == check("label: ''") == f"10 photos of 5 people at {place}"
    with pytest.raises(DataError, match="'weight' changes by 2 or more, but there are 3 of 5; add photos"):
        check("label: weight, min_change: 2")


@pytest.mark.parametrize(
    ("labels", "classes", "words"),
    [
        ([0, 1, 0, 1], "[no, yes]", ""),
        ([3, 4, 5, 6], "[]", ""),
        ([0, 1, 2, 1], "[no, yes]", "has values other than 0 to 1, the numbers of its 2 classes"),
        ([0, 0.5, 1, 1], "[no, yes]", "has values other than 0 to 1"),
        ([1, 1, 1, 1], "[no, yes]", "is the same on all photos"),
        ([0, 1, 0], "[no, yes]", "needs 4 people of 'mine' with a photo that has the label 'smiling', but there are 3"),
    ],
)
def test_a_task_of_single_photos_needs_one_labelled_photo_of_each_person(
    tmp_path: Path, labels: list[float], classes: str, words: str
) -> None:
    uri = pairs_data_set(tmp_path / "mine", [(f"s{i}", label) for i, label in enumerate(labels)], "smiling")
    mine = f"tasks.of-one={{dataset: mine, label: smiling, unit: class, kind: single, classes: {classes}}}"
    config = laptop(f"data.mine={{layout: pairs, uri: '{uri}'}}", mine, "transfer.tasks=[of-one]")
    if not words:
        assert "4 photos of 4 people" in check_dataset(config, "mine")
        return
    with pytest.raises(DataError, match=re.escape(words)):
        check_dataset(config, "mine")


# What it needs


def test_the_plan_says_what_the_run_needs_in_images_disk_and_memory() -> None:
    sizes = sizes_of(resolve("paper"))
    assert (sizes.tracks, sizes.images, sizes.identities) == (350_000, 35_350_000, 250_000)
    assert 300e9 < sizes.shards_bytes < 700e9, "35 million JPEGs of 256 px"
    assert sizes.batches_bytes == 8 * loader_bytes(8, 32, 256)
    assert sizes.batches_bytes == pytest.approx(8 * (8 * 2 + 1) * 32 * 2 * 256**2 * 3, rel=0.01)
    assert "35,350,000 images (350,000 tracks of 250,000 identities)" in sizes.sentence()
    assert sizes.sentence().endswith(" Pre-training takes 12 epochs of about 31,069 steps.")
    short = sizes_of(laptop("pretrain.curriculum_ends=[1,20,200]", "pretrain.steps_per_epoch=1000000")).sentence()
    assert short.endswith("takes 10 epochs of 1,000,000 steps; it ends in stage 2 of 3 of the curriculum.")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("synthesize.composition=[{generator: procedural, identities: 9999999, attributes: [age]}]",
          "synthesize.image_size_px=1024"), "whose disk has"),
        (("pretrain.projection_hidden=65536", "pretrain.projection_width=65536"), "The step pretrain needs about"),
        (("rehearse.fgnet_images=1000", "rehearse.image_size_px=2048", "rehearse.fgnet_subjects=999"), "of memory"),
        (("evaluate.bootstrap=100000", "rehearse.edema_a_patients=10000"), "The step evaluate needs about"),
        (("pretrain.nodes=2", "pretrain.loader_workers=256", "pretrain.job.memory_gib=1",
          "pretrain.pairs_per_step=4000", "synthesize.image_size_px=128"), "of memory (256 workers of every process)"),
        (("pretrain.nodes=2", "pretrain.job.scratch_gib=1", "pretrain.cache_gib=2"), "cache_gib is 2, but"),
    ],
)  # fmt: skip
def test_what_cannot_fit_is_refused_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...], words: str
) -> None:
    monkeypatch.setattr("comface.plan.sizes.memory_limit_bytes", lambda: 16 * 2**30)
    found = [str(problem) for problem in room_problems(laptop(*overrides), FileStore(tmp_path), {})]
    assert any(words in sentence for sentence in found), found
    assert list(room_problems(laptop(), FileStore(tmp_path), {})) == []


# Errors together


def test_the_code_of_several_errors_is_that_of_a_configuration_then_of_data_then_of_the_rest() -> None:
    wrong, data, later = ConfigurationError("A."), DataError("B."), TryAgain("C.")
    assert gathered([later, data, wrong]).exit_code == 64
    assert gathered([later, data]).exit_code == 65
    assert gathered([later]) is later
    both = gathered([data, gathered([later, wrong]), data])
    assert str(both) == "There are 3 problems:\n  1. B.\n  2. C.\n  3. A."
    assert type(both) is ConfigurationError
    assert isinstance(both, ComfaceError)


def test_a_name_in_a_message_reaches_no_terminal_as_a_code_or_a_line() -> None:
    error = DataError("The file '\x1b[2J\nred\u202e' is damaged; copy it again.")
    assert str(error) == "The file '\\x1b[2J\\nred\\u202e' is damaged; copy it again."
    assert str(gathered([error, TryAgain("Later.")])).count("\n") == 2


def test_the_workstation_passes_every_check_of_its_configuration_and_says_its_size() -> None:
    config = resolve("workstation")
    check_configuration(config)
    said = sizes_of(config).sentence()
    assert "756,000 images (36,000 tracks of 36,000 identities)" in said
    assert "12 epochs of about 2,657 steps" in said


def test_without_a_gpu_the_workstation_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    done = comface("run", "--profile", "workstation", "--output", tmp_path, environment={"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 64
    assert "requests 1 GPU, but PyTorch finds none on this machine" in done.stderr
    assert not list(tmp_path.glob("store/*"))


def test_the_doctor_says_whether_this_machine_has_the_gpu_of_the_workstation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def found() -> list[tuple[str, str]]:
        config = resolve("workstation", (), {"store": tmp_path.as_uri()})
        (check,) = [each for each in place_checks(config) if each.name == "GPUs of this machine"]
        return [(row.state, row.found) for row in check.ask()]

    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert found() == [("note", "PyTorch finds 0; requested: 1")]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert found() == [("ok", "PyTorch finds 1; requested: 1")]
    assert not [each for each in place_checks(laptop()) if each.name.startswith("GPUs")]
