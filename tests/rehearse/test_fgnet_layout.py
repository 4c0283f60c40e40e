"""The rehearsal of FG-NET: names, points, gray photos, and that the points lie on the eyes."""

import re

import cv2
import numpy as np
import pytest

from comface.datasets import open_dataset
from comface.datasets.config import DataSource, RehearseConfig
from comface.datasets.rehearsal.fgnet import ages, names, write_fgnet
from comface.faces.detection import find_face
from comface.faces.photos import read_photo
from comface.seeds import numpy_rng

CONFIG = RehearseConfig(fgnet_subjects=5, fgnet_images=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fgnet")
    write_fgnet(folder, CONFIG)
    return folder


def test_names_carry_subject_and_age_and_a_letter_where_an_age_is_shared():
    assert names(1, np.array([2, 43, 43, 7])) == ["001A02", "001A43a", "001A43b", "001A07"]


def test_every_photo_has_its_points_file_in_lower_case(folder):
    photos = sorted(path.name for path in (folder / "FGNET/images").iterdir())
    points = sorted(path.name for path in (folder / "FGNET/points").iterdir())
    assert all(re.fullmatch(r"\d{3}A\d{2}[a-z]?\.JPG", name) for name in photos)
    assert points == sorted(f"{name[:-4].lower()}.pts" for name in photos)
    assert {name[:3] for name in photos} == {"001", "002", "003", "004", "005"}


def test_points_files_have_the_published_form(folder):
    lines = next((folder / "FGNET/points").iterdir()).read_text().splitlines()
    assert lines[:3] == ["version: 1", "n_points: 68", "{"]
    assert lines[-1] == "}"
    assert len(lines) == 72


def test_some_photos_are_gray(folder):
    channels = {cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim for path in (folder / "FGNET/images").iterdir()}
    assert channels == {2, 3}


def test_the_shipped_points_lie_where_the_detector_finds_the_eyes(folder):
    photos = open_dataset(DataSource(layout="fgnet"), folder).photos
    errors = []
    for photo in photos[::3]:
        found = find_face(read_photo(photo.path)).points_52
        own = np.array(photo.eyes)
        apart = np.linalg.norm(own[:2].mean(0) - own[2:4].mean(0))
        centres = np.sort(np.stack([found[:2].mean(0), found[2:4].mean(0)]), axis=0)
        errors.append(np.abs(np.sort(np.stack([own[:2].mean(0), own[2:4].mean(0)]), axis=0) - centres).max() / apart)
    assert np.median(errors) < 0.12


def test_ages_spread_over_childhood_and_age_as_in_the_real_set():
    drawn = np.concatenate([ages(12, numpy_rng(i, "test")) for i in range(82)])
    assert 850 < len(drawn) < 1120
    assert drawn.min() >= 0
    assert drawn.max() <= 69
    assert drawn.max() > 45
    assert np.median(drawn) < 25
