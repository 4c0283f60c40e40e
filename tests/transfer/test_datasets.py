from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from drawing import drawn_face
from PIL import Image
from scipy.io import savemat

from comface.datasets import open_dataset
from comface.datasets.config import DataSource
from comface.datasets.dataset import Photo
from comface.datasets.disfa import read_labels, spread
from comface.datasets.media import pictures, video_length
from comface.datasets.registry import layout
from comface.errors import ConfigurationError, DataError

CASES = Path(__file__).parents[1] / "data" / "cases"


def source(layout: str, folder: Path, **fields) -> DataSource:
    return DataSource(layout=layout, uri=folder.as_uri(), **fields)


def photos_of(source: DataSource) -> list[Photo]:
    return list(open_dataset(source, quick=True).photos)


# --- DISFA


def test_disfa_gives_frames_with_intensity_one_to_five_of_either_camera_whatever_the_case(disfa):
    photos = photos_of(source("disfa", disfa))
    assert {photo.subject for photo in photos} == {"SN001", "SN003"}
    first = [photo for photo in photos if photo.subject == "SN001"]
    assert [photo.frame for photo in first] == list(range(2, 12))
    assert first[0].labels == {"au6": 1.0}
    assert first[-1].labels == {"au6": 5.0, "au12": 2.0}


def test_label_n_belongs_to_the_nth_decoded_frame(disfa):
    photos = [photo for photo in photos_of(source("disfa", disfa)) if photo.subject == "SN001"]
    for photo, image in pictures(photos):
        assert image.shape == (48, 64, 3)
        assert abs(float(image.mean()) - (10 + 15 * photo.frame)) < 4


def test_few_frames_are_chosen_alike_every_time_and_over_all_intensities(disfa):
    chosen = photos_of(source("disfa", disfa, labels=("au6",), frames_per_subject=3))
    assert chosen == photos_of(source("disfa", disfa, labels=("au6",), frames_per_subject=3))
    assert [photo.labels["au6"] for photo in chosen if photo.subject == "SN003"] == [1.0, 3.0, 5.0]
    assert spread({10: 1, 20: 1, 30: 5}, None) == [10, 20, 30]


def test_a_video_one_frame_short_of_its_labels_is_used_as_far_as_it_goes(disfa):
    labels = disfa / "ActionUnit_Labels/SN001/SN001_au6.txt"
    labels.write_text(labels.read_text() + "13,5\n")
    frames = [photo.frame for photo in photos_of(source("disfa", disfa)) if photo.subject == "SN001"]
    assert max(frames) == 11


@pytest.mark.parametrize("labelled", [8, 16])
def test_a_video_longer_or_shorter_than_its_labels_is_refused_with_both_numbers(disfa, labelled):
    for unit in ("au6", "au12"):
        labels = disfa / f"ActionUnit_Labels/SN001/SN001_{unit}.txt"
        labels.write_text("".join(f"{n},1\n" for n in range(1, labelled + 1)))
    with pytest.raises(
        DataError, match=f"'SN001_au6.txt' labels {labelled} frames, but 'LeftVideoSN001_comp.avi' has 12"
    ):
        photos_of(source("disfa", disfa))


def test_videos_that_were_converted_to_30_frames_a_second_are_refused():
    with pytest.raises(DataError, match=r"'SN001_au6.txt' labels 24 frames, but 'LeftVideoSN001_comp.avi' has 36; use"):
        photos_of(source("disfa", CASES / "disfa/30fps"))


