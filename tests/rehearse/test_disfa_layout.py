"""The rehearsal of DISFA: its files, its labels, and that its frames show what the labels say."""

import cv2
import numpy as np
import pytest

from comface.datasets import open_dataset
from comface.datasets.config import DataSource, RehearseConfig
from comface.datasets.rehearsal.disfa import intensities, subject_name, write_disfa
from comface.faces.detection import find_face
from comface.seeds import numpy_rng

CONFIG = RehearseConfig(disfa_subjects=4, disfa_frames=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disfa")
    write_disfa(folder, CONFIG)
    return folder


def frames_of(path):
    video = cv2.VideoCapture(str(path))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1][..., ::-1])
    return np.stack(frames)


def test_subjects_have_the_published_names():
    names = [subject_name(i) for i in range(27)]
    assert names[:2] == ["SN001", "SN002"]
    assert {"SN013", "SN016", "SN018", "SN021", "SN023", "SN032"} <= set(names)
    assert not {"SN014", "SN015", "SN019", "SN020", "SN022"} & set(names)
    assert len({subject_name(i) for i in range(40)}) == 40


def test_each_subject_has_a_video_and_two_label_files_and_nothing_else_lies_there(folder):
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    expected = {f"Videos_LeftCamera/LeftVideo{subject_name(i)}_comp.avi" for i in range(4)}
    for i in range(4):
        expected |= {f"ActionUnit_Labels/{subject_name(i)}/{subject_name(i)}_au{unit}.txt" for unit in (6, 12)}
    assert files == expected


def test_there_is_a_label_for_every_frame_counted_from_one(folder):
    for name in ("SN001", "SN004"):
        frames = frames_of(folder / "Videos_LeftCamera" / f"LeftVideo{name}_comp.avi")
        assert frames.shape == (20, 160, 160, 3)
        for unit in ("au6", "au12"):
            lines = (folder / f"ActionUnit_Labels/{name}/{name}_{unit}.txt").read_text().splitlines()
            rows = [tuple(int(part) for part in line.split(",")) for line in lines]
            assert [row[0] for row in rows] == list(range(1, 21))
            assert {row[1] for row in rows} <= set(range(6))


def test_the_reader_of_real_data_reads_it(folder):
    photos = open_dataset(DataSource(layout="disfa"), folder).photos
    assert {photo.subject for photo in photos} == {"SN001", "SN002", "SN003", "SN004"}


def test_a_face_is_found_in_the_frames(folder):
    for name in ("SN001", "SN002", "SN003"):
        frames = frames_of(folder / "Videos_LeftCamera" / f"LeftVideo{name}_comp.avi")
        for frame in frames[::9]:
            assert find_face(np.ascontiguousarray(frame)).confidence > 0


def test_cheek_raiser_and_lip_corner_puller_go_together_but_are_not_the_same():
    both = [intensities(120, numpy_rng(i, "test")) for i in range(40)]
    au6, au12 = (np.concatenate(part) for part in zip(*both, strict=True))
    assert 0.4 < np.corrcoef(au6, au12)[0, 1] < 0.95
    assert max(au6.max(), au12.max()) <= 5
    assert min(au6.min(), au12.min()) >= 0
    # smooth: no jump of more than one and a half steps between frames
    assert max(np.abs(np.diff(x)).max() for pair in both for x in pair) < 1.5


def test_the_same_configuration_writes_the_same_bytes(folder, tmp_path):
    write_disfa(tmp_path, CONFIG)
    for path in sorted(folder.rglob("*.avi")):
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes()
