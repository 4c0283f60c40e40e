"""The scored cohort on disk, small, read back as any data set of photos is."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest

from comface.datasets.config import RehearseConfig
from comface.datasets.rehearsal.cohort import Likeness, people, photograph, write_cohort
from comface.errors import DataError
from comface.faces.detection import align, faces_in, find_face
from comface.faces.photos import read_photo
from comface.generators import to_uint8
from comface.generators.registry import load_generator
from comface.methods.gallery import embedder, unit
from comface.weights.fetched import AGE, DCGAN, EXPRESSION, IMAGENET, LANDMARKS, models_folder

fetched = pytest.mark.skipif(
    not all((models_folder() / name).is_file() for name in (AGE, DCGAN, EXPRESSION, IMAGENET, LANDMARKS)),
    reason="the models are not fetched (make setup)",
)
CONFIG = RehearseConfig(cohort_subjects=4, cohort_photos=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(folder, CONFIG)
    return folder


@fetched
def test_it_has_the_layout_of_any_data_set_of_pairs(folder: Path) -> None:
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["subject", "file", "smile", "apparent-age"]
    assert [row["subject"] for row in rows] == [s for s in ("S001", "S002", "S003", "S004") for _ in range(4)]
    assert sorted(row["file"] for row in rows) == sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*.jpg")
    )
    assert all(read_photo(folder / row["file"]).shape == (160, 160, 3) for row in rows)


@fetched
def test_labels_differ_within_a_subject_and_are_finite(folder: Path) -> None:
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for label in ("smile", "apparent-age"):
        values = np.array([float(row[label]) for row in rows]).reshape(4, 4)
        assert np.isfinite(values).all()
        assert (values.std(axis=1) > 0.3).all()


@fetched
def test_a_face_is_found_in_nearly_every_photo(folder: Path) -> None:
    missed = 0
    for path in folder.rglob("*.jpg"):
        try:
            find_face(read_photo(path))
        except DataError:
            missed += 1
    assert missed <= 3


@fetched
def test_photos_of_one_subject_look_more_like_each_other_than_like_other_subjects(folder: Path) -> None:
    """By the features of the photos as they lie on disk, with their light, crop and noise."""
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    photos = [read_photo(folder / row["file"]) for row in rows]
    faces = np.stack([align(photo, faces_in(photo)[0].points_52, 128) for photo in photos if faces_in(photo)])
    owner_N = np.array([row["subject"] for row, photo in zip(rows, photos, strict=True) if faces_in(photo)])
    feature_ND = embedder("imagenet")[0](faces)
    unit_ND = unit(feature_ND - feature_ND.mean(axis=0))
    distance_NN = 1 - unit_ND @ unit_ND.T
    np.fill_diagonal(distance_NN, np.inf)
    nearest_N = owner_N[distance_NN.argmin(axis=1)]
    assert (nearest_N == owner_N).mean() >= 0.75


@fetched
def test_a_face_that_edits_have_made_somebody_else_is_told_from_one_that_they_have_not() -> None:
    generator = load_generator("dcgan")
    crowd = list(itertools.islice(people(generator, 7), 20))
    likeness = Likeness(embedder("imagenet")[0], crowd)
    person = crowd[3]
    others = np.stack([other.face_HW3 for other in crowd if other is not person])
    assert not likeness.kept(person, others).any()
    direction_1D = generator.direction("smile")
    gentle, violent = (
        np.concatenate([to_uint8(generator.render(p.w_1D + alpha * direction_1D)) for p in crowd[:8]])
        for alpha in (0.5, 12)
    )
    assert all(likeness.kept(p, gentle[i : i + 1])[0] for i, p in enumerate(crowd[:8]))
    assert sum(bool(likeness.kept(p, violent[i : i + 1])[0]) for i, p in enumerate(crowd[:8])) <= 3


@fetched
def test_the_same_seed_writes_the_same_bits_and_another_one_other_people(folder: Path, tmp_path: Path) -> None:
    write_cohort(tmp_path / "again", CONFIG)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert all((folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in files)
    generator = load_generator("dcgan")
    first, other = (next(people(generator, seed)) for seed in (CONFIG.seed, CONFIG.seed + 1))
    assert (first.face_HW3 != other.face_HW3).any()


def test_two_photos_of_one_face_differ_in_light_place_and_noise_and_a_seed_fixes_them() -> None:
    face = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    one, other, again = (photograph(face, np.random.default_rng(seed), 160) for seed in (1, 2, 1))
    assert one.shape == (160, 160, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, again)
    assert np.abs(one.astype(int) - other).mean() > 10
