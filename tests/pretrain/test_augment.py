"""Views: seeded, in range, and each kind of change where it is asked for."""

import pytest
import torch
from torch.nn.functional import affine_grid, grid_sample

from comface.pretrain import objective
from comface.pretrain.augment import apply_views, augment
from comface.pretrain.config import Augmentation, PretrainConfig
from comface.pretrain.data import Batch
from comface.pretrain.draws import BRIGHTNESS, CONTRAST, MATRIX, WIDTH, Draws

NOTHING = {"crop_min_area": 1.0, "flip": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0,
           "grayscale": 0.0}  # fmt: skip


def faces(count: int = 6) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_any_strength_the_image_stays_as_it_is():
    x = faces()
    assert torch.allclose(augment(x, 32, Augmentation(**NOTHING), draw()), x, atol=1e-5)


def test_flip_mirrors_left_and_right():
    x = faces()
    assert torch.allclose(augment(x, 32, Augmentation(**NOTHING | {"flip": 1.0}), draw()), x.flip(3), atol=1e-5)


def test_grayscale_makes_the_channels_equal_to_the_luminance():
    x = faces() * 0.5
    out = augment(x, 32, Augmentation(**NOTHING | {"grayscale": 1.0}), draw())
    luma = 0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2]
    assert torch.allclose(out, luma[:, None].expand_as(out), atol=1e-3)


def test_brightness_scales_from_black():
    x = faces() * 0.2 - 0.5
    out = augment(x, 32, Augmentation(**NOTHING | {"brightness": 0.4}), draw(3))
    ratio = (out + 1) / (x + 1)
    assert torch.allclose(ratio, ratio[:, :1, :1, :1].expand_as(ratio), atol=1e-3)
    assert (ratio[:, 0, 0, 0] - 1).abs().max() <= 0.4 + 1e-6
    assert ratio[:, 0, 0, 0].std() > 0.05


def test_a_crop_stays_inside_the_image():
    ramp = torch.linspace(-1, 1, 32).expand(64, 3, 32, 32)
    out = augment(ramp, 32, Augmentation(**NOTHING | {"crop_min_area": 0.5}), draw())
    widths = out[:, 0, 0, -1] - out[:, 0, 0, 0]
    assert out.min() >= -1 - 1e-5
    assert out.max() <= 1 + 1e-5
    assert widths.min() > 2 * 0.5**0.5 - 0.15
    assert widths.max() < 2 + 1e-5


def test_the_same_seed_gives_the_same_views_and_another_seed_others():
    x, config = faces(), Augmentation(rotation_deg=5, side_light=0.5)
    first = augment(x, 32, config, draw(7))
    assert torch.equal(first, augment(x, 32, config, draw(7)))
    assert not torch.equal(first, augment(x, 32, config, draw(8)))
    assert first.min() >= -1
    assert first.max() <= 1


def test_two_draws_from_one_generator_differ_so_that_views_are_independent():
    generator = draw()
    x = faces()
    assert not torch.equal(augment(x, 32, Augmentation(), generator), augment(x, 32, Augmentation(), generator))


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_a_view_shows_what_grid_sample_shows_inside_the_image_and_beyond_its_edge(shift: float):
    x = faces()
    theta = torch.tensor([[0.6, 0.1, 0.1 + shift], [-0.1, 0.6, 0.2 + shift]]).expand(6, 2, 3)
    view = plain_views(6)
    view[:, :6] = theta.flatten(1)
    grid = affine_grid(theta, [6, 3, 20, 20], align_corners=False)
    wanted = grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    assert torch.allclose(apply_views(x, view, 20, lit=False), wanted, atol=1e-5)


def plain_views(count: int) -> torch.Tensor:
    """Rows of the table of draws that leave the colours as they are."""
    view = torch.zeros(count, WIDTH)
    view[:, MATRIX] = torch.eye(3).flatten()
    view[:, [CONTRAST, BRIGHTNESS]] = 1.0
    return view


@pytest.mark.parametrize("learning", ["both", "inter", "intra"])
def test_views_made_in_parts_are_those_made_at_once(learning: str, monkeypatch: pytest.MonkeyPatch):
    images = torch.randint(0, 256, (2, 7, 32, 32, 3), dtype=torch.uint8, generator=draw())
    batch = Batch(images[0], images[1], torch.zeros(7), torch.ones(7))
    config = PretrainConfig(learning=learning)

    def seen() -> torch.Tensor:
        return objective.views_of(batch, config, Draws(draw(), 7), 32, torch.device("cpu"))

    at_once = seen()
    monkeypatch.setattr(objective, "CACHED_PIXELS", 3 * 32**2)
    assert torch.equal(seen(), at_once)
