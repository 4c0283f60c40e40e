"""Directions on planted latents, against a least-squares and a Gram-Schmidt reference written here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from comface.directions.interfacegan import fit, fit_files, project
from comface.directions.samples import Sampling, score_samples
from comface.directions.shipping import FRACTION, RECIPES, SOFTNESS, figures, fit_all, shipped_folder
from comface.directions.svm import by_admm
from comface.errors import ConfigurationError, DataError
from comface.faces.scorers import SCORERS, score

D = 12


def planted(samples: int = 2000, noise: float = 0.3) -> tuple[NDArray[np.float64], ...]:
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(D)
    truth /= np.linalg.norm(truth)
    latents_ND = rng.standard_normal((samples, D))
    return latents_ND, latents_ND @ truth + noise * rng.standard_normal(samples), truth


def test_the_planted_direction_is_found() -> None:
    latents_ND, scores_N, truth = planted()
    fitted = fit(latents_ND, scores_N, 0.1)
    assert fitted.direction_1D.shape == (1, D)
    assert fitted.direction_1D.dtype == np.float32
    assert abs(np.linalg.norm(fitted.direction_1D) - 1) < 1e-6
    assert fitted.direction_1D[0] @ truth > 0.98
    assert (fitted.chosen, fitted.samples) == (200, 2000)
    assert fitted.held_out_accuracy > 0.97
    assert 0.5 < fitted.rest_accuracy < fitted.held_out_accuracy


def test_the_normal_is_that_of_a_hinge_loss_minimised_step_by_step() -> None:
    latents_ND, scores_N, _ = planted(600)
    fitted = fit(latents_ND, scores_N, 0.25, softness=0.01, train_share=1.0)
    order = np.argsort(-scores_N)
    x = torch.tensor(latents_ND[np.concatenate([order[:150], order[-150:]])])
    sign = torch.tensor(np.repeat([1.0, -1.0], 150))
    parameters = torch.zeros(D + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([parameters], lr=0.03)
    for _ in range(600):
        optimizer.zero_grad()
        margins = sign * (x @ parameters[:D] + parameters[D])
        loss = parameters[:D].square().sum() / 2 + 0.01 * (1 - margins).clamp(min=0).sum()
        loss.backward()
        optimizer.step()
    slow = parameters[:D].detach().numpy()
    assert fitted.direction_1D[0] @ slow / np.linalg.norm(slow) > 0.999


def golden() -> dict[str, NDArray[np.float64]]:
    with np.load(Path(__file__).parent / "data" / "generators" / "interfacegan_boundary.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize(
    ("reference", "fraction", "train_share"),
    [("ratio002_split07_npseed0", 0.02, 0.7), ("ratio002_split10", 0.02, 1.0), ("num500_split10", 500, 1.0)],
)
def test_boundaries_are_those_of_the_published_code_to_the_split_of_its_seed(
    reference: str, fraction: float, train_share: float
) -> None:
    stored = golden()
    fitted = fit(stored["in/latents"], stored["in/scores"], fraction, train_share=train_share)
    assert fitted.direction_1D[0] @ stored[f"out/boundary_{reference}"][0] > 0.999999


def test_another_seed_splits_otherwise() -> None:
    stored = golden()
    one, other = (fit(stored["in/latents"], stored["in/scores"], seed=seed).direction_1D[0] for seed in (0, 1))
    assert 0.9 < one @ other < 0.9999


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_projections_are_those_of_the_published_code(count: int) -> None:
    stored = golden()
    found = project(stored["in/primal"], list(stored["in/conds"][:count]))
    np.testing.assert_allclose(found, stored[f"out/projected_{count}cond"], atol=1e-7)


def test_samples_that_were_not_scored_change_nothing() -> None:
    latents_ND, scores_N, _ = planted(800)
    rng = np.random.default_rng(1)
    mixed = np.concatenate([latents_ND, rng.standard_normal((200, D)) * 9])
    with_gaps = np.concatenate([scores_N, np.full(200, np.nan)])
    one, other = fit(latents_ND, scores_N, 0.1), fit(mixed, with_gaps, 0.1)
    assert np.array_equal(one.direction_1D, other.direction_1D)
    assert other.samples == 800


def test_the_same_seed_gives_the_same_bits() -> None:
    latents_ND, scores_N, _ = planted(800)
    assert np.array_equal(fit(latents_ND, scores_N, 0.1).direction_1D, fit(latents_ND, scores_N, 0.1).direction_1D)


def test_an_end_is_at_most_half_of_the_samples() -> None:
    latents_ND, scores_N, _ = planted(101)
    assert fit(latents_ND, scores_N, 0.9).chosen == 50
    assert fit(latents_ND, scores_N, 30).chosen == 30


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_conditioned_direction_is_orthogonal_to_every_condition_and_nothing_else_is_lost(count: int) -> None:
    rng = np.random.default_rng(2)
    direction = rng.standard_normal((1, D))
    conditions = [rng.standard_normal((1, D)) * scale for scale in range(1, count + 1)]
    basis: list[NDArray[np.float64]] = []
    slow = direction[0].copy()
    for condition in conditions:  # Gram-Schmidt
        orthogonal = condition[0] - sum(((condition[0] @ b) * b for b in basis), np.zeros(D))
        basis.append(orthogonal / np.linalg.norm(orthogonal))
    for b in basis:
        slow -= (slow @ b) * b
    projected = project(direction, conditions)
    np.testing.assert_allclose(projected[0], slow / np.linalg.norm(slow), atol=1e-12)
    for condition in conditions:
        assert abs(float(projected[0] @ condition[0])) < 1e-10


def test_a_condition_given_twice_counts_once() -> None:
    rng = np.random.default_rng(3)
    direction, condition = rng.standard_normal((2, 1, D))
    np.testing.assert_allclose(project(direction, [condition] * 2), project(direction, [condition]), atol=1e-9)


def test_a_condition_keeps_an_entangled_attribute_out() -> None:
    latents_ND, scores_N, truth = planted()
    other = np.eye(D)[0]
    entangled = scores_N + 0.8 * latents_ND @ other
    fitted = fit(latents_ND, entangled, 0.1, [other[None]])
    assert abs(float(fitted.direction_1D[0] @ other)) < 1e-6
    assert fitted.projected_accuracy < fitted.held_out_accuracy
    left = truth - (truth @ other) * other
    assert fitted.direction_1D[0] @ left / np.linalg.norm(left) > 0.97


def test_input_that_gives_no_direction_is_refused_in_one_sentence() -> None:
    latents_ND, scores_N, _ = planted(200)
    with pytest.raises(DataError, match="contain values beyond 1,000,000,000; sample and score them again"):
        fit(np.full((20, 4), 1e200), np.arange(20.0))
    with pytest.raises(DataError, match="do not match"):
        fit(latents_ND, scores_N[:-1])
    with pytest.raises(DataError, match="equal"):
        fit(latents_ND, np.ones(200), 0.1)
    with pytest.raises(DataError, match="too few"):
        fit(latents_ND, scores_N, 0.01)
    with pytest.raises(ConfigurationError, match="not above 0"):
        fit(latents_ND, scores_N, 0.0)
    with pytest.raises(DataError, match="a combination of its conditions"):
        project(np.eye(D)[:1], [2 * np.eye(D)[:1]])
    with pytest.raises(DataError, match="same generator"):
        project(np.eye(D)[:1], [np.ones((1, 3))])
    with pytest.raises(ConfigurationError, match="no scorer 'beauty'"):
        score(np.zeros((0, 64, 64, 3), np.uint8), ["beauty"])


class Blank:
    """A generator whose images show no face."""

    name, latent_width, image_size_px = "blank", 3, 32
    rendered = 0

    def latents(self, seeds: list[int]) -> Tensor:
        return torch.tensor([[seed % 1000, 0.0, 1.0] for seed in seeds])

    def render(self, w_ND: Tensor, size_px: int | None = None) -> Tensor:
        self.rendered += len(w_ND)
        return torch.zeros(len(w_ND), 3, 32, 32)

    def attributes(self) -> tuple[str, ...]:
        return ()

    def direction(self, attribute: str) -> Tensor:
        raise NotImplementedError


def test_scoring_goes_on_where_it_was_interrupted_and_marks_images_without_a_face(tmp_path: Path) -> None:
    first = Blank()
    score_samples(first, "smile", tmp_path, Sampling(8), part=5)
    again = Blank()
    paths = score_samples(again, "smile", tmp_path, Sampling(12), part=5)
    assert (first.rendered, again.rendered) == (10, 5)
    assert np.load(paths["latents"]).shape == (12, 3)
    assert np.isnan(np.load(paths["smile"])).all()
    assert paths["smile"].name == "scores.npy"
    whole = Blank()
    elsewhere = score_samples(whole, "smile", tmp_path / "other", Sampling(12), part=5)
    assert elsewhere["latents"].read_bytes() == paths["latents"].read_bytes()


def test_every_shipped_direction_was_fitted_by_the_catalogue_that_made_it() -> None:
    catalogue = json.loads((shipped_folder("dcgan") / "catalogue.json").read_text())
    assert catalogue["directions"].keys() == RECIPES.keys()
    assert catalogue["command"].startswith("python -m comface.directions.shipping --generator dcgan")
    for name, entry in catalogue["directions"].items():
        assert entry["scorer"] in SCORERS
        assert entry["without"] == list(RECIPES[name].without)
        assert entry["held_out_accuracy"] > 0.6


def test_a_catalogue_stays_the_same_when_two_faces_change_places_in_the_order() -> None:
    latents_ND, scores_N, _ = planted(noise=1.0)
    order_N = np.argsort(scores_N)
    swapped_N = scores_N.copy()
    swapped_N[order_N[-300:-200]] = scores_N[order_N[-300:-200]][::-1]  # who is at the ends stays the same
    others = {name: latents_ND[:, i] for i, name in enumerate(SCORERS)}
    first, second = (fit_all(latents_ND, others | {"yaw": scores}) for scores in (scores_N, swapped_N))
    assert first["yaw"].direction_1D[0] @ second["yaw"].direction_1D[0] > 0.99999
    split = [fit(latents_ND, scores, FRACTION, softness=SOFTNESS).direction_1D[0] for scores in (scores_N, swapped_N)]
    assert split[0] @ split[1] < 0.9999  # the published split does not


def test_a_fit_is_told_with_its_accuracies_and_its_cosine_with_what_ships() -> None:
    catalogue = json.loads((shipped_folder("dcgan") / "catalogue.json").read_text())
    turned = {"directions": {"smile": {"direction": [-v for v in catalogue["directions"]["smile"]["direction"]]}}}
    _, smile, *rest = figures(catalogue, turned).splitlines()
    held_out = f"{catalogue['directions']['smile']['held_out_accuracy']:.3f}"
    assert smile.split()[:2] == ["smile", held_out]
    assert smile.split()[-1] == "-1.0000"
    assert [line.split()[-1] for line in rest] == ["–"] * (len(RECIPES) - 1)
    assert all(line.split()[-1] == "1.0000" for line in figures(catalogue, catalogue).splitlines()[1:])


def test_files_are_fitted_as_arrays_are_and_the_accuracies_are_told(tmp_path: Path) -> None:
    latents_ND, scores_N, _ = planted()
    paths = {name: tmp_path / f"{name}.npy" for name in ("latents", "scores", "condition", "out")}
    condition_1D = np.eye(D)[:1]
    for name, array in (("latents", latents_ND), ("scores", scores_N), ("condition", condition_1D)):
        np.save(paths[name], array)
    told = fit_files(paths["latents"], paths["scores"], 0.1, [paths["condition"]], paths["out"])
    expected = fit(latents_ND, scores_N, 0.1, [condition_1D])
    assert np.array_equal(np.load(paths["out"]), expected.direction_1D)
    assert told == {k: v for k, v in vars(expected).items() if k != "direction_1D"}
    assert json.loads(json.dumps(told, allow_nan=False)) == told


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "does not exist"), (b"text", "cannot be read"), (b"", "cannot be read")]
)
def test_a_file_that_holds_no_array_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    latents = tmp_path / "latents.npy"
    if content is not None:
        latents.write_bytes(content)
    with pytest.raises((ConfigurationError, DataError), match=reason) as error:
        fit_files(latents, latents, 0.1, [], tmp_path / "out.npy")
    assert "latents.npy" in str(error.value)
    assert not (tmp_path / "out.npy").exists()


@pytest.mark.parametrize("softness", [1.0, 1e-3])
def test_the_solver_for_gpus_solves_the_same_problem(softness: float) -> None:
    """With a tight tolerance, scikit-learn's solution is exact; with the default one, ours is nearer to it."""
    from sklearn.svm import SVC

    latents_ND, scores_N, _ = planted(600)
    positive_N = (scores_N + np.random.default_rng(2).standard_normal(600) > np.median(scores_N)).astype(int)
    exact = SVC(kernel="linear", C=softness, tol=1e-7).fit(latents_ND, positive_N)
    normal_1D, bias = by_admm(latents_ND, positive_N, softness, "cpu")
    np.testing.assert_allclose(normal_1D, exact.coef_, atol=1e-4 * np.abs(exact.coef_).max())
    np.testing.assert_allclose(bias, exact.intercept_[0], atol=1e-4)


