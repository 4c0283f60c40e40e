"""`comface convert`: safetensors and provenance, once, whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from weight_files import GOLDEN, stylegan1_state, torch_file

from comface.cli import main
from comface.errors import ConfigurationError, DataError
from comface.generators.conversion import convert
from comface.generators.registry import load_generator
from comface.weights.container import read_container

SOURCE = GOLDEN / "sg3r_tiny_nvpkl_old.pkl"


def test_a_converted_file_renders_what_the_original_renders(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "stylegan3.safetensors"
    convert(SOURCE, output)
    original, converted = load_generator("stylegan3", SOURCE), load_generator("stylegan3", output)
    w_ND = original.latents([1, 2])
    np.testing.assert_array_equal(converted.render(w_ND).numpy(), original.render(w_ND).numpy())


def test_provenance_names_source_kind_architecture_and_licence(tmp_path: Path) -> None:
    output = tmp_path / "out.safetensors"
    facts = convert(SOURCE, output, "for research only")
    stored = json.loads((tmp_path / "out.safetensors.json").read_text())
    assert stored == json.loads(json.dumps(facts))
    assert stored["source_sha256"] == hashlib.sha256(SOURCE.read_bytes()).hexdigest()
    assert stored["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert (stored["family"], stored["licence"], stored["image_size_px"]) == ("stylegan3", "for research only", 64)
    assert (stored["architecture"]["radial"], stored["architecture"]["kernel"]) == (True, 1)
    again = read_container(output)
    assert (again.licence, again.kind) == ("for research only", "NVIDIA pickle (PyTorch), names of NVIDIA")
    state = load_file(output)
    assert all(np.array_equal(state[name], array) for name, array in read_container(SOURCE).arrays.items())


def test_converting_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first = convert(SOURCE, tmp_path / "a.safetensors")
    convert(SOURCE, tmp_path / "a.safetensors")
    assert convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors")["source_sha256"] == first["source_sha256"]
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_changed_file_is_refused_by_its_provenance(tmp_path: Path) -> None:
    output = tmp_path / "out.safetensors"
    convert(SOURCE, output)
    content = bytearray(output.read_bytes())
    content[-1] ^= 1
    output.write_bytes(content)
    with pytest.raises(DataError, match=r"not the file that its provenance out\.safetensors\.json describes"):
        load_generator("stylegan3", output)


def test_what_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pth"
    broken.write_bytes(torch_file(stylegan1_state(), zipped=True)[:-200])
    with pytest.raises(DataError, match=r"broken\.pth was refused"):
        convert(broken, tmp_path / "out.safetensors")
    with pytest.raises(ConfigurationError, match=r"does not end in \.safetensors"):
        convert(SOURCE, tmp_path / "out.pkl")
    assert [path.name for path in tmp_path.iterdir()] == ["broken.pth"]


def test_another_file_is_never_overwritten(tmp_path: Path) -> None:
    output = tmp_path / "out.safetensors"
    output.write_bytes(b"mine")
    with pytest.raises(ConfigurationError, match="already exists with other content"):
        convert(SOURCE, output)
    assert output.read_bytes() == b"mine"


def test_the_command_converts_and_renders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "v1.safetensors"
    assert main(["convert", str(GOLDEN / "sg1_tiny_tfpkl_old.pkl"), "--output", str(output), "--licence", "CC"]) == 0
    assert "v1.safetensors: stylegan, 128 px" in capsys.readouterr().out
    np.save(tmp_path / "n.npy", np.ones((1, 32)))
    options = ["--generator", "stylegan", "--weights", str(output), "--seeds", "0-1", "--direction"]
    raw = tmp_path / "raw.npy"
    arguments = ["render", *options, str(tmp_path / "n.npy"), "--alphas=0,1", "--psi", "0.5", "--output", str(raw)]
    assert main(arguments) == 0
    images_NCHW = np.load(raw)
    faces = load_generator("stylegan", output)
    wanted = faces.render(faces.truncate(faces.latents([0, 1]), 0.5)).numpy()
    assert (images_NCHW.shape, images_NCHW.dtype) == ((4, 3, 128, 128), np.float32)
    np.testing.assert_allclose(images_NCHW[::2], wanted, atol=1e-4)
    np.save(tmp_path / "n.npy", np.ones((1, 512)))
    assert main(arguments) == 65
