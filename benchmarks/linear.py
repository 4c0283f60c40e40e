"""Measures linear evaluation alone on synthetic features: time and memory of four folds and of the registered head.

    python benchmarks/linear.py                          # the size of DISFA: 27 subjects x 4,845 frames, 2,048 features
    python benchmarks/linear.py --frames 370 --width 512

In: sizes. Out: one JSON line. Features are random numbers; computing them is not part of the measurement.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from comface.artifacts.arrays import CHUNK_ROWS, array_bytes, chunk_name
from comface.artifacts.manifest import Draft
from comface.store import FileStore
from comface.tasks.config import Task
from comface.transfer import ridge
from comface.transfer.config import TransferConfig
from comface.transfer.protocol import Labelled, draw_protocol, read_all, read_fold
from comface.transfer.rows import read_features


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("subjects", 27), ("frames", 4845), ("pairs", 2000), ("width", 2048), ("turns", 1)):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"default: {default}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = FileStore(Path(folder))
        rng = np.random.default_rng(0)
        count = options.subjects * options.frames
        faces, features = Draft(store, "faces", {}, {}, {}), Draft(store, "features", {}, {}, {})
        rows = [{"subject": f"p{i // options.frames:03d}", "sha256": f"{i:064x}", "labels": {"au": float(label)}}
                for i, label in enumerate(rng.integers(0, 6, count))]  # fmt: skip
        faces.write_json("photos.json", rows)
        for number, start in enumerate(range(0, count, CHUNK_ROWS)):
            part_ND = rng.normal(size=(min(CHUNK_ROWS, count - start), options.width)).astype(np.float32)
            features.write(chunk_name("features", number), array_bytes(part_ND))
        h_ND = read_features(features.publish({}))
        config = TransferConfig(pairs_per_subject=options.pairs, validation_turns=options.turns)
        began = time.monotonic()
        task = Task(dataset="synthetic", label="au", unit="level")
        protocol = draw_protocol(store, config, "au", task, faces.publish({"dataset": "synthetic"}))
        drawn_s, before_kib = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.monotonic()
        for number in range(config.folds):
            fold = read_fold(protocol, number)
            train, validation = (_samples(h_ND, part) for part in (fold.train, fold.validation))
            head, _ = ridge.fit_validated(train, validation, ridge.Form())
            ridge.predicted(head, h_ND, fold.test_x_P, fold.test_y_P)
        ridge.fit(_samples(h_ND, read_all(protocol)), 1.0, ridge.Form())
        took_s, after_kib = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = {"protocol_s": round(drawn_s, 1), "linear_s": round(took_s, 1)}
    print(json.dumps(vars(options) | said | {"peak_before_mib": before_kib >> 10, "peak_mib": after_kib >> 10}))


def _samples(h_ND: object, part: Labelled) -> ridge.Samples:
    columns = asdict(part)
    return ridge.Samples(h_ND, columns["x_P"], columns["y_P"], columns["change_P"])  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
