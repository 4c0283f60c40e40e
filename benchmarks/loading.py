"""Measures how pre-training reads its images: memory and start-up against the number of tracks, batches against loader
processes, and the time that a training waits.

    python benchmarks/loading.py [--tracks 1000 350000] [--workers 0 1 2] [--pairs 32] [--size 64] [--rounds 3]

In: generated indices of shards of the real size (101 images per track, names as in the paper's composition; the shards
themselves are holes, because only memory and start-up are measured with them), and small shards of real JPEGs. Out: two
tables. Memory is the resident set of a process (private and shared pages) that imported everything, after it drew the
pairs of 300 batches and found their images; each size runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from comface.artifacts.arrays import array_bytes, arrays_bytes
from comface.artifacts.facts import ShardsFacts, SplitFacts
from comface.artifacts.manifest import Artifact, Draft, open_artifact
from comface.shard.config import ShardConfig
from comface.shard.step import REVISION
from comface.store import FileStore
from comface.tracks.shard_index import images_name, table_name
from comface.tracks.tar import Track, TrackTar

ALPHAS = tuple(round(-5 + 0.1 * number, 1) for number in range(101))
TRACKS_PER_SHARD = 75
STEPS = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tracks", type=int, nargs="+", default=[1_000, 10_000, 100_000, 350_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--pairs", type=int, default=32, help="pairs per step of a process")
    parser.add_argument("--size", type=int, default=64, help="side of a stored image in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="measured per number of processes and round")
    parser.add_argument("--measure", metavar="URI", help=argparse.SUPPRESS)  # in a process of a size
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measured(open_artifact(options.measure, "shards"), options.pairs)))
        return
    with tempfile.TemporaryDirectory() as folder:
        print_memory(Path(folder), options)
        print_rates(Path(folder), options)


def print_memory(folder: Path, options: argparse.Namespace) -> None:
    print("\nAn index of generated tracks, one process; memory after start-up and after", STEPS, "batches\n")
    names = ("tracks", "start-up, s", "processor, s", "resident, MiB", "than the first", "batch, ms", "bytes/track")
    print("".join(f"{name:>15s}" for name in names))
    first: dict[str, float] = {}
    for tracks in options.tracks:
        uri = generated(folder / f"{tracks}", tracks).uri
        command = [sys.executable, __file__, "--measure", uri, "--pairs", str(options.pairs)]
        environment = {**os.environ, "TMPDIR": str(folder)}
        found = json.loads(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)
        first = first or found
        grown = found["resident_bytes"] / first["resident_bytes"] - 1
        cells = (f"{tracks:,}", f"{found['seconds']:.2f}", f"{found['processor_s']:.2f}",
                 f"{found['resident_bytes'] / 2**20:.1f}", f"{grown:+.1%}", f"{found['batch_ms']:.2f}",
                 f"{found['index_bytes'] / tracks:,.0f}")  # fmt: skip
        print("".join(f"{cell:>15s}" for cell in cells), flush=True)


def measured(shards: Artifact, pairs: int) -> dict[str, float]:
    """Start-up and memory of a process with the index of `shards`, which has no images."""
    import torch  # noqa: F401 (a training has it; its memory counts)

    from comface.pretrain import step  # noqa: F401
    from comface.pretrain.pairs import PairSampler
    from comface.runtime.folders import cache_folder
    from comface.tracks.shard_reader import ShardReader

    before, started, began = resident_bytes(), time.perf_counter(), time.process_time()
    reader = ShardReader(shards, "train", cache_folder())
    sampler = PairSampler(reader.identity_T, reader.alphas, pairs, 0, reader.usable())
    sampler.batch(1, 0, 10.0)
    seconds, processor_s = time.perf_counter() - started, time.process_time() - began
    started = time.process_time()
    for step_number in range(STEPS):
        batch = sampler.batch(1, step_number, 10.0)
        for track, alpha in zip(batch.track_N, batch.x_N, strict=True):
            reader.place(int(track), int(alpha))
    batch_ms = (time.process_time() - started) / STEPS * 1000
    now = resident_bytes()
    return {
        "seconds": seconds, "processor_s": processor_s, "resident_bytes": now, "index_bytes": now - before,
        "batch_ms": batch_ms,
    }  # fmt: skip


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def generated(folder: Path, tracks: int) -> Artifact:
    """Shards whose index has the real size. Seven tenths of the paper's identities have one track, the others three."""
    shards = -(-tracks // TRACKS_PER_SHARD)
    draw = np.random.default_rng(0)
    identity_T = np.sort(draw.integers(0, max(40, tracks * 5 // 7), tracks)).astype(np.uint32)
    identity_T = np.unique(identity_T, return_inverse=True)[1].astype(np.uint32)
    names = [f"stylegan3-{number:07d}" for number in range(int(identity_T.max()) + 1)]
    table = {
        "key": np.array([f"{names[code]}-attribute-{row:07d}" for row, code in enumerate(identity_T)], dtype=bytes),
        "identity": identity_T, "edit": draw.integers(0, 43, tracks).astype(np.uint16),
        "seed": np.arange(tracks, dtype=np.int64), "shard": (np.arange(tracks) // TRACKS_PER_SHARD).astype(np.uint32),
        "identities": np.array(names, dtype=bytes),
        "edits": np.array([f"stylegan3 attribute_{number:02d}" for number in range(43)], dtype=bytes),
    }  # fmt: skip
    images_TA3 = draw.integers(0, 2**32, (tracks, len(ALPHAS), 3), dtype=np.uint32)
    return published(
        folder, tracks, len(names), shards, {table_name("train"): arrays_bytes(table),
                                             images_name("train"): array_bytes(images_TA3)}, 256
    )  # fmt: skip


def published(
    folder: Path, tracks: int, identities: int, shards: int, objects: Mapping[str, bytes], size_px: int
) -> Artifact:
    draft = Draft(FileStore(folder), "shards", ShardConfig().model_dump(mode="json"), {}, {"shard": REVISION})
    for name, data in objects.items():
        draft.write(name, data)
    split = SplitFacts(
        shards=tuple(f"train-{number:05d}.tar" for number in range(shards)), tracks=tracks,
        images=tracks * len(ALPHAS), identities=identities, tracks_by_attribute={},
    )  # fmt: skip
    empty = SplitFacts(shards=(), tracks=0, images=0, identities=0, tracks_by_attribute={})
    facts = ShardsFacts(
        train=split, validation=empty, image_size_px=size_px, alphas=ALPHAS, generators=("stylegan3",),
        dropped_identities=0, embedded=False, rehearsal=False,
    )  # fmt: skip
    return draft.publish(facts.record())


def print_rates(folder: Path, options: argparse.Namespace) -> None:
    shards = with_images(folder / "images", 4 * options.pairs, options.size)
    found: dict[int, list[dict[str, float]]] = defaultdict(list)
    for _ in range(options.rounds):
        for workers in options.workers:
            found[workers].append(rate(shards, workers, options))
    print(f"\nBatches of {options.pairs} pairs of {options.size} px, read, checked and decoded; medians of "
          f"{options.rounds} alternating rounds\n")  # fmt: skip
    print(f"{'loader processes':>17s}{'pairs/s':>10s}{'(range)':>18s}{'taking a ready batch, µs':>27s}")
    for workers, rounds in found.items():
        rates = [each["rate"] for each in rounds]
        spread = f"({min(rates):,.0f}-{max(rates):,.0f})"
        taking = statistics.median(each["taking_us"] for each in rounds)
        print(f"{workers:17d}{statistics.median(rates):10,.0f}{spread:>18s}{taking:27.0f}")


def rate(shards: Artifact, workers: int, options: argparse.Namespace) -> dict[str, float]:
    """Pairs per second of a loader, and the time to take a batch that is ready."""
    from comface.pretrain.loaders import Loader

    images = pair_images(shards, options.pairs)
    with Loader([images], workers) as loader:
        feed = loader.batches(images, range(10**9))
        next(feed)
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < options.seconds:
            next(feed)
            count += 1
        seconds = time.perf_counter() - started
        taking = []
        for _ in range(10):
            time.sleep(0.05)
            begun = time.perf_counter()
            next(feed)
            taking.append(time.perf_counter() - begun)
        feed.close()
    return {"rate": count * options.pairs / seconds, "taking_us": 1e6 * statistics.median(taking)}


def pair_images(shards: Artifact, pairs: int) -> Any:
    import torch

    from comface.pretrain.data import PairImages
    from comface.pretrain.pairs import PairSampler
    from comface.pretrain.processes import Processes
    from comface.runtime.folders import cache_folder
    from comface.tracks.shard_reader import ShardReader

    reader = ShardReader(shards, "train", cache_folder())
    sampler = PairSampler(reader.identity_T, reader.alphas, pairs, 0)
    return PairImages(reader, sampler, Processes(0, 1, torch.device("cpu")), 10**9, [10.0])


def with_images(folder: Path, identities: int, size_px: int) -> Artifact:
    """Shards of one track per identity, whose images are smooth noise."""
    tar, tracks = TrackTar(), []
    for number in range(identities):
        track = Track(
            key=f"noise-{number:07d}-a", generator="noise", identity=f"noise-{number:07d}", attribute="a", seed=number,
            alphas=ALPHAS,
        )  # fmt: skip
        tar.add(track, list(_jpegs(number, size_px)))
        tracks.append(track)
    objects = {"train-00000.tar": tar.close(), "train-00000.index.json": _index(tar)}
    return published(folder, len(tracks), len(tracks), 1, objects, size_px)


def _index(tar: TrackTar) -> bytes:
    from comface.tracks.located import INDEX

    return INDEX.dump_json(tar.index)


def _jpegs(seed: int, size_px: int) -> Iterator[bytes]:
    """A cycle of eight pictures with the detail of a photo (about 1.5 bits per pixel)."""
    draw = np.random.default_rng(seed)
    encoded = []
    for _ in range(8):
        coarse = draw.integers(0, 256, (size_px // 8, size_px // 8, 3)).astype(np.uint8)
        picture = cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
        encoded.append(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    for number in range(len(ALPHAS)):
        yield encoded[number % len(encoded)]


if __name__ == "__main__":
    main()
