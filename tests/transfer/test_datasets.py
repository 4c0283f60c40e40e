from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from comface.config import DataSource
from comface.errors import DataError
from comface.transfer.datasets import read_dataset
from comface.transfer.datasets.disfa import spread
from comface.transfer.datasets.media import pictures


def source(layout: str, folder: Path, **fields) -> DataSource:
    return DataSource(layout=layout, uri=folder.as_uri(), **fields)


# --- DISFA


def test_disfa_gives_frames_with_intensity_one_to_five_of_either_camera_whatever_the_case(disfa):
    photos = read_dataset(source("disfa", disfa))
    assert {photo.subject for photo in photos} == {"SN001", "SN003"}
    first = [photo for photo in photos if photo.subject == "SN001"]
    assert [photo.frame for photo in first] == list(range(2, 12))
    assert first[0].labels == {"au6": 1.0}
    assert first[-1].labels == {"au6": 5.0, "au12": 2.0}


def test_label_n_belongs_to_the_nth_decoded_frame(disfa):
    photos = [photo for photo in read_dataset(source("disfa", disfa)) if photo.subject == "SN001"]
    for photo, image in pictures(photos):
        assert image.shape == (48, 64, 3)
        assert abs(float(image.mean()) - (10 + 15 * photo.frame)) < 4


def test_few_frames_are_chosen_alike_every_time_and_over_all_intensities(disfa):
    chosen = read_dataset(source("disfa", disfa, labels=("au6",), frames_per_subject=3))
    assert chosen == read_dataset(source("disfa", disfa, labels=("au6",), frames_per_subject=3))
    assert [photo.labels["au6"] for photo in chosen if photo.subject == "SN003"] == [1.0, 3.0, 5.0]
    assert spread({10: 1, 20: 1, 30: 5}, None) == [10, 20, 30]


def test_a_video_one_frame_short_of_its_labels_is_used_as_far_as_it_goes(disfa):
    labels = disfa / "ActionUnit_Labels/SN001/SN001_au6.txt"
    labels.write_text(labels.read_text() + "13,5\n")
    frames = [photo.frame for photo in read_dataset(source("disfa", disfa)) if photo.subject == "SN001"]
    assert max(frames) == 11


def test_labels_far_beyond_the_end_of_the_video_are_refused(disfa):
    labels = disfa / "ActionUnit_Labels/SN001/SN001_au6.txt"
    labels.write_text(labels.read_text() + "20,5\n")
    with pytest.raises(DataError, match=r"'SN001_au6.txt' labels frame 20, but 'LeftVideoSN001_comp.avi' has only 12"):
        read_dataset(source("disfa", disfa))


def test_a_missing_label_file_is_named(disfa):
    (disfa / "ActionUnit_Labels/SN003/SN003_au12.txt").unlink()
    with pytest.raises(
        DataError, match=r"lacks the label file SN003_au12.txt for the video 'RightVideoSN003_Comp.avi'"
    ):
        read_dataset(source("disfa", disfa))


def test_a_missing_video_is_named(disfa):
    (disfa / "Video_RightCamera/RightVideoSN003_Comp.avi").unlink()
    with pytest.raises(DataError, match="labels but no video for SN003"):
        read_dataset(source("disfa", disfa))


def test_a_video_that_cannot_be_decoded_is_named(disfa):
    (disfa / "Videos_LeftCamera/LeftVideoSN001_comp.avi").write_bytes(b"RIFF" + bytes(3000))
    with pytest.raises(DataError, match=r"video 'LeftVideoSN001_comp.avi' cannot be decoded"):
        read_dataset(source("disfa", disfa))


@pytest.mark.parametrize("line", ["7", "7,9", "0,1", "x,1"])
def test_a_label_line_that_makes_no_sense_is_named(disfa, line):
    (disfa / "ActionUnit_Labels/SN001/SN001_au6.txt").write_text(f"1,1\n{line}\n")
    with pytest.raises(DataError, match=r"Line 2 of 'SN001_au6\.txt'"):
        read_dataset(source("disfa", disfa))


# --- FG-NET


def test_fgnet_reads_subject_and_age_from_the_name_and_the_landmarks_beside_it(tmp_path, save_jpeg):
    save_jpeg(tmp_path / "images/001A02.JPG")
    save_jpeg(tmp_path / "images/001A43a.JPG")
    save_jpeg(tmp_path / "images/cover.jpg")
    points = np.zeros((68, 2))
    points[27:31] = [[20, 40], [25, 37], [30, 40], [25, 42]]
    points[31] = [25, 40]
    points[32:36] = [[70, 41], [65, 38], [60, 41], [65, 43]]
    points[36] = [65, 41]
    (tmp_path / "points").mkdir()
    body = "".join(f"{x} {y}\n" for x, y in points)
    (tmp_path / "points/001a02.pts").write_text(f"version: 1\nn_points: 68\n{{\n{body}}}\n")
    photos = read_dataset(source("fgnet", tmp_path))
    assert [(photo.subject, photo.labels["age"]) for photo in photos] == [("001", 2.0), ("001", 43.0)]
    assert photos[0].eyes == ((20, 40), (30, 40), (60, 41), (70, 41))
    assert photos[1].eyes == ()
    (tmp_path / "points/001a02.pts").write_text("version: 1\n{\n1 2\n}\n")
    with pytest.raises(DataError, match=r"'001a02.pts' holds 1 of 68 points"):
        read_dataset(source("fgnet", tmp_path))


