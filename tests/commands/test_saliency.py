"""`comface saliency`, its picture, and the example of the report's figure 4."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from comface.cli import main
from comface.errors import DataError
from comface.faces.framing import square_of, square_of_view, view_of
from comface.faces.preprocessing import Crop, Preprocessing
from comface.faces.regions import eyes_of_frame, face_regions, inside
from comface.methods import load_method
from comface.methods.encoder import Encoder, Sources
from comface.methods.example import example_files, example_row
from comface.methods.saliency import Saliency, saliency_of_face, saliency_of_image
from comface.methods.saliency_picture import picture, share_inside
from comface.networks.eigencam import projection

DATA = Path(__file__).parent.parent / "data"
ASTRONAUT, SCRATCH = str(DATA / "astronaut.jpg"), ["--method", "scratch", "--set", "transfer.backbone=narrow"]


def saliency(*words: object) -> int:
    return main(["saliency", *map(str, words)])


def test_a_map_is_the_projection_of_the_last_feature_map(tmp_path: Path) -> None:
    output = tmp_path / "map.npy"
    assert saliency(*SCRATCH, ASTRONAUT, "--output", output) == 0
    encoder = load_method("scratch", Sources(network="narrow", image_size_px=48, view_share=0.75))  # the profile laptop
    with torch.inference_mode():
        x_NCHW = encoder.preprocessing(np.asarray(Image.open(ASTRONAUT).convert("RGB"))[None])
        network = encoder.for_inference()
        activation_CHW = network.stages(network.stem(x_NCHW))[0].numpy()  # type: ignore[operator]
    found = np.load(output)
    assert (found.dtype, found.shape) == (np.float32, activation_CHW.shape[1:])
    np.testing.assert_allclose(found, projection(activation_CHW), rtol=1e-3, atol=1e-4)
    assert found.max() == abs(found).max()


def test_a_picture_of_several_methods_has_a_panel_for_each(tmp_path: Path) -> None:
    one, two = tmp_path / "one.png", tmp_path / "two.png"
    assert saliency(*SCRATCH, ASTRONAUT, "--output", one) == 0
    assert saliency(*SCRATCH, "--method", "imagenet", "--align", ASTRONAUT, "--output", two) == 0
    widths = [Image.open(path).width for path in (one, two)]
    assert widths[1] > widths[0] > 400


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--method", "pixels", ASTRONAUT, "--output", "a.png"], "The method 'pixels' has no feature map"),
        ([*SCRATCH, "--method", "imagenet", ASTRONAUT, "--output", "a.npy"], "holds the map of one method"),
        ([*SCRATCH, *SCRATCH[:2], ASTRONAUT, "--output", "a.png"], "--method is given twice"),
        ([*SCRATCH, ASTRONAUT, "--output", "a.jpg"], "ends neither in .png nor in .npy"),
        (
            [*SCRATCH, "--weights", "w.pth", ASTRONAUT, "--output", "a.png"],
            "The method 'scratch' takes no weights; omit them.",
        ),
        (
            [*SCRATCH, "--backbone", "x", ASTRONAUT, "--output", "a.png"],
            "The method 'scratch' takes no backbone; omit it.",
        ),
        (
            ["--method", "imagenet", "--method", "dlib", "--weights", "w.pth", ASTRONAUT, "--output", "a.png"],
            "--weights 'w.pth' does not say whose weights they are",
        ),
        (
            ["--method", "dlib", "--weights", "w", "--weights", "dlib=w", ASTRONAUT, "--output", "a.png"],
            "--weights of 'dlib' is given twice",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert saliency(*words) == 64
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.glob("a.*"))


def test_a_photo_without_a_face_has_no_regions_and_aligning_it_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (90, 60), (80, 90, 200)).save(tmp_path / "sky.png")
    assert saliency(*SCRATCH, tmp_path / "sky.png", "--output", tmp_path / "a.png") == 0
    assert "no regions are marked: No face was found" in capsys.readouterr().err
    assert saliency(*SCRATCH, "--align", tmp_path / "sky.png", "--output", tmp_path / "b.png") == 65


def blob_map(row: int, column: int) -> np.ndarray:
    found = np.zeros((9, 9), np.float32)
    found[row, column] = 1
    return found


def test_a_map_is_drawn_where_the_network_saw_it() -> None:
    whole = Saliency("x", blob_map(4, 4)).on_image(90, 90)
    assert np.unravel_index(np.argmax(whole), whole.shape) == (44, 44)
    part = Saliency("x", blob_map(4, 4), (0.5, 0.0, 1.0, 0.5)).on_image(90, 180)
    assert np.isnan(part[:, :90]).all()
    assert np.isnan(part[45:]).all()
    y, x = np.unravel_index(np.nanargmax(part), part.shape)
    assert abs(y - 22) <= 1
    assert abs(x - 134) <= 1
    beyond = Saliency("x", blob_map(8, 4), (0.0, 0.5, 1.0, 1.5)).on_image(90, 90)
    assert np.nanmax(beyond) < 1  # the maximum lies below the image


def test_what_a_network_sees_is_where_its_preprocessing_looks() -> None:
    x_HW = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    face_SS3 = np.stack([x_HW, x_HW.T, x_HW], axis=-1)
    for shown in (
        Preprocessing(size_px=64, mean=(0, 0, 0), std=(1, 1, 1)),
        Preprocessing(size_px=64, mean=(0, 0, 0), std=(1, 1, 1), view_share=0.75),
        Preprocessing(size_px=64, mean=(0, 0, 0), std=(1, 1, 1), square=(0.1, 0.05, 0.8)),
    ):
        x_CHW = shown(face_SS3[None])[0].numpy() * 255
        left, top, side = shown.seen
        assert x_CHW[0].min() == pytest.approx(256 * left, abs=4)
        assert x_CHW[1].min() == pytest.approx(256 * top, abs=4)
        assert x_CHW[0].max() == pytest.approx(256 * (left + side), abs=4)
    crop, image_HW3 = Crop(80, 64), face_SS3[:200]
    left, top, right, bottom = crop.seen(200, 256, 64)
    cut_HW3 = crop(image_HW3, 64)
    assert cut_HW3[..., 0].min() == pytest.approx(256 * left, abs=4)
    assert cut_HW3[..., 1].max() == pytest.approx(200 * bottom, abs=4)
    assert cut_HW3[..., 0].max() == pytest.approx(256 * right, abs=4)
    assert cut_HW3[..., 1].min() == pytest.approx(200 * top, abs=4)


def test_a_view_as_a_square_is_the_view() -> None:
    faces_NSSC = np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), dtype=np.uint8)
    assert np.array_equal(square_of(faces_NSSC, square_of_view(0.75)), view_of(faces_NSSC, 0.75))
    assert square_of(faces_NSSC, (0.25, 0.5, 0.75)).shape == (1, 96, 96, 3)


def test_regions_turn_and_grow_with_the_eyes() -> None:
    frame = face_regions(eyes_of_frame(200))
    assert [region.name for region in frame] == ["eyelids", "eyelids", "AU6", "AU6", "nose", "AU12", "AU12"]
    mouth = [region for region in frame if region.name == "AU12"]
    assert mouth[0].centre[0] < 100 < mouth[1].centre[0]
    assert all(region.centre[1] > 140 for region in mouth)
    turned = face_regions(np.array([[50.0, 20.0], [50.0, 80.0]]))  # a face on its side, chin to the left
    assert all(region.tilt_deg == pytest.approx(90) for region in turned)
    assert turned[4].centre[0] < 50
    area = inside(frame, 200, 200).mean()
    assert 0.05 < area < 0.2


def test_the_share_in_the_regions_is_that_of_a_sum_over_pixels() -> None:
    each, regions = Saliency("x", blob_map(2, 3)), face_regions(eyes_of_frame(60))
    strength, expected, total = each.on_image(60, 60), 0.0, 0.0
    within = [region.contains(60, 60) for region in regions]
    for y in range(60):
        for x in range(60):
            total += float(strength[y, x])
            if any(region_HW[y, x] for region_HW in within):
                expected += float(strength[y, x])
    assert share_inside(each, regions, 60, 60) == pytest.approx(expected / total)


def test_a_picture_of_many_methods_wraps_and_takes_photos_of_any_shape() -> None:
    maps = [Saliency(f"method {i} with a long title and $strange_{{signs}}$", blob_map(i, i)) for i in range(7)]
    tall_HW3 = np.full((120, 40, 3), 90, np.uint8)
    image = Image.open(io.BytesIO(picture(tall_HW3, maps)))
    assert image.width < 1700
    assert image.height > 600


def corner(width: int) -> Encoder:
    return Encoder(
        3, Preprocessing(size_px=width), nn.Sequential(nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    )


def test_a_users_network_has_a_map_too_and_an_image_is_taken_as_it_is() -> None:
    image_HW3 = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    assert saliency_of_image(corner(16), image_HW3, "own").map_hw.shape == (8, 8)
    assert saliency_of_face(corner(32), image_HW3, "own", "Own").title == "Own"


def test_a_method_without_a_crop_sees_the_central_square_of_an_image() -> None:
    encoder = load_method("scratch", Sources(network="narrow", image_size_px=64, view_share=0.75))
    x_HW = np.tile(np.arange(250, dtype=np.uint8), (100, 1))
    image_HW3 = np.stack([x_HW] * 3, axis=-1)
    left, top, right, bottom = saliency_of_image(encoder, image_HW3, "scratch").box
    seen = (encoder.input_of(image_HW3)[0, 0] + 1) * 127.5
    assert seen.min() == pytest.approx(250 * left, abs=3)
    assert seen.max() == pytest.approx(250 * right, abs=3)
    assert 0 <= top < bottom <= 1


def test_a_feature_map_that_is_not_finite_is_refused() -> None:
    encoder = load_method("scratch", Sources(network="narrow", image_size_px=64))
    with torch.no_grad():
        encoder.network.stem[0].weight.fill_(float("nan"))  # type: ignore[index, union-attr, operator]
    with pytest.raises(DataError, match="the method 'scratch' is not finite"):
        saliency_of_image(encoder, np.zeros((64, 64, 3), np.uint8), "scratch")


def test_the_example_is_the_strongest_expression_and_a_method_without_a_map_has_none() -> None:
    rows = [{"labels": {"au6": 0.0, "au12": 1.0}}, {"labels": {"au6": 3.0, "au12": 2.0}}, {"labels": {"au6": 5.0}}]
    assert example_row(rows) == 1
    face_SS3 = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert set(example_files(corner(16), face_SS3, "own")) == {"example.png", "saliency.json"}
    assert example_files(load_method("pixels", Sources()), face_SS3, "pixels") == {}
