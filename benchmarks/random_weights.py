"""Write weight files with random weights in the true layouts of the published methods, for a full rehearsal.

    python benchmarks/random_weights.py runs/weights --methods swav mocov2
    comface run --set weights=runs/weights --set 'transfer.methods=[comface, scratch, swav, mocov2]'

Names, shapes and containers of the tensors are those of the published files (layouts/NAME.txt: one tensor a line); the
values are random. The file `random-weights.json` beside them lists their sha256, so that a run marks the methods that
used them. A file that is there is kept. Without --methods, each method without real weights on this machine gets a file
in its first layout.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from comface.artifacts.manifest import file_sha256
from comface.files import write_file
from comface.methods import METHODS
from comface.weights.fetched import available

FOLDER = Path(__file__).parent / "layouts"
LIST = "random-weights.json"
Arrays = Mapping[str, np.ndarray]
RATE = np.float64(0.3)
"""Trainings with a schedule write their learning rate as a number of numpy."""


@dataclass(frozen=True)
class Published:
    """The layout of one published file. `container`: what surrounds the tensors (CONTAINERS)."""

    name: str
    method: str
    file: str
    container: str
    shapes: dict[str, tuple[int, ...]]


def read_layout(path: Path) -> Published:
    """Read NAME.txt: `# method=… file=… container=…`, then a tensor a line, `NAME SIZE SIZE …`."""
    first, *lines = path.read_text("utf-8").splitlines()
    head = dict(word.split("=", 1) for word in first.removeprefix("# ").split())
    rows = (line.split() for line in lines)
    return Published(path.stem, **head, shapes={name: tuple(map(int, sizes)) for name, *sizes in rows})


def layouts(folder: Path = FOLDER) -> Iterator[Published]:
    """All layouts; of each method first the one that a run would look for first."""
    yield from sorted(map(read_layout, folder.glob("*.txt")), key=lambda each: (each.method, each.name))


def chosen(methods: list[str] | None, every_layout: bool) -> Iterator[Published]:
    """The first layout of each method, or all. Without names, not the methods whose real weights were fetched."""
    done: set[str] = set()
    for layout in layouts():
        at_hand = METHODS[layout.method].fetched in available()
        wanted = layout.method in methods if methods else not at_hand
        if wanted and (every_layout or layout.method not in done):
            done.add(layout.method)
            yield layout


def random_array(name: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Convolutions and linear layers keep the variance of their input; normalisations are 1 and 0."""
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if len(shape) < 2:
        return np.full(shape, 1.0 if name.endswith(("weight", "running_var")) else 0.0, np.float32)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return rng.standard_normal(shape, np.float32) * np.float32(np.prod(shape[1:]) ** -0.5)


def _tensors(arrays: Arrays) -> OrderedDict[str, torch.Tensor]:
    return OrderedDict((name, torch.from_numpy(np.asarray(array))) for name, array in arrays.items())


def _nested(tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """The first word of each name as a dictionary of its own."""
    nested: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        nested.setdefault(part, {})[rest] = tensor
    return nested


def _optimizer(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """A torch optimizer's state, with one momentum."""
    momentum = torch.zeros_like(next(iter(tensors.values())))
    return {"state": {0: {"momentum_buffer": momentum}}, "param_groups": [{"lr": RATE, "params": [0]}]}


CONTAINERS: dict[str, Callable[[OrderedDict[str, torch.Tensor]], Any]] = {
    "flat": lambda tensors: tensors,
    "nested": _nested,
    "state_dict": lambda tensors: {
        "epoch": 200, "arch": "resnet50", "state_dict": tensors, "optimizer": _optimizer(tensors),
    },
    "model": lambda tensors: {"epoch": 300, "model": tensors, "optimizer": _optimizer(tensors)},
    "arguments": lambda tensors: {
        "model": tensors, "optimizer": _optimizer(tensors), "epoch": 34, "scaler": {"scale": 65536.0},
        "args": argparse.Namespace(model="vit_base_patch16", lr=RATE),
    },
    "vissl": lambda tensors: {
        "phase_idx": 999,
        "classy_state_dict": {
            "base_model": {"model": {"trunk": tensors, "heads": {}}, "meta": {}}, "optimizer": _optimizer(tensors),
        },
    },
}  # fmt: skip
"""Container of a torch file -> the value that torch.save writes."""


def write_checkpoint(path: Path, container: str, arrays: Arrays) -> None:
    """Write arrays by name as the published file holds them. `pickle`: a plain pickle of numpy arrays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if container == "pickle":
        write_file(path, pickle.dumps(dict(arrays), protocol=2))
    else:
        torch.save(CONTAINERS[container](_tensors(arrays)), path)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="where to write the files")
    parser.add_argument("--methods", nargs="*", help="methods to write (default: all)")
    parser.add_argument("--every-layout", action="store_true", help="write all layouts of each method, not only one")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(words)
    if asked.folder is None:
        parser.print_help()
        return 0
    listed = asked.folder / LIST
    random = set(json.loads(listed.read_text())) if listed.exists() else set()
    for layout in chosen(asked.methods, asked.every_layout):
        path = asked.folder / layout.file
        if path.exists():
            print(f"{layout.method}: {path} is there{'' if file_sha256(path) in random else ', and not random'}; kept")
            continue
        arrays = {name: random_array(name, shape, asked.seed) for name, shape in layout.shapes.items()}
        write_checkpoint(path, layout.container, arrays)
        random.add(file_sha256(path))
        write_file(listed, (json.dumps(sorted(random), indent=1) + "\n").encode())
        print(f"{layout.method}: {path} ({path.stat().st_size / 1e6:,.0f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
