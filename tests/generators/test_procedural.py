"""The procedural generator: latents, directions and their truth, rendering, framing, landmarks."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from comface.errors import ConfigurationError
from comface.generators import edit, to_uint8
from comface.generators.procedural import (
    ProceduralGenerator,
    average_faces,
    landmarks_68,
    render_parameters,
)
from comface.generators.procedural import latents as space
from comface.generators.procedural.physiology import swollen
from comface.generators.registry import load_generator

ALPHAS = (-5.0, -2.5, 0.0, 2.5, 5.0)


@pytest.fixture(scope="module")
def generator() -> ProceduralGenerator:
    torch.set_num_threads(1)
    return ProceduralGenerator()


def test_the_loader_knows_it_and_it_needs_no_weights():
    assert load_generator("procedural").name == "procedural"


def test_latents_are_a_function_of_their_own_seed_alone(generator):
    together = generator.latents([3, 1, 4])
    assert torch.equal(together[1:2], generator.latents([1]))
    assert together.shape == (3, 512)
    assert generator.latents([]).shape == (0, 512)


def test_the_mapping_is_orthonormal_against_an_explicit_matrix():
    size = space.WIDTH
    matrix = np.array([[(-1.0) ** bin(i & j).count("1") for j in range(size)] for i in range(0, size, 37)]) / math.sqrt(
        size
    )
    z = torch.randn(4, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned = z.numpy() * np.array(space._signs())
    np.testing.assert_allclose(space.mapping(z).numpy()[:, ::37], turned @ matrix.T, atol=1e-12)
    torch.testing.assert_close(space.inverse_mapping(space.mapping(z)), z)


def test_the_same_seed_renders_the_same_bits(generator):
    first, second = (generator.render(generator.latents([5, 6]), 48) for _ in range(2))
    assert torch.equal(first, second)


def test_a_row_alone_renders_as_it_does_in_a_batch(generator):
    w_ND = generator.latents(range(40))
    batch = generator.render(w_ND)
    alone = torch.cat([generator.render(w_ND[i : i + 1]) for i in (0, 17, 39)])
    torch.testing.assert_close(batch[[0, 17, 39]], alone, atol=1e-3, rtol=0)


@pytest.mark.parametrize("size_px", [32, 50, 97, 160])
def test_images_have_the_size_that_is_asked_for_and_stay_in_range(generator, size_px):
    images = generator.render(generator.latents([0, 1]), size_px)
    assert images.shape == (2, 3, size_px, size_px)
    assert images.dtype == torch.float32
    assert images.min() >= -1
    assert images.max() <= 1
    assert torch.isfinite(images).all()


def test_the_directions_that_profiles_and_tests_sweep_have_unit_norm(generator):
    names = "age smile weight au6 au12 Bags_Under_Eyes Chubby Double_Chin Narrow_Eyes"
    assert generator.attributes() == tuple(names.split())
    for name in generator.attributes():
        n = generator.direction(name)
        assert n.shape == (1, 512)
        assert abs(float(n.norm()) - 1) < 1e-5


def test_an_unknown_direction_is_refused_by_name(generator):
    with pytest.raises(ConfigurationError, match=r"no direction 'Charm'.*smile"):
        generator.direction("Charm")


def test_latents_of_another_width_are_refused(generator):
    with pytest.raises(ConfigurationError, match="needs latents"):
        generator.render(torch.zeros(1, 100))


@pytest.mark.parametrize(
    ("attribute", "quantity", "sign"),
    [
        ("weight", "weight_kg", 1), ("Chubby", "weight_kg", 1), ("age", "age_years", 1),
        ("smile", "smile", 1), ("smile", "au12", 1), ("smile", "au6", 1), ("au6", "au6", 1), ("au12", "au12", 1),
    ],
)  # fmt: skip
def test_truth_is_strictly_monotone_along_its_own_direction(generator, attribute, quantity, sign):
    alphas = [i / 4 for i in range(-20, 21)]
    for w_1D in generator.latents([1, 2, 3]).split(1):
        values = generator.truth(edit(w_1D, generator.direction(attribute), alphas)[0])[quantity]
        assert (sign * values.diff() > 0).all()


def test_truth_stays_physical(generator):
    w_ND = edit(generator.latents(range(50)), generator.direction("weight"), ALPHAS).flatten(0, 1)
    truth = generator.truth(w_ND)
    assert truth["weight_kg"].min() > 25
    assert truth["weight_kg"].max() < 250
    assert ((truth["age_years"] > 0) & (truth["age_years"] < 100)).all()
    assert ((truth["au12"] >= 0) & (truth["au12"] <= 5)).all()


def test_the_effect_of_every_direction_is_visible_and_grows_with_alpha(generator):
    """Mean over persons of the picture's change against alpha = 0, on either side."""
    w_ND = generator.latents(range(300, 306))
    for name in generator.attributes():
        images = generator.render(edit(w_ND, generator.direction(name), ALPHAS).flatten(0, 1), 48)
        images = images.unflatten(0, (len(w_ND), len(ALPHAS)))
        change = (images - images[:, 2:3]).square().mean((2, 3, 4)).sqrt().mean(0).tolist()
        assert change[0] > change[1] > 0.002, name
        assert change[4] > change[3] > 0.004, name


