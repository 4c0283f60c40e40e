"""Arrays in chunks: any rows are read as NumPy would read them from the whole array, and without loading the rest."""

from __future__ import annotations

import numpy as np
import pytest

from comface.artifacts.arrays import Rows, array_bytes, chunk_name
from comface.artifacts.manifest import Draft
from comface.errors import DataError
from comface.store import FileStore


def published(folder, chunks, names=None):
    draft = Draft(FileStore(folder), "rows", {}, {}, {"test": 1})
    for number, chunk in enumerate(chunks):
        draft.write(names[number] if names else chunk_name("x", number), array_bytes(chunk))
    return draft.publish({})


@pytest.mark.parametrize("sizes", [(7,), (4, 4, 2), (4, 0, 3), (0, 3)])
def test_rows_are_those_of_the_whole_array(tmp_path, sizes):
    whole = np.random.default_rng(0).integers(0, 255, (sum(sizes), 3, 2), np.uint8)
    rows = Rows(published(tmp_path, np.split(whole, np.cumsum(sizes)[:-1])), "x")
    assert rows.shape == whole.shape
    assert len(rows) == len(whole)
    assert rows.sizes == sizes
    for wanted in (
        [2, 0, 2],
        np.array([1, len(whole) - 1]),
        slice(1, None, 2),
        [-1],
        [],
        np.arange(len(whole)) % 2 > 0,
    ):
        index = np.array(wanted, dtype=int) if isinstance(wanted, list) else wanted
        np.testing.assert_array_equal(rows[wanted] if len(np.atleast_1d(index)) else rows[index], whole[index])
    np.testing.assert_array_equal(rows[1], whole[1])
    np.testing.assert_array_equal(np.concatenate(list(rows)), whole)
    with pytest.raises(IndexError):
        rows[[len(whole)]]


def test_an_array_of_one_object_is_read_too(tmp_path):
    whole = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.testing.assert_array_equal(Rows(published(tmp_path, [whole], ["x.npy"]), "x")[[2, 0]], whole[[2, 0]])


def test_a_changed_chunk_is_refused_before_its_first_row_is_used(tmp_path):
    artifact = published(tmp_path, [np.zeros((4, 2)), np.ones((4, 2))])
    path = artifact.store.path("x-00001.npy")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    assert not Rows(artifact, "x")[[0, 3]].any()
    for read in (lambda: Rows(artifact, "x")[[0, 5]], lambda: list(Rows(artifact, "x"))):
        with pytest.raises(DataError, match=r"'x-00001\.npy' of .* does not match its manifest"):
            read()


def test_chunks_that_do_not_fit_each_other_are_refused(tmp_path):
    artifact = published(tmp_path, [np.zeros((4, 2)), np.ones((4, 3))])
    with pytest.raises(DataError, match=r"'x-00001\.npy' of .* is not a NumPy array"):
        Rows(artifact, "x")[[5]]
    with pytest.raises(DataError, match=r"has no object 'y\.npy'"):
        Rows(artifact, "y")