@pytest.mark.parametrize("write", [lambda n: f"SN001_{n - 1:04d}_lm.mat", lambda n: f"l{n:05d}_lm.mat"])
def test_landmarks_of_both_names_belong_to_the_left_camera_and_are_counted(tmp_path, disfa, write):
    """Eyes 20 px apart that move one pixel to the right with each frame."""
    for subject in ("SN001", "SN003"):
        folder = disfa / "Landmark_Points" / subject / "tmp_frame_lm"
        folder.mkdir(parents=True)
        for n in range(1, 13):
            points = np.zeros((66, 2))
            points[36:42], points[42:48] = [[10 + n, 20]], [[30 + n, 20]]
            points[36], points[39], points[42], points[45] = [8 + n, 20], [12 + n, 20], [28 + n, 20], [32 + n, 20]
            savemat(folder / write(n).replace("SN001", subject), {"pts": points})
    photos = photos_of(source("disfa", disfa))
    assert all(photo.eyes[0] == (8 + photo.frame + 1, 20) for photo in photos if photo.subject == "SN001")
    assert not any(photo.eyes for photo in photos if photo.subject == "SN003"), "its video is the right camera's"
    assert "the landmarks of SN003 belong to the left camera" in open_dataset(source("disfa", disfa)).remarks[0]


def test_files_with_odd_names_are_counted(disfa, save_video):
    save_video(disfa / "Videos_LeftCamera/LeftVideoSN1.avi")
    (disfa / "ActionUnit_Labels/SN001/SN001_au6 (1).txt").write_text("1,1\n")
    assert open_dataset(source("disfa", disfa)).told() == (
        "label files whose name is not like SN001_au6.txt (1), "
        "videos whose name is not like LeftVideoSN001_comp.avi (1)"
    )


def test_two_videos_of_one_subject_and_side_are_refused(disfa, save_video):
    save_video(disfa / "converted/LeftVideoSN001_comp.avi")
    with pytest.raises(DataError, match="are the same file of DISFA; keep one"):
        photos_of(source("disfa", disfa))


def test_a_video_that_is_no_video_is_refused_before_a_decoder_sees_it(disfa):
    video = disfa / "Videos_LeftCamera/LeftVideoSN001_comp.avi"
    video.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    with pytest.raises(DataError, match=r"'LeftVideoSN001_comp.avi' is not an AVI, MP4, MOV or MKV file"):
        photos_of(source("disfa", disfa))
    for special in ("fifo", "zero"):
        video.unlink()
        os.mkfifo(video) if special == "fifo" else video.symlink_to("/dev/zero")
        with pytest.raises(DataError, match=r"The video '.*' is not a regular file"):
            video_length(video)


def test_a_missing_label_file_is_named(disfa):
    (disfa / "ActionUnit_Labels/SN003/SN003_au12.txt").unlink()
    with pytest.raises(
        DataError, match=r"label file SN003_au12.txt of DISFA is missing for the video 'RightVideoSN003_Comp.avi'"
    ):
        photos_of(source("disfa", disfa))


def test_a_missing_video_is_named(disfa):
    (disfa / "Video_RightCamera/RightVideoSN003_Comp.avi").unlink()
    with pytest.raises(DataError, match="labels but no video for SN003"):
        photos_of(source("disfa", disfa))


def test_a_video_that_cannot_be_decoded_is_named(disfa):
    (disfa / "Videos_LeftCamera/LeftVideoSN001_comp.avi").write_bytes(b"RIFF\0\0\0\0AVI " + bytes(3000))
    with pytest.raises(DataError, match=r"video 'LeftVideoSN001_comp.avi' is damaged"):
        photos_of(source("disfa", disfa))


@pytest.mark.parametrize(
    "line", ["7", "7,9", "0,1", "x,1", "2,inf", "2,nan", "2,2.5", "1,1", "3,1", "2,-1", "2,1,1", "9" * 5000 + ",1"]
)
def test_a_label_line_that_makes_no_sense_is_named(disfa, line):
    (disfa / "ActionUnit_Labels/SN001/SN001_au6.txt").write_text(f"1,1\n{line}\n")
    with pytest.raises(DataError, match=r"Line 2 of 'SN001_au6\.txt'"):
        photos_of(source("disfa", disfa))


