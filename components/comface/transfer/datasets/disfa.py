"""DISFA (Mavadati et al. 2013): one video per subject and one label file per subject and action unit.

    Videos_LeftCamera/LeftVideoSN001_comp.avi         (the right camera serves where the left is missing)
    ActionUnit_Labels/SN001/SN001_au6.txt             lines `frame,intensity`; frame n is the n-th decoded frame
    Landmark_Points/SN001/tmp_frame_lm/SN001_0000_lm.mat   optional: `pts` (66,2), names counted from 0

In: the folder, and labels such as 'au6'. Out: frames with intensity 1 to 5, as in section 4.2. Folder and file names
are matched whatever their case. Some published videos decode to one frame less than their labels: such labels are
dropped; labels that run further past the end are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from comface.config import DataSource
from comface.errors import DataError
from comface.transfer.datasets import Photo
from comface.transfer.datasets.landmarks import eyes_of_66
from comface.transfer.datasets.media import video_length

VIDEO = re.compile(r"^(left|right)video(sn\d{3})_comp\.(avi|mp4|mov|mkv)$", re.IGNORECASE)
LABELS = re.compile(r"^(sn\d{3})_au0*(\d+)\.txt$", re.IGNORECASE)
LANDMARKS = re.compile(r"^(sn\d{3})_(\d{4})_lm\.mat$", re.IGNORECASE)
DEFAULT_LABELS = ("au6", "au12")
FRAMES_BEYOND_END = 3
"""How many labels past the end of a video are its encoder's doing (one was seen), not another video's labels."""

BAD_LANDMARKS = {
    "SN001": ((398, 420), (3190, 3243)),
    "SN002": ((800, 826),),
    "SN004": ((4541, 4555),),
    "SN006": ((1349, 1405),),
    "SN009": ((1736, 1808), (1851, 1885)),
    "SN011": ((4529, 4533), (4830, 4845)),
    "SN021": ((574, 616), (985, 1164), (1190, 1205), (1305, 1338), (1665, 1710), (1862, 2477), (2554, 4657),
              (4710, 4722)),
    "SN023": ((1021, 1049), (3378, 3557), (3584, 3668), (4547, 4621), (4741, 4772), (4825, 4845)),
    "SN025": ((4596, 4662), (4816, 4835)),
    "SN027": ((3461, 3494), (4738, 4785)),
    "SN028": ((1875, 1885), (4571, 4690)),
    "SN029": ((4090, 4543),),
    "SN030": ((939, 962), (1406, 1422), (2100, 2132), (2893, 2955)),
}  # fmt: skip
"""Frames (from 1) whose published landmarks are known to be wrong; there the face is found anew."""


def read(folder: Path, source: DataSource) -> list[Photo]:
    videos = _videos(folder)
    if not videos:
        raise DataError(
            f"No DISFA video (LeftVideoSN001_comp.avi …) lies in '{folder}'; mend the `uri` of the data set."
        )
    files = {_label_key(path): path for path in sorted(folder.rglob("*.[tT][xX][tT]")) if LABELS.match(path.name)}
    orphans = sorted({subject for subject, _ in files} - set(videos))
    if orphans:
        raise DataError(f"DISFA has labels but no video for {', '.join(orphans)} in '{folder}'; add the videos.")
    landmarks = _landmarks(folder)
    photos: list[Photo] = []
    for subject, video in videos.items():
        photos += _subject(subject, video, files, landmarks, source)
    return photos


def _videos(folder: Path) -> dict[str, Path]:
    """One video per subject, sorted; the left camera wins."""
    found: dict[str, tuple[str, Path]] = {}
    for path in sorted(folder.rglob("*")):
        if match := VIDEO.match(path.name):
            side, subject = match[1].lower(), match[2].upper()
            if subject not in found or (side == "left" and found[subject][0] == "right"):
                found[subject] = (side, path)
    return {subject: found[subject][1] for subject in sorted(found)}


def _label_key(path: Path) -> tuple[str, str]:
    match = LABELS.match(path.name)
    assert match is not None
    return match[1].upper(), f"au{int(match[2])}"


def _landmarks(folder: Path) -> dict[tuple[str, int], Path]:
    found = {}
    for path in folder.rglob("*.[mM][aA][tT]"):
        if match := LANDMARKS.match(path.name):
            found[match[1].upper(), int(match[2])] = path
    return found


def _subject(
    subject: str,
    video: Path,
    files: dict[tuple[str, str], Path],
    landmarks: dict[tuple[str, int], Path],
    source: DataSource,
) -> list[Photo]:
    length = video_length(video)
    labels: dict[str, dict[int, int]] = {}
    for label in source.labels or DEFAULT_LABELS:
        path = files.get((subject, label))
        if path is None:
            raise DataError(
                f"DISFA lacks the label file {subject}_{label}.txt for the video '{video.name}'; "
                f"put it into ActionUnit_Labels/{subject}/."
            )
        labels[label] = _usable(path, length, video)
    chosen = sorted({n for label in labels for n in spread(labels[label], source.frames_per_subject)})
    return [
        Photo(
            subject=subject,
            labels={label: float(of[n]) for label, of in labels.items() if n in of},
            path=video,
            frame=n - 1,
            eyes=_eyes(subject, n, landmarks),
        )
        for n in chosen
    ]


def _usable(path: Path, length: int, video: Path) -> dict[int, int]:
    """Frame number (from 1) to intensity, for intensities 1 to 5 that the video has a frame for."""
    intensities = read_labels(path)
    last = max(intensities)
    if last > length + FRAMES_BEYOND_END:
        raise DataError(
            f"'{path.name}' labels frame {last}, but '{video.name}' has only {length} frames; "
            "pair the video with its own labels, or copy it again."
        )
    return {n: intensity for n, intensity in intensities.items() if intensity >= 1 and n <= length}


def read_labels(path: Path) -> dict[int, int]:
    """Frame number (from 1) to intensity (0 to 5)."""
    intensities: dict[int, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            frame, intensity = (int(float(part)) for part in re.split(r"[,;\s]+", line.strip()))
        except ValueError:
            raise DataError(f"Line {number} of '{path.name}' is not `frame,intensity`; mend the file.") from None
        if frame < 1 or not 0 <= intensity <= 5:
            raise DataError(
                f"Line {number} of '{path.name}' gives frame {frame} the intensity {intensity}; "
                "frames count from 1 and intensities go from 0 to 5."
            )
        intensities[frame] = intensity
    if not intensities:
        raise DataError(f"The label file '{path.name}' is empty; copy it again.")
    return intensities


def spread(intensities: dict[int, int], count: int | None) -> list[int]:
    """`count` frames spread evenly over the frames in order of intensity, so that all levels are kept in proportion."""
    ordered: Sequence[int] = sorted(intensities, key=lambda n: (intensities[n], n))
    if count is None or len(ordered) <= count:
        return list(ordered)
    positions = np.linspace(0, len(ordered) - 1, count).round().astype(int)
    return [ordered[i] for i in positions]


def _eyes(subject: str, n: int, landmarks: dict[tuple[str, int], Path]) -> tuple[tuple[float, float], ...]:
    path = landmarks.get((subject, n - 1))
    if path is None or any(first <= n <= last for first, last in BAD_LANDMARKS.get(subject, ())):
        return ()
    return eyes_of_66(path)
