"""`comface render` and `comface directions list` with StyleGANs: the catalogue's edits, options, and every sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from weights_location import GOLDEN, WIDTH, fill, put

from comface.cli import main
from comface.directions.edits import make_edit, swept
from comface.generators.registry import load_generator
from comface.store import FileStore, open_store


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with converted weights and, below it, the directions."""
    store = FileStore(tmp_path_factory.mktemp("weights"))
    fill(store)
    return store.root


def rendered(tmp_path: Path, weights: Path, generator: str, *options: str) -> np.ndarray:
    output = tmp_path / "raw.npy"
    words = ["--generator", generator, "--weights", str(weights / f"{generator}.safetensors"), "--seeds", "3"]
    assert main(["render", *words, "--alphas=-5,3", *options, "--output", str(output)]) == 0
    return np.load(output)


def unit(weights: Path, name: str) -> torch.Tensor:
    n_1D = torch.from_numpy(np.load(weights / f"directions/{name}.npy"))
    return n_1D / n_1D.norm()


def wanted(weights: Path, generator: str, n_1D: torch.Tensor, **options: object) -> np.ndarray:
    faces = load_generator(generator, weights / f"{generator}.safetensors")
    change = make_edit(faces, n_1D, "direction", **options)
    return faces.render(swept(faces, [3], change, (-5, 3), 0.7)[0]).numpy()


def test_an_attribute_is_edited_as_the_catalogue_says(tmp_path: Path, weights: Path) -> None:
    smile = unit(weights, "stylegan/stylegan_ffhq_smile_w_boundary")
    found = rendered(tmp_path, weights, "stylegan", "--attribute", "smile")
    np.testing.assert_allclose(found, wanted(weights, "stylegan", smile, truncate="before"), atol=1e-4)
    weight = torch.from_numpy(np.load(weights / "directions/stylegan/weight_orth_mouth.npy"))
    found = rendered(tmp_path, weights, "stylegan", "--attribute", "weight")
    np.testing.assert_allclose(found, wanted(weights, "stylegan", weight, layers=range(8)), atol=1e-4)
    hat = unit(weights, "stylegan3/Wearing_Hat_boundary")
    for spelling in ("wearing-hat", "Wearing_Hat"):
        found = rendered(tmp_path, weights, "stylegan3", "--attribute", spelling)
        np.testing.assert_allclose(found, wanted(weights, "stylegan3", hat), atol=1e-4)


def test_options_change_how_an_attribute_is_edited(tmp_path: Path, weights: Path) -> None:
    smile = unit(weights, "stylegan/stylegan_ffhq_smile_w_boundary")
    found = rendered(tmp_path, weights, "stylegan", "--attribute", "smile", "--truncate", "after")
    np.testing.assert_allclose(found, wanted(weights, "stylegan", smile), atol=1e-4)
    found = rendered(tmp_path, weights, "stylegan", "--attribute", "smile", "--layers", "0-3,6", "--truncate", "after")
    np.testing.assert_allclose(found, wanted(weights, "stylegan", smile, layers=(0, 1, 2, 3, 6)), atol=1e-4)
    found = rendered(tmp_path, weights, "stylegan", "--attribute", "smile", "--space", "Z")
    np.testing.assert_allclose(found, wanted(weights, "stylegan", smile, space="Z"), atol=1e-4)


def test_a_direction_file_is_edited_in_every_space(tmp_path: Path, weights: Path) -> None:
    n_1D = torch.randn(1, WIDTH, generator=torch.Generator().manual_seed(1))
    path = tmp_path / "n.npy"
    np.save(path, n_1D.numpy().astype(np.float64))
    for options in ({"space": "Z"}, {"space": "W"}, {"space": "W+"}, {"truncate": "before"}):
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        found = rendered(tmp_path, weights, "stylegan3", "--direction", str(path), *words)
        np.testing.assert_allclose(found, wanted(weights, "stylegan3", n_1D, **options), atol=1e-4)