def test_labels_with_a_byte_order_mark_and_any_line_ends_are_read(disfa):
    labels = disfa / "ActionUnit_Labels/SN001/SN001_au6.txt"
    wanted = read_labels(labels)
    labels.write_bytes(b"\xef\xbb\xbf" + labels.read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert read_labels(labels) == wanted


# --- FG-NET


def test_fgnet_reads_subject_and_age_from_the_name_and_the_landmarks_beside_it(tmp_path, save_jpeg):
    save_jpeg(tmp_path / "images/001A02.JPG")
    save_jpeg(tmp_path / "images/001A43a.JPG", drawn_face(96, 2))
    save_jpeg(tmp_path / "images/cover.jpg", drawn_face(96, 3))
    points = np.zeros((68, 2))
    points[27:31] = [[20, 40], [25, 37], [30, 40], [25, 42]]
    points[31] = [25, 40]
    points[32:36] = [[70, 41], [65, 38], [60, 41], [65, 43]]
    points[36] = [65, 41]
    (tmp_path / "points").mkdir()
    body = "".join(f"{x} {y}\n" for x, y in points)
    (tmp_path / "points/001a02.pts").write_text(f"version: 1\nn_points: 68\n{{\n{body}}}\n")
    photos = photos_of(source("fgnet", tmp_path))
    assert [(photo.subject, photo.labels["age"]) for photo in photos] == [("001", 2.0), ("001", 43.0)]
    assert photos[0].eyes == ((20, 40), (30, 40), (60, 41), (70, 41))
    assert photos[1].eyes == ()
    assert open_dataset(source("fgnet", tmp_path)).left_out == {"photos whose name is not like 001A02.JPG": 1}
    save_jpeg(tmp_path / "crops/001A02.jpg")
    with pytest.raises(DataError, match=r"'crops/001A02.jpg' and 'images/001A02.JPG' .* have the same name; keep one"):
        photos_of(source("fgnet", tmp_path))
    (tmp_path / "crops/001A02.jpg").unlink()
    (tmp_path / "points/001a02.pts").write_text("version: 1\n{\n1 2\n}\n")
    with pytest.raises(DataError, match=r"'001a02.pts' contains 1 of 68 points"):
        photos_of(source("fgnet", tmp_path))


# --- edema


def write_edema(folder: Path, save_jpeg) -> None:
    rows = ["patient,session,phase,weight_kg"]
    for number, (patient, phase, weight) in enumerate(
        [(patient, *datum) for patient in ("Jane Doe", "p2") for datum in (("before", 63.5), ("after", 61.0))]
    ):
        rows.append(f"{patient},s1,{phase},{weight}")
        save_jpeg(folder / patient / "s1" / phase / "000.jpg", drawn_face(96, number))
    (folder / "weights.csv").write_text("\n".join(rows) + "\n")


def test_edema_gives_frames_with_weight_session_and_phase(tmp_path, save_jpeg):
    write_edema(tmp_path, save_jpeg)
    photos = photos_of(source("edema", tmp_path))
    assert [(p.subject, p.session, p.phase, p.labels["weight"]) for p in photos][:2] == [
        ("Jane Doe", "s1", "after", 61.0),
        ("Jane Doe", "s1", "before", 63.5),
    ]


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda d: (d / "weights.csv").unlink(), "has no weights.csv"),
        (lambda d: (d / "weights.csv").rename(d / "Weights.xls"), "save 'Weights.xls' as .xlsx or CSV"),
        (lambda d: [shutil.rmtree(d / name) for name in ("Jane Doe", "p2")], "None of the 4 weighings"),
        (lambda d: (d / "weights.csv").write_text("patient,session,phase,weight_kg\nJane Doe,s1,before,\n"),
         "contains no usable photo"),
        (lambda d: (d / "weights.csv").write_text("patient,session,phase,weight_kg\nJane Doe,s1,before,much\n"),
         "Line 2 of weights.csv .* no weight in kilograms"),
        (lambda d: (d / "weights.csv").write_text("patient,session,phase,weight_kg\nJane Doe,s1,during,60\n"),
         "Line 2 of weights.csv .* before or after"),
        (lambda d: (d / "weights.csv").write_text("patient,weight_kg\n"), "has no column 'session'"),
    ],
)  # fmt: skip
def test_errors_in_patient_data_name_a_line_or_a_count_and_no_patient(tmp_path, save_jpeg, break_it, sentence):
    write_edema(tmp_path, save_jpeg)
    break_it(tmp_path)
    with pytest.raises(DataError, match=sentence) as raised:
        photos_of(source("edema", tmp_path))
    assert "Jane" not in str(raised.value)


