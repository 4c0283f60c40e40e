"""Images per second of the phases of synthesize (render, screen, encode, store), for both embedded generators.

    python benchmarks/synthesize.py [--size 64] [--alphas 21] [--rounds 5] [--seconds 1.0]

Rounds alternate between generators, so that changes in machine load affect both equally. The table gives medians. The
benchmark uses one torch thread, one encoder thread and a store on the local disk (fsync included).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from comface.errors import ComfaceError
from comface.generators import FaceGenerator, edit, to_uint8
from comface.generators.registry import load_generator
from comface.store import FileStore
from comface.tracks.screen import face_found
from comface.tracks.sweep import encode, render_track
from comface.tracks.tar import Track, TrackTar

QUALITY = 90
TRACKS_STORED = 16


def rate(images: int, seconds: float, action: Callable[[], object]) -> float:
    """Return the images per second of `action`, which processes `images` per call, repeated for about `seconds`."""
    action()  # warm-up: lazy loading
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds or not done:
        action()
        done += images
    return done / (time.perf_counter() - started)


def phases(
    generator: FaceGenerator, size_px: int, alphas: tuple[float, ...], folder: Path
) -> dict[str, tuple[int, Callable[[], object]]]:
    """Return phase → (images per call, the call)."""
    w_ND = generator.latents(range(8))
    directions = generator.attributes()
    torch.manual_seed(0)
    direction_1D = generator.direction(directions[0]) if directions else torch.randn(1, generator.latent_width)
    place = iter(range(10**9))

    def render() -> np.ndarray:
        i = next(place) % 8
        return render_track(generator, edit(w_ND[i : i + 1], direction_1D, alphas)[0], size_px)

    images_AHW3 = render()
    faces_NHW3 = to_uint8(generator.render(w_ND))
    jpegs = encode(images_AHW3, QUALITY)
    store = FileStore(folder)

    def save() -> None:
        tar = TrackTar()
        for i in range(TRACKS_STORED):
            key = f"bench-{i}"
            tar.add(Track(key=key, generator=generator.name, identity=key, attribute="a", seed=i, alphas=alphas), jpegs)
        store.write("chunk.tar", tar.close())

    return {
        "render": (len(alphas), render),
        "screen": (1, lambda: face_found(np.ascontiguousarray(faces_NHW3[next(place) % 8]))),
        "encode": (len(alphas), lambda: encode(images_AHW3, QUALITY)),
        "store": (len(alphas) * TRACKS_STORED, save),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="stored side length in pixels")
    parser.add_argument("--alphas", type=int, default=21, help="images per track")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds per phase and round")
    options = parser.parse_args()
    torch.set_num_threads(1)
    alphas = tuple(float(alpha) for alpha in np.linspace(-5, 5, options.alphas))
    rates: dict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        work = {}
        for name in ("dcgan", "procedural"):
            try:
                work[name] = phases(load_generator(name), options.size, alphas, Path(folder))
            except ComfaceError as error:
                print(f"{name} is skipped: {error}")
        for _ in range(options.rounds):
            for name, tasks in work.items():
                for phase, (images, action) in tasks.items():
                    rates[name, phase].append(rate(images, options.seconds, action))
    print(f"images/s, medians of {options.rounds} rounds ({options.size} px, {options.alphas} images per track)")
    names = list(work)
    print(f"{'phase':10s}" + "".join(f"{name:>22s}" for name in names))
    for phase in ("render", "screen", "encode", "store"):
        cells = ""
        for name in names:
            measured = rates[name, phase]
            cells += f"{statistics.median(measured):9,.0f} ({min(measured):,.0f}-{max(measured):,.0f})".rjust(22)
        print(f"{phase:10s}{cells}")
    print("screen: identities per second (one image each); runs do not screen the procedural generator")


if __name__ == "__main__":
    main()
