"""What was changed, exchanged or blown up in a store is found by whoever reads it next, before it is used."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from comface.artifacts.manifest import Artifact, Draft, open_artifact
from comface.artifacts.plans import PlanPlace, fetched, kept, read_plan
from comface.artifacts.sealed import sealed, unsealed
from comface.artifacts.verify import verify
from comface.cli import main
from comface.errors import ConfigurationError, DataError
from comface.models.registry import Registry
from comface.store import FileStore

REVISIONS = {"test": 1}
NOW = datetime(2026, 3, 1, tzinfo=UTC)
FLIPS = 300


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


@pytest.fixture
def transfer(store: FileStore) -> Artifact:
    faces = Draft(store, "faces", {"dataset": "edema-a"}, {}, REVISIONS)
    faces.write("faces.npy", bytes(64))
    facts = {"dataset": "edema-a", "left_out": {}}
    draft = Draft(store, "transfer", {"seed": 1, "rate": 1e-05}, {"faces": faces.publish(facts)}, REVISIONS)
    draft.write("predictions.json", b"[]")
    return draft.publish({"metrics": {"corr": -0.0125, "mae": 1e-07}, "task": "ödem", "rehearsal": True})


def flips(path: Path, seed: int, count: int = FLIPS) -> Iterator[int]:
    """Flip one random bit of the file after the other; each is put back before the next."""
    whole, generator = path.read_bytes(), random.Random(seed)
    for _ in range(count):
        bit = generator.randrange(8 * len(whole))
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        yield bit
    path.write_bytes(whole)


def refused(read: Callable[[], object]) -> None:
    with pytest.raises(DataError) as error:
        read()
    sentence = str(error.value)
    assert sentence[0].isupper()
    assert sentence.endswith(".")
    assert "\n" not in sentence


# Single bits


def test_every_flipped_bit_of_a_manifest_is_found_by_the_next_step_and_by_verify(
    store: FileStore, transfer: Artifact
) -> None:
    evaluation = Draft(store, "evaluation", {}, {"a": transfer}, REVISIONS).publish({})
    for _ in flips(Path(transfer.store.path("manifest.json")), seed=1):
        refused(lambda: open_artifact(transfer.uri, "transfer"))
        refused(lambda: open_artifact(transfer.pinned))
        refused(lambda: evaluation.input("a"))
        refused(lambda: list(verify(evaluation.uri)))
    assert len(list(verify(evaluation.uri))) == 3


def test_a_consistently_changed_manifest_is_found_by_who_was_given_its_sha256(
    store: FileStore, transfer: Artifact
) -> None:
    evaluation = Draft(store, "evaluation", {}, {"a": transfer}, REVISIONS).publish({})
    manifest = unsealed(transfer.store.read("manifest.json"))
    manifest["facts"]["metrics"]["corr"] = 0.9
    transfer.store.write("manifest.json", sealed(manifest))
    assert open_artifact(transfer.uri).facts["metrics"]["corr"] == 0.9
    for read in (lambda: open_artifact(transfer.pinned), lambda: evaluation.input("a"), evaluation.inputs):
        with pytest.raises(
            DataError, match="does not match the sha256 in the reference to it, because it was changed later"
        ):
            read()


def test_every_flipped_bit_of_a_registry_record_is_found(store: FileStore) -> None:
    registry = Registry(store, "comface")
    draft = Draft(store, "model", {}, {}, REVISIONS)
    registry.register(draft.publish({"tasks": {}, "metrics": []}), NOW)
    registry.promote(1, NOW)
    for _ in flips(Path(store.path("registry/comface/v1.json")), seed=2):
        refused(registry.versions)
        refused(registry.champion)
    for _ in flips(Path(store.path("registry/comface/promotions/00001.json")), seed=3):
        refused(registry.champion)
    champion = registry.champion()
    assert champion is not None
    assert champion.number == 1


def test_a_record_in_the_place_of_another_is_refused(store: FileStore) -> None:
    registry = Registry(store, "comface")
    registry.register(Draft(store, "model", {}, {}, REVISIONS).publish({}), NOW)
    store.write("registry/comface/v2.json", store.read("registry/comface/v1.json"))
    with pytest.raises(DataError, match=r"'registry/comface/v2\.json' .* belongs to comface@v1"):
        registry.versions()


def test_a_changed_plan_is_refused(store: FileStore) -> None:
    key = kept(store, "run-1", {"store": store.uri, "run": "run-1", "pretrain": {"epochs": 4, "rate": 1e-05}})
    reference = PlanPlace(store.uri, "run-1", key).reference
    assert read_plan(reference, store)["pretrain"]["epochs"] == 4
    for _ in flips(Path(store.path(f"plans/run-1/{key}.json")), seed=4):
        with pytest.raises(DataError, match="was changed or is damaged; start the run again"):
            fetched(store, "run-1", key)
    with pytest.raises(ConfigurationError, match="is not a plan"):
        read_plan(reference[:-6], store)


# Objects that are none, or too large


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 42)


KINDS = {
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a FIFO": os.mkfifo,
    "four terabytes": sparse,
    "a folder": os.mkdir,
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("name", ["predictions.json", "manifest.json"])
def test_only_regular_files_of_the_size_that_is_named_are_read(transfer: Artifact, name: str, make) -> None:
    path = Path(transfer.store.path(name))
    path.unlink()
    make(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(lambda: list(verify(transfer.uri)))
    refused(lambda: open_artifact(transfer.uri).read(name))
    refused(lambda: transfer.local(name if name in transfer.manifest.objects else "other", path.parent))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_record_of_a_gigabyte_is_not_read(store: FileStore) -> None:
    registry = Registry(store, "comface")
    registry.register(Draft(store, "model", {}, {}, REVISIONS).publish({}), NOW)
    with Path(store.path("registry/comface/v1.json")).open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(DataError, match=r"has 1,073,741,824 bytes, more than the limit of 1,048,576"):
        registry.versions()


# verify


def test_a_copied_store_verifies_itself(store: FileStore, transfer: Artifact, tmp_path: Path) -> None:
    model = Draft(store, "model", {}, {"a": transfer}, REVISIONS).publish({})
    evaluation = Draft(store, "evaluation", {}, {"a": transfer}, REVISIONS).publish({})
    decision = Draft(store, "decision", {}, {"evaluation": evaluation}, REVISIONS).publish({"outcome": "promote"})
    Registry(store, "comface").register(model, NOW, decision)
    copy = tmp_path / "copy"
    store.root.rename(copy)  # nothing is left where the manifests were written
    done = command("verify", "--store", copy.as_uri())
    assert done.returncode == 0, done.stderr
    for kind in ("model", "decision", "evaluation", "transfer", "faces"):
        assert f"{copy.as_uri()}/{kind}/" in done.stdout
    assert store.uri not in done.stdout
    assert "outside" not in done.stdout
    assert "code: 5 artifacts by version" in done.stdout
    assert "the installed code" in done.stdout
    (predictions,) = copy.glob("transfer/*/predictions.json")
    predictions.write_bytes(b"[1")
    done = command("verify", "--store", copy.as_uri())
    assert done.returncode == 65
    assert f"'predictions.json' of {predictions.parent.as_uri()} does not match its manifest" in done.stderr


def test_an_input_of_another_store_is_followed_and_said(
    store: FileStore, transfer: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = Draft(FileStore(tmp_path / "other"), "evaluation", {}, {"a": transfer}, REVISIONS).publish({})
    assert main(["verify", elsewhere.uri]) == 0
    said = capsys.readouterr().out
    assert f"{transfer.uri}  (outside {FileStore(tmp_path / 'other').uri})" in said
    assert "Outside the named store: 2 artifacts;" in said


def test_verify_compares_weight_files_and_data_sets_at_hand(
    store: FileStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from comface.datasets.place import fingerprint

    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "labels.csv").write_text("subject,weight\n")
    config = {"dataset": "edema", "fingerprint": fingerprint(folder)}
    faces = Draft(store, "faces", config, {}, REVISIONS).publish({"dataset": "edema", "source": folder.as_uri()})
    gone = Draft(store, "model", {"provenance": [{"file": "gone.onnx", "sha256": "0" * 64}]}, {"a": faces}, REVISIONS)
    model = gone.publish({})
    assert main(["verify", model.uri]) == 0
    said = capsys.readouterr().out
    assert "The data set 'edema': unchanged" in said
    assert "The file 'gone.onnx': not checked (" in said
    (folder / "labels.csv").write_text("subject,weight\nx,1\n")
    assert main(["verify", model.uri]) == 65
    assert "The data set 'edema' has changed since it was used" in capsys.readouterr().err
    wrong = Draft(store, "features", {"method": "imagenet", "weights_sha256": "0" * 64}, {}, REVISIONS).publish({})
    weights = Path(sys.prefix) / "share" / "comface" / "efficientnet_lite0.safetensors"
    assert main(["verify", wrong.uri]) == (65 if weights.is_file() else 0)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "comface", *arguments], capture_output=True, text=True, check=False)
