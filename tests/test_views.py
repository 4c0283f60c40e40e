"""The part of an aligned face that a network is shown, the same in pre-training and afterwards."""

import json

import numpy as np
import pytest
import torch

from comface.faces.framing import shown, view_of
from comface.faces.preprocessing import Preprocessing
from comface.pretrain.augment import augment
from comface.pretrain.config import Augmentation
from comface.pretrain.objective import to_device

PLAIN = Augmentation(crop_min_area=1, flip=0, brightness=0, contrast=0, saturation=0, hue=0, grayscale=0)


def smooth_faces(side_px: int = 64) -> np.ndarray:
    v, u = np.mgrid[0 : 1 : side_px * 1j, 0 : 1 : side_px * 1j]
    return (np.stack([u, v, (u + v) / 2], axis=2)[None] * 255).round().astype(np.uint8)


def test_the_whole_frame_is_left_as_it_is_where_it_fits():
    faces = smooth_faces()
    assert (shown(faces, 1.0, 64) == faces).all()


@pytest.mark.parametrize("share", [0.5, 0.75, 0.9, 1.0])
def test_the_view_lies_inside_the_frame_and_below_its_centre(share):
    rows = view_of(smooth_faces(), share)[0, :, :, 1].astype(float) / 255
    assert rows.shape[0] == round(64 * share)
    assert (rows.min() + rows.max()) / 2 == pytest.approx(0.5 + min(0.2, 1 - share) / 2, abs=0.02)


@pytest.mark.parametrize("share", [0.6, 0.75, 1.0])
def test_pre_training_shows_the_same_view_as_transfer(share):
    faces = smooth_faces()
    x_NCHW = torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 127.5 - 1
    trained = augment(x_NCHW, 48, PLAIN, torch.Generator(), share)
    transferred = torch.from_numpy(shown(faces, share, 48)).permute(0, 3, 1, 2).float() / 127.5 - 1
    assert (trained - transferred).abs().max() < 0.04


def test_a_recorded_preprocessing_makes_the_same_input_again():
    made = Preprocessing(view_share=0.75, size_px=24, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    again = Preprocessing.model_validate_json(json.dumps(made.described()))
    faces = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    x_NCHW = again(faces)
    assert tuple(x_NCHW.shape) == (2, 3, 24, 24)
    assert bool((x_NCHW == made(faces)).all())
    expected = (shown(faces, 0.75, 24) / 255 - np.array(made.mean)) / np.array(made.std)
    np.testing.assert_allclose(x_NCHW.permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)


def test_the_range_of_pre_training_is_that_of_the_features_made_afterwards():
    faces = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=3)
    seen = to_device(torch.from_numpy(faces), torch.device("cpu"))
    np.testing.assert_allclose(Preprocessing(size_px=16)(faces).numpy(), seen.numpy(), atol=1e-6)