@pytest.mark.parametrize("samples", [2, 10])
def test_the_solver_for_gpus_solves_problems_of_few_samples(samples: int) -> None:
    """All samples are at the margin, so the dual residual is exactly 0 while the primal one is not yet."""
    from sklearn.svm import SVC

    latents_ND, positive_N = np.random.default_rng(0).standard_normal((samples, 512)), np.arange(samples) % 2
    exact = SVC(kernel="linear", C=1.0, tol=1e-7).fit(latents_ND, positive_N)
    normal_1D, bias = by_admm(latents_ND, positive_N, 1.0, "cpu")
    np.testing.assert_allclose(normal_1D, exact.coef_, atol=1e-4 * np.abs(exact.coef_).max())
    np.testing.assert_allclose(bias, exact.intercept_[0], atol=1e-4)


def test_boundaries_of_the_solver_for_gpus_are_the_published_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = golden()
    latents_ND, scores_N = stored["in/latents"], stored["in/scores"]
    with_svc = fit(latents_ND, scores_N)
    monkeypatch.setattr("comface.directions.svm.separate", lambda x, y, c: by_admm(x, y, c, "cpu"))
    with_admm = fit(latents_ND, scores_N)
    assert with_admm.direction_1D[0] @ stored["out/boundary_ratio002_split07_npseed0"][0] > 0.999999
    assert with_admm.held_out_accuracy == with_svc.held_out_accuracy
