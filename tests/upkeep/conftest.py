"""A clinic in each kind of store."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clinic import Clinic, build_clinic
from moto_versioning import set_versioning

from comface.store import FileStore, Store, open_store


@pytest.fixture(params=["file", "versioned"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A folder, and a bucket that keeps versions."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    if request.param == "file":
        yield FileStore(tmp_path / "store")
        return
    environment = request.getfixturevalue("s3_environment")
    set_versioning("comface", "Enabled")
    yield open_store(f"s3://comface/{uuid.uuid4().hex}", environment)
    set_versioning("comface", "Suspended")


@pytest.fixture
def clinic(store: Store) -> Clinic:
    return build_clinic(store)


@pytest.fixture
def folder_clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clinic:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    return build_clinic(FileStore(tmp_path / "store"))


@pytest.fixture
def everything() -> Callable[[Store], list[bytes]]:
    """All bytes that a store still has: names and content, also of earlier versions and of temporary files."""

    def read(store: Store) -> list[bytes]:
        if isinstance(store, FileStore):
            files = [path for path in store.root.rglob("*") if path.is_file()]
            return [path.as_posix().encode() + path.read_bytes() for path in files]
        found = store.client.list_objects(store.bucket, prefix=f"{store.prefix}/", recursive=True, include_version=True)
        read = []
        for each in found:
            if not each.is_delete_marker:
                answer = store.client.get_object(store.bucket, each.object_name, version_id=each.version_id)
                read.append(each.object_name.encode() + answer.data)
                answer.close()
        return read

    return read