def test_stylegan3_is_posed_as_published(tmp_path: Path, weights: Path) -> None:
    with np.load(GOLDEN / "sg3t_tiny.npz") as golden:
        np.save(tmp_path / "w.npy", golden["out/w_psi07"][:1])
        images = {
            "--pseudo-align": golden["out/img_psi07_pseudo_aligned"],
            "--transform": golden["out/img_psi07_transform"],
        }
    for option, reference in images.items():
        words = ["--pseudo-align"] if option == "--pseudo-align" else ["--transform=15,0.1,-0.2"]
        given = ["--generator", "stylegan3", "--weights", str(weights / "stylegan3.safetensors"), *words]
        output = tmp_path / "posed.npy"
        assert main(["render", *given, "--latents", str(tmp_path / "w.npy"), "--output", str(output)]) == 0
        assert np.abs(np.load(output) - reference).max() <= 2e-4 * np.abs(reference).max()


@pytest.mark.parametrize(
    ("generator", "options", "code", "sentence"),
    [
        ("stylegan", ["--attribute", "wings"], 64, "'wings' of 'stylegan' (wings.npy) is not in"),
        ("stylegan3", ["--attribute", "weight"], 64, "'weight' of 'stylegan3' (weight.npy) is not in"),
        ("stylegan", ["--direction", "Smiling_boundary.npy"], 64, "is a direction of 'stylegan3', not of 'stylegan'"),
        ("stylegan", ["--attribute", "smile", "--space", "Z", "--truncate", "after"], 64, "comes before truncation"),
        ("stylegan", ["--attribute", "smile", "--space", "Z", "--layers", "0-3"], 64, "An edit in Z has no layers"),
        ("stylegan", ["--attribute", "smile", "--layers", "0-12"], 64, "not among 0 to 11"),
        ("stylegan", ["--pseudo-align"], 64, "Only StyleGAN3 supports"),
        ("stylegan", ["--transform", "5,0,0"], 64, "Only StyleGAN3 supports"),
        ("stylegan3", ["--transform", "5,0"], 64, "is not three numbers (degrees, x, y)"),
        ("stylegan3", ["--transform", "nan,0,0"], 64, "is not three numbers (degrees, x, y)"),
        ("stylegan", ["--attribute", "smile", "--psi", "1.5"], 64, "psi = 1.5 is not in (0, 1]"),
    ],
)
def test_what_cannot_be_rendered_is_said(
    tmp_path: Path,
    weights: Path,
    capsys: pytest.CaptureFixture[str],
    generator: str,
    options: list[str],
    code: int,
    sentence: str,
) -> None:
    words = ["--generator", generator, "--weights", str(weights / f"{generator}.safetensors"), "--seeds", "0"]
    assert main(["render", *words, *options, "--output", str(tmp_path / "out.png")]) == code
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("options", [["--space", "Z"], ["--truncate", "before"]])
def test_latents_are_of_w_and_not_truncated(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    np.save(tmp_path / "w.npy", np.ones((1, WIDTH)))
    words = ["--generator", "stylegan", "--weights", str(weights / "stylegan.safetensors"), "--attribute", "smile"]
    given = ["--latents", str(tmp_path / "w.npy"), "--output", str(tmp_path / "out.png")]
    assert main(["render", *words, *given, *options]) == 64
    assert "Latents are in W and are not truncated" in capsys.readouterr().err


# List


def test_the_list_shows_the_catalogue_and_what_a_location_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FileStore(tmp_path)
    fill(store, without=("Bald_boundary.npy", "stylegan.safetensors", "stylegan.safetensors.json"))
    put(store, "elsewhere/weight_orth_mouth.npy", np.ones((1, WIDTH)))
    assert main(["directions", "list", "--weights", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("stylegan")]) == 45
    assert [line.split()[:2] for line in lines if line.endswith("MISSING")] == [
        ["stylegan", "(weights)"],
        ["stylegan3", "bald"],
    ]
    assert lines[-1] == "2 of 45 files are missing"
    (weight,) = [line for line in lines if line.startswith("stylegan   weight")]
    assert "0-7" in weight
    assert "as is" in weight
    assert weight.endswith("directions/stylegan/weight_orth_mouth.npy")


def test_the_list_as_json_names_key_and_use(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["directions", "list", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert "smile" in told["procedural"]
    entries = {(record["generator"], record["attribute"]): record for record in told["published"]}
    assert entries["stylegan", "weight"]["layers"] == [0, 7]
    assert {record["key"] for record in told["published"]} == {None}
    assert main(["directions", "list", "--json", "--weights", tmp_path.as_uri()]) == 0
    assert {record["key"] for record in json.loads(capsys.readouterr().out)["published"]} == {""}


def test_the_list_looks_into_a_bucket(s3_environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    put(open_store("s3://comface/weights-list"), "stylegan3/Bald_boundary.npy", np.ones((1, WIDTH)))
    assert main(["directions", "list", "--weights", "s3://comface/weights-list"]) == 0
    assert "44 of 45 files are missing" in capsys.readouterr().out


def test_interfacegans_direction_of_z_is_used_in_z(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = Path(__file__).parents[1] / "data/cases/weights/stylegan_ffhq_age_boundary.npy"
    n_1D = torch.from_numpy(np.load(case)).float()
    found = rendered(tmp_path, weights, "stylegan", "--direction", str(case))
    assert "is a direction in Z by its name, so it is used in Z; use --space to change this" in capsys.readouterr().err
    np.testing.assert_allclose(found, wanted(weights, "stylegan", n_1D, space="Z"), atol=1e-4)
    in_w = rendered(tmp_path, weights, "stylegan", "--direction", str(case), "--space", "W")
    np.testing.assert_allclose(in_w, wanted(weights, "stylegan", n_1D), atol=1e-4)
    assert np.abs(in_w - found).max() > 1e-2
    words = [
        "--generator",
        "stylegan",
        "--weights",
        str(weights / "stylegan.safetensors"),
        "--output",
        str(tmp_path / "a.npy"),
    ]
    np.save(tmp_path / "w.npy", np.ones((1, WIDTH)))
    assert main(["render", *words, "--latents", str(tmp_path / "w.npy"), "--direction", str(case)]) == 64
    for other in ("pggan_celebahq_age_boundary.npy", "stylegan_celebahq_age_w_boundary.npy"):
        (tmp_path / other).write_bytes(case.read_bytes())
        assert main(["render", *words, "--seeds", "1", "--direction", str(tmp_path / other)]) == 64
        assert f"'{other}' belongs to {' '.join(other.split('_')[:2])}" in " ".join(capsys.readouterr().err.split())


def test_a_condition_of_z_does_not_go_with_latents_of_w(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "latents.npy", rng.standard_normal((40, WIDTH)))
    np.save(tmp_path / "scores.npy", rng.standard_normal(40))
    (tmp_path / "sample.json").write_text('{"generator": "stylegan"}')
    case = Path(__file__).parents[1] / "data/cases/weights/stylegan_ffhq_age_boundary.npy"
    words = ["--latents", str(tmp_path / "latents.npy"), "--scores", str(tmp_path / "scores.npy"), "--fraction", "0.3"]
    output = tmp_path / "n.npy"
    assert main(["directions", "fit", *words, "--condition", str(case), "--output", str(output)]) == 64
    assert "is a direction of Z by its name, but the latents are of W" in " ".join(capsys.readouterr().err.split())
    renamed = tmp_path / "stylegan_ffhq_age_w_boundary.npy"
    renamed.write_bytes(case.read_bytes())
    assert main(["directions", "fit", *words, "--condition", str(renamed), "--output", str(output)]) == 0
