"""The weight files of methods in the weights location: found by name, known by content, absent without failing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from comface.artifacts.manifest import Draft, file_sha256
from comface.cli import main
from comface.errors import ConfigurationError, DataError
from comface.methods import METHODS
from comface.models.sources import used
from comface.plan.checks import survey_run
from comface.plan.configuration import RunConfig, resolve
from comface.plan.step import make_plans
from comface.plan.weights import method_files
from comface.store import FileStore

BUILT_IN = "[comface, scratch, imagenet, mocov2, swav]"


@pytest.fixture
def location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMFACE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


def put(path: Path, *names: str) -> None:
    """A file with tensors of these names; a plan looks at nothing else."""
    path.parent.mkdir(exist_ok=True)
    save_file({name: np.zeros(1, np.float32) for name in names}, path)


def configured(weights: str | Path, methods: str = BUILT_IN, *overrides: str) -> RunConfig:
    words = [f"transfer.methods={methods}", f"weights={weights}", "transfer.tasks=[age]", *overrides]
    return resolve("laptop", words, {"store": "file:///somewhere"})


def test_the_first_published_name_that_is_there_is_sealed_into_the_plan_whatever_the_folder(location: Path) -> None:
    put(location / "moco_v2_200ep_pretrain.pth.tar", "module.encoder_q.conv1.weight")
    put(location / "swav" / "swav_800ep_pretrain.pth.tar", "module.conv1.weight")
    sealed = method_files(configured(location))
    assert {name: each.key for name, each in sealed.items()} == {
        "mocov2": "moco_v2_200ep_pretrain.pth.tar",
        "swav": "swav/swav_800ep_pretrain.pth.tar",
    }
    assert sealed["swav"].sha256 == file_sha256(location / "swav" / "swav_800ep_pretrain.pth.tar")
    put(location / "moco_v2_800ep_pretrain.pth.tar", "module.encoder_q.conv1.weight", "epoch")
    assert method_files(configured(location))["mocov2"].key == "moco_v2_800ep_pretrain.pth.tar"


def test_the_resnet_of_imagenet_in_the_location_takes_precedence_over_the_packaged_network(location: Path) -> None:
    assert method_files(configured(location, "[comface, scratch, imagenet]")) == {}
    put(location / "resnet50-19c8e357.pth", "conv1.weight")
    assert method_files(configured(location, "[comface, scratch, imagenet]"))["imagenet"].key == "resnet50-19c8e357.pth"


def test_a_method_without_its_file_is_absent_and_said_to_lack_it_while_the_run_goes_on(location: Path) -> None:
    put(location / "swav_800ep_pretrain.pth.tar", "module.conv1.weight")
    survey = survey_run(configured(location))
    assert survey.absent == {
        "mocov2": f"{location.as_uri()} does not contain 'moco_v2_800ep_pretrain.pth.tar' or "
        "'moco_v2_200ep_pretrain.pth.tar'; put its weights there"
    }
    assert "mocov2" not in survey.config.transfer.methods
    plans = make_plans(survey.config, "run-1", survey.notes, absent=survey.absent)
    assert {row.method for row in plans.items.rows} == {"comface", "scratch", "imagenet", "swav"}
    assert dict(plans.evaluate.absent) == dict(survey.absent)


def test_without_access_to_the_location_its_methods_are_absent_and_the_packaged_network_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    survey = survey_run(configured("s3://nowhere/weights"))
    assert list(survey.absent) == ["mocov2", "swav"]
    assert survey.absent["swav"].startswith(
        "the weights location 's3://nowhere/weights' is not readable (An s3:// store needs AWS_ACCESS_KEY_ID"
    )
    assert "so there is no 'swav_800ep_pretrain.pth.tar'" in survey.absent["swav"]
    assert method_files(survey.config) == {}
    with pytest.raises(ConfigurationError, match="is not readable"):
        method_files(configured("s3://nowhere/weights"))


def test_files_with_other_content_are_refused_together_before_the_run(location: Path) -> None:
    put(location / "moco_v2_800ep_pretrain.pth.tar", "module.conv1.weight")
    (location / "swav_800ep_pretrain.pth.tar").write_bytes(b"not a checkpoint")
    with pytest.raises(DataError) as raised:
        make_plans(configured(location), "run-1")
    told = [str(problem) for problem in raised.value.problems]
    assert len(told) == 2
    assert "contains no weights of 'mocov2': its tensors are module.conv1.weight" in told[0]
    assert "was refused: it is neither a pickle (protocol 2 or later), nor a torch file, nor safetensors" in told[1]


def test_doctor_has_a_row_for_each_method_with_its_file(
    location: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(location / "swav_800ep_pretrain.pth.tar", "module.conv1.weight")
    words = ["--store", str(tmp_path / "store"), "--set", f"weights={location}"]
    main(["doctor", "--json", *words, "--set", f"transfer.methods={BUILT_IN}"])
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["checks"]}
    assert rows["method swav"]["found"] == f"swav_800ep_pretrain.pth.tar in {location.as_uri()}"
    assert rows["method mocov2"]["state"] == "note"
    assert rows["method mocov2"]["found"].startswith("absent: ")
    assert rows["method mocov2"]["todo"] == "put its weights there"
    assert "method scratch" not in rows


def test_no_two_methods_want_the_same_file() -> None:
    names = [name for entry in METHODS.all().values() for name in entry.files]
    assert len(names) == len(set(names))


def test_verify_finds_the_one_of_several_files_that_was_used(location: Path, tmp_path: Path) -> None:
    for name in METHODS["mocov2"].files:
        put(location / name, "module.encoder_q.conv1.weight", name)
    second = location / METHODS["mocov2"].files[1]
    config = {"method": "mocov2", "weights_sha256": file_sha256(second)}
    artifact = Draft(FileStore(tmp_path / "store"), "features", config, {}, {"test": 1}).publish({})
    assert list(used(artifact, str(location))) == [("The weight file of 'mocov2'", file_sha256(second), str(second))]
    second.unlink()
    ((_, _, place),) = used(artifact, str(location))
    assert place == str(location / METHODS["mocov2"].files[0]), "another file, so it is reported as changed"