def test_no_direction_touches_pose_light_background_or_camera(generator):
    w_ND = generator.latents([8])
    before = space.traits(w_ND)
    for name in generator.attributes():
        after = space.traits(w_ND + 5 * generator.direction(name))
        for trait in space.SCENE:
            assert abs(float(after[trait] - before[trait])) < 1e-5, (name, trait)


def test_persons_differ_more_than_one_person_does(generator):
    w_ND = generator.latents(range(20))
    images = generator.render(w_ND, 48)
    smiles = generator.render(w_ND + 1.5 * generator.direction("smile"), 48)
    own = (smiles - images).square().mean((1, 2, 3))
    others = (images.roll(1, 0) - images).square().mean((1, 2, 3))
    assert others.min() > own.max()


def test_eyes_of_a_frontal_face_lie_in_the_projects_framing():
    points = landmarks_68(average_faces(1), 64)[0]
    left, right = points[[36, 39]].mean(0), points[[42, 45]].mean(0)
    assert float((right - left).norm()) == pytest.approx(19.2, abs=0.05)
    # the framing counts from the picture's corner, points from the first pixel's centre
    assert ((right + left) / 2 + 0.5).tolist() == pytest.approx([32.0, 30.1], abs=0.2)


def test_landmarks_lie_on_what_they_name():
    """Irises are the darkest thing near an eye: found in the picture, they lie between the marked corners."""
    faces = average_faces(3)
    pose = torch.tensor([-8.0, 0.0, 8.0])
    faces = replace(faces, yaw_deg=pose, roll_deg=pose, zoom=torch.tensor([0.8, 1.0, 1.1]), shift_x_cm=0.1 * pose)
    size = 192
    grey = render_parameters(faces, size).mean(1).numpy()
    marks = landmarks_68(faces, size).numpy()
    for picture, points in zip(grey, marks, strict=True):
        for eye in (points[36:42], points[42:48]):
            (left, top), (right, bottom) = eye.min(0).astype(int), eye.max(0).astype(int) + 1
            part = picture[top:bottom, left:right]
            dark = np.argwhere(part < np.quantile(part, 0.1))[:, 1].mean() + left
            assert abs(dark - eye[:, 0].mean()) < 0.25 * (right - left)


def test_landmarks_follow_the_smile_and_the_order_of_ibug():
    faces = average_faces(2)
    smiling = replace(faces, au12=torch.tensor([0.0, 5.0]))
    points = landmarks_68(smiling, 256)
    assert points.shape == (2, 68, 2)
    assert points[1, 54, 1] < points[0, 54, 1]  # the corner of the mouth rises
    assert points[1, 54, 0] > points[0, 54, 0]
    assert (points[:, 0:17, 0].diff(dim=1) > 0).all()  # the jaw runs from left to right
    assert (points[:, 8, 1] > points[:, 57, 1]).all()  # the chin lies below the lower lip
    assert (points[:, 57, 1] > points[:, 33, 1]).all()


def test_water_swells_the_face_more_the_more_there_is():
    faces = average_faces(4)
    images = render_parameters(swollen(faces, torch.tensor([0.0, 1.0, 2.5, 4.5])), 96)
    change = (images - images[0]).square().mean((1, 2, 3))
    assert (change.diff() > 0).all()


def test_dlib_finds_the_faces(generator):
    dlib = pytest.importorskip("dlib")
    detector = dlib.get_frontal_face_detector()
    images = to_uint8(generator.render(generator.latents(range(7000, 7040)), 144))
    found = [bool(detector.run(image, 0, 0.0)[0]) for image in images]
    assert np.mean(found) >= 0.9
