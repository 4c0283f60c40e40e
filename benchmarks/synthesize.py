"""Images per second of the phases of synthesize (render, screen, encode, store), for both embedded generators; how much
of the time a device renders while the step does the rest.

    python benchmarks/synthesize.py [--size 64] [--alphas 21] [--rounds 5] [--seconds 1.0] [--overlap]

Rounds alternate between generators, so that changes in machine load affect both equally. The table gives medians. The
benchmark uses one torch thread, one encoder thread and a store on the local disk (fsync included).

`--overlap`: runs the whole step with a stand-in for a network on a GPU, which takes --device-ms per image without using
the processor. It is rendered in the step's own thread, so the share below is what a GPU reaches at least: on a GPU the
next track is queued before the last one is complete.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from comface.errors import ComfaceError
from comface.generators import FaceGenerator, edit, resized, to_uint8
from comface.generators.registry import load_generator
from comface.store import FileStore
from comface.synthesize.step import synthesize
from comface.tracks.config import Share, SynthesizeConfig
from comface.tracks.screen import face_found
from comface.tracks.sweep import encode, render_track
from comface.tracks.tar import Track, TrackTar

QUALITY = 90
TRACKS_STORED = 16
DETECTED_PX = 256
"""Side of the faces that are checked, as those of a StyleGAN."""


class StandIn:
    """A network on a GPU, as far as the step can tell: each image takes `image_s`, in which no processor is used."""

    name, latent_width, image_size_px, splits = "procedural", 512, DETECTED_PX, True

    def __init__(self, image_s: float, stored_px: int) -> None:
        self.image_s, self.rendering_s = image_s, 0.0
        drawn = load_generator("procedural")
        faces_NCHW = drawn.render(drawn.latents([1]), DETECTED_PX)
        self._faces = {size_px: resized(faces_NCHW, size_px) for size_px in (DETECTED_PX, stored_px)}

    def latents(self, seeds: Sequence[int]) -> torch.Tensor:
        return torch.zeros(len(seeds), self.latent_width)

    def render(self, w_ND: torch.Tensor, size_px: int | None = None) -> torch.Tensor:
        started = time.perf_counter()
        time.sleep(self.image_s * len(w_ND))
        self.rendering_s += time.perf_counter() - started
        return self._faces[size_px or DETECTED_PX].expand(len(w_ND), -1, -1, -1)

    def attributes(self) -> tuple[str, ...]:
        return ("age",)

    def direction(self, attribute: str) -> torch.Tensor:
        return torch.full((1, self.latent_width), 0.01)


def overlap(image_ms: float, size_px: int, alphas: int, tracks: int) -> tuple[float, float, float]:
    """Seconds in which the stand-in renders, seconds of the whole step, and seconds of processor time that the thread
    needs that starts the rendering. The last figure does not depend on other processes."""
    generator = StandIn(image_ms / 1000, size_px)
    share = Share(generator="procedural", identities=tracks, attributes=("age",))
    config = SynthesizeConfig(composition=(share,), alpha_step=10 / (alphas - 1), image_size_px=size_px, parts=1)
    with tempfile.TemporaryDirectory() as folder:
        started, own = time.perf_counter(), time.thread_time()
        synthesize(FileStore(Path(folder)), config, 0, load=lambda *_: generator, find=face_found)
        return generator.rendering_s, time.perf_counter() - started, time.thread_time() - own


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
    parser.add_argument("--overlap", action="store_true", help="only measure the overlap with a stand-in for a GPU")
    parser.add_argument("--device-ms", type=float, default=5.0, help="with --overlap: time of an image on the device")
    parser.add_argument("--tracks", type=int, default=64, help="with --overlap: number of tracks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.overlap:
        shares = []
        for _ in range(options.rounds):
            busy_s, whole_s, own_s = overlap(options.device_ms, options.size, options.alphas, options.tracks)
            shares.append(busy_s / whole_s)
            print(
                f"the device renders {busy_s:.1f} s of {whole_s:.1f} s ({shares[-1]:.0%}); beside it, the thread that "
                f"starts it uses {1000 * own_s / options.tracks:.1f} ms of processor time per track", flush=True,
            )  # fmt: skip
        print(f"{options.tracks} × {options.alphas} images of {options.size} px, {options.device_ms:g} ms each: the "
              f"device renders {statistics.median(shares):.0%} of the time (median)")  # fmt: skip
        return
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