def edema_case(tmp_path: Path, table: str = "") -> Path:
    shutil.copytree(CASES / "edema/base", tmp_path / "edema")
    if table:
        shutil.copy(CASES / "edema" / table, tmp_path / "edema/weights.csv")
    return tmp_path / "edema"


def test_tables_as_spreadsheets_write_them_give_the_same_photos_and_say_what_was_assumed(tmp_path, capfd):
    wanted = [(p.subject, p.phase, p.labels) for p in photos_of(source("edema", CASES / "edema/base"))]
    folder = edema_case(tmp_path, "weights_semicolon_comma.csv")
    assert [(p.subject, p.phase, p.labels) for p in photos_of(source("edema", folder))] == wanted
    said = capfd.readouterr().err
    assert "was read with ';' as the column separator" in said
    assert "was read with decimal commas" in said
    shutil.copy(CASES / "edema/weights_cp1252.csv", folder / "weights.csv")
    (folder / "p0").rename(folder / "Mu\N{COMBINING DIAERESIS}ller")  # as macOS writes it
    assert sorted({p.subject for p in photos_of(source("edema", folder))}) == ["Müller", "p1", "p2", "p3", "p4"]
    said = capfd.readouterr().err
    assert "was read as Windows-1252, because it is not UTF-8" in said
    assert "ller" not in said


def test_what_systems_leave_is_skipped_and_names_count_without_case(tmp_path):
    folder = edema_case(tmp_path)
    before = folder / "p0/s1/before"
    shutil.copy(CASES / "edema/appledouble_000.jpg.bin", before / "._000.jpg")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (before / name).write_bytes(b"x")
    (folder / "__MACOSX/p0/s1/before").mkdir(parents=True)
    shutil.copy(before / "000.jpg", folder / "__MACOSX/p0/s1/before/000.jpg")
    before.rename(folder / "p0/s1/Before")
    (folder / "p1").rename(folder / "P1")
    (folder / "weights.csv").rename(folder / "Weights.CSV")
    found = open_dataset(source("edema", folder))
    assert len(found.photos) == 10
    assert found.left_out == {}


def test_photos_of_every_format_are_read_and_what_has_no_partner_is_counted(tmp_path, save_jpeg, capfd):
    folder = edema_case(tmp_path)
    shutil.copy(CASES / "photos/real.HEIC", folder / "p0/s1/before/001.HEIC")
    Image.open(CASES / "photos/face_ok.jpg").save(folder / "p0/s1/before/002.webp")
    shutil.copy(CASES / "photos/face_ok.jpg", folder / "p0/s1/before/003")  # by content
    (folder / "p0/s1/before/notes.txt").write_text("a note")
    save_jpeg(folder / "Jane/s9/after/000.jpg", drawn_face(96, 3))
    save_jpeg(folder / "p0/portrait.jpg", drawn_face(96, 4))
    shutil.rmtree(folder / "p4/s1/after")
    found = open_dataset(source("edema", folder))
    assert len(found.photos) == 9 + 3
    assert found.left_out == {
        "files that are not pictures": 1,
        "photos outside of PATIENT/SESSION/before and after": 1,
        "photos without a weighing": 1,
        "weighings without a photo": 1,
    }
    said = capfd.readouterr().err
    assert "excluded: files that are not pictures (1), photos outside of" in said
    assert "lines of weights.csv whose weighings have no photo: 11" in said
    assert "folders PATIENT/SESSION/before or after whose photos have no weighing: 1" in said
    assert "Jane" not in said


