"""Tiny data sets on disk in their true layouts: real JPEG files, a real MJPG video, text files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawing import drawn_face
from PIL import Image


@pytest.fixture
def save_jpeg() -> Callable[..., Path]:
    def save(path: Path, image: np.ndarray | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn_face() if image is None else image).save(path, quality=92)
        return path

    return save


@pytest.fixture
def save_video() -> Callable[..., Path]:
    def save(path: Path, frames: int = 12) -> Path:
        """Frame i is a plain field of brightness 10 + 15 i, so that the order of frames can be read off."""
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20, (64, 48))
        for index in range(frames):
            writer.write(np.full((48, 64, 3), 10 + 15 * index, dtype=np.uint8))
        writer.release()
        return path

    return save


@pytest.fixture
def disfa(tmp_path: Path, save_video: Callable[..., Path]) -> Path:
    """Two subjects, 12 frames; AU6 rises frame by frame, AU12 is there in the last four."""
    for subject, side, ending in (
        ("SN001", "Videos_LeftCamera/Left", "_comp"),
        ("SN003", "Video_RightCamera/Right", "_Comp"),
    ):
        save_video(tmp_path / f"{side}Video{subject}{ending}.avi")
        folder = tmp_path / "ActionUnit_Labels" / subject
        folder.mkdir(parents=True)
        (folder / f"{subject}_au6.txt").write_text("".join(f"{n},{(n - 1) // 2}\n" for n in range(1, 13)))
        (folder / f"{subject}_au12.txt").write_text("".join(f"{n},{2 * (n > 8)}\r\n" for n in range(1, 13)))
    return tmp_path
