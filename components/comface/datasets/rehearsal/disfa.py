"""A rehearsal of DISFA (Mavadati et al. 2013): 27 videos of spontaneous expression with AU6 and AU12 per frame.

    Videos_LeftCamera/LeftVideoSN001_comp.avi      20 frames a second, motion JPEG
    ActionUnit_Labels/SN001/SN001_au6.txt          lines `frame,intensity`, frames from 1, intensities 0..5

In: RehearseConfig. Out: those files. A video is a sequence of episodes from neutral to smile to neutral. AU6 usually
rises with AU12, but less. Blinks, brows, speech, gaze and head movement are distractors. Background and camera are
constant in a video; the light varies slightly. Labels are the rendered intensities, rounded to integers.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from comface.datasets.config import RehearseConfig
from comface.datasets.rehearsal.camera import Lens, photograph, render_px
from comface.datasets.rehearsal.subjects import Conditions, person, subject_rng, under, wander
from comface.errors import TryAgain
from comface.generators import to_uint8
from comface.generators.procedural import FaceParameters, render_parameters
from comface.runtime.progress import shown

PUBLISHED = (*range(1, 14), 16, 17, 18, 21, *range(23, 33))
FRAMES_PER_S = 20
LENS = Lens(stretch=0.03, gamma=0.2, cast=0.06, side_light=0.25, noise=3.0)
CONDITIONS = Conditions(yaw_deg=6, pitch_deg=4, roll_deg=3)


def subject_name(number: int) -> str:
    """Return the published subject names in order, then names with the next numbers."""
    return f"SN{PUBLISHED[number] if number < len(PUBLISHED) else number + 6:03d}"


def write_disfa(folder: Path, config: RehearseConfig) -> None:
    (folder / "Videos_LeftCamera").mkdir(parents=True, exist_ok=True)
    for number in shown(range(config.disfa_subjects), "writing videos", unit="subject"):
        name = subject_name(number)
        frames_NHW3, au6_N, au12_N = video_of(number, config)
        _write_video(folder / "Videos_LeftCamera" / f"LeftVideo{name}_comp.avi", frames_NHW3)
        labels = folder / "ActionUnit_Labels" / name
        labels.mkdir(parents=True, exist_ok=True)
        for unit, intensity_N in (("au6", au6_N), ("au12", au12_N)):
            lines = [f"{i + 1},{round(float(x))}" for i, x in enumerate(intensity_N)]
            (labels / f"{name}_{unit}.txt").write_text("\n".join(lines) + "\n")


def video_of(number: int, config: RehearseConfig) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.float64]]:
    """Return frames (N,S,S,3) and the unrounded intensities (N,) of AU6 and AU12."""
    rng = subject_rng(config.seed, "disfa", number)
    count = config.disfa_frames
    au6_N, au12_N = intensities(count, rng)
    au6, au12 = (torch.from_numpy(x.astype(np.float32)) for x in (au6_N, au12_N))
    age = torch.full((count,), float(rng.uniform(19, 46)))
    faces = person(config.seed, "disfa", number, count, au6=au6, au12=au12, age_years=age)
    faces = _filmed(faces, rng)
    renders = to_uint8(render_parameters(faces, render_px(config.image_size_px)))
    frames, _ = photograph(renders, config.image_size_px, LENS, rng, same=True)
    return frames, au6_N, au12_N


def intensities(count: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the intensities of AU6 and AU12 (N,), 0 to 5: smiles with raised cheeks, and squints without a smile."""
    au6, au12 = np.zeros(count), np.zeros(count)
    at = int(rng.integers(2, 10))
    strong = True
    while at < count:
        length = int(rng.integers(26, 46))
        peak = rng.uniform(3.2, 5.0) if strong else rng.uniform(1.0, 4.5)
        late = int(rng.integers(0, 5))
        au12 = np.maximum(au12, peak * _episode(count, at, length, rng))
        au6 = np.maximum(au6, peak * rng.uniform(0.25, 1.0) * _episode(count, at + late, length - late, rng))
        if rng.random() < 0.4:
            au6 = np.maximum(au6, rng.uniform(1.0, 3.5) * _episode(count, at + length, 16, rng))
        at += length + int(rng.integers(4, 18))
        strong = False
    return au6, au12


