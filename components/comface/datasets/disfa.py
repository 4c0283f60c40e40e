"""DISFA (Mavadati et al. 2013): one video per subject and one label file per subject and action unit.

    Videos_LeftCamera/LeftVideoSN001_comp.avi         (the right camera is used if the left is missing)
    ActionUnit_Labels/SN001/SN001_au6.txt             lines `frame,intensity`, frames from 1 without a gap
    Landmark_Points/SN001/tmp_frame_lm/…_lm.mat       optional: `pts` (66,2) of the left camera's frame

In: the folder, and labels such as 'au6'. Out: frames with intensity 1 to 5, as in section 4.2. Frame n is the n-th
decoded frame. Folder and file names are matched without regard to case. Landmark files are published under two names:
SN001_0000_lm.mat counts frames from 0, l00001_lm.mat from 1. Some published videos have one frame less than their
labels; the extra label is ignored. If the difference is more than FRAMES_APART, the video was cut or converted and its
frames do not match the labels: it is rejected.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from comface.datasets.config import DataSource
from comface.datasets.dataset import DataSet, Photo
from comface.datasets.files import files_in
from comface.datasets.landmarks import eyes_of_66
from comface.datasets.media import video_length
from comface.datasets.registry import Layout
from comface.errors import DataError
from comface.files import read_bounded
from comface.files.cells import decoded

VIDEO = re.compile(r"^(left|right)video(sn\d{3})_comp\.(avi|mp4|mov|mkv)$", re.IGNORECASE)
VIDEOS = (".avi", ".mp4", ".mov", ".mkv")
LABELS = re.compile(r"^(sn\d{3})_au0*(\d+)\.txt$", re.IGNORECASE)
LANDMARKS_FROM_0 = re.compile(r"^(sn\d{3})_(\d{4,5})_lm\.mat$", re.IGNORECASE)
LANDMARKS_FROM_1 = re.compile(r"^l(\d{4,5})_lm\.mat$", re.IGNORECASE)
LANDMARKS = (LANDMARKS_FROM_0, LANDMARKS_FROM_1)
SUBJECT = re.compile(r"^sn\d{3}$", re.IGNORECASE)
LINE = re.compile(r"(\d{1,9})(?:\.0*)?(?:\s*[,;]\s*|\s+)(\d{1,9})(?:\.0*)?", re.ASCII)
MAX_LABEL_BYTES = 10_000_000
DEFAULT_LABELS = ("au6", "au12")
FRAMES_APART = 3
"""Maximum difference between the numbers of frames and of labels. A small difference comes from the video encoder (one
frame was observed)."""

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
"""Frames (from 1) whose published landmarks are known to be wrong; face detection is used for these frames."""


def read(folder: Path, source: DataSource, place: str, quick: bool = False) -> DataSet:
    paths = files_in(folder)
    videos = _videos(paths, place)
    if not videos:
        raise DataError(
            f"There is no DISFA video (LeftVideoSN001_comp.avi …) in '{place}'; correct the `uri` of the data set."
        )
    files = _label_files(paths, place)
    orphans = sorted({subject for subject, _ in files} - set(videos))
    if orphans:
        raise DataError(f"DISFA has labels but no video for {', '.join(orphans)} in '{place}'; add the videos.")
    landmarks = _landmarks(paths)
    labels = source.labels or DEFAULT_LABELS
    photos: list[Photo] = []
    for subject, (side, video) in videos.items():
        of_left = {n: path for (name, n), path in landmarks.items() if name == subject} if side == "left" else {}
        photos += _subject(subject, video, video_length(video, quick), files, of_left, source)
    right = {subject for subject, (side, _) in videos.items() if side == "right"} & {name for name, _ in landmarks}
    remarks = [f"the landmarks of {', '.join(sorted(right))} belong to the left camera, whose video is missing"]
    return DataSet(photos, labels, _other_names(paths), remarks if right else ())


def _other_names(paths: Sequence[Path]) -> Counter[str]:
    """Count files that look like files of DISFA but have other names."""
    counts: Counter[str] = Counter()
    for path in paths:
        if path.suffix.lower() in VIDEOS and not VIDEO.match(path.name):
            counts["videos whose name is not like LeftVideoSN001_comp.avi"] += 1
        elif path.suffix.lower() == ".mat" and not any(kind.match(path.name) for kind in LANDMARKS):
            counts["landmark files whose name is not like SN001_0000_lm.mat or l00001_lm.mat"] += 1
        elif path.suffix.lower() == ".txt" and "_au" in path.name.lower() and not LABELS.match(path.name):
            counts["label files whose name is not like SN001_au6.txt"] += 1
    return counts


def _videos(paths: Sequence[Path], place: str) -> dict[str, tuple[str, Path]]:
    """Return subject → (side, video), sorted; the left camera takes precedence."""
    found: dict[tuple[str, str], Path] = {}
    for path in paths:
        if match := VIDEO.match(path.name):
            _add(found, (match[2].upper(), match[1].lower()), path, place)
    sides = dict(sorted(found, reverse=True))  # the left one comes last and overwrites the right one
    return {subject: (sides[subject], found[subject, sides[subject]]) for subject in sorted(sides)}


def _label_files(paths: Sequence[Path], place: str) -> dict[tuple[str, str], Path]:
    found: dict[tuple[str, str], Path] = {}
    for path in paths:
        if match := LABELS.match(path.name):
            _add(found, (match[1].upper(), f"au{int(match[2])}"), path, place)
    return found


def _add(found: dict[tuple[str, str], Path], key: tuple[str, str], path: Path, place: str) -> None:
    other = found.setdefault(key, path)
    if other is not path:
        raise DataError(
            f"'{other.parent.name}/{other.name}' and '{path.parent.name}/{path.name}' of the data set at '{place}' are "
            "the same file of DISFA; keep one of them."
        )


def _landmarks(paths: Sequence[Path]) -> dict[tuple[str, int], Path]:
    """Return (subject, frame from 1) → landmark file, under either name."""
    found: dict[tuple[str, int], Path] = {}
    for path in paths:
        if match := LANDMARKS_FROM_0.match(path.name):
            found[match[1].upper(), int(match[2]) + 1] = path
        elif match := LANDMARKS_FROM_1.match(path.name):
            subjects = [part.upper() for part in path.parts[-4:-1] if SUBJECT.match(part)]
            if subjects:
                found.setdefault((subjects[-1], int(match[1])), path)
    return found


def _subject(
    subject: str,
    video: Path,
    length: int,
    files: dict[tuple[str, str], Path],
    landmarks: dict[int, Path],
    source: DataSource,
) -> list[Photo]:
    labels: dict[str, dict[int, int]] = {}
    for label in source.labels or DEFAULT_LABELS:
        path = files.get((subject, label))
        if path is None:
            raise DataError(
                f"The label file {subject}_{label}.txt of DISFA is missing for the video '{video.name}'; "
                f"add it to ActionUnit_Labels/{subject}/."
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
    """Return frame number (from 1) → intensity, for intensities 1 to 5 and frames that the video has."""
    intensities = read_labels(path)
    if abs(len(intensities) - length) > FRAMES_APART:
        raise DataError(
            f"'{path.name}' labels {len(intensities):,} frames, but '{video.name}' has {length:,}; use the original "
            "video, neither cut nor converted to another frame rate."
        )
    return {n: intensity for n, intensity in intensities.items() if intensity >= 1 and n <= length}


def read_labels(path: Path) -> dict[int, int]:
    """Return frame number (from 1, without a gap) → intensity (0 to 5). Raises DataError for an invalid line."""
    intensities: dict[int, int] = {}
    text, _ = decoded(read_bounded(path, MAX_LABEL_BYTES, "The label file"), f"'{path.name}'")
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        where, match = f"Line {number} of '{path.name}'", LINE.fullmatch(line.strip())
        if match is None:
            raise DataError(f"{where} is not `frame,intensity` in whole numbers; correct it.")
        frame, intensity = int(match[1]), int(match[2])
        if frame < 1 or intensity > 5:
            raise DataError(
                f"{where} has a frame below 1 or an intensity above 5; number frames from 1 and use intensities from "
                "0 to 5."
            )
        if frame in intensities:
            raise DataError(f"{where} labels frame {frame} again; delete the wrong line.")
        if frame != len(intensities) + 1:
            raise DataError(
                f"{where} labels frame {frame}, but the label of frame {len(intensities) + 1} is missing; add it."
            )
        intensities[frame] = intensity
    if not intensities:
        raise DataError(f"The label file '{path.name}' is empty; copy it again.")
    return intensities


def spread(intensities: dict[int, int], count: int | None) -> list[int]:
    """Choose `count` frames evenly from the frames sorted by intensity, so that all levels keep their proportions."""
    ordered: Sequence[int] = sorted(intensities, key=lambda n: (intensities[n], n))
    if count is None or len(ordered) <= count:
        return list(ordered)
    positions = np.linspace(0, len(ordered) - 1, count).round().astype(int)
    return [ordered[i] for i in positions]


def _eyes(subject: str, n: int, landmarks: dict[int, Path]) -> tuple[tuple[float, float], ...]:
    path = landmarks.get(n)
    if path is None or any(first <= n <= last for first, last in BAD_LANDMARKS.get(subject, ())):
        return ()
    return eyes_of_66(path)


LAYOUT = Layout("disfa", read, chooses_labels=True, video=True, known_by=VIDEO.match)
