"""Files that people name: what is refused before it is read or written, and what a write leaves behind."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from comface.errors import ConfigurationError, DataError
from comface.files import check_output, open_regular, read_bounded, write_file


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "nothing", "sparse"])
def test_what_is_no_regular_file_of_a_bounded_size_is_refused_in_one_sentence(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "sparse":
        path.touch()
        os.truncate(path, 1 << 40)
    with pytest.raises(DataError, match=f"^The photo '{path}' .*;.*\\.$"):
        read_bounded(path, 1000, "The photo")


def test_a_path_that_no_file_can_have_is_a_sentence() -> None:
    for name in ("a" * 5000, "a\0b"):
        with pytest.raises(DataError, match="cannot be opened"):
            open_regular(Path(name), "The photo")


def test_an_output_that_is_an_input_by_any_name_is_refused(tmp_path: Path) -> None:
    photo, link, hard = tmp_path / "mine.jpg", tmp_path / "link.jpg", tmp_path / "hard.jpg"
    photo.write_bytes(b"photo")
    link.symlink_to(photo)
    os.link(photo, hard)
    for output in (photo, link, hard, tmp_path / "." / "mine.jpg"):
        with pytest.raises(ConfigurationError, match="is the input"):
            check_output(output, [photo], "--picture")
    check_output(tmp_path / "new" / "other.jpg", [photo])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("output", ["", "/dev/null", "/proc/x/y", "x" * 5000, "."])
def test_an_output_that_cannot_be_written_is_refused(output: str) -> None:
    with pytest.raises(ConfigurationError, match="--picture"):
        check_output(Path(output), [], "--picture")


def test_a_private_file_is_the_owners_alone_and_replaces_a_readable_one(tmp_path: Path) -> None:
    for private, mode in ((False, 0o644), (True, 0o600)):
        before = os.umask(0o022)
        write_file(tmp_path / "out.png", b"picture", private=private)
        os.umask(before)
        assert stat.S_IMODE((tmp_path / "out.png").stat().st_mode) == mode
    assert (tmp_path / "out.png").read_bytes() == b"picture"


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    output = tmp_path / "out.png"
    output.write_bytes(b"before")

    def broken(file: object) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_file(output, broken)
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    assert output.read_bytes() == b"before"
