"""Edits in Z, W and W+, before and after truncation, against the published tools' results and loops written here."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from weight_files import GOLDEN

from comface.artifacts.manifest import file_sha256
from comface.directions.edits import Edit, make_edit, pose, published_edit, read_direction, swept
from comface.directions.interfacegan import check_fitted_for, fitted_for
from comface.directions.published import Entry
from comface.errors import ComfaceError, ConfigurationError, DataError
from comface.generators.registry import load_generator
from comface.generators.stylegan.generator import StyleGanGenerator, z_of
from comface.weights.fetched import provenance_path

WIDTH, ROWS = 32, {"stylegan": 12, "stylegan3": 16}
FILES = {"stylegan": "sg1_tiny_tfpkl_old.pkl", "stylegan3": "sg3t_tiny_nvpkl_old.pkl"}
ALPHAS = (-5.0, 0.0, 3.0)
PSI = 0.7


@cache
def generator(name: str) -> StyleGanGenerator:
    return load_generator(name, GOLDEN / FILES[name])


def direction(rows: int = 1, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(seed))


def mean_w(faces: StyleGanGenerator) -> torch.Tensor:
    return faces.network.state_dict()["truncation.w_avg" if faces.name == "stylegan" else "mapping.w_avg"]


def slow(faces: StyleGanGenerator, seed: int, n_LD: torch.Tensor, alpha: float, before: bool) -> torch.Tensor:
    """(L,D), row by row: truncated are StyleGAN's first 8 rows, and every row of StyleGAN3."""
    mean, w = mean_w(faces), faces.mapped(torch.from_numpy(z_of(seed, WIDTH)))[0]
    rows = []
    for row in range(faces.layers):
        step = alpha * n_LD[row if len(n_LD) > 1 else 0]
        psi = PSI if faces.name != "stylegan" or row < 8 else 1.0
        rows.append(mean + psi * (w + step - mean) if before else mean + psi * (w - mean) + step)
    return torch.stack(rows)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("truncate", ["before", "after"])
@pytest.mark.parametrize("rows", [1, "all"])
def test_an_edit_before_and_after_truncation_is_what_a_loop_gives(name: str, truncate: str, rows: object) -> None:
    faces = generator(name)
    n_KD = direction(1 if rows == 1 else faces.layers)
    change = make_edit(faces, n_KD, "direction", truncate=truncate)
    found = swept(faces, [4, 5], change, ALPHAS, PSI)
    for i, seed in enumerate((4, 5)):
        for a, alpha in enumerate(ALPHAS):
            wanted = slow(faces, seed, n_KD, alpha, truncate == "before")
            got = found[i, a].expand(faces.layers, -1) if found.ndim == 3 else found[i, a]
            torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


