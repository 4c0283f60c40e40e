"""`comface verify`: one changed bit in any kind of object is found; what was checked, and what was not, is said."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from comface.artifacts.manifest import Artifact, Draft
from comface.cli import main
from comface.datasets.place import fingerprint
from comface.errors import DataError
from comface.models.registry import Registry
from comface.models.signing import public_text, sign, trust
from comface.models.verification import verification
from comface.store import FileStore, open_store

NOW = datetime(2026, 3, 1, tzinfo=UTC)
REVISIONS = {"test": 1}
KINDS = ("model", "decision", "evaluation", "transfer", "protocol", "features", "faces", "backbone")


@pytest.fixture(scope="module")
def store(registered: Any, tmp_path_factory: pytest.TempPathFactory) -> FileStore:
    """A copy of a store with a registered model, in another place than it was made in."""
    folder = tmp_path_factory.mktemp("verify") / "copied"
    shutil.copytree(registered[1].store.root, folder)
    Registry(FileStore(folder), "comface").promote(1, NOW)
    return FileStore(folder)


@pytest.fixture(autouse=True)
def without_weight_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain names weight files that do not exist, under the names of files that this machine may have."""
    monkeypatch.setattr("comface.models.sources.located", lambda name: Path("/nowhere", name))


def verified(store: FileStore, quick: bool = False) -> list[str]:
    return list(verification(store, "comface", "file:///nowhere", quick))


def flipped(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


def objects_of(store: FileStore, kind: str) -> Iterator[Path]:
    """Of each kind, the manifest and the objects of one artifact that the model was made from, or of the decision."""
    folders = sorted(store.root.glob(f"{kind}/*"))
    used = [each for each in folders if any(each.name in line for line in verified(store, quick=True))]
    yield from sorted(path for path in used[0].rglob("*") if path.is_file() and path.name != "made.json")


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_truncated_or_deleted_object_of_any_kind_is_found(store: FileStore, kind: str) -> None:
    found = 0
    for path in objects_of(store, kind):
        data = path.read_bytes()
        for damage, quick in ((flipped(data), False), (data[:-1], True), (None, True)):
            path.unlink() if damage is None else path.write_bytes(damage)
            with pytest.raises(DataError) as error:
                verified(store, quick)
            assert store.uri in str(error.value)
            path.write_bytes(data)
            found += 1
    assert found >= 3
    verified(store)


def test_a_changed_record_of_the_registry_is_found(store: FileStore) -> None:
    records = sorted(store.root.glob("registry/comface/**/*.json"))
    assert len(records) == 2
    for path in records:
        data = path.read_bytes()
        path.write_bytes(flipped(data))
        with pytest.raises(DataError, match="is damaged, was changed"):
            verified(store)
        path.write_bytes(data)


def test_the_end_says_what_was_checked_and_what_was_not_and_why(store: FileStore) -> None:
    *_, counts, unchecked = verified(store)
    assert counts.startswith("18 artifacts, ")
    assert "MB): all hashes match; 0 of " in counts
    assert unchecked.startswith("Not checked: The file ")
    assert "does not exist here)" in unchecked
    *_, counts, unchecked = verified(store, quick=True)
    assert "all manifests match and all objects are there" in counts
    assert unchecked.startswith("Not checked (quick): the content of the objects")
    lines = "\n".join(verified(store))
    assert "registry: the record of comface@v1 names this model; 2 records of 'comface' are intact" in lines
    assert "outside" not in lines.casefold()


def test_the_signature_is_part_of_it(store: FileStore, tmp_path: Path) -> None:
    shutil.copytree(store.root, tmp_path / "store")
    signed, private = FileStore(tmp_path / "store"), Ed25519PrivateKey.generate()
    assert "signature: none" in verified(signed)
    model = Registry(signed, "comface").unchecked(Registry(signed, "comface").version(1))
    sign(model, private)
    assert f"signature: by {public_text(private)}; not checked against trusted keys: there are none" in verified(signed)
    trust([public_text(private)])
    try:
        assert f"signature: by the trusted key {public_text(private)}" in verified(signed)
        assert f"signature: by the trusted key {public_text(private)}" in list(verification(signed, model.uri, "/none"))
        (place,) = model.store.keys("signatures")
        model.store.write(place, flipped(model.store.read(place)))
        with pytest.raises(DataError):
            verified(signed)
    finally:
        trust(())
    with pytest.raises(DataError, match="does not fit it"):
        verified(signed)


def faces_of(store: FileStore, place: str, digest: str) -> Artifact:
    config = {"dataset": "edema", "fingerprint": digest}
    return Draft(store, "faces", config, {}, REVISIONS).publish({"dataset": "edema", "source": place})


def test_a_data_set_on_s3_is_compared_with_what_is_there_now(
    tmp_path: Path, s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "labels.csv").write_text("subject,weight\n")
    remote = open_store("s3://comface/verified-photos")
    remote.write("labels.csv", b"subject,weight\n")
    store = FileStore(tmp_path / "store")
    faces = faces_of(store, remote.uri, fingerprint(tmp_path / "photos"))
    assert "The data set 'edema': unchanged (s3://comface/verified-photos)" in list(verification(store, faces.uri, ""))
    remote.write("labels.csv", b"subject,weight\nx,1\n")
    with pytest.raises(DataError, match="The data set 'edema' has changed since it was used"):
        list(verification(store, faces.uri, ""))
    remote.delete("labels.csv")
    *_, last = verification(store, faces.uri, "")
    assert last.startswith("Not checked: The data set 'edema' (there are no objects below s3://comface/verified-photos")


@pytest.mark.parametrize("place", ["", "/nowhere/at-all", "file:///nowhere/at-all", "ftp://host/photos"])
def test_a_data_set_that_is_not_here_is_said_not_to_be_checked(tmp_path: Path, place: str) -> None:
    store = FileStore(tmp_path)
    *_, counts, last = verification(store, faces_of(store, place, "ab" * 32).uri, "")
    assert "0 of 1 weight files and data sets unchanged" in counts
    assert last.startswith("Not checked: The data set 'edema' (")


def test_the_command_prints_it_and_has_a_quick_form(store: FileStore, capsys: pytest.CaptureFixture[str]) -> None:
    commands: list[Callable[[], int]] = [
        lambda: main(["verify", "--store", str(store.root)]),
        lambda: main(["verify", "comface@champion", "--quick", "--store", str(store.root)]),
    ]
    for run, wanted in zip(commands, ("all hashes match", "all objects are there"), strict=True):
        assert run() == 0
        assert wanted in capsys.readouterr().out
