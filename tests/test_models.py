"""Fetched models: hashed where they are opened, and a changed one is one sentence that says how to replace it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from comface.doctor.places import place_checks
from comface.doctor.rows import Row, answer
from comface.errors import ConfigurationError, DataError
from comface.plan.configuration import RunConfig, resolve
from comface.plan.missing import missing_models
from comface.weights.fetched import (
    ALL,
    DCGAN,
    LANDMARKS,
    PACKAGED,
    available,
    model_digest,
    model_path,
    models_folder,
    provenance_path,
)
from comface.weights.wheels import WHEELS

CHANGED = "is not the file that was fetched (its sha256 is not that of"


def fill(folder: Path) -> None:
    for name in ALL:
        fill_one(folder, name)


def fill_one(folder: Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(name.encode())
    facts = {"sha256": hashlib.sha256(name.encode()).hexdigest(), "licence": "none"}
    provenance_path(folder / name).write_text(json.dumps(facts))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_model_is_given_with_the_hash_of_the_file_that_is_used(tmp_path: Path) -> None:
    fill(tmp_path)
    path, sha256 = model_digest(DCGAN, tmp_path)
    assert (path, sha256) == (tmp_path / DCGAN, hashlib.sha256(path.read_bytes()).hexdigest())
    assert model_path(LANDMARKS, tmp_path) == tmp_path / LANDMARKS


@pytest.mark.parametrize("name", ALL)
def test_every_flipped_bit_is_found_before_use(name: str, tmp_path: Path) -> None:
    fill(tmp_path)
    model_digest(name, tmp_path)
    original = (tmp_path / name).read_bytes()
    for bit in range(8 * len(original)):
        content = bytearray(original)
        content[bit // 8] ^= 1 << bit % 8
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="run `comface fetch`, which replaces it"):
            model_digest(name, tmp_path)
    (tmp_path / name).write_bytes(original)
    assert model_path(name, tmp_path)


def test_the_face_model_of_the_package_is_used_where_nothing_was_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comface.weights.fetched.models_folder", lambda: tmp_path / "share")
    pinned = {file.name: wheel.package for wheel in WHEELS for file in wheel.files}
    facts = json.loads(provenance_path(PACKAGED / LANDMARKS).read_text())
    assert (available(), model_path(LANDMARKS)) == ((LANDMARKS,), PACKAGED / LANDMARKS)
    assert (facts["package"], facts["licence"]) == (pinned[LANDMARKS], "CC0-1.0 (Davis E. King)")
    shutil.copytree(PACKAGED, tmp_path / "packaged")
    flip(tmp_path / "packaged" / LANDMARKS)
    monkeypatch.setattr("comface.weights.fetched.PACKAGED", tmp_path / "packaged")
    with pytest.raises(DataError, match="is not the file that was fetched"):
        model_path(LANDMARKS)
    fill_one(tmp_path / "share", LANDMARKS)
    assert model_path(LANDMARKS) == tmp_path / "share" / LANDMARKS, "what was fetched comes first"


def test_a_model_is_hashed_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    model_digest(DCGAN, tmp_path)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("it was hashed again"))
    assert model_digest(DCGAN, tmp_path)[0] == tmp_path / DCGAN


def test_a_model_without_provenance_or_that_is_none_is_not_used(tmp_path: Path) -> None:
    fill(tmp_path)
    provenance_path(tmp_path / DCGAN).unlink()
    with pytest.raises(DataError, match="is not the file that was fetched"):
        model_path(DCGAN, tmp_path)
    (tmp_path / LANDMARKS).unlink()
    os.mkfifo(tmp_path / LANDMARKS)
    with pytest.raises(ConfigurationError, match="run `make setup` or `comface fetch`"):
        model_path(LANDMARKS, tmp_path)


def embedded_row(config: RunConfig) -> Row:
    return next(answer(check)[0] for check in place_checks(config) if check.name == "embedded models")


@pytest.mark.parametrize("name", ALL)
def test_resolve_and_doctor_say_so(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    monkeypatch.setattr("comface.weights.fetched.models_folder", lambda: tmp_path)
    config = resolve("laptop")
    assert missing_models() == set()
    assert embedded_row(config).state == "ok"
    flip(tmp_path / name)
    with pytest.raises(DataError):
        missing_models()
    row = embedded_row(config)
    assert row.state == "red"
    assert f"'{name}'" in row.found
    assert CHANGED in row.found
    assert "`comface fetch`" in row.todo


@pytest.mark.skipif(DCGAN not in available(), reason="the published weights have not been fetched")
def test_a_changed_generator_ends_a_command_with_65(tmp_path: Path) -> None:
    folder = tmp_path / "share" / "comface"
    folder.mkdir(parents=True)
    for name in (DCGAN, provenance_path(Path(DCGAN)).name):
        (folder / name).write_bytes((models_folder() / name).read_bytes())
    flip(folder / DCGAN)
    program = (
        f"import sys; sys.prefix = {str(tmp_path)!r}; from comface.cli import main; "
        "sys.exit(main(['render', '--generator', 'dcgan', '--seeds', '1', '--output', 'a.png']))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (65, "")
    assert "The model 'dcgan.safetensors' in" in done.stderr
    assert CHANGED in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "a.png").exists()
