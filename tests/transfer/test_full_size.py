"""Data sets larger than a chunk: alignment and features work chunk by chunk, and resume where they were interrupted."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from comface.artifacts.arrays import CHUNK_ROWS, array_bytes, chunk_name
from comface.artifacts.manifest import Draft
from comface.datasets.config import DataSource
from comface.errors import DataError, TryAgain
from comface.methods.encoder import Sources
from comface.store import FileStore
from comface.transfer.align import align_dataset, read_faces
from comface.transfer.apart import check_apart
from comface.transfer.features import features, read_features

SIDE = 32
PHOTOS = CHUNK_ROWS + 6


class Full(FileStore):
    """A disk that is full when `name` is written."""

    def __init__(self, root: Path, name: str) -> None:
        super().__init__(root)
        self.name = name

    def create(self, key: str, data: bytes) -> bool:
        if key == self.name:
            raise TryAgain("The disk is full; free some space.")
        return super().create(key, data)

    def child(self, prefix: str) -> Full:
        return Full(self.path(prefix), self.name)


def points(x_shift: float) -> str:
    marks = np.zeros((68, 2))
    marks[27:37] = np.array(
        [[7, 13], [8, 12], [10, 13], [8, 14], [8, 13], [23, 13], [22, 12], [20, 13], [22, 14], [22, 13]]
    )
    return "version: 1\nn_points: 68\n{\n" + "".join(f"{x + x_shift} {y}\n" for x, y in marks) + "}\n"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """1,030 photos of 103 people at ages 0 to 9, each with landmarks."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    for number in range(PHOTOS):
        name = f"{number // 10 + 1:03d}A{number % 10:02d}"
        cv2.imwrite(str(folder / f"{name}.png"), rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8))
        (folder / f"{name.lower()}.pts").write_text(points(number % 3))
    return folder


def test_alignment_resumes_after_the_last_block_that_was_written(tmp_path, many, capfd):
    source = DataSource(layout="fgnet", uri=str(many), face_size_px=SIDE)
    with pytest.raises(TryAgain):
        align_dataset(Full(tmp_path / "store", chunk_name("faces", 1)), "fgnet", source)
    store = FileStore(tmp_path / "store")
    (first,) = (tmp_path / "store").rglob("faces-00000.npy")
    written = first.stat().st_mtime_ns
    made = align_dataset(store, "fgnet", source)
    assert "resuming at photo 1,025 of 1,030 of fgnet" in capfd.readouterr().err
    assert first.stat().st_mtime_ns == written
    assert sorted(made.manifest.objects) == [*chunks("faces"), "photos.json", *chunks("prints")]
    assert not list(first.parent.glob("rows-*"))
    assert read_faces(made).shape == (PHOTOS, SIDE, SIDE, 3)
    assert len(made.read_json("photos.json")) == PHOTOS


def chunks(stem):
    return [chunk_name(stem, 0), chunk_name(stem, 1)]


def drawn_faces(store, sizes):
    draft = Draft(store, "faces", {}, {}, {"test": 1})
    rng = np.random.default_rng(1)
    for number, size in enumerate(sizes):
        draft.write(chunk_name("faces", number), array_bytes(rng.integers(0, 255, (size, SIDE, SIDE, 3), np.uint8)))
    return draft.publish({"dataset": "drawn"})


def test_features_resume_at_the_first_missing_chunk(tmp_path, capfd):
    store = FileStore(tmp_path / "store")
    faces = drawn_faces(store, (5, 4, 3))
    sources = Sources(image_size_px=SIDE)
    with pytest.raises(TryAgain):
        features(Full(tmp_path / "store", chunk_name("features", 2)), "pixels", faces, sources)
    (second,) = (tmp_path / "store").rglob(chunk_name("features", 1))
    found = np.load(second)
    second.chmod(0o600)
    second.write_bytes(array_bytes(np.full_like(found, 7)))  # so it is seen that this chunk is not computed again
    made = features(store, "pixels", faces, sources)
    assert "resuming at chunk 3" in capfd.readouterr().err
    rows = read_features(made)
    assert rows.sizes == (5, 4, 3)
    assert (rows[5:9] == 7).all()
    shutil.rmtree(made.store.root)
    whole = read_features(features(store, "pixels", faces, sources))
    np.testing.assert_array_equal(whole[[0, 4, 9, 11]], rows[[0, 4, 9, 11]])
    np.testing.assert_array_equal(whole[5:9], found)


def test_a_chunk_of_another_shape_is_computed_again(tmp_path):
    store = FileStore(tmp_path / "store")
    faces = drawn_faces(store, (5, 4))
    sources = Sources(image_size_px=SIDE)
    with pytest.raises(TryAgain):
        features(Full(tmp_path / "store", chunk_name("features", 1)), "pixels", faces, sources)
    (first,) = (tmp_path / "store").rglob(chunk_name("features", 0))
    found = np.load(first)
    first.chmod(0o600)
    first.write_bytes(array_bytes(found[:3]))
    np.testing.assert_array_equal(read_features(features(store, "pixels", faces, sources))[:5], found)


def with_prints(store, name, prints):
    draft = Draft(store, "faces", {"name": name}, {}, {"test": 1})
    draft.write(chunk_name("prints", 0), array_bytes(prints))
    rows = [{"subject": "patient-001", "sha256": f"{name}{number}"} for number in range(len(prints))]
    draft.write_json("photos.json", rows)
    return draft.publish({"dataset": name})


def test_a_photo_of_the_training_data_set_in_the_tested_one_is_refused_by_number(tmp_path):
    store, rng = FileStore(tmp_path), np.random.default_rng(3)
    prints = np.stack([cv2.GaussianBlur(rng.integers(0, 255, (64, 64), np.uint8), (0, 0), 3) * 2 for _ in range(8)])
    check_apart(with_prints(store, "a", prints[:4]), with_prints(store, "b", prints[4:]))
    mirrored = np.concatenate([prints[4:], prints[2:3, :, ::-1]])
    with pytest.raises(
        DataError, match=r"^Photo 3 of 'a', on which .*, and photo 5 of 'c', on which it is tested, are"
    ):
        check_apart(with_prints(store, "a", prints[:4]), with_prints(store, "c", mirrored))
