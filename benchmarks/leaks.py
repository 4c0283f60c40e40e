"""Share of planted leaks that datasets/leaks.py finds, and of clean data sets that it refuses.

    python benchmarks/leaks.py [--leaks 1000] [--seed 7] [--photos PATH ...]

In: rehearsal data sets of a seed that the thresholds were not chosen on (FG-NET, Edema-A, DISFA, scored cohort), or
your own folders of photos, one folder per person. Out: a Markdown table. A leak is a photo of one person under the name
of another one: unchanged (a person renamed), compressed again, resized, mirrored, cropped (up to 0.15 of each side), or
all of these.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from comface.datasets.config import DataSource, RehearseConfig
from comface.datasets.leaks import evenly, print_of, same_pictures
from comface.datasets.media import pictures
from comface.datasets.registry import layout
from comface.datasets.rehearsal.registry import REHEARSALS

KINDS = ("renamed", "compressed again", "resized", "mirrored", "cropped", "all of these")
REHEARSED = {"fgnet": "fgnet", "edema-a": "edema", "disfa": "disfa", "cohort": "pairs"}
MOST_CUT = 0.15

Pixels = NDArray[np.uint8]


def altered(image_HW3: Pixels, kind: str, rng: np.random.Generator) -> Pixels:
    height, width = image_HW3.shape[:2]
    if kind in ("cropped", "all of these"):
        top, bottom, left, right = (rng.uniform(0, MOST_CUT, 4) * (height, height, width, width)).astype(int)
        image_HW3 = image_HW3[top : height - bottom, left : width - right]
    if kind in ("resized", "all of these"):
        scale = rng.uniform(0.5, 1.8)
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        image_HW3 = cv2.resize(image_HW3, None, fx=scale, fy=scale, interpolation=how)
    if kind in ("mirrored", "all of these"):
        image_HW3 = image_HW3[:, ::-1]
    return image_HW3 if kind == "renamed" else compressed(image_HW3, int(rng.integers(40, 90)))


def compressed(image_HW3: Pixels, quality: int) -> Pixels:
    data = cv2.imencode(".jpg", np.ascontiguousarray(image_HW3[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def rehearsed(name: str, config: RehearseConfig) -> Iterator[tuple[str, Pixels]]:
    """The subject and the picture of each photo of a rehearsal data set."""
    with tempfile.TemporaryDirectory() as folder:
        REHEARSALS[name].write(Path(folder), config)
        source = DataSource(layout=REHEARSED[name])
        photos = layout(source.layout).read(Path(folder), source, name, True).photos
        for photo, image_HW3 in pictures(photos):
            yield photo.subject, image_HW3


def own_photos(folder: Path) -> Iterator[tuple[str, Pixels]]:
    for path in sorted(folder.glob("*/*")):
        if (image_HW3 := cv2.imread(str(path), cv2.IMREAD_COLOR)) is not None:
            yield path.parent.name, np.ascontiguousarray(image_HW3[..., ::-1])


class Planted:
    """Photos of a data set and leaks among them. Only every photo's print stays in memory, and the pictures of those
    that leak."""

    def __init__(self, photos: list[tuple[str, Pixels]], leaks: int, rng: np.random.Generator) -> None:
        self.people = [person for person, _ in photos]
        self.prints_NSS = np.stack([print_of(image_HW3) for _, image_HW3 in photos])
        self.source_L = rng.integers(0, len(photos), leaks)
        self.kind_L = [KINDS[number % len(KINDS)] for number in range(leaks)]
        names = sorted(set(self.people))
        self.under_L = [
            str(rng.choice([name for name in names if name != self.people[source]])) for source in self.source_L
        ]
        self.leaks_LSS = np.stack(
            [print_of(altered(photos[i][1], kind, rng)) for i, kind in zip(self.source_L, self.kind_L, strict=True)]
        )

    def refused(self) -> int:
        """Pairs of two people in the data set without leaks."""
        return len(same_pictures(self.prints_NSS, self.people))

    def refused_with_leaks(self) -> list[tuple[int, int]]:
        return same_pictures(np.concatenate([self.prints_NSS, self.leaks_LSS]), [*self.people, *self.under_L])

    def found(self, pairs: list[tuple[int, int]], exactly: bool = False) -> NDArray[np.bool_]:
        """Which leaks are paired with a photo, or another leak, of the person whom they show; `exactly`: with the very
        photo that they were made from, or another leak of it. (In a video, a cropped frame can be nearer to the next
        frame.)"""
        source = [*range(len(self.people)), *(int(i) for i in self.source_L)]
        shown = source if exactly else [self.people[i] for i in source]
        right = {place for pair in pairs if shown[pair[0]] == shown[pair[1]] for place in pair}
        return np.array([len(self.people) + number in right for number in range(len(self.source_L))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leaks", type=int, default=200, help="leaks per data set")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--photos", type=Path, nargs="*", default=[], help="folders of photos, PERSON/PHOTO")
    given = parser.parse_args()
    config = RehearseConfig(seed=given.seed, disfa_frames=60)
    sets = {path.name: own_photos(path) for path in given.photos} or {n: rehearsed(n, config) for n in REHEARSED}
    print(f"| data set | photos | refused when clean | {' | '.join(KINDS)} | found | the very photo | time, s |")
    print("|" + "---|" * (len(KINDS) + 6))
    for name, photos in sets.items():
        read = list(photos)
        planted = Planted([read[i] for i in evenly(len(read))], given.leaks, np.random.default_rng(given.seed))
        refused, started = planted.refused(), time.perf_counter()
        pairs = planted.refused_with_leaks()
        seconds = time.perf_counter() - started
        found_L, kind_L = planted.found(pairs), np.array(planted.kind_L)
        exact = planted.found(pairs, exactly=True).mean()
        shares = " | ".join(f"{found_L[kind_L == kind].mean():.1%}" for kind in KINDS)
        row = (name, f"{len(read):,}", refused, shares, f"{found_L.mean():.2%}", f"{exact:.2%}", f"{seconds:.0f}")
        print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main()
