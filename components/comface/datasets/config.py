"""The sections `data` and `rehearse`: the locations of data sets, and the synthetic data sets used if there is none."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from comface.config.names import Label, Place
from comface.config.section import Once, Section, Seed
from comface.datasets.registry import LayoutName

FACE_PX = 224
"""Side in pixels of an aligned face, unless a data set says otherwise."""


class DataSource(Section):
    layout: LayoutName = Field(description="layout of the files (docs/data.md)")
    uri: Place = Field(default="", description="folder of the data set; empty: generate rehearsal data")
    labels: Annotated[tuple[Label, ...], Once] = Field(
        default=(),
        max_length=100,
        description="labels that must exist; for DISFA, the action units to read (empty: au6, au12)",
    )
    frames_per_subject: int | None = Field(
        default=None,
        ge=2,
        le=1_000_000,
        description="DISFA: frames per subject and label, over all intensities; unset: all",
    )
    face_size_px: int = Field(default=FACE_PX, ge=32, le=512, description="side length of the aligned faces in pixels")


class RehearseConfig(Section):
    """The rehearsal data sets, which are generated if no real data set is given."""

    disfa_subjects: int = Field(default=27, ge=4, le=999, description="subjects of DISFA, one video each (paper: 27)")
    disfa_frames: int = Field(default=120, ge=20, le=100_000, description="frames per video (DISFA: 4,845)")
    fgnet_subjects: int = Field(default=82, ge=4, le=999, description="subjects of FG-NET (paper: 82)")
    fgnet_images: int = Field(default=12, ge=2, le=1_000, description="mean number of photos per subject")
    edema_a_patients: int = Field(default=38, ge=4, le=10_000, description="patients of Edema-A (paper: 38)")
    edema_b_patients: int = Field(default=19, ge=4, le=10_000, description="patients of Edema-B (paper: 19)")
    edema_sessions: int = Field(default=5, ge=1, le=1_000, description="mean number of dialysis sessions per patient")
    edema_frames: int = Field(default=2, ge=1, le=1_000, description="frames per phase of a session (paper: 100)")
    cohort_subjects: int = Field(default=80, ge=4, le=10_000, description="subjects of the scored cohort")
    cohort_photos: int = Field(default=12, ge=2, le=1_000, description="photos per subject of the scored cohort")
    image_size_px: int = Field(default=160, ge=96, le=2048, description="side length of the photos")
    seed: Seed = Field(default=1000, description="seed; the identities differ from those of pre-training for any seed")
