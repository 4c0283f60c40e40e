"""Mutated weight files: each is refused or loads equal, up to the numbers that the mutation itself rewrote.

A pickle has no checksum, so a flipped bit inside a tensor's data is a changed number, and no reader can know better;
zipped torch files and converted ones have checksums, and there every change of data is refused.
"""

from __future__ import annotations

import builtins
import os
import pickle
import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from weight_files import GOLDEN, nvidia_pickle, rosinality_file, stylegan1_state, stylegan2_state, torch_file

from comface.generators.conversion import serialized
from comface.generators.stylegan.build import build
from comface.seeds import numpy_rng
from comface.weights.container import Container, parse
from comface.weights.pickle_machine import Refused

Random = np.random.Generator
EVIL = pickle.dumps(os.system, 2)[2:-1], b"cbuiltins\neval\n", b"\x8c\x05torch\x8c\x04load\x93"
GLOBALS = (b"_rebuild_tensor_v2", b"_rebuild_parameter", b"OrderedDict", b"_load_from_bytes", b"FloatStorage")


@cache
def files() -> dict[str, bytes]:
    state1, state2 = stylegan1_state(), stylegan2_state()
    return {
        "NVIDIA": nvidia_pickle(state2, {"z_dim": 6}, clamp=256),
        "TensorFlow": (GOLDEN / "sg1_tiny_tfpkl_old.pkl").read_bytes(),
        "torch": torch_file(state1, zipped=False),
        "zipped torch": torch_file(state1, zipped=True),
        "rosinality": rosinality_file(state2),
        "safetensors": serialized({name: tensor.numpy() for name, tensor in state1.items()}, {"family": "stylegan"}),
    }


@cache
def intact(name: str) -> Container:
    return parse(files()[name])


def flip(content: bytearray, random: Random) -> int:
    """Among the first bytes as often as anywhere: there lies most of the structure."""
    reach = len(content) if random.random() < 0.5 else min(len(content), 2000)
    content[random.integers(reach)] ^= 1 << random.integers(8)
    return 1


def truncate(content: bytearray, random: Random) -> int:
    del content[random.integers(len(content)) :]
    return 0


def swap_global(content: bytearray, random: Random) -> int:
    name = GLOBALS[random.integers(len(GLOBALS))]
    at = content.find(name, random.integers(len(content)))
    if at < 0:
        at = max(content.find(name), 0)
    content[at : at + len(name)] = b"system".ljust(len(name), b"_")
    return len(name)


def nest(content: bytearray, random: Random) -> int:
    at = random.integers(len(content))
    evil = EVIL[random.integers(len(EVIL))] + b"\x8c\x02ls\x85R"
    content[at : at + len(evil)] = evil
    return len(evil)


def oversize(content: bytearray, random: Random) -> int:
    at, width = random.integers(len(content)), int(random.choice([4, 8]))
    content[at : at + width] = b"\xff" * (width - 1) + b"\x7f"
    return width


def not_a_number(content: bytearray, random: Random) -> int:
    at = random.integers(len(content) - 4)
    content[at : at + 4] = struct.pack("<f", float("nan"))
    return 4


def noise(content: bytearray, random: Random) -> int:
    at, width = random.integers(len(content)), int(random.integers(1, 16))
    content[at : at + width] = random.bytes(width)
    return width


MUTATIONS: tuple[Callable[[bytearray, Random], int], ...] = (
    flip,
    flip,
    truncate,
    swap_global,
    nest,
    oversize,
    not_a_number,
    noise,
)


def trip(*_: Any, **__: Any) -> None:
    raise AssertionError("a reader ran something")


def loaded(content: bytes) -> Container | None:
    """None where it is refused: by the reader, or when the network is built."""
    try:
        container = parse(content)
        build(container.family, container.arrays, container.facts)
    except Refused:
        return None
    return container


def check(name: str, number: int) -> bool:
    """Mutates one file by `number`; whether it was refused."""
    random = numpy_rng(number, "fuzz", name)
    original, mutation = files()[name], MUTATIONS[number % len(MUTATIONS)]
    content = bytearray(original)
    changed = mutation(content, random)
    found = loaded(bytes(content))
    if found is None:
        return True
    wanted = intact(name)
    assert found.family == wanted.family
    assert set(found.arrays) == set(wanted.arrays)
    different = 0
    for key, array in wanted.arrays.items():
        assert found.arrays[key].shape == array.shape
        assert np.isfinite(found.arrays[key]).all()
        different += int((found.arrays[key] != array).sum())
    allowed = changed if name not in ("zipped torch", "rosinality") else 0
    assert different <= allowed, f"{mutation.__name__} {number} of {name}: {different} numbers differ"
    return False


def fuzz(count: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    files()
    for owner, attribute in (
        (os, "system"),
        (torch, "load"),
        (pickle, "loads"),
        (pickle, "Unpickler"),
        (builtins, "eval"),
    ):
        monkeypatch.setattr(owner, attribute, trip)
    refused = dict.fromkeys(files(), 0)
    for number in range(count // len(refused)):
        for name in refused:
            refused[name] += check(name, number)
    return refused


def test_300_mutated_files_are_refused_or_load_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = fuzz(300, monkeypatch)
    assert all(count >= 10 for count in refused.values()), refused  # a reader that takes everything would fail this


@pytest.mark.system
def test_10000_mutated_files_are_refused_or_load_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sum(fuzz(10_002, monkeypatch).values()) > 3_000
