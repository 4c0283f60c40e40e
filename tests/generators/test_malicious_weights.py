"""Weight files made to harm: each is refused by name, nothing in it runs, nothing is left, memory stays small."""

from __future__ import annotations

import builtins
import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from weight_files import SOURCE, nvidia_pickle, published_modules, stylegan1_state, stylegan2_state, torch_file

from comface.errors import DataError
from comface.generators.conversion import convert
from comface.generators.stylegan.build import build
from comface.weights.container import parse, read_container
from comface.weights.pickle_machine import Refused

P4 = b"\x80\x04"


class Calls:
    """Pickles to a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def named(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def blob(data: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(data)) + data


def evil() -> Calls:
    return Calls(os.system, "touch executed")


def load_from_bytes(inner: bytes) -> bytes:
    return P4 + named("torch.storage", "_load_from_bytes") + blob(inner) + b"\x85R."


def evil_torch(zipped: bool) -> bytes:
    return torch_file({"synthesis.layer0.first_layer": evil()}, zipped)


def module_that_runs_its_source() -> bytes:
    with published_modules() as (reconstruct, _, _):
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": "Generator", "state": {}}
        return pickle.dumps({"G_ema": Calls(reconstruct, meta)}, 4)


NAMED = {
    "os.system": (lambda: pickle.dumps(evil(), 4), "posix.system"),
    "os.system, protocol 2": (lambda: pickle.dumps(evil(), 2), "posix.system"),
    "builtins.eval": (lambda: pickle.dumps({"G_ema": Calls(eval, "open('executed', 'w')")}, 4), "builtins.eval"),
    "builtins.exec": (lambda: pickle.dumps(Calls(exec, "open('executed', 'w')"), 4), "builtins.exec"),
    "builtins.getattr": (lambda: pickle.dumps(Calls(getattr, 1, "real"), 4), "builtins.getattr"),
    "torch.load": (lambda: pickle.dumps(Calls(torch.load, io.BytesIO(b"")), 4), "torch.serialization.load"),
    "nested in a tensor's bytes": (lambda: load_from_bytes(pickle.dumps(evil(), 2)), "not in torch's layout"),
    "nested torch file": (lambda: load_from_bytes(evil_torch(zipped=False)), "posix.system"),
    "nested zip": (lambda: load_from_bytes(evil_torch(zipped=True)), "not in torch's layout"),
    "torch file": (lambda: evil_torch(zipped=False), "posix.system"),
    "zipped torch file": (lambda: evil_torch(zipped=True), "posix.system"),
    "array of objects": (lambda: pickle.dumps({"G": np.array([evil()], object)}, 4), "'O8', not numbers"),
    "array of records": (lambda: pickle.dumps(np.zeros(2, [("a", "f4")]), 4), "'V4', not numbers"),
    "attribute of an allowed name": (lambda: P4 + named("collections", "OrderedDict.__init__") + b".", "__init__"),
    "attribute of an allowed module": (lambda: P4 + named("numpy", "load") + b".", "numpy.load"),
    "source of a module": (module_that_runs_its_source, "tensors do not belong to a known generator"),
    "a name over several lines": (lambda: b"\x80\x02cposix\nsystem\n.", "posix.system"),
    "extension registry": (lambda: P4 + b"\x82\x01.", "opcode 0x82"),
    "instance of protocol 0": (lambda: b"\x80\x00(iposix\nsystem\n.", "opcode 0x69"),
    "persistent id": (lambda: P4 + text("x") + b"Q.", "outside itself"),
    "calls a number": (lambda: P4 + b"K\x01)R.", "calls a value that must not be called"),
    "makes a function": (lambda: P4 + named("torch._utils", "_rebuild_parameter") + b")\x81.", "not a class"),
    "calls a class": (lambda: P4 + named("numpy", "ndarray") + b")R.", "must not be called"),
    "state for a dictionary": (lambda: P4 + b"}}b.", "takes none"),
    "state for a tensor": (
        lambda: record((1,), (1,), 1, state=b"}" + text("shape") + b"J" + struct.pack("<i", 2**20) + b"\x85sb"),
        "takes none",
    ),
}


@pytest.fixture
def tripwires(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Whatever could run something fails the test; the working folder is empty and stays so."""

    def trip(*_: Any, **__: Any) -> None:
        raise AssertionError("a reader ran something")

    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(os, "system", trip)
    monkeypatch.setattr(torch, "load", trip)
    monkeypatch.setattr(pickle, "loads", trip)
    monkeypatch.setattr(pickle, "load", trip)
    monkeypatch.setattr(pickle, "Unpickler", trip)
    monkeypatch.setattr(builtins, "eval", trip)
    yield folder
    assert list(folder.iterdir()) == []