def test_a_damaged_photo_is_found_by_its_header_and_called_by_its_number(tmp_path):
    folder = edema_case(tmp_path)
    (folder / "p0/s1/before/000.jpg").write_bytes(b"no picture")
    with pytest.raises(
        DataError,
        match=r"Photo 2 of 10 \(in order of subject and file; line 2 of its table\) is damaged, truncated or not",
    ):
        photos_of(source("edema", folder))


def test_one_picture_before_and_after_is_refused(tmp_path):
    folder = edema_case(tmp_path)
    shutil.copy(folder / "p0/s1/before/000.jpg", folder / "p0/s1/after/000.jpg")
    with pytest.raises(
        DataError, match=r"Photos 1 and 2 of 10 .*lines 2 and 3.* the same picture with different labels"
    ):
        photos_of(source("edema", folder))


# --- pairs


def test_pairs_takes_any_number_of_labels_and_leaves_empty_cells_out(tmp_path, save_jpeg):
    save_jpeg(tmp_path / "a/1.jpg")
    save_jpeg(tmp_path / "a/2.jpg", drawn_face(96, 3))
    (tmp_path / "labels.csv").write_text("subject,file,smile,apparent-age\na,a/1.jpg,0.5,30\na,a/2.jpg,,31\n\n")
    photos = photos_of(source("pairs", tmp_path))
    assert [dict(photo.labels) for photo in photos] == [{"smile": 0.5, "apparent-age": 30.0}, {"apparent-age": 31.0}]
    with pytest.raises(DataError, match=r"labels.csv of .* has no column 'weight'; it has: smile, apparent-age"):
        photos_of(source("pairs", tmp_path, labels=("weight",)))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("subject,file\nJane,a/1.jpg\n", "has only the columns subject and file"),
        ("who,where,smile\n", "has none of the columns subject, file; its first line must name its columns"),
        ("subject,fiel,smile\n", "has no column 'file'; the nearest is 'fiel': rename it to file if it is the same"),
        ("subject,file,smile\nJane,a/1.jpg,1\nJane,a/1.jpg,1\n", "Lines 2 and 3 of labels.csv .* the same photo"),
        ("subject,file,smile\nJane,a/1.jpg,much\n", "Line 2 of labels.csv .* no number in the column 'smile'"),
        ("subject,file,smile\nJane,a/9.jpg,1\n", "Line 2 of labels.csv .* does not exist"),
        ("subject,file,smile\nJane,../1.jpg,1\n", "Line 2 of labels.csv .* outside the data set"),
        ("subject,file,smile\nJane,a/1.jpg\n", "Line 2 of labels.csv .* 2 columns instead of 3"),
        ("subject,file,smile\n,a/1.jpg,1\n", "Line 2 of labels.csv .* has no subject"),
        ("subject,file,smile\nJane,a/1.jpg,1e308\n", "Line 2 of labels.csv .* a number above 1,000,000,000"),
        ("subject,file,smile\nJane,a/1.jpg,70 Jane\n", "Line 2 of labels.csv .* no number"),
        ("subject,file,smile\n", "has no rows below its first line"),
    ],
)
def test_a_wrong_line_of_labels_is_named_without_its_content(tmp_path, save_jpeg, text, sentence):
    save_jpeg(tmp_path / "a/1.jpg")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=sentence) as raised:
        photos_of(source("pairs", tmp_path))
    assert "Jane" not in str(raised.value)


def pairs_case(tmp_path: Path, save_jpeg) -> Path:
    folder = tmp_path / "study"
    for subject in range(5):
        for number in range(3):
            save_jpeg(folder / f"photos/s{subject}-{number}.jpg", drawn_face(64, number, subject))
    return folder


