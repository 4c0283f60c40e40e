"""The part of an aligned face that a network is shown, the same in pre-training and afterwards."""

import numpy as np
import pytest
import torch

from comface.faces.framing import shown, view_of
from comface.pretrain.augment import augment
from comface.pretrain.config import Augmentation

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
