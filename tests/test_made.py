"""`made.json` says when, where and by which code an artifact was made, and changes no manifest."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from comface.artifacts import made
from comface.artifacts.made import Made, Source, read_made, source
from comface.artifacts.manifest import Artifact, Draft
from comface.store import FileStore


def published(folder: Path, processes: int = 1) -> Artifact:
    draft = Draft(FileStore(folder), "test", {"a": 1}, {}, {"test": 1})
    draft.write("data.txt", b"data")
    return draft.publish({}, processes=processes)


def test_every_artifact_says_how_it_was_made_and_its_manifest_does_not_depend_on_it(tmp_path: Path) -> None:
    first = published(tmp_path / "a")
    time.sleep(0.01)
    second = published(tmp_path / "b", processes=4)
    assert first.sha256 == second.sha256
    one, four = read_made(first.store), read_made(second.store)
    assert one is not None
    assert four is not None
    assert four.started > one.started
    assert abs(four.started - time.time()) < 60
    assert (one.processes, four.processes) == (1, 4)
    assert one.versions["comface"]
    assert one.cores > 0


def test_gpu_hours_count_every_process_and_nothing_without_a_gpu() -> None:
    values = {"started": 0, "seconds": 1800, "cpu": "", "cores": 8, "system": "", "source": Source(), "versions": {}}
    assert Made(processes=8, gpu="A100", **values).gpu_hours == 4
    assert Made(processes=8, gpu="", **values).gpu_hours == 0


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"started": 1}', b"\xff" * 100])
def test_a_record_that_is_absent_or_damaged_is_unknown(tmp_path: Path, content: bytes | None) -> None:
    artifact = published(tmp_path)
    artifact.store.delete("made.json")
    if content is not None:
        artifact.store.write("made.json", content)
    assert read_made(artifact.store) is None


def test_the_source_is_the_commit_and_says_if_files_were_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "checkout" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(made, "PACKAGE", package)
    monkeypatch.setattr(made, "IMAGE_REVISION", tmp_path / "none")

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        command = ["git", "-C", str(package), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    if shutil.which("git"):
        git("init", "-q")
        git("add", ".")
        git("commit", "-q", "-m", "first")
        source.cache_clear()
        assert source() == Source(commit=git("rev-parse", "HEAD"), modified=False)
        (package / "__init__.py").write_text("changed = True\n")
        source.cache_clear()
        assert source().modified is True
        shutil.rmtree(package / ".git")
    (tmp_path / "none").write_text("0123abc-modified\n")
    source.cache_clear()
    assert source() == Source(commit="0123abc", modified=True)
    source.cache_clear()
