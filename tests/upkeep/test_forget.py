"""`comface forget`: nothing of a person is left in a store, and what is gone is not called damaged."""

from __future__ import annotations

import io
import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import pytest
from clinic import FACE, OTHER, PERSON, Clinic, R, array, faces_of

from comface.artifacts.manifest import Draft, open_artifact
from comface.artifacts.removal import RemovedError, refuse_forgotten
from comface.cli import main
from comface.datasets.place import fingerprint
from comface.errors import ConfigurationError, DataError
from comface.models.verification import verification
from comface.runtime.folders import cache_folder
from comface.store import FileStore, Store
from comface.upkeep import forget as forgetting
from comface.upkeep.forget import find_person, forget
from comface.upkeep.told import told

TODAY = date(2026, 3, 2)
Everything = Callable[[Store], list[bytes]]


def removed(store: Store, called: str = PERSON) -> None:
    forget(store, called, find_person(store, called), TODAY)


def traces(data: list[bytes]) -> list[bytes]:
    return [each[:80] for each in data if PERSON.encode() in each or FACE in each]


def test_no_byte_of_the_person_is_left_and_the_other_data_set_is_untouched(
    clinic: Clinic, everything: Everything
) -> None:
    store = clinic.store
    store.write("faces/0123456789abcdef0123/faces-00000.npy", array(FACE))  # deleted before, without its versions
    store.delete("faces/0123456789abcdef0123/faces-00000.npy")
    started = Draft(store, "faces", {"dataset": "unfinished"}, {}, R)
    started.write_json("rows-00000.json", {"found": [0], "rows": [{"subject": PERSON}]})
    started.write("faces-00000.npy", array(FACE))
    Draft(store, "features", {"unfinished": 1}, {}, R).write("features-00000.npy", array(FACE))
    kept = set(store.keys(clinic.other.address)) | set(store.keys(clinic.models[1].address))
    assert len(traces(everything(store))) >= 6
    removed(store)
    assert traces(everything(store)) == []
    assert kept <= set(store.keys())
    with pytest.raises(RemovedError, match="was removed on request on 2026-03-02"):
        open_artifact(clinic.faces.pinned).read("faces-00000.npy")
    assert open_artifact(clinic.transfer.pinned).read("head.safetensors") == b"head"


def test_a_person_is_found_however_the_id_is_written(clinic: Clinic, everything: Everything) -> None:
    removed(clinic.store, PERSON.upper())
    assert traces(everything(clinic.store)) == []


def test_a_data_set_or_a_store_that_is_not_there_is_no_all_clear(folder_clinic: Clinic, tmp_path: Path) -> None:
    store = folder_clinic.store
    with pytest.raises(ConfigurationError, match=r"has no data set 'nix'; its data sets: "):
        find_person(store, PERSON, "nix")
    assert main(["forget", PERSON, "--dataset", "nix", "--store", store.uri, "--yes"]) == 64
    with pytest.raises(ConfigurationError, match="is empty; give the store of the runs with --store"):
        find_person(FileStore(tmp_path / "stroe"), PERSON)


def test_verify_says_removed_on_request_and_not_damaged(clinic: Clinic) -> None:
    removed(clinic.store)
    lines = list(verification(clinic.store, "comface@v2", ""))
    assert sum("removed on request on 2026-03-02)" in line for line in lines) == 4
    assert lines[-1].endswith("all hashes match; removed on purpose, in whole or in part: 4 artifacts")
    clinic.store.delete(f"{clinic.other.address}/{clinic.other.key('photos.json')}")
    with pytest.raises(DataError, match="run the step that makes it"):
        list(verification(clinic.store, "comface@v2", ""))


def test_the_models_that_saw_the_person_are_listed_and_stay(folder_clinic: Clinic) -> None:
    found = find_person(folder_clinic.store, PERSON)
    assert found.models == ["comface@v2"]
    text = "\n".join(told(found))
    assert "delete the photos and rows of this person from the data set 'edema-a' at s3://elsewhere/set" in text
    assert PERSON not in text
    removed(folder_clinic.store)
    assert folder_clinic.models[1].read("config.json") == b"{}"


def test_a_second_time_there_is_nothing_to_do_and_the_record_has_no_name(folder_clinic: Clinic) -> None:
    store = folder_clinic.store
    removed(store)
    before = sorted(store.keys())
    found = find_person(store, PERSON)
    assert list(told(found)) == ["The store has no data of this person."]
    forget(store, PERSON, found, TODAY)
    assert sorted(store.keys()) == before
    (record,) = [key for key in before if key.startswith("removals/") and key.endswith(".json")]
    values = json.loads(store.read(record))
    assert (values["at"], values["datasets"], values["complete"]) == ("2026-03-02", ["edema-a"], True)
    assert PERSON not in record + store.read(record).decode()


def test_whatever_ends_a_removal_the_same_command_completes_it(
    folder_clinic: Clinic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, everything: Everything
) -> None:
    """It is stopped before each removal of an object, and once after the last."""
    whole, real = Path(folder_clinic.store.uri.removeprefix("file://")), forgetting.erase
    found = find_person(folder_clinic.store, PERSON)
    steps = sum(len(found.goes(each)) for each in found.targets)
    assert steps > 5
    for stop in range(steps + 1):
        store = FileStore(tmp_path / f"copy-{stop}")
        shutil.copytree(whole, store.root)
        done = itertools.count()

        def erase(where: Store, key: str, done: Iterator[int] = done, stop: int = stop) -> None:
            if next(done) == stop:
                raise KeyboardInterrupt
            real(where, key)

        monkeypatch.setattr(forgetting, "erase", erase)
        monkeypatch.setattr(forgetting, "erase_history", erase)
        with pytest.raises(KeyboardInterrupt):
            removed(store)
        monkeypatch.setattr(forgetting, "erase", real)
        monkeypatch.setattr(forgetting, "erase_history", lambda *_: 0)
        found = find_person(store, PERSON)
        assert found.targets or found.interrupted
        forget(store, PERSON, found, TODAY)
        assert traces(everything(store)) == []
        assert not find_person(store, PERSON).interrupted


