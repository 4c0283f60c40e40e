from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from comface.artifacts.manifest import Draft, open_artifact
from comface.datasets.config import DataSource
from comface.datasets.copies import near_copies
from comface.datasets.dataset import DataSet, Photo
from comface.datasets.leaks import print_of
from comface.datasets.registry import Layout
from comface.errors import DataError
from comface.faces.conditions import conditions
from comface.store import FileStore
from comface.transfer.align import align_dataset, read_faces
from comface.transfer.from_plan import AlignPlan, align_faces
from comface.weights import fetched as models

DATA = Path(__file__).parents[1] / "data"
EYES = np.array([[20, 40], [25, 37], [30, 40], [25, 42], [25, 40], [70, 40], [65, 37], [60, 40], [65, 43], [65, 40]])


@pytest.fixture
def fgnet(tmp_path, save_jpeg):
    """Two photos with landmarks: a face's eyes are white spots at (25, 40) and (65, 40)."""
    folder = tmp_path / "fgnet"
    points = np.zeros((68, 2))
    points[27:37] = EYES
    (folder / "points").mkdir(parents=True)
    for age in (2, 30):
        image = np.full((96, 96, 3), 60 + age // 10, dtype=np.uint8)
        for x in (25, 65):
            cv2.circle(image, (x, 40), 3, (255, 255, 255), -1)
        save_jpeg(folder / f"images/001A{age:02d}.JPG", image)
        body = "".join(f"{x} {y}\n" for x, y in points)
        (folder / f"points/001a{age:02d}.pts").write_text(f"version: 1\nn_points: 68\n{{\n{body}}}\n")
    return folder


def test_faces_are_framed_by_the_landmarks_that_the_data_set_ships(tmp_path, fgnet):
    source = DataSource(layout="fgnet", uri=fgnet.as_uri(), face_size_px=64)
    artifact = align_dataset(FileStore(tmp_path / "store"), "fgnet", source)
    faces = read_faces(artifact)[:]
    assert faces.shape == (2, 64, 64, 3)
    assert faces.dtype == np.uint8
    rows, columns = np.nonzero(faces[0].mean(axis=2) > 160)
    left = columns < 32
    assert columns[~left].mean() - columns[left].mean() == pytest.approx(19.2, abs=0.4)
    assert rows.mean() + 0.5 == pytest.approx(30.1, abs=0.4)
    assert (columns.max() + columns.min()) / 2 + 0.5 == pytest.approx(32, abs=0.6)
    row = artifact.read_json("photos.json")[1]
    assert row.pop("conditions") == conditions(faces[1], EYES[[0, 2, 7, 5]])
    assert row == {
        "subject": "001", "labels": {"age": 30.0}, "session": "", "phase": "",
        "sha256": hashlib.sha256(faces[1].tobytes()).hexdigest(),
    }  # fmt: skip
    assert artifact.facts["missed"] == {}
    assert artifact.facts["with_own_landmarks"] == 2
    assert not artifact.facts["rehearsal"]


def test_aligning_again_finds_the_same_artifact_and_changed_data_make_another(tmp_path, fgnet, save_jpeg):
    store = FileStore(tmp_path / "store")
    source = DataSource(layout="fgnet", uri=str(fgnet), face_size_px=32)
    first = align_dataset(store, "fgnet", source)
    assert align_dataset(store, "fgnet", source).sha256 == first.sha256
    save_jpeg(fgnet / "images/001A30.JPG", np.full((96, 96, 3), 90, dtype=np.uint8))
    assert align_dataset(store, "fgnet", source).uri != first.uri


def test_a_rehearsal_artifact_is_read_where_it_lies_and_says_that_it_is_one(tmp_path, fgnet):
    store = FileStore(tmp_path / "store")
    draft = Draft(store, "dataset", {}, {}, {"test": 1})
    for path in sorted(p for p in fgnet.rglob("*") if p.is_file()):
        draft.write(path.relative_to(fgnet).as_posix(), path.read_bytes())
    dataset = draft.publish({"rehearsal": True, "layout": "fgnet"})
    artifact = align_dataset(store, "fgnet", DataSource(layout="fgnet", face_size_px=32), dataset)
    assert artifact.facts["rehearsal"]
    assert artifact.manifest.inputs["dataset"].sha256 == dataset.sha256


def test_a_truncated_jpeg_is_named_but_not_where_it_may_name_a_patient(tmp_path, fgnet, save_jpeg):
    damaged = fgnet / "images/001A30.JPG"
    damaged.write_bytes(damaged.read_bytes()[:900])
    with pytest.raises(DataError, match=r"'001A30\.JPG' is damaged, truncated or not a supported image"):
        align_dataset(FileStore(tmp_path / "store"), "fgnet", DataSource(layout="fgnet", uri=str(fgnet)))
    folder = tmp_path / "clinic"
    photo = save_jpeg(folder / "Jane Doe.jpg")
    photo.write_bytes(photo.read_bytes()[:900])
    (folder / "labels.csv").write_text("subject,file,weight\nJane,Jane Doe.jpg,60\n")
    with pytest.raises(DataError, match=r"Photo 1 of 1 .* is damaged, truncated or not a supported image") as raised:
        align_dataset(FileStore(tmp_path / "store"), "clinic", DataSource(layout="pairs", uri=str(folder)))
    assert "Jane" not in str(raised.value)


def test_landmarks_of_a_photo_that_was_made_smaller_are_refused(tmp_path, fgnet):
    photo = fgnet / "images/001A30.JPG"
    Image.open(photo).resize((60, 60)).save(photo)
    with pytest.raises(
        DataError, match=r"A face of '001A30\.JPG' cannot be aligned: The landmarks .* outside its photo"
    ):
        align_dataset(FileStore(tmp_path / "store"), "fgnet", DataSource(layout="fgnet", uri=str(fgnet)))


def read_clinic(folder: Path, source: DataSource, place: str, quick: bool) -> DataSet:
    """Photos called SUBJECT.jpg, with landmarks outside of them, and frame 100 of videos called SUBJECT.avi."""
    eyes = ((500.0, 40.0), (510.0, 40.0), (530.0, 40.0), (540.0, 40.0))
    photos = [Photo(path.stem, {"weight": 60.0}, path, eyes=eyes) for path in sorted(folder.glob("*.jpg"))]
    videos = [Photo(path.stem, {"weight": 60.0}, path, frame=99) for path in sorted(folder.glob("*.avi"))]
    return DataSet([*photos, *videos], ("weight",))


def test_messages_about_a_layout_of_ones_own_number_its_photos_and_videos_and_name_no_file(
    tmp_path, save_jpeg, save_video
):
    source = DataSource(layout=f"{__name__}:read_clinic", uri=str(tmp_path / "clinic"))

    def told() -> str:
        with pytest.raises(DataError) as raised:
            align_dataset(FileStore(tmp_path / "store"), "clinic", source)
        assert "Jane" not in str(raised.value)
        return str(raised.value)

    photo = save_jpeg(tmp_path / "clinic/Jane Doe.jpg")
    assert told().startswith("A face of photo 1 of 1 cannot be aligned: The landmarks of a face are outside its photo")
    photo.unlink()
    video = save_video(tmp_path / "clinic/Jane Doe.avi")
    assert told() == "The video of photo 1 ends before its labelled frame 100; copy it again."
    video.write_bytes(b"not a video")
    assert told() == "The video of photo 1 is not an AVI, MP4, MOV or MKV file; copy it again."
    video.unlink()
    video.symlink_to("/dev/zero")
    assert told().startswith("The video of photo 1 is ")


def test_equal_photos_of_patients_without_a_table_are_numbered(save_jpeg, tmp_path):
    photos = [Photo("Jane", {"weight": 60.0 + n}, Path(f"Jane-{n}.jpg")) for n in range(2)]
    print_SS = print_of(np.array(Image.open(DATA / "astronaut.jpg")))
    layout = Layout("own", read_clinic, patients=True)
    (remark,) = near_copies(photos, {0: print_SS, 1: print_SS}, layout, "/data")
    assert remark.endswith("1 (photo 1 and photo 2)")


@pytest.mark.skipif(models.LANDMARKS not in models.available(), reason="the face model has not been fetched")
def test_the_face_is_found_anew_in_a_frame_whose_landmarks_the_tracker_lost(tmp_path, disfa):
    folder = disfa / "Landmark_Points/SN001/tmp_frame_lm"
    folder.mkdir(parents=True)
    for n in range(1, 13):
        points = np.zeros((66, 2))
        points[36:42] = EYES[:1] / 2 + np.arange(6)[:, None]
        points[42:48] = EYES[5:6] / 2 - np.arange(6)[:, None]
        savemat(folder / f"l{n:05}_lm.mat", {"pts": points + 5000 * (n == 12)})
    source = DataSource(layout="disfa", uri=str(disfa), labels=("au6",), face_size_px=32)
    made = align_dataset(FileStore(tmp_path / "store"), "disfa", source)
    assert made.facts["found"] == made.facts["with_own_landmarks"] == 9
    assert sum(made.facts["missed"].values()) == 11  # no face is drawn there: frame 12, and those of the other subject


def test_what_was_left_out_stands_in_the_facts_and_in_the_summary(tmp_path, fgnet, save_jpeg):
    save_jpeg(fgnet / "images/cover.jpg", np.full((96, 96, 3), 9, dtype=np.uint8))
    source = DataSource(layout="fgnet", uri=str(fgnet), face_size_px=32)
    plan = AlignPlan(store=(tmp_path / "store").as_uri(), dataset="fgnet", source=source, rehearse=None)
    uri = align_faces(plan.text, str(tmp_path / "summary.md"))
    facts = open_artifact(uri).facts
    assert facts["left_out"] == {"photos whose name is not like 001A02.JPG": 1}
    assert (tmp_path / "summary.md").read_text() == (
        "data set **fgnet**: 2 faces found, 2 of them by the data set's own landmarks; no usable face: none; "
        "excluded: photos whose name is not like 001A02.JPG (1)\n\n"
        "pairs of photos of one subject that seem to be the same picture: 1 (001A02.JPG and 001A30.JPG)\n"
    )


@pytest.mark.skipif(models.LANDMARKS not in models.available(), reason="the face model has not been fetched")
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_photo_of_another_subject_is_refused_by_line_also_when_cropped_mirrored_and_compressed(tmp_path, mirrored):
    folder = tmp_path / "study"
    folder.mkdir()
    photo = Image.open(DATA / "astronaut.jpg")
    photo.save(folder / "Jane.jpg")
    copy = photo.crop((12, 6, 196, 190))
    (copy.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else copy).save(folder / "other.jpg", quality=70)
    Image.open(DATA / "cases/photos/face_ok.jpg").save(folder / "third.jpg")
    (folder / "labels.csv").write_text("subject,file,weight\nJane,Jane.jpg,60\nb,other.jpg,61\nJane,third.jpg,62\n")
    source = DataSource(layout="pairs", uri=str(folder))
    with pytest.raises(
        DataError, match=r"^Photos 1 and 3 of 3 .*lines 2 and 3 of its table.* under two subj"
    ) as raised:
        align_dataset(FileStore(tmp_path / "store"), "study", source)
    assert "Jane" not in str(raised.value)
    (folder / "labels.csv").write_text("subject,file,weight\nJane,Jane.jpg,60\nJane,other.jpg,61\nb,third.jpg,62\n")
    made = align_dataset(FileStore(tmp_path / "store"), "study", source)
    assert made.facts["remarks"] == [
        "pairs of photos of one subject that seem to be the same picture: 1 (line 2 and line 3)"
    ]


@pytest.mark.skipif(models.LANDMARKS not in models.available(), reason="the face model has not been fetched")
@pytest.mark.parametrize(
    ("place", "said"), [("p1/s1/before", "under two subjects"), ("p0/s1/after", "with different labels")]
)
def test_equal_pixels_are_one_picture_whatever_else_their_files_hold(tmp_path, place, said):
    """A copy that a program saved with another comment, in the layout whose photos of one datum look alike."""
    cases, folder = Path(__file__).parents[1] / "data/cases/edema", tmp_path / "study"
    shutil.copytree(cases / "base", folder)
    content = (folder / "p0/s1/before/000.jpg").read_bytes()
    (folder / place / "001.jpg").write_bytes(content[:2] + b"\xff\xfe\0\6note" + content[2:])
    with pytest.raises(DataError, match=rf"are the same picture {said}; delete the wrong one") as raised:
        align_dataset(FileStore(tmp_path / "store"), "study", DataSource(layout="edema", uri=str(folder)))
    assert "000.jpg" not in str(raised.value)


@pytest.mark.skipif(models.LANDMARKS not in models.available(), reason="the face model has not been fetched")
def test_a_photo_that_was_compressed_again_under_another_patient_is_refused(tmp_path):
    cases, folder = Path(__file__).parents[1] / "data/cases/edema", tmp_path / "study"
    shutil.copytree(cases / "base", folder)
    Image.open(folder / "p0/s1/before/000.jpg").save(folder / "p1/s1/before/001.jpg", quality=60)
    with pytest.raises(
        DataError, match=r"^Photos 2 and 5 of 11 .*lines 2 and 4 .* under two subjects \(compressed again"
    ):
        align_dataset(FileStore(tmp_path / "store"), "study", DataSource(layout="edema", uri=str(folder)))


@pytest.mark.skipif(models.LANDMARKS not in models.available(), reason="the face model has not been fetched")
def test_photos_without_a_face_are_counted_and_a_data_set_of_none_is_refused(tmp_path, save_jpeg):
    folder = tmp_path / "empty"
    for index in range(2):
        save_jpeg(folder / f"{index}.jpg", np.full((120, 120, 3), 90 + index, dtype=np.uint8))
    (folder / "labels.csv").write_text("subject,file,weight\na,0.jpg,60\na,1.jpg,61\n")
    with pytest.raises(DataError, match="No face was found in any of the 2 photos of 'empty'"):
        align_dataset(FileStore(tmp_path / "store"), "empty", DataSource(layout="pairs", uri=str(folder)))


@pytest.mark.skipif(models.LANDMARKS not in models.available(), reason="the face model has not been fetched")
def test_faces_do_not_depend_on_the_number_of_threads(tmp_path, monkeypatch):
    source = DataSource(layout="edema", uri=str(DATA / "cases/edema/base"), face_size_px=64)
    made = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        made.append(align_dataset(FileStore(tmp_path / threads), "study", source).manifest.objects)
    assert made[0] == made[1]