def test_a_photo_under_two_subjects_is_refused_by_line(tmp_path, save_jpeg):
    folder = pairs_case(tmp_path, save_jpeg)
    shutil.copy(CASES / "tables/labels_same_photo_two_subjects.csv", folder / "labels.csv")
    with pytest.raises(DataError, match=r"Lines 2 and 17 of labels.csv .* name the same photo; delete one"):
        photos_of(source("pairs", folder))
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text.replace("s1,photos/s0-0.jpg", "s1,photos/copy.jpg"))
    shutil.copy(folder / "photos/s0-0.jpg", folder / "photos/copy.jpg")
    with pytest.raises(DataError, match=r"lines 2 and 17 .* are the same picture under two subjects"):
        photos_of(source("pairs", folder))
    (folder / "labels.csv").write_text(text.replace("s1,photos/s0-0.jpg,2", "s0,photos/copy.jpg,2"))
    with pytest.raises(DataError, match="the same picture with different labels"):
        photos_of(source("pairs", folder))
    (folder / "labels.csv").write_text(text.replace("s1,photos/s0-0.jpg,2", "s0,photos/copy.jpg,-2"))
    found = open_dataset(source("pairs", folder))
    assert len(found.photos) == 15
    assert found.left_out == {"copies of another photo": 1}


def test_crops_beside_originals_are_said(tmp_path, save_jpeg):
    folder = pairs_case(tmp_path, save_jpeg)
    rows = ["subject,file,smile"]
    for number in range(3):
        rows.append(f"s0,photos/s0-{number}.jpg,{number}")
        for name in (f"crops/s0-{number}.jpg", f"photos/s0-{number}_crop.jpg", f"photos/s0-{number}.png"):
            save_jpeg(folder / name, drawn_face(32, number, ord(name[0]) + len(name)))
            rows.append(f"s0,{name},{number}")
    (folder / "labels.csv").write_text("\n".join(rows))
    found = open_dataset(source("pairs", folder))
    assert len(found.photos) == 12
    assert found.remarks == ("photos whose names suggest that they are crops or copies of others: 9",)
    assert open_dataset(source("edema", edema_case(tmp_path))).remarks == ()


def test_a_quick_look_at_a_video_believes_its_own_count_only_where_it_is_so(tmp_path):
    data = (CASES / "disfa/30fps/Videos_LeftCamera/LeftVideoSN001_comp.avi").read_bytes()
    for share, frames in ((1, 36), (0.97, 35), (0.6, 22)):  # cut: its header still tells of 36
        (tmp_path / "cut.avi").write_bytes(data[: int(len(data) * share)])
        assert video_length(tmp_path / "cut.avi", quick=True) == video_length(tmp_path / "cut.avi") == frames


def test_a_table_of_labels_as_excel_writes_it_is_read(tmp_path, save_jpeg):
    folder = pairs_case(tmp_path, save_jpeg)
    text = "Subject ; FILE;Smile;;\r\nA;PHOTOS\\s0-0.JPG;0,5;;\r\n;;;;\r\na;photos/s0-1.jpg;;;\r\n"
    (folder / "Labels.csv").write_bytes(text.encode("utf-16"))
    photos = photos_of(source("pairs", folder))
    assert [(photo.subject, photo.labels, photo.path.name) for photo in photos] == [
        ("A", {"smile": 0.5}, "s0-0.jpg"),
        ("A", {}, "s0-1.jpg"),
    ]
    assert open_dataset(source("pairs", folder)).left_out == {"photos without a line in labels.csv": 13}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
@pytest.mark.parametrize("closed", ["weights.csv", "p0", "p0/s1/before", "p0/s1/before/000.jpg", "."])
def test_what_may_not_be_read_is_a_matter_of_configuration_and_names_no_patient(tmp_path, closed):
    folder = edema_case(tmp_path)
    for each in (tmp_path, *tmp_path.parents[:2], *folder.rglob("*")):
        each.chmod(0o755)
    (folder / closed).chmod(0o000)
    os.seteuid(65534)
    try:
        with pytest.raises(ConfigurationError, match="is not readable; check its owner and mode") as raised:
            photos_of(source("edema", folder))
        assert "p0" not in str(raised.value)
    finally:
        os.seteuid(0)
        (folder / closed).chmod(0o755)