def test_only_the_named_data_set_is_touched(folder_clinic: Clinic) -> None:
    again = faces_of(folder_clinic.store, "edema-b", [PERSON])
    forget(folder_clinic.store, PERSON, find_person(folder_clinic.store, PERSON, "edema-b"), TODAY)
    assert find_person(folder_clinic.store, PERSON).datasets.keys() == {"edema-a"}
    with pytest.raises(RemovedError):
        again.read("photos.json")


def test_a_data_set_that_still_has_the_person_is_refused_without_the_name(folder_clinic: Clinic) -> None:
    refuse_forgotten(folder_clinic.store, "edema-a", [PERSON], "s3://a/b")
    removed(folder_clinic.store)
    refuse_forgotten(folder_clinic.store, "edema-a", [OTHER], "s3://a/b")
    refuse_forgotten(folder_clinic.store, "edema-b", [PERSON], "s3://a/b")
    with pytest.raises(DataError, match="still has photos of 1 person whose data were removed") as error:
        refuse_forgotten(folder_clinic.store, "edema-a", [PERSON, OTHER], "s3://a/b")
    assert PERSON not in str(error.value)


def test_a_rehearsal_goes_with_its_manifest_because_file_names_name_people(
    folder_clinic: Clinic, everything: Everything
) -> None:
    store = folder_clinic.store
    made = Draft(store, "dataset", {"dataset": "edema-c"}, {}, R)
    made.write(f"{PERSON}/000.jpg", FACE)
    source = made.publish({"rehearsal": True})
    draft = Draft(store, "faces", {"dataset": "edema-c"}, {"dataset": source}, R)
    draft.write_json("photos.json", [{"subject": PERSON}])
    draft.publish({"dataset": "edema-c", "source": source.uri})
    removed(store)
    assert list(store.keys(source.address)) == [f"{source.address}/removed.json"]
    assert not [each for each in everything(store) if PERSON.encode() in each]


def test_local_copies_go(folder_clinic: Clinic) -> None:
    entry = folder_clinic.faces.manifest.objects["faces-00000.npy"]
    rows = cache_folder() / "rows"
    rows.mkdir(parents=True)
    (rows / f"{entry.sha256[:32]}-faces-00000.npy").write_bytes(FACE)
    (rows / "0123-faces-00000.npy").write_bytes(b"other")
    removed(folder_clinic.store)
    assert [path.name for path in rows.iterdir()] == ["0123-faces-00000.npy"]


def test_the_command_never_says_the_name_and_asks_first(
    folder_clinic: Clinic, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = ("--store", folder_clinic.store.uri)
    before = sorted(folder_clinic.store.keys())
    assert main(["forget", PERSON, "--dry-run", *place]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["forget", PERSON, *place]) == 64
    assert sorted(folder_clinic.store.keys()) == before, "a look leaves no trace"
    assert main(["forget", "-", "--yes", *place]) == 64, "no id"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PERSON}\n"))
    assert main(["--verbose", "forget", "-", "--yes", *place]) == 0
    assert main(["forget", PERSON, "--yes", *place]) == 0
    said = capfd.readouterr()
    assert "Models that saw this person:\n  comface@v2" in said.out
    assert "The store has no data of this person." in said.out
    assert PERSON not in said.out + said.err


def test_a_key_that_may_not_remove_versions_is_told_which_right_it_lacks(
    s3_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from comface.store import open_store, upkeep

    store = open_store("s3://comface/a", s3_environment)

    def refuse(*_: object, **__: object) -> None:
        raise ConfigurationError("The store s3://comface/a refused the access key (AccessDenied); check it.")

    monkeypatch.setattr(type(store), "versioning", lambda _: "Enabled")
    monkeypatch.setattr(type(store), "_call", refuse)
    with pytest.raises(ConfigurationError, match="run again with a key that has s3:ListBucketVersions"):
        upkeep.erase(store, "faces/x")


def test_a_data_set_that_lacks_the_person_since_is_no_error(folder_clinic: Clinic, tmp_path: Path) -> None:
    """Without a removal it is one: the data set is not the one that was used."""
    store, source = folder_clinic.store, tmp_path / "clinic"
    source.mkdir()
    (source / "weights.csv").write_text("patient,weight")
    config = {"dataset": "edema-d", "fingerprint": fingerprint(source)}
    draft = Draft(store, "faces", config, {}, R)
    draft.write_json("photos.json", [{"subject": PERSON}])
    faces = draft.publish({"dataset": "edema-d", "source": source.as_uri()})
    (source / "weights.csv").write_text("patient")
    with pytest.raises(DataError, match="The data set 'edema-d' has changed"):
        list(verification(store, faces.uri, ""))
    removed(store)
    assert f"The data set 'edema-d': CHANGED ({source.as_uri()})" in list(verification(store, faces.uri, ""))
