"""`comface artifacts`: what is needed stays, whatever else a store holds; a copy of a store is as good as the store."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
from clinic import Clinic, R, copied, faces_of

from comface.artifacts.manifest import Draft, open_artifact
from comface.artifacts.plans import hand_on
from comface.cli import main
from comface.errors import ConfigurationError, DataError
from comface.models.registry import Registry
from comface.models.verification import verification
from comface.store import FileStore, Store, open_store
from comface.store.upkeep import entries, erase_history, remnants
from comface.upkeep.cleaning import clean, find_waste, listed
from comface.upkeep.rules import bucket_rules

TODAY = datetime(2026, 3, 2, tzinfo=UTC).date()
LATER = 40 * 86400.0


def cleaned(store: Store, days: float = 30, inputs_of: str = "", after_s: float = LATER) -> list[str]:
    waste = find_waste(store, time.time() + after_s, days, inputs_of)
    clean(store, waste, TODAY)
    return [folder.address for folder in (*waste.folders, *waste.inputs)]


def test_what_a_registered_model_or_a_recent_run_names_stays_and_the_rest_goes(clinic: Clinic) -> None:
    store = clinic.store
    alone = faces_of(store, "age", ["s1"])
    unfinished = Draft(store, "backbone", {"of": "a training that nobody resumes"}, {}, R)
    unfinished.write("checkpoints/00001.bin", b"checkpoint")
    assert cleaned(store, after_s=0) == [], "all is young"
    assert sorted(cleaned(store)) == sorted([alone.address, "/".join(unfinished.uri.split("/")[-2:])])
    assert list(verification(store, "comface@v1", ""))[-1].endswith("all hashes match")
    assert list(verification(store, "comface@v2", ""))[-1].endswith("all hashes match")


def test_a_running_run_keeps_what_its_records_name(folder_clinic: Clinic) -> None:
    """The artifacts are old; the run has just written a record."""
    store = folder_clinic.store
    faces = faces_of(store, "age", ["s1"])
    features = Draft(store, "features", {}, {"faces": faces}, R).publish({})
    hand_on(store, "run-7", features)
    old = time.time() - LATER
    for path in Path(store.uri.removeprefix("file://")).rglob("*"):
        if "plans" not in path.parts:
            os.utime(path, (old, old))
    assert cleaned(store, after_s=0) == []
    assert sorted(cleaned(store)) == sorted([faces.address, features.address])
    assert not list(store.keys("plans"))


def test_inputs_of_models_go_only_if_asked_and_a_champions_last(folder_clinic: Clinic) -> None:
    store = folder_clinic.store
    Registry(store, "comface").promote(1, datetime.now(UTC))
    assert cleaned(store) == []
    gone = cleaned(store, inputs_of="old")
    assert folder_clinic.faces.address in gone
    assert folder_clinic.other.address not in gone
    assert list(verification(store, "comface@v1", ""))[-1].endswith("all hashes match")
    lines = list(verification(store, "comface@v2", ""))
    assert f"removed by `comface artifacts clean` on 2026-03-02  {folder_clinic.faces.uri}" in lines
    with pytest.raises(DataError, match="run the step that makes it again"):
        open_artifact(folder_clinic.faces.uri)
    assert folder_clinic.other.address in cleaned(store, inputs_of="all")
    assert open_artifact(folder_clinic.models[0].pinned).read("config.json") == b"{}"
    assert faces_of(store, "edema-a", ["patient-017", "patient-018"]).pinned == folder_clinic.faces.pinned, "made again"
    assert list(verification(store, "comface@v2", ""))


def test_incomplete_writes_go_after_a_day(folder_clinic: Clinic) -> None:
    store = folder_clinic.store
    assert isinstance(store, FileStore)
    for name, age_s in (("old", 90000), ("new", 0)):
        path = store.root / "tracks" / f".writing-{name}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age_s,) * 2)
    cleaned(store, after_s=0)
    assert [path.name for path in (store.root / "tracks").iterdir()] == [".writing-new"]


def test_incomplete_uploads_of_a_bucket_go(s3_environment: dict[str, str]) -> None:
    store = open_store(f"s3://comface/{uuid.uuid4().hex}", s3_environment)
    store.client._create_multipart_upload(store.bucket, f"{store.prefix}/tracks/a.tar", {})
    (upload,) = remnants(store)
    assert upload.name == "tracks/a.tar"
    cleaned(store)  # moto gives every upload a date in 2010
    assert not list(remnants(store))
    assert erase_history(store, "faces") == 0


def test_the_list_says_size_age_and_which_model_needs_what(
    folder_clinic: Clinic, capsys: pytest.CaptureFixture[str]
) -> None:
    Registry(folder_clinic.store, "comface").promote(1, datetime.now(UTC))
    rows = {row.artifact: row for row in listed(folder_clinic.store, time.time() + 86400)}
    faces = rows[folder_clinic.faces.address]
    assert (faces.kind, faces.state, faces.needed_by, faces.used_by) == ("faces", "finished", ("comface@v2",), 3)
    assert faces.size_bytes == sum(each.size_bytes for each in entries(folder_clinic.store, faces.artifact).values())
    assert 0.9 < faces.age_days < 1.1
    assert rows[folder_clinic.other.address].needed_by == ("comface@v1 (champion)", "comface@v2")
    assert main(["artifacts", "list", "--kind", "faces", "--json", "--store", folder_clinic.store.uri]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2
    assert main(["artifacts", "clean", "--older-than", "0", "--inputs", "all", "--store", folder_clinic.store.uri]) == 0
    assert "Nothing was removed; give --yes" in capsys.readouterr().err
    assert set(rows) == {row.artifact for row in listed(folder_clinic.store, time.time())}


def test_rules_are_printed_and_set_on_a_bucket(
    s3_environment: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = open_store("s3://comface/artifacts", s3_environment)
    assert main(["artifacts", "rules", "--faces", "365", "--set-on-bucket", "--store", store.uri]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == bucket_rules(store, 365, 30, 7)
    found = store.client.get_bucket_lifecycle("comface")
    assert [(rule.rule_id, rule.rule_filter.prefix) for rule in found.rules] == [
        (rule["ID"], rule["Filter"]["Prefix"]) for rule in printed["Rules"]
    ]
    assert found.rules[3].expiration.days == 365
    with pytest.raises(ConfigurationError, match="is a folder, which has no rules"):
        bucket_rules(FileStore(tmp_path), 1, 1, 1)
    store.client.delete_bucket_lifecycle("comface")


def test_the_rules_of_minio_are_those_that_the_command_prints(s3_environment: dict[str, str]) -> None:
    shipped = Path(__file__).resolve().parents[2] / "k8s" / "minio" / "lifecycle.json"
    assert json.loads(shipped.read_text()) == bucket_rules(open_store("s3://comface", s3_environment), None, 30, 7)


def test_a_store_is_restored_from_a_copy_and_verifies_itself(
    clinic: Clinic, tmp_path: Path, s3_environment: dict[str, str]
) -> None:
    """Backup, loss, restore: a folder to a bucket, a bucket to a folder."""
    is_folder = isinstance(clinic.store, FileStore)
    place = f"s3://comface/{uuid.uuid4().hex}" if is_folder else (tmp_path / "backup").as_uri()
    backup, restored = open_store(place, s3_environment), FileStore(tmp_path / "restored")
    copied(clinic.store, backup)
    lines = list(verification(clinic.store, "comface@v2", ""))
    for key in list(clinic.store.keys()):
        clinic.store.delete(key)
    copied(backup, restored)
    assert len(list(verification(restored, "comface@v2", ""))) == len(lines)
    assert open_artifact(restored.child(clinic.models[1].address).uri, "model").sha256 == clinic.models[1].sha256
    (restored.root / clinic.other.address / "faces-00000.npy").unlink(missing_ok=True)
    for path in (restored.root / clinic.other.address).glob("faces-*"):
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)
    with pytest.raises(DataError):
        list(verification(restored, "comface@v2", ""))
