"""The patient-specific method in a transfer: the same pairs as for other methods, and no label of a tested day."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from drawing import drawn_face

from comface.artifacts.arrays import array_bytes, read_arrays
from comface.artifacts.manifest import Artifact, Draft
from comface.errors import ConfigurationError, DataError
from comface.methods.patients.config import PatientsConfig
from comface.store import FileStore, Store
from comface.tasks.config import Task
from comface.tasks.predictions import read_predictions
from comface.tasks.registry import TASKS
from comface.transfer.config import TransferConfig
from comface.transfer.protocol import draw_protocol
from comface.transfer.step import Item, transfer

PATIENTS = PatientsConfig(
    start="scratch", pretrain_epochs=2, batch_photos=16, queue=64, momentum=0.9, adapt_epochs=14, backbone_rate=1e-3,
    head_rate=1e-2,
)  # fmt: skip
CONFIG = TransferConfig(backbone="narrow", image_size_px=32, pairs_per_subject=12, patients=PATIENTS)
TASK = TASKS["edema-a-patients"].model_copy(update={"reserved_days": 2})


def ward(store: Store, patients: int = 8, days: int = 5, altered: bool = False) -> Artifact:
    """Patients whose mouth is wider with more water; each has a dry weight and colours of his own. `altered`: the
    labels of the days from the third on are others."""
    rng = np.random.default_rng(0)
    rows, images = [], []
    for patient in range(patients):
        dry_kg = 50 + 5 * patient
        for day in range(days):
            for phase, water_kg in (("before", rng.uniform(1.5, 4)), ("after", 0.2)):
                image = drawn_face(32, water_kg, patient)
                weight_kg = dry_kg + water_kg + (17 * day if altered and day >= 2 else 0)
                row = {"subject": f"Jane {patient}", "session": f"day {day + 1}", "phase": phase}
                rows.append(
                    row | {"labels": {"weight": weight_kg}, "sha256": hashlib.sha256(image.tobytes()).hexdigest()}
                )
                images.append(image)
    draft = Draft(store, "faces", {"name": "ward", "altered": altered}, {}, {"test": 1})
    draft.write("faces.npy", array_bytes(np.stack(images)))
    draft.write_json("photos.json", rows)
    return draft.publish({"dataset": "ward", "rehearsal": True, "found": len(rows)})


def run(store: Store, faces: Artifact, method: str, mode: str = "finetune", task: Task = TASK) -> Artifact:
    protocol = draw_protocol(store, CONFIG, "ward", task, faces)
    return transfer(store, CONFIG, Item("ward", task, method, mode), {"protocol": protocol})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Artifact]:
    store = FileStore(tmp_path_factory.mktemp("store"))
    return store, ward(store)


def test_all_rows_of_table_5_are_tested_on_the_same_pairs_after_the_reserved_days(place) -> None:
    store, faces = place
    rows = [run(store, faces, "pixels", "linear"), *(run(store, faces, f"patient-specific:{n}-day") for n in (0, 1, 2))]
    read = [read_predictions(each) for each in rows]
    assert len({each.facts.protocol_sha256 for each in read}) == 1
    photos = faces.read_json("photos.json")
    days = {photos[row]["session"] for each in read for row in (*each.x_P, *each.y_P)}
    assert days == {"day 3", "day 4", "day 5"}
    assert len(set(read[0].subjects)) == 3, "15 of 39 patients, of eight"
    assert not read[0].facts.registrable, "the task compares methods; it gets no head in a model"


def test_more_days_of_a_patient_give_better_estimates_and_share_the_first_stage(place) -> None:
    store, faces = place
    results = [run(store, faces, f"patient-specific:{days}-day") for days in (0, 1, 2)]
    assert len({each.input("patients").uri for each in results}) == 1
    corr = [read_predictions(each).metrics["corr"] for each in results]
    assert corr[2] > 0.7
    assert results[0].facts["days"] == 0
    assert 1 <= results[2].facts["epochs"] <= 14


def test_no_label_of_a_tested_day_reaches_the_estimates(place, tmp_path) -> None:
    store, faces = place
    other = FileStore(tmp_path)
    altered = ward(other, altered=True)
    protocol = draw_protocol(other, CONFIG, "ward", TASK, altered)
    tested = set(read_arrays(protocol, "patients.npz")["test_subject"].tolist())
    known = read_arrays(protocol, "patients.npz")
    assert set(known["day"][np.isin(known["subject"], list(tested))]) == {0, 1}
    right = read_arrays(draw_protocol(store, CONFIG, "ward", TASK, faces), "patients.npz")
    of_test = np.isin(known["subject"], list(tested))
    assert np.array_equal(known["label"][of_test], right["label"][of_test])
    assert not np.array_equal(known["label"][~of_test], right["label"][~of_test])


def test_the_estimates_are_those_of_the_same_seed_again(place, tmp_path) -> None:
    other = FileStore(tmp_path)
    again = run(other, ward(other), "patient-specific:2-day")
    assert again.read("predictions.json") == run(*place, "patient-specific:2-day").read("predictions.json")


def test_what_the_method_cannot_do_is_refused_with_what_to_do(place) -> None:
    store, faces = place
    plain = Task(dataset="ward", label="weight", unit="kg")
    with pytest.raises(ConfigurationError, match="evaluate it on 'edema-a-patients'"):
        run(store, faces, "patient-specific:2-day", task=plain)
    with pytest.raises(ConfigurationError, match="evaluate it with 'finetune'"):
        run(store, faces, "patient-specific:2-day", "linear")
    with pytest.raises(ConfigurationError, match="needs a task that reserves 3 days"):
        run(store, faces, "patient-specific:3-day")
    with pytest.raises(ConfigurationError, match=r"choose from patient-specific:0-day"):
        run(store, faces, "patient-specific:7-day")
    with pytest.raises(DataError, match="reserved for adaptation"):
        draw_protocol(store, CONFIG, "ward", TASK.model_copy(update={"reserved_days": 5}), faces)
