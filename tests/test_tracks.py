"""The tar format of tracks: the `webdataset` library reads it, and an index gives every image by its range."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from comface.tracks.tar import Track, TrackTar

ALPHAS = (-5.0, 0.0, 5.0)


def track(number: int) -> Track:
    return Track(
        key=f"procedural-{number:06d}-age",
        generator="procedural",
        identity=f"{number:06d}",
        attribute="age",
        seed=number,
        alphas=ALPHAS,
    )


def jpegs(number: int) -> list[bytes]:
    return [b"\xff\xd8" + bytes([number, i]) * (300 + 100 * i) for i in range(len(ALPHAS))]


def tar_of(*numbers: int) -> tuple[bytes, TrackTar]:
    tar = TrackTar()
    for number in numbers:
        tar.add(track(number), jpegs(number))
    return tar.close(), tar


def test_the_webdataset_library_reads_one_sample_per_track_with_images_in_alpha_order(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    data, _ = tar_of(3, 7)
    path = tmp_path / "train-00000.tar"
    path.write_bytes(data)
    samples = list(webdataset.WebDataset(str(path), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [track(3).key, track(7).key]
    for sample, number in zip(samples, (3, 7), strict=True):
        assert Track.model_validate_json(sample["json"]) == track(number)
        assert [sample[f"{i:03d}.jpg"] for i in range(len(ALPHAS))] == jpegs(number)


def test_each_member_of_the_index_is_a_range_of_the_tar_with_its_checksum() -> None:
    data, tar = tar_of(3, 7)
    assert [entry.track for entry in tar.index] == [track(3), track(7)]
    for entry, number in zip(tar.index, (3, 7), strict=True):
        for member, jpeg in zip(entry.images, jpegs(number), strict=True):
            assert data[member.offset : member.offset + member.size_bytes] == jpeg
            assert member.crc32 == zlib.crc32(jpeg)


def test_the_same_tracks_give_the_same_bytes() -> None:
    assert tar_of(1, 2)[0] == tar_of(1, 2)[0]


def test_a_track_needs_one_image_per_alpha() -> None:
    with pytest.raises(ValueError, match="2 images for 3 alphas"):
        TrackTar().add(track(1), jpegs(1)[:2])


@pytest.mark.parametrize("key", ["has.dot", "has/slash", "", "a" * 81])
def test_a_key_that_webdataset_would_split_is_refused(key: str) -> None:
    with pytest.raises(ValidationError):
        Track(key=key, generator="g", identity="i", attribute="a", seed=0, alphas=ALPHAS)