# --- edema


def write_edema(folder: Path, save_jpeg) -> None:
    rows = ["patient,session,phase,weight_kg"]
    for patient in ("Jane Doe", "p2"):
        for phase, weight in (("before", 63.5), ("after", 61.0)):
            rows.append(f"{patient},s1,{phase},{weight}")
            save_jpeg(folder / patient / "s1" / phase / "000.jpg")
    (folder / "weights.csv").write_text("\n".join(rows) + "\n")


def test_edema_gives_frames_with_weight_session_and_phase(tmp_path, save_jpeg):
    write_edema(tmp_path, save_jpeg)
    photos = read_dataset(source("edema", tmp_path))
    assert [(p.subject, p.session, p.phase, p.labels["weight"]) for p in photos][:2] == [
        ("Jane Doe", "s1", "after", 61.0),
        ("Jane Doe", "s1", "before", 63.5),
    ]


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda d: (d / "weights.csv").unlink(), "lacks weights.csv"),
        (lambda d: shutil.rmtree(d / "Jane Doe" / "s1" / "after"), "1 of the 4 weighings"),
        (lambda d: (d / "weights.csv").write_text("patient,session,phase,weight_kg\nJane Doe,s1,before,\n"),
         "Line 2 of weights.csv .* no weight in kilograms"),
        (lambda d: (d / "weights.csv").write_text("patient,session,phase,weight_kg\nJane Doe,s1,during,60\n"),
         "Line 2 of weights.csv .* before or after"),
        (lambda d: (d / "weights.csv").write_text("patient,weight_kg\n"), "lacks the column session, phase"),
    ],
)  # fmt: skip
def test_errors_in_patient_data_name_a_line_or_a_count_and_no_patient(tmp_path, save_jpeg, break_it, sentence):
    write_edema(tmp_path, save_jpeg)
    break_it(tmp_path)
    with pytest.raises(DataError, match=sentence) as raised:
        read_dataset(source("edema", tmp_path))
    assert "Jane" not in str(raised.value)


# --- pairs


def test_pairs_takes_any_number_of_labels_and_leaves_empty_cells_out(tmp_path, save_jpeg):
    save_jpeg(tmp_path / "a/1.jpg")
    save_jpeg(tmp_path / "a/2.jpg")
    (tmp_path / "labels.csv").write_text("subject,file,smile,apparent-age\na,a/1.jpg,0.5,30\na,a/2.jpg,,31\n\n")
    photos = read_dataset(source("pairs", tmp_path))
    assert [dict(photo.labels) for photo in photos] == [{"smile": 0.5, "apparent-age": 30.0}, {"apparent-age": 31.0}]
    with pytest.raises(DataError, match="has no photo labelled 'weight'; it has apparent-age, smile"):
        read_dataset(source("pairs", tmp_path, labels=("weight",)))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("subject,file\n", "first line of labels.csv"),
        ("subject,file,smile\nJane,a/1.jpg,much\n", "Line 2 of labels.csv .* no number in the column 'smile'"),
        ("subject,file,smile\nJane,a/1.jpg,nan\n", "Line 2 of labels.csv .* no number"),
        ("subject,file,smile\nJane,a/9.jpg,1\n", "Line 2 of labels.csv .* does not exist"),
        ("subject,file,smile\nJane,../1.jpg,1\n", "Line 2 of labels.csv .* outside the data set"),
        ("subject,file,smile\nJane,a/1.jpg\n", "Line 2 of labels.csv .* 2 columns instead of 3"),
        ("subject,file,smile\n,a/1.jpg,1\n", "Line 2 of labels.csv .* lacks a subject"),
        ("subject,file,smile\n", "holds no photo that can be used"),
    ],
)
def test_a_wrong_line_of_labels_is_named_without_its_content(tmp_path, save_jpeg, text, sentence):
    save_jpeg(tmp_path / "a/1.jpg")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=sentence) as raised:
        read_dataset(source("pairs", tmp_path))
    assert "Jane" not in str(raised.value)


@pytest.mark.parametrize("layout", ["disfa", "fgnet", "edema", "pairs"])
def test_an_empty_folder_and_a_missing_one_are_each_said_in_a_sentence(tmp_path, layout):
    with pytest.raises(DataError, match=r"lies in|lacks"):
        read_dataset(source(layout, tmp_path))
    with pytest.raises(DataError, match="does not exist; mount it"):
        read_dataset(source(layout, tmp_path / "nowhere"))