@pytest.mark.parametrize("layout", ["disfa", "fgnet", "edema", "pairs"])
def test_an_empty_folder_and_a_missing_one_are_each_said_in_a_sentence(tmp_path, layout):
    with pytest.raises(DataError, match=r"There is no|has no"):
        photos_of(source(layout, tmp_path))
    with pytest.raises(DataError, match="does not exist; mount it"):
        photos_of(source(layout, tmp_path / "nowhere"))


def test_columns_of_words_and_dates_are_said_and_not_read(tmp_path, save_jpeg):
    save_jpeg(tmp_path / "a/1.jpg")
    (tmp_path / "labels.csv").write_text("subject,file,smile,note,day\nJane,a/1.jpg,3,good,2024-01-02\n")
    found = open_dataset(source("pairs", tmp_path))
    assert found.labels == ["smile"]
    assert list(found.remarks) == ["columns of labels.csv without numbers, which are ignored: note, day"]
    with pytest.raises(DataError, match=r"Line 2 of labels\.csv .* has no number in the column 'note'"):
        open_dataset(source("pairs", tmp_path, labels=("note",)))


def test_a_photo_behind_a_link_is_read_and_links_to_nothing_and_pipes_are_counted(tmp_path, save_jpeg):
    photo = save_jpeg(tmp_path / "archive/1.jpg")
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "1.jpg").symlink_to(photo)
    (folder / "2.jpg").symlink_to("nowhere")
    os.mkfifo(folder / "3.jpg")
    (folder / "labels.csv").write_text("subject,file,smile\nJane,1.jpg,3\n")
    found = open_dataset(source("pairs", folder))
    assert [each.path.name for each in found.photos] == ["1.jpg"]
    assert found.left_out == {"broken links and other entries that are not files": 2}


def test_a_table_that_is_a_pipe_is_refused_for_this_reason(tmp_path):
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(DataError, match=r"has no labels\.csv .*; 'labels.csv' is not a regular file"):
        open_dataset(source("pairs", tmp_path))


def test_the_manifest_of_a_rehearsal_data_set_is_not_counted_as_left_out(tmp_path: Path) -> None:
    assert edema_left_out(tmp_path) == edema_left_out(tmp_path, "manifest.json")
    assert edema_left_out(tmp_path, "notes.txt") == {"files that are not pictures": 1}


def edema_left_out(tmp_path: Path, *more: str) -> dict[str, int]:
    folder = tmp_path / ("base" + "".join(more))
    shutil.copytree(CASES / "edema" / "base", folder)
    for name in more:
        (folder / name).write_text("{}")
    return dict(open_dataset(DataSource(layout="edema", uri=str(folder)), folder, str(folder)).left_out)


def test_groups_are_read_from_columns_of_known_names_only(tmp_path, save_jpeg):
    """A column with a name of a person is no group, and no label."""
    for name in ("a-1", "a-2"):
        save_jpeg(tmp_path / f"{name}.jpg")
    text = "subject,file,Sex,skin_type,name,fatigue\na,a-1.jpg,f,2,Jane,3\na,a-2.jpg,f,,Jane,4\n"
    (tmp_path / "labels.csv").write_text(text)
    found = layout("pairs").read(tmp_path, DataSource(layout="pairs"), "here", False)
    assert [photo.groups for photo in found.photos] == [{"sex": "f", "skin type": "2"}, {"sex": "f"}]
    assert [photo.labels for photo in found.photos] == [{"fatigue": 3.0}, {"fatigue": 4.0}]
    assert found.remarks == ["columns of labels.csv without numbers, which are ignored: name"]
    clinic = edema_case(tmp_path)
    table = (clinic / "weights.csv").read_text().splitlines()
    lines = [f"{table[0]},group smoker", *(f"{line},yes" for line in table[1:])]
    (clinic / "weights.csv").write_text("\n".join(lines) + "\n")
    found = layout("edema").read(clinic, DataSource(layout="edema"), "here", False)
    assert {photo.groups["group smoker"] for photo in found.photos} == {"yes"}
