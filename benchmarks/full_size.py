"""Time and memory of the evaluation of one method on a data set of the size of DISFA.

    python benchmarks/full_size.py                            # 1,080 frames, to see that it works
    python benchmarks/full_size.py --frames 10000 130815      # 27 subjects x 4,845 frames: needs 6 GB of disk

In: numbers of frames, a network, a size in pixels. Out: a Markdown table: seconds, images/s and peak memory of the
features and of linear evaluation (protocol, four folds, the head that is registered), each in a process of its own on
all cores. The faces are synthetic: a pattern per subject, a spot that grows with AU6 and AU12, and noise. The network
has random weights, in channels_last, with BatchNorm folded into its convolutions, as in a run.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from comface.artifacts.arrays import CHUNK_ROWS, array_bytes, chunk_name
from comface.artifacts.manifest import Artifact, Draft, open_artifact
from comface.execution import set_threads_passive
from comface.methods.encoder import Sources
from comface.store import FileStore, Store, open_store
from comface.tasks.config import Task
from comface.transfer.config import TransferConfig

SUBJECTS = 27
TASK = Task(dataset="synthetic", label="au12", unit="level")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def synthetic_faces(store: Store, frames: int, size_px: int) -> Artifact:
    """A `faces` artifact of 27 subjects with labels as in the AU files: intensities 1 to 5 that rise and fall."""
    draft = Draft(store, "faces", {"frames": frames, "size_px": size_px}, {}, {"synthetic": 1})
    if (done := draft.published()) is not None:
        return done
    rng = np.random.default_rng(0)
    subject_N = np.arange(frames) * SUBJECTS // frames
    bases = [cv2.resize(rng.integers(60, 200, (8, 8, 3), np.uint8), (size_px, size_px)) for _ in range(SUBJECTS)]
    wave_N = (np.sin(np.arange(frames) / 23) + 1) / 2
    au12_N = np.clip(np.rint(1 + 4 * wave_N), 1, 5)
    au6_N = np.clip(np.rint(1 + 3 * wave_N + rng.normal(0, 0.5, frames)), 1, 5)
    for number, start in enumerate(range(0, frames, CHUNK_ROWS)):
        part = range(start, min(start + CHUNK_ROWS, frames))
        faces = [_face(bases[subject_N[i]], au6_N[i], au12_N[i], rng) for i in part]
        draft.write(chunk_name("faces", number), array_bytes(np.stack(faces)))
    rows = [
        {"subject": f"SN{subject_N[i]:03d}", "labels": {"au6": au6_N[i], "au12": au12_N[i]}, "session": "", "phase": "",
         "sha256": f"{i:064x}"}
        for i in range(frames)
    ]  # fmt: skip
    draft.write_json("photos.json", rows)
    return draft.publish({"dataset": "synthetic", "found": frames, "photos": frames, "subjects": SUBJECTS})


def _face(base: NDArray[np.uint8], au6: float, au12: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    face = base.copy()
    side = len(face)
    cv2.ellipse(
        face, (side // 2, 3 * side // 4), (int(side * (0.1 + 0.03 * au12)), side // 16), 0, 0, 360, (90,) * 3, -1
    )
    cv2.circle(face, (side // 4, side // 2), int(side * (0.02 + 0.015 * au6)), (220,) * 3, -1)
    noise = rng.integers(0, 12, face.shape, np.uint8)
    return face + noise


def measured(what: str, store: str, faces: str, network: str, size_px: int) -> None:
    """Runs in its own process: prints the seconds and the peak memory in MiB."""
    set_threads_passive()  # as steps do, before torch is imported
    from comface.transfer.features import features
    from comface.transfer.protocol import draw_protocol
    from comface.transfer.step import Item, transfer

    place, artifact = open_store(store), open_artifact(faces)
    config = TransferConfig(backbone=network, image_size_px=size_px)
    began = time.perf_counter()
    if what == "features":
        features(place, "scratch", artifact, Sources.of(None, None, config))
    else:
        protocol = draw_protocol(place, config, "au12", TASK, artifact)
        transfer(place, config, Item("au12", TASK, "scratch", "linear"), {"protocol": protocol})
    seconds = time.perf_counter() - began
    print(f"{seconds:.1f} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}")


def in_process(*words: str) -> tuple[float, int]:
    """(seconds, peak memory in MiB) of `measured` in a process of its own, on all cores."""
    free = {name: value for name, value in os.environ.items() if name not in THREADS}
    done = subprocess.run([sys.executable, __file__, "--measure", *words], env=free, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    seconds, peak_mib = done.stdout.split()[-2:]
    return float(seconds), int(peak_mib)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[1080])
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--size", type=int, default=112, help="pixels of the faces and of the network's input")
    parser.add_argument("--store", type=Path, help="folder that keeps the artifacts (default: a temporary folder)")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        what, store, faces, network, size = given.measure
        return measured(what, store, faces, network, int(size))
    print(f"{given.network}, {given.size} px, {len(os.sched_getaffinity(0))} cores")
    print(
        "| frames | features, s | images/s | peak, MiB | linear, s | peak, MiB | together, min |\n" + "|---" * 7 + "|"
    )
    with tempfile.TemporaryDirectory() as scratch:
        store = FileStore(given.store or Path(scratch))
        for frames in given.frames:
            faces = synthetic_faces(store, frames, given.size)
            words = (store.uri, faces.pinned, given.network, str(given.size))
            (features_s, features_mib), (linear_s, linear_mib) = (
                in_process(what, *words) for what in ("features", "linear")
            )
            print(
                f"| {frames:,} | {features_s:.0f} | {frames / features_s:.1f} | {features_mib:,} | {linear_s:.1f} | "
                f"{linear_mib:,} | {(features_s + linear_s) / 60:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