def _episode(count: int, start: int, length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a curve (N,): 0, a smooth rise to 1, a hold, a slower fall."""
    rise, hold = rng.uniform(0.2, 0.4) * length, rng.uniform(0.2, 0.35) * length
    t = np.arange(count) - start
    up = np.clip(t / rise, 0, 1)
    down = np.clip((length - t) / max(length - rise - hold, 1.0), 0, 1)
    s = np.minimum(up, down)
    smooth: NDArray[np.float64] = s * s * (3 - 2 * s)
    return smooth


def _filmed(faces: FaceParameters, rng: np.random.Generator) -> FaceParameters:
    """Set constant background and framing, nearly constant light, head movement, blinks, brows, speech and gaze."""
    count = len(faces)
    faces = under(faces, CONDITIONS, rng)
    scene = ("zoom", "light_x", "light_y", "key", "ambient", "warmth", "exposure", "shift_x_cm", "shift_y_cm")
    wall = ("wall_hue", "wall_saturation", "wall_light", "wall_slope", "wall_pattern", "wall_phase")
    pose = ("yaw_deg", "pitch_deg", "roll_deg")
    first = {name: getattr(faces, name)[:1].expand(count) for name in scene + wall + pose}
    faces = replace(faces, **first)
    speech = wander(count, 1.0, rng, 3).clamp(min=0)
    brows = wander(count, 1.0, rng, 10)
    return replace(
        faces,
        yaw_deg=faces.yaw_deg + wander(count, 12.0, rng, 9),
        pitch_deg=faces.pitch_deg + wander(count, 8.0, rng, 9),
        roll_deg=faces.roll_deg + wander(count, 4.0, rng, 9),
        light_x=faces.light_x + wander(count, 0.3, rng),
        exposure=faces.exposure * torch.exp(wander(count, 0.15, rng)),
        shift_x_cm=faces.shift_x_cm + wander(count, 0.5, rng),
        shift_y_cm=faces.shift_y_cm + wander(count, 0.4, rng),
        blink=_blinks(count, rng),
        gaze_x=wander(count, 0.8, rng, 6),
        au1=2.5 * (brows - 0.35).clamp(min=0),
        au4=2.0 * (-brows - 0.35).clamp(min=0),
        au15=0.6 * faces.au12.clamp(max=0.0) + 0.6 * (1 - faces.au12).clamp(0, 1),
        au25=4.0 * speech + 0.35 * (faces.au12 - 1.5).clamp(min=0),
        au26=2.6 * (speech - 0.3).clamp(min=0),
        lipstick=0.4 * faces.lipstick,
    )


def _blinks(count: int, rng: np.random.Generator) -> torch.Tensor:
    """Return lid closure per frame (N,), 0 to 1: a blink of about 0.2 s about every 3 s."""
    closed = np.zeros(count, np.float32)
    at = int(rng.integers(8, 40))
    while at < count:
        for offset, share in ((-1, 0.45), (0, 1.0), (1, 0.9), (2, 0.35)):
            if 0 <= at + offset < count:
                closed[at + offset] = share
        at += int(rng.integers(30, 80))
    return torch.from_numpy(closed)


def _write_video(path: Path, frames_NHW3: NDArray[np.uint8]) -> None:
    size = frames_NHW3.shape[2], frames_NHW3.shape[1]
    partial = path.with_name("partial-" + path.name)
    writer = cv2.VideoWriter(str(partial), cv2.VideoWriter.fourcc(*"MJPG"), FRAMES_PER_S, size)
    if not writer.isOpened():
        raise TryAgain(f"The video '{path.name}' cannot be written to '{path.parent}'; check the disk, then run again.")
    for frame in frames_NHW3:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    os.replace(partial, path)
