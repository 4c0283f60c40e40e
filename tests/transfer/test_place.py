"""Copies of s3:// data sets: the same as what lies there, whatever happened since, and nobody else's."""

from __future__ import annotations

import json
import os
import shutil
import stat
import time
import uuid
from pathlib import Path

import numpy as np
import pytest

from comface.artifacts.arrays import Rows, array_bytes
from comface.artifacts.manifest import Draft
from comface.cli import main
from comface.datasets import open_dataset
from comface.datasets.config import DataSource
from comface.datasets.place import drop_copy, local_folder
from comface.errors import ConfigurationError, DataError
from comface.runtime.folders import UNUSED_DAYS, cache_folder
from comface.store import Store, open_store

CASE = Path(__file__).parents[1] / "data/cases/edema/base"


@pytest.fixture
def clinic(s3_environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The sound edema data set in a bucket, and a scratch folder of the test's own."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    store = open_store(f"s3://comface/{uuid.uuid4().hex}")
    for path in CASE.rglob("*"):
        if path.is_file():
            store.upload(path.relative_to(CASE).as_posix(), path)
    return store


def photos(store: Store) -> dict[str, float]:
    read = open_dataset(DataSource(layout="edema", uri=store.uri)).photos
    return {f"{photo.subject} {photo.phase}": photo.labels["weight"] for photo in read}


def test_a_corrected_weight_and_a_deleted_patient_are_seen_at_the_next_use(clinic: Store) -> None:
    assert photos(clinic) == {f"p{n} {phase}": 59.0 + n + 2 * (phase == "after") for n in range(5) for phase in PHASES}
    table = clinic.read("weights.csv").decode().replace("p1,s1,before,60.0", "p1,s1,before,66.0")
    clinic.write("weights.csv", "".join(line for line in table.splitlines(True) if "p4" not in line).encode())
    for key in list(clinic.keys("p4")):
        clinic.delete(key)
    now = photos(clinic)
    assert now["p1 before"] == 66.0
    assert len(now) == 8
    assert not (local_folder(clinic.uri) / "p4").exists()


PHASES = ("before", "after")


@pytest.mark.parametrize("remote", [True, False])
def test_check_takes_a_uri_and_prints_it_in_the_configuration(
    clinic: Store, remote: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = clinic.uri if remote else CASE.as_uri()
    main(["check", uri, "--json"])
    said = json.loads(capsys.readouterr().out)
    (found,) = said["data"]
    assert (found["layout"], found["uri"], found["subjects"]) == ("edema", uri, 5)
    assert said["configuration"]["data"] == {found["name"]: {"layout": "edema", "uri": uri}}
    (task,) = said["configuration"]["tasks"].values()
    assert (task["dataset"], task["label"], task["unit"]) == (found["name"], "weight", "kg")


def test_what_has_not_changed_is_not_fetched_again_and_a_changed_copy_is(clinic: Store) -> None:
    folder = local_folder(clinic.uri)
    before = {path: path.stat().st_ino for path in folder.rglob("*") if path.is_file()}
    (folder / "p0/s1/before/000.jpg").write_bytes(b"tampered")
    (folder / "planted.txt").write_text("not there")
    (folder / "p1/s1/after/000.jpg").unlink()
    assert local_folder(clinic.uri) == folder
    after = {path: path.stat().st_ino for path in folder.rglob("*") if path.is_file()}
    assert after.keys() == before.keys()
    assert {str(path.relative_to(folder)) for path in after if after[path] != before[path]} <= {
        "p0/s1/before/000.jpg",
        "p1/s1/after/000.jpg",
    }
    for path in after:
        assert path.read_bytes() == (CASE / path.relative_to(folder)).read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_sentences_name_the_uri_and_not_the_copy(clinic: Store, tmp_path: Path) -> None:
    clinic.write("weights.csv", b"patient,session,phase,weight_kg\nJane,s1,during,60\n")
    with pytest.raises(DataError, match=f"Line 2 of weights.csv of the data set at '{clinic.uri}'") as raised:
        photos(clinic)
    assert str(tmp_path) not in str(raised.value)
    with pytest.raises(DataError, match=f"There are no objects below {clinic.uri}/nowhere"):
        local_folder(f"{clinic.uri}/nowhere")


@pytest.mark.parametrize("key", ["p0/s1/before", "a//b.jpg", "n" * 300])
def test_a_name_that_no_file_can_have_is_a_sentence(clinic: Store, key: str) -> None:
    client = clinic.client
    data = CASE.joinpath("weights.csv")
    client.fput_object(clinic.bucket, f"{clinic.prefix}/{key}", str(data))
    with pytest.raises(DataError, match=f"An object below {clinic.uri} has a name that is not a valid file name"):
        local_folder(clinic.uri)


def test_the_cache_is_the_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    folder = cache_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    assert stat.S_IMODE(cache_folder().stat().st_mode) == 0o700
    folder.chmod(0o777)
    with pytest.raises(ConfigurationError, match=f"The cache folder '{folder}' belongs to another user, is writable"):
        cache_folder()
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="or is not a folder; delete it, or set TMPDIR"):
        cache_folder()
    folder.unlink()
    folder.write_text("a file")
    with pytest.raises(ConfigurationError, match="or is not a folder"):
        cache_folder()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of somebody else")
def test_a_cache_that_another_user_made_is_refused_before_anything_is_read_from_it(clinic: Store) -> None:
    local_folder(clinic.uri)
    shutil.chown(cache_folder(), 65534)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        photos(clinic)


def test_the_copy_goes_when_the_source_is_gone_is_dropped_or_is_not_used_for_weeks(
    clinic: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = local_folder(clinic.uri)
    drop_copy(clinic.uri)
    assert {path.name for path in folder.parent.iterdir()} == {f"{folder.name}.lock"}, "no list of file names either"
    other = clinic.child("p0")
    copy = local_folder(other.uri)
    record = copy.with_suffix(".json")
    os.utime(record, (record.stat().st_mtime - (UNUSED_DAYS + 1) * 86400,) * 2)
    local_folder(clinic.uri)
    assert not copy.exists()
    assert not record.exists()
    for key in list(clinic.keys()):
        clinic.delete(key)
    with pytest.raises(DataError, match="There are no objects below"):
        local_folder(clinic.uri)
    assert not folder.exists()


def test_copies_of_faces_and_features_go_when_they_are_not_used_for_weeks(clinic: Store) -> None:
    def rows(number: int) -> Rows:
        draft = Draft(clinic, "faces", {"number": number}, {}, {"test": 1})
        draft.write("faces.npy", array_bytes(np.full((2, 2), number)))
        return Rows(draft.publish({}), "faces")

    def copy_aged(days: int) -> Path:
        (path,) = (cache_folder() / "rows").iterdir()
        os.utime(path, (path.stat().st_mtime - days * 86400,) * 2)
        return path

    rows(1)[[0]]
    first = copy_aged(UNUSED_DAYS + 1)
    rows(2)[[0]]
    second = copy_aged(UNUSED_DAYS - 1)
    assert not first.exists()
    rows(2)[[1]]
    assert second.stat().st_mtime > time.time() - 60, "a use counts"
