"""The rehearsals of Edema-A and -B: folders, weights, and that water shows."""

import csv

import numpy as np
import pytest

from comface.datasets import open_dataset
from comface.datasets.config import DataSource, RehearseConfig
from comface.datasets.rehearsal.edema import weighings_of, write_edema
from comface.faces.detection import find_face
from comface.faces.photos import read_photo
from comface.seeds import numpy_rng

CONFIG = RehearseConfig(edema_a_patients=4, edema_b_patients=4, edema_sessions=2, edema_frames=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edema")
    write_edema(folder, CONFIG, "a")
    return folder


def rows_of(folder):
    with (folder / "weights.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_weighing_has_its_frames(folder):
    for row in rows_of(folder):
        place = folder / row["patient"] / row["session"] / row["phase"]
        assert sorted(path.name for path in place.iterdir()) == ["000.jpg", "001.jpg"]
    frames = list(folder.rglob("*.jpg"))
    assert len(frames) == 2 * len(rows_of(folder))


def test_patients_are_heavier_before_dialysis_by_one_to_four_kilograms(folder):
    weights = {(r["patient"], r["session"], r["phase"]): float(r["weight_kg"]) for r in rows_of(folder)}
    sessions = {key[:2] for key in weights}
    for patient, session in sessions:
        lost = weights[patient, session, "before"] - weights[patient, session, "after"]
        assert 0.8 < lost < 4.2


def test_the_reader_of_real_data_reads_it_and_finds_the_faces(folder):
    photos = open_dataset(DataSource(layout="edema"), folder).photos
    assert len(photos) == len(list(folder.rglob("*.jpg")))
    for photo in photos[::5]:
        assert find_face(read_photo(photo.path)).confidence > -0.5


def test_the_two_hospitals_have_other_patients_and_another_look(folder, tmp_path):
    write_edema(tmp_path, CONFIG, "b")
    assert rows_of(folder) != rows_of(tmp_path)
    first = [read_photo(place / "patient-001/session-01/before/000.jpg") for place in (folder, tmp_path)]
    assert np.abs(first[0].astype(float) - first[1]).mean() > 10


def test_water_left_after_dialysis_is_less_than_before_it():
    for number in range(20):
        drawn = weighings_of(number, CONFIG, "a", numpy_rng(number, "test"))
        for before, after in zip(drawn[::2], drawn[1::2], strict=True):
            assert before.session == after.session
            assert before.water_kg > after.water_kg >= 0
            assert before.weight_kg - before.water_kg == pytest.approx(after.weight_kg - after.water_kg)
