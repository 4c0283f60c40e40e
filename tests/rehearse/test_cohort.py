"""The scored cohort on disk, small, read back as any data set of photos is."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from comface.config import RehearseConfig
from comface.errors import DataError
from comface.faces import find_face, read_photo
from comface.models import AGE, DCGAN, EXPRESSION, LANDMARKS, available
from comface.rehearse.cohort import photograph, write_cohort

fetched = pytest.mark.skipif(
    not {AGE, DCGAN, EXPRESSION, LANDMARKS} <= set(available()), reason="the models are not fetched (make setup)"
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
def test_the_same_seed_writes_the_same_bits_and_another_one_other_people(folder: Path, tmp_path: Path) -> None:
    write_cohort(tmp_path / "again", CONFIG)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert all((folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in files)
    other = RehearseConfig(cohort_subjects=4, cohort_photos=2, seed=CONFIG.seed + 1)
    write_cohort(tmp_path / "other", other)
    first = Path("photos/S001/01.jpg")
    assert (tmp_path / "other" / first).read_bytes() != (folder / first).read_bytes()


def test_two_photos_of_one_face_differ_in_light_place_and_noise_and_a_seed_fixes_them() -> None:
    face = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    one, other, again = (photograph(face, np.random.default_rng(seed), 160) for seed in (1, 2, 1))
    assert one.shape == (160, 160, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, again)
    assert np.abs(one.astype(int) - other).mean() > 10
