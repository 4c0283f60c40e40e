"""Labelled photos of real people that benchmarks/trust.py measures: who is in it, and what is wrong with it.

The photos are in public repositories, at the commits of SOURCES; none of them is part of this one. A folder holds one
checkout per source, named OWNER+NAME:

    git clone https://github.com/OWNER/NAME OWNER+NAME && git -C OWNER+NAME checkout COMMIT

Labels were given before any rule of faces/usable.py was applied to the photos: those of the CMU face images are in
their names, the others were given by eye on contact sheets. Rules are chosen on one half of the people and reported on
the other, by the hash of their names (`chooses`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from comface.faces.photos import read_photo

GEORGIA = "xavier-h-10+Masked-Unmasked-Face-Recognition"
CMU = "ak-05+Sunglasses-Detector"
MASKS = "chandrikadeb7+Face-Mask-Detection"
SERIES = "justadudewhohacks+face-api.js"
SOURCES = {
    GEORGIA: "fef5f4059d4f893a39cb66f68e72ad423386ed23",
    CMU: "2e438b1f94274342f268c19223e0c5e7e1f1e379",
    MASKS: "7e500749401bad4bb338790fbdb89b58e41ef2d9",
    SERIES: "a86f011d72124e5fb93e59d5c4ab98f699dd5c9c",
}
"""Repository → commit. Georgia Tech face database (50 people, 15 photos each); CMU face images (20 people looking
straight on, to the sides and up, with and without sunglasses, 128 x 120 px); photos with real masks, and photos of
East Asian actors (cut to their faces); the cast of a television series."""
GEORGIA_GOOD = """
s01 1 7 9 10 12 15/s02 1 2 6 10 13 14/s03 1 3 4 6 10 11 12 13/s04 1 3 5 9 10 11 12 15/s05 3 5 6 8 10 12 13 14/
s06 3 9 10 13 14 15/s07 1 2 5 6 12 15/s08 1 2 5 6 9 12 14/s09 1 4 6 7 12/s10 1 2 5 8 9 12/s11 5 6 8 10 11/
s12 1 2 3 5 6 7 11 12/s13 1 3 6 7 8 10/s14 1 6 7 8 13 15/s15 1 2 13 14/s16 2 3 11 12 13/
s17 1 2 3 5 7 8 9 10 11 15/s18 2 4 5 12 13 14/s19 1 2 6 7 10/s20 1 5 10 14 15/s21 1 6 7 8 9 12 13 14 15/
s22 1 9 11 13 14 15/s23 1 2 6 9 11 13 14/s24 6 8 13/s25 3 5 9 12 13 14/s26 2 4 9 11 14/s27 2 6 12 14 15/
s28 2 3 4 7 9 11 12 13/s29 1 2 5 6 10 13 15/s30 1 3 5 13 15/s31 1 3 6 7 8 9 15/s32 2 7 11 12 15/
s33 1 4 6 7 8 9 13 15/s34 4 5 8 9 11 12 13 14/s35 2 3 8 10 11 15/s36 1 2 3 5 6 7 9 11 12 13/s37 1 3 7 9 12/
s38 1 4 5 6 8 10 12/s39 1 2 5 6 8 10 12/s40 5 6 7 8 11 12/s41 2 4 6 8 12 13 14/s42 1 6 7 9 12 15/s43 1 5 6 13 15/
s44 3 5 6 11 12 13/s45 1 3 5 11 13 14 15/s46 1 4 5 9 12 13/s47 1 2 3 4 5 8 10 11/s48 2 4 8 9 10 13 14/
s49 4 5 7 11 12/s50 4 7 10 11 12 13 14
"""
"""Faces from the front, eyes visible. The others are turned a little, tilted, or have their eyes closed."""
GEORGIA_TURNED = "s05 4 9/s07 11/s09 10/s13 4/s14 2/s24 3 15/s26 3"
GEORGIA_CUT = np.s_[40:440, 120:520]
"""The middle of the photo, which contains the head."""
MASK_NAMES = Path(__file__).with_name("trust_masks.txt")
"""Photos with one person that wears a mask, of at least 110 px: a fifth of the folder, by the hash of the name."""
LEAST_PX, MOST_PER_ACTOR = 100, 4
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Labelled:
    person: str
    path: Path
    label: str
    """good, a code of faces/usable.py, raised (the head), or empty: for identity alone."""

    @property
    def source(self) -> str:
        return self.person.split("-")[0]

    @property
    def chooses(self) -> bool:
        return chooses(self.person)

    def read(self) -> Pixels:
        """CMU photos are enlarged twice, so that no face is too small."""
        if self.path.suffix == ".pgm":
            large_HW3 = cv2.resize(cv2.imread(str(self.path)), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
            return np.ascontiguousarray(large_HW3[..., ::-1])
        image_HW3 = read_photo(self.path)
        return np.ascontiguousarray(image_HW3[GEORGIA_CUT]) if self.source == "georgia" else image_HW3


def chooses(person: str) -> bool:
    """Whether rules may be chosen on the person's photos; the others are for the report."""
    return hashlib.sha256(person.encode()).digest()[0] < 128


def labelled(folder: Path) -> Iterator[Labelled]:
    """The photos of all sources that are in the folder."""
    for found in (_georgia(folder / GEORGIA), _cmu(folder / CMU), _masks(folder / MASKS), _cast(folder / SERIES)):
        yield from found


def _georgia(folder: Path) -> Iterator[Labelled]:
    good, turned = ({(line[:3], int(n)) for line in text.replace("\n", "").split("/") for n in line.split()[1:]}
                    for text in (GEORGIA_GOOD, GEORGIA_TURNED))  # fmt: skip
    for path in sorted(folder.glob("Dataset_1/*/*.jpg")):
        key = path.parent.name, int(path.stem)
        yield Labelled(f"georgia-{key[0]}", path, "good" if key in good else "turned" if key in turned else "")


def _cmu(folder: Path) -> Iterator[Labelled]:
    labels = {"straight_open": "good", "straight_sunglasses": "occluded", "up_open": "raised"}
    labels |= {"left_open": "turned", "right_open": "turned"}
    for path in sorted(folder.rglob("*.pgm")):
        if named := re.fullmatch(r"(\w+?)_(straight|left|right|up)_[a-z]+_(open|sunglasses)", path.stem):
            person, pose, eyes = named.groups()
            if label := labels.get(f"{pose}_{eyes}"):
                yield Labelled(f"cmu-{person}", path, label)


def _masks(folder: Path) -> Iterator[Labelled]:
    for name in MASK_NAMES.read_text().splitlines():
        path = folder / "dataset" / "with_mask" / name
        if path.exists():
            yield Labelled(f"mask-{name}", path, "occluded")
    actors: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("dataset/without_mask/*.jpg")):
        named = re.fullmatch(r"[01]_[01]_([a-z]{4,})_\d+", path.stem)
        if named and min(cv2.imread(str(path)).shape[:2]) >= LEAST_PX:
            actors.setdefault(named[1], []).append(path)
    for actor, paths in actors.items():
        for path in paths[:: max(1, len(paths) // MOST_PER_ACTOR)][:MOST_PER_ACTOR]:
            yield Labelled(f"actor-{actor}", path, "")


def _cast(folder: Path) -> Iterator[Labelled]:
    for path in sorted(folder.glob("examples/images/*/*.png")):
        yield Labelled(f"series-{path.parent.name}", path, "")