def test_before_truncation_the_first_rows_of_stylegan_move_by_psi_alpha() -> None:
    faces, n_1D = generator("stylegan"), direction()
    before = swept(faces, [1], make_edit(faces, n_1D, "direction", "W", None, "before"), (0.0, 5.0), PSI)[0]
    moved = before[1] - before[0]
    torch.testing.assert_close(moved[:8], (PSI * 5 * n_1D).expand(8, -1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(moved[8:], (5 * n_1D).expand(4, -1), atol=1e-4, rtol=1e-4)


def test_published_interfacegan_edits_are_matched() -> None:
    """`-s W` and `-s WP` of the published tool, on its own latents."""
    with np.load(GOLDEN / "sg1_tiny.npz") as golden:
        w_ND, n_1D = torch.from_numpy(golden["out/w"]), torch.from_numpy(golden["in/direction"])
        alphas = golden["in/alphas"].tolist()
        before, after = golden["out/wp_edit_w_then_trunc"], golden["out/wp_edit_wp_after_trunc"]

    class Given(StyleGanGenerator):
        def latents(self, seeds: object) -> torch.Tensor:
            return w_ND[:1]

    faces = Given(generator("stylegan").network)
    for truncate, wanted in (("before", before), ("after", after)):
        found = swept(faces, [0], make_edit(faces, n_1D, "direction", "W", None, truncate), alphas, PSI)
        np.testing.assert_allclose(found[0].numpy(), wanted, atol=2e-5)


def test_only_the_chosen_rows_are_edited() -> None:
    """The facial-weight script: new[:8] = (w + coeff * direction)[:8]."""
    faces, n_1D = generator("stylegan"), direction()
    change = make_edit(faces, n_1D, "direction", layers=range(8))
    plain, edited = swept(faces, [2], change, (0.0, 3.0), PSI)[0]
    torch.testing.assert_close(edited[:8], plain[:8] + 3 * n_1D, atol=1e-5, rtol=1e-5)
    assert torch.equal(edited[8:], plain[8:])


@pytest.mark.parametrize("name", FILES)
def test_an_edit_in_z_moves_z_of_length_sqrt_d_before_the_mapping(name: str) -> None:
    faces, n_1D = generator(name), direction()
    found = swept(faces, [3], make_edit(faces, n_1D, "direction", "Z"), ALPHAS, PSI)[0]
    z = z_of(3, WIDTH)
    z = z / np.linalg.norm(z) * np.sqrt(WIDTH)
    for a, alpha in enumerate(ALPHAS):
        w_1D = faces.mapped(torch.from_numpy(z + alpha * n_1D.numpy()))
        torch.testing.assert_close(found[a], faces.truncate(w_1D, PSI)[0], atol=1e-5, rtol=1e-5)
    alone = faces.truncate(faces.latents([3]), PSI)[0]
    torch.testing.assert_close(found[1], alone, atol=1e-5, rtol=1e-5)


def test_generators_without_truncation_are_edited_in_z_and_w_too() -> None:
    faces = load_generator("procedural")
    n_1D = faces.direction("smile")
    w_ND = faces.latents([7])
    for truncate in ("before", "after"):
        found = swept(faces, [7], make_edit(faces, n_1D, "direction", "W", None, truncate), (2.0,), PSI)
        torch.testing.assert_close(found[:, 0], w_ND + 2 * n_1D)
    in_z = swept(faces, [7], make_edit(faces, n_1D, "direction", "Z"), (0.0, 2.0), PSI)[0]
    torch.testing.assert_close(in_z[:1], w_ND)
    assert not torch.allclose(in_z[1:], w_ND)


def test_every_image_of_a_track_has_the_same_noise() -> None:
    faces = generator("stylegan")
    w = swept(faces, [1], make_edit(faces, direction(), "direction"), (0.0, 0.0), PSI)[0]
    images = faces.render(w)
    assert torch.equal(images[0], images[1])


# As the catalogue says


def entry(**changes: object) -> Entry:
    return Entry.model_validate({"generator": "stylegan", "attribute": "smile", "file": "smile.npy", **changes})


def saved(path: Path, array: np.ndarray) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_boundary_is_brought_to_norm_1_and_the_facial_weight_is_taken_as_it_is(tmp_path: Path, dtype: type) -> None:
    path = saved(tmp_path / "n.npy", (3 * direction()).numpy().astype(dtype))
    unit = published_edit(generator("stylegan"), entry(unit_norm=True), path, {})
    assert abs(float(unit.direction_KD.norm()) - 1) < 1e-6
    plain = published_edit(generator("stylegan"), entry(space="W+", layers=(0, 7)), path, {})
    torch.testing.assert_close(plain.direction_KD[:8], (3 * direction()).expand(8, -1), atol=1e-5, rtol=1e-5)
    assert not plain.direction_KD[8:].any()


def test_conditions_are_projected_out(tmp_path: Path) -> None:
    paths = {name: saved(tmp_path / f"{name}.npy", direction(seed=i).numpy()) for i, name in enumerate(("a", "b-c"))}
    path = saved(tmp_path / "n.npy", direction(seed=9).numpy())
    change = published_edit(generator("stylegan"), entry(condition=("a", "B_C")), path, paths)
    for i in range(2):
        assert abs(float(change.direction_KD[0] @ direction(seed=i)[0])) < 1e-5
    assert abs(float(change.direction_KD.norm()) - 1) < 1e-6


WRONG: list[tuple[dict[str, object], tuple[int, ...], type[ComfaceError], str]] = [
    ({}, (1, 31), DataError, r"shape \(1, 31\), but 'stylegan' needs \(1, 32\)"),
    ({}, (18, 32), DataError, r"needs \(1, 32\) or \(12, 32\) in W\+"),
    ({"space": "W"}, (12, 32), DataError, r"needs \(1, 32\) in W"),
    ({"space": "Z"}, (12, 32), DataError, r"needs \(1, 32\) in Z"),
    ({"space": "Z", "truncate": "after"}, (1, 32), ConfigurationError, "comes before truncation"),
    ({"space": "Z", "truncate": "before", "layers": (0, 3)}, (1, 32), ConfigurationError, "has no layers"),
    ({"layers": (0, 12)}, (1, 32), ConfigurationError, "not among 0 to 11"),
    ({"layers": (5, 4)}, (1, 32), ConfigurationError, "not among 0 to 11"),
    ({"unit_norm": True}, (12, 32), DataError, "has 12 rows"),
    ({}, (2, 3, 32), DataError, r"of shape \(2, 3, 32\)"),
]


@pytest.mark.parametrize(("changes", "shape", "error", "sentence"), WRONG)
def test_what_does_not_go_together_is_one_sentence(
    tmp_path: Path, changes: dict[str, object], shape: tuple[int, ...], error: type[ComfaceError], sentence: str
) -> None:
    path = saved(tmp_path / "n.npy", np.ones(shape))
    with pytest.raises(error, match=sentence):
        published_edit(generator("stylegan"), entry(**changes), path, {})


@pytest.mark.parametrize(
    ("array", "sentence"),
    [(np.zeros((1, 32)), "is zero"), (np.full((1, 32), np.nan), "not finite"), (np.array(["a"]), "not one array")],
)
def test_a_direction_that_says_nothing_is_refused(tmp_path: Path, array: np.ndarray, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        read_direction(saved(tmp_path / "n.npy", array))


def test_a_direction_with_layers_does_not_fit_a_generator_without() -> None:
    with pytest.raises(ConfigurationError, match="'procedural' has no layers"):
        make_edit(load_generator("procedural"), torch.ones(1, 512), "direction", layers=range(8))


def test_a_direction_knows_the_generator_it_was_fitted_for_while_it_is_that_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "n.npy", np.ones((1, 32)))
    assert fitted_for(path) == ""
    provenance_path(path).write_text(json.dumps({"generator": "stylegan3", "sha256": file_sha256(path)}))
    assert fitted_for(path) == "stylegan3"
    with pytest.raises(DataError, match=r"'n.npy' was fitted for 'stylegan3', not for 'stylegan'"):
        check_fitted_for(path.name, fitted_for(path), "stylegan")
    saved(path, np.full((1, 32), 2.0))
    assert fitted_for(path) == ""


def test_only_stylegan3_can_be_posed_and_it_turns() -> None:
    with pytest.raises(ConfigurationError, match=r"Only StyleGAN3 .* not 'stylegan'"):
        pose(generator("stylegan"), True)
    with pytest.raises(ConfigurationError, match=r"Only StyleGAN3 .* not 'procedural'"):
        pose(load_generator("procedural"), True)
    faces = load_generator("stylegan3", GOLDEN / FILES["stylegan3"])
    with np.load(GOLDEN / "sg3t_tiny.npz") as golden:
        w_1D, wanted = torch.from_numpy(golden["out/w_psi07"])[:1], golden["out/img_psi07_transform"]
    pose(faces, False, (15.0, 0.1, -0.2))
    found = faces.render(w_1D).numpy()
    assert np.abs(found - wanted).max() <= 2e-4 * np.abs(wanted).max()


def test_an_edit_along_nothing_is_the_face_itself() -> None:
    faces = generator("stylegan3")
    found = swept(faces, [8], Edit(torch.zeros(1, WIDTH)), (0.0,), PSI)
    torch.testing.assert_close(found[:, 0], faces.truncate(faces.latents([8]), PSI))
