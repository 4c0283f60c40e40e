"""The learned generator against an independent network that keeps its BatchNorm layers."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from comface.errors import ConfigurationError, DataError
from comface.generators.dcgan import WIDTHS, DcganGenerator
from comface.generators.registry import load_generator
from comface.weights.fetched import DCGAN, available, models_folder

fetched = pytest.mark.skipif(DCGAN not in available(), reason="the weights of dcgan are not fetched (make setup)")


def random_weights() -> dict[str, Tensor]:
    """A state in the published layout, with BatchNorm statistics that are not trivial."""
    generator = torch.Generator().manual_seed(3)
    state = {}
    for i, (width_in, width_out) in enumerate(itertools.pairwise(WIDTHS)):
        state[f"main.{3 * i}.weight"] = torch.randn(width_in, width_out, 4, 4, generator=generator) * 0.03
        if i < len(WIDTHS) - 2:
            for name in ("weight", "bias", "running_mean", "running_var"):
                values = torch.rand(width_out, generator=generator)
                state[f"main.{3 * i + 1}.{name}"] = values + 0.5 if name == "running_var" else values
    return state


def unfolded(state: dict[str, Tensor]) -> nn.Sequential:
    """The network as its authors describe it."""
    layers: list[nn.Module] = []
    for i, (width_in, width_out) in enumerate(itertools.pairwise(WIDTHS)):
        stride, padding = (1, 0) if i == 0 else (2, 1)
        layers.append(nn.ConvTranspose2d(width_in, width_out, 4, stride, padding, bias=False))
        if i < len(WIDTHS) - 2:
            layers += [nn.BatchNorm2d(width_out), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Tanh()).eval()
    network.load_state_dict({key.removeprefix("main."): value for key, value in state.items()}, strict=False)
    return network


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    save_file(random_weights(), path)
    return path


def test_folding_the_normalisation_changes_no_image(weights: Path) -> None:
    generator = DcganGenerator(weights)
    w_ND = generator.latents(range(5))
    expected = unfolded(load_file(weights))(w_ND[:, :, None, None]).detach()
    assert generator.render(w_ND).shape == (5, 3, 64, 64)
    torch.testing.assert_close(generator.render(w_ND), expected, atol=2e-5, rtol=0)


def test_an_image_is_the_same_alone_and_in_a_batch(weights: Path) -> None:
    generator = DcganGenerator(weights)
    w_ND = generator.latents(range(70))
    together = generator.render(w_ND)
    for row in (0, 66):
        torch.testing.assert_close(generator.render(w_ND[row : row + 1])[0], together[row], atol=1e-5, rtol=0)


def test_a_latent_is_a_function_of_its_seed_alone(weights: Path) -> None:
    generator = DcganGenerator(weights)
    assert torch.equal(generator.latents([7, 5, 2**62])[2], generator.latents([2**62])[0])
    assert not torch.equal(generator.latents([7])[0], generator.latents([8])[0])
    w_ND = generator.latents(range(400))
    assert abs(w_ND.mean().item()) < 0.02
    assert abs(w_ND.std().item() - 1) < 0.02


def test_another_size_is_the_same_picture(weights: Path) -> None:
    generator = DcganGenerator(weights)
    w_ND = generator.latents([1])
    large = generator.render(w_ND, 128)
    assert large.shape == (1, 3, 128, 128)
    back = nn.functional.interpolate(large, (64, 64), mode="area")
    pictures = torch.stack([back.flatten(), generator.render(w_ND).flatten()])
    assert torch.corrcoef(pictures)[0, 1] > 0.95


def test_no_latents_make_no_images(weights: Path) -> None:
    generator = DcganGenerator(weights)
    assert generator.render(generator.latents([])).shape == (0, 3, 64, 64)


def test_latents_of_another_generator_are_refused(weights: Path) -> None:
    with pytest.raises(DataError, match="W\\+ does not fit"):
        DcganGenerator(weights).render(torch.zeros(1, 16, 100))


def test_a_file_without_its_weights_is_refused(tmp_path: Path) -> None:
    save_file({"main.0.weight": torch.zeros(100, 512, 4, 4)}, tmp_path / "half.safetensors")
    with pytest.raises(DataError, match="does not contain the DCGAN's weights"):
        DcganGenerator(tmp_path / "half.safetensors")
    (tmp_path / "text.safetensors").write_text("weights")
    with pytest.raises(DataError, match="was refused: it is neither a pickle"):
        DcganGenerator(tmp_path / "text.safetensors")


def test_without_fetched_weights_it_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    with pytest.raises(ConfigurationError, match="comface fetch"):
        load_generator("dcgan")


def test_every_shipped_direction_has_unit_norm_and_an_unknown_one_is_named(weights: Path) -> None:
    generator = DcganGenerator(weights)
    assert {"age", "smile", "male", "surprise"} <= set(generator.attributes())
    for attribute in generator.attributes():
        assert generator.direction(attribute).shape == (1, 100)
        assert abs(generator.direction(attribute).norm().item() - 1) < 1e-5
    with pytest.raises(ConfigurationError, match=r"no direction 'weight'; it has .*smile"):
        generator.direction("weight")


@fetched
def test_the_published_weights_render_the_same_face_again() -> None:
    generator = load_generator("dcgan")
    expected = unfolded(load_file(models_folder() / DCGAN))(generator.latents([11])[:, :, None, None]).detach()
    torch.testing.assert_close(generator.render(generator.latents([11])), expected, atol=2e-5, rtol=0)
    assert torch.equal(generator.render(generator.latents([11])), generator.render(generator.latents([11])))


@fetched
@pytest.mark.parametrize("attribute", ["smile", "age", "male", "surprise", "glasses", "mouth-open", "fringe"])
def test_a_direction_raises_its_own_score_on_identities_that_did_not_fit_it(attribute: str) -> None:
    import numpy as np

    from comface.faces.scorers import score
    from comface.generators import edit, to_uint8

    generator = load_generator("dcgan")
    edited_NAD = edit(generator.latents(range(16)), generator.direction(attribute), (-3.0, 0.0, 3.0))
    scores_NA = score(to_uint8(generator.render(edited_NAD.flatten(0, 1))), [attribute])[attribute].reshape(16, 3)
    found_N = np.isfinite(scores_NA).all(axis=1)
    assert found_N.sum() >= 8
    low, middle, high = scores_NA[found_N].mean(axis=0)
    assert low < middle < high
    assert (scores_NA[found_N, 2] > scores_NA[found_N, 0]).mean() >= 0.75