def refuse(path: Path, sentence: str) -> None:
    for act in (read_container, lambda source: convert(source, path.with_name("out.safetensors"))):
        with pytest.raises(DataError) as caught:
            act(path)
        assert sentence in str(caught.value)
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith(".")
    assert sorted(p.name for p in path.parent.iterdir() if p.is_file()) == [path.name]


@pytest.mark.parametrize("case", NAMED)
def test_what_would_run_is_refused_by_name(case: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    make, sentence = NAMED[case]
    (tmp_path / "weights.pkl").write_bytes(make())
    request.getfixturevalue("tripwires")
    refuse(tmp_path / "weights.pkl", sentence)


def test_good_files_are_read_without_any_unpickler(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    files = {
        "a.pkl": nvidia_pickle(stylegan2_state(), {"z_dim": 6}),
        "b.pth": torch_file(stylegan1_state(), zipped=False),
        "c.pth": torch_file(stylegan1_state(), zipped=True),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    request.getfixturevalue("tripwires")
    for name in files:
        container = read_container(tmp_path / name)
        assert build(container.family, container.arrays, container.facts)


def record(shape: tuple[int, ...], stride: tuple[int, ...], count: int, offset: int = 0, state: bytes = b"") -> bytes:
    """A zipped torch file of one float whose pickle claims `shape` of a storage of `count`; `state` comes behind it."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", value) for value in values) + b"t"

    storage = b"(" + text("storage") + named("torch", "FloatStorage") + text("0") + text("cpu")
    storage += b"\x8a\x08" + struct.pack("<q", count) + b"tQ"
    tensor = named("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + b"\x8a\x08" + struct.pack("<q", offset)
    tensor += numbers(shape) + numbers(stride) + b"\x89Nt" + b"R" + state
    content = P4 + b"}" + text("synthesis.layer0.first_layer") + tensor + b"s."
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", struct.pack("<f", 1.0))
    return stream.getvalue()


def deflated() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/data/0", bytes(2**26))
    return stream.getvalue()


def safetensors(header: object, data: bytes = b"") -> bytes:
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(content)) + content + data


def tensor_entry(shape: list[int], end: int) -> dict[str, Any]:
    return {"synthesis.layer0.first_layer": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}


def nested_key() -> bytes:
    """A dictionary whose key is a tuple of itself twice, 60 levels deep: 2^60 steps to hash."""
    levels = b"".join(b"\x94h" + bytes([level]) + b"\x86" for level in range(60))
    return P4 + b"})" + levels + b"Ns."


HUGE = {
    "text of 2^60": (P4 + b"\x8d" + struct.pack("<Q", 2**60), "ends too early"),
    "bytes of 2^60": (P4 + b"\x8e" + struct.pack("<Q", 2**60), "ends too early"),
    "frame of 2^60": (P4 + b"\x95" + struct.pack("<Q", 2**60), "ends too early"),
    "bytearray": (P4 + b"\x96" + struct.pack("<Q", 2**40), "ends too early"),
    "memo index of 2^31": (P4 + b"}r" + struct.pack("<I", 2**31) + b".", "no generator"),
    "nested tuples as a key": (nested_key(), "keys are neither numbers nor text"),
    "storage of 2^40": (record((2**40 - 1,), (1,), 2**40), "does not have the size of its data"),
    "tensor larger than its storage": (record((2**30,), (1,), 1), "larger than its data"),
    "tensor of one float, spread": (record((2**20, 2**20), (0, 0), 1), "larger than its data"),
    "offset behind the storage": (record((1,), (1,), 1, offset=5), "larger than its data"),
    "negative stride": (record((1,), (-1,), 1), "impossible shape"),
    "axes without end": (record((1,) * 9, (1,) * 9, 1), "impossible shape"),
    "zip bomb": (deflated(), "compressed archive"),
    "safetensors header of 2^60": (struct.pack("<Q", 2**60) + b'{"', "header claims"),
    "safetensors tensor of 2^40": (safetensors(tensor_entry([2**37], 2**39)), "does not have the size of its data"),
    "safetensors shape that wraps": (
        safetensors(tensor_entry([2**33, 2**33], 0)),
        "does not have the size of its data",
    ),
    "safetensors nested header": (safetensors(b'{"a":' + b"[" * 200_000), "not JSON"),
    "safetensors of objects": (
        safetensors({"a": {"dtype": "O", "shape": [], "data_offsets": [0, 0]}}),
        "the unsupported type 'O'",
    ),
}


@pytest.mark.parametrize("case", HUGE)
def test_what_claims_to_be_huge_is_refused_in_little_memory(case: str, tmp_path: Path) -> None:
    content, sentence = HUGE[case]
    (tmp_path / "weights.pkl").write_bytes(content)
    tracemalloc.start()
    try:
        refuse(tmp_path / "weights.pkl", sentence)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2**22 + 16 * len(content)


def test_a_pickle_of_endless_opcodes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comface.weights.pickle_machine.MOST_OPCODES", 1000)
    (tmp_path / "weights.pkl").write_bytes(P4 + b"N" * 2000)
    refuse(tmp_path / "weights.pkl", "more than 1,000 opcodes")


def test_modules_that_share_children_without_end_are_refused(tmp_path: Path) -> None:
    with published_modules() as (reconstruct, _, _):

        def made(children: dict[str, Any]) -> Calls:
            state = {"_parameters": {}, "_buffers": {}, "_modules": children}
            meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": "Generator", "state": state}
            return Calls(reconstruct, meta)

        module = made({})
        for _ in range(40):
            module = made({"a": module, "b": module})
        content = pickle.dumps({"G_ema": module}, 4)
    (tmp_path / "weights.pkl").write_bytes(content)
    refuse(tmp_path / "weights.pkl", "modules")


def amplifying(call: bytes, argument: bytes, times: int) -> bytes:
    """A pickle that calls `call` on one long argument again and again and keeps every result."""
    return P4 + argument + b"\x94" + b"0]" + (call + b"h\x00" + b"\x85Ra") * times + b"."


AMPLIFIED = {
    "bytes of a text": amplifying(named("_codecs", "encode"), b"X" + struct.pack("<I", 2**18) + b"a" * 2**18, 4_000),
    "sets of a list": amplifying(named("builtins", "set"), b"](" + b"K\x01" * 2**14 + b"e", 4_000),
}


@pytest.mark.parametrize("case", AMPLIFIED)
def test_what_calls_the_same_again_and_again_stays_small(case: str, tmp_path: Path) -> None:
    (tmp_path / "weights.pkl").write_bytes(AMPLIFIED[case])
    tracemalloc.start()
    try:
        refuse(tmp_path / "weights.pkl", "no generator")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2**24 + 16 * len(AMPLIFIED[case])


def test_tensors_that_share_their_bytes_read_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.zeros(2**18)
    state = {f"x{i}": whole[i : i + 1] for i in range(500)} | {"synthesis.b4.const": whole[:1]}
    content = torch_file(state, zipped=True)
    reads = []
    original = zipfile.ZipFile.read
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *a: reads.append(a[1]) or original(*a))
    assert len(parse(content).arrays) == 501
    assert len(reads) < 5


def test_dictionaries_that_hold_one_another_in_many_places_are_walked_once() -> None:
    table: Any = {"x": torch.zeros(1)}
    for _ in range(5):
        table = {f"entry{i}": table for i in range(64)}
    with pytest.raises(Refused):
        parse(torch_file(table, zipped=True))
    many = {f"g{i}.input.input": torch.zeros(1) for i in range(3_000)}
    with pytest.raises(Refused, match="more than 16 generators"):
        parse(torch_file(many, zipped=True))
