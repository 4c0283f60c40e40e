"""What a person may name by mistake or by malice: devices, pipes, holes, bombs. Every command refuses it at once.

In each case the command runs as a process of its own with little memory to use.
"""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from comface.errors import ComfaceError, DataError
from comface.files.arrays import array_in, read_numbers
from comface.pretrain.checkpoint import OLD, load, save
from comface.store import FileStore

MEMORY_BYTES = 3 * 2**30
"""Of addresses, of which torch alone takes two."""
SECONDS = 60


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    program = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_DATA, ({MEMORY_BYTES},) * 2); "
        "from comface.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS)


def bomb() -> bytes:
    """A torch file of 1 MB that inflates to 1 GB."""
    stream = io.BytesIO()
    whole = io.BytesIO()
    torch.save({"conv1.weight": torch.zeros(4)}, whole)
    with zipfile.ZipFile(whole) as original, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in original.infolist():
            content = original.read(entry)
            archive.writestr(entry.filename, bytes(2**28) if entry.filename.endswith("data/0") else content)
    return stream.getvalue()


def make(folder: Path) -> dict[str, tuple[Path, str]]:
    """Name -> file, and what is said of it."""
    os.mkfifo(folder / "pipe.safetensors")
    for name, head in (("zeros.pt", b""), ("holes.pt", b"PK\x03\x04"), ("holes.safetensors", b'\x02\0\0\0\0\0\0\0{"')):
        with (folder / name).open("wb") as file:
            file.write(head)
            file.truncate(2**31)
    (folder / "long.safetensors").write_bytes(struct.pack("<Q", 2**32) + b'{"a": 1}')
    (folder / "bomb.pt").write_bytes(bomb())
    (folder / "huge.pt").touch()
    os.truncate(folder / "huge.pt", 2**40)
    (folder / "link.pt").symlink_to("/dev/zero")
    (folder / "empty.pt").touch()
    return {
        "device": (Path("/dev/zero"), "not a regular file"),
        "link to a device": (folder / "link.pt", "not a regular file"),
        "pipe": (folder / "pipe.safetensors", "not a regular file"),
        "folder": (folder, "is a folder"),
        "zeros": (folder / "zeros.pt", "neither a pickle"),
        "terabyte": (folder / "huge.pt", "neither a pickle"),
        "empty": (folder / "empty.pt", "neither a pickle"),
        "zip with holes": (folder / "holes.pt", "is sparse"),
        "safetensors with holes": (folder / "holes.safetensors", "is sparse"),
        "header of 4 GiB": (folder / "long.safetensors", "header claims 4,294,967,296 bytes"),
        "bomb": (folder / "bomb.pt", "compressed archive, which torch never writes"),
    }


def arrays(folder: Path) -> dict[str, tuple[Path, str]]:
    def npy(shape: str, data: bytes = b"", descr: str = "'<f4'") -> bytes:
        header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data

    contents = {
        "rows": (npy("(1000000000000, 512)"), "claims 512,000,000,000,000 values of 4 bytes, but 0 bytes follow"),
        "negative": (npy("(-1, 512)", bytes(16)), "cannot be read as .npy"),
        "wraps": (npy("(4294967296, 4294967296)"), "cannot be read as .npy"),
        "short": (npy("(2, 3)", bytes(20)), "claims 6 values of 4 bytes, but 20 bytes follow"),
        "more": (npy("(2, 3)", bytes(28)), "but 28 bytes follow"),
        "header": (b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1) + b"{", "header is damaged"),
        "nested": (npy("(" * 2000 + ")" * 2000), "header is damaged"),
        "objects": (npy("(1, 4)", bytes(32), "'|O'"), "Python objects"),
    }
    for name, (content, _) in contents.items():
        (folder / f"{name}.npy").write_bytes(content)
    os.mkfifo(folder / "pipe.npy")
    (folder / "terabyte.npy").write_bytes(npy("(1000000000, 256)"))
    os.truncate(folder / "terabyte.npy", 2**40)
    found = {name: (folder / f"{name}.npy", said) for name, (_, said) in contents.items()}
    return found | {
        "pipe": (folder / "pipe.npy", "not a regular file"),
        "device": (Path("/dev/zero"), "not a regular file"),
        "terabyte": (folder / "terabyte.npy", "more than the limit of 4,295.0 MB"),
    }


def refused(done: subprocess.CompletedProcess[str], said: str, case: str) -> None:
    assert done.returncode in (64, 65), (case, done.stderr)
    assert said in " ".join(done.stderr.split()), (case, done.stderr)
    assert "Traceback" not in done.stderr


@pytest.mark.system
def test_every_command_refuses_what_is_no_weight_file(tmp_path: Path) -> None:
    photo = tmp_path / "a.png"
    from PIL import Image

    Image.new("RGB", (64, 64)).save(photo)
    files = make(tmp_path)
    for case in ("device", "pipe", "zip with holes", "header of 4 GiB", "bomb"):
        path, said = files[case]
        words = ["features", "--method", "imagenet", "--weights", str(path), str(photo), "--output", "out.npy"]
        refused(run(tmp_path, *words), said, case)
        words = ["render", "--generator", "dcgan", "--weights", str(path), "--seeds", "1", "--output", "out.png"]
        refused(run(tmp_path, *words), said, case)
    assert not list(tmp_path.glob("out*"))


def test_convert_and_features_refuse_devices_pipes_holes_and_bombs(tmp_path: Path) -> None:
    from comface.cli import main

    for case, (path, said) in make(tmp_path).items():
        for words in (
            ["convert", str(path), "--output", str(tmp_path / "out.safetensors")],
            [
                "features",
                "--method",
                "imagenet",
                "--weights",
                str(path),
                "none.png",
                "--output",
                str(tmp_path / "o.npy"),
            ],
        ):
            with pytest.MonkeyPatch.context() as patch, io.StringIO() as stream:
                patch.setattr(sys, "stderr", stream)
                assert main(words) in (64, 65), case
                assert said in " ".join(stream.getvalue().split()), (case, stream.getvalue())
    words = ["features", "--method", "imagenet", "none.png", "--output", str(tmp_path / "o.npy")]
    assert main([*words, "--weights", str(tmp_path / "nowhere.pt")]) == 64, "a wrong path, as for every other command"
    done = run(tmp_path, "convert", "/dev/zero", "--output", "out.safetensors")
    refused(done, "The weight file '/dev/zero' is not a regular file", "device")


def test_arrays_are_read_as_far_as_their_bytes_go(tmp_path: Path) -> None:
    for case, (path, said) in arrays(tmp_path).items():
        with pytest.raises(ComfaceError) as caught:
            read_numbers(path, "latents")
        assert caught.value.exit_code in (64, 65), case
        assert said in str(caught.value), case


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<i2", "<f2", "|b1", "<U3", "<c8"])
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_what_numpy_saved(dtype: str, shape: tuple[int, ...], order: str) -> None:
    array = np.asarray(np.arange(int(np.prod(shape))).reshape(shape), dtype=dtype, order=order)
    stream = io.BytesIO()
    np.save(stream, array)
    read = array_in(stream.getvalue())
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(read, array)


def test_a_checkpoint_with_its_own_right_hash_cannot_grow_in_memory(tmp_path: Path) -> None:
    import hashlib

    store = FileStore(tmp_path)
    save(store, OLD, {"epoch": 3, "model": {"w": torch.ones(2)}})
    assert load(store, OLD) is not None
    for data in (bomb(), b"no zip", b"PK\x03\x04"):
        store.write(OLD, hashlib.sha256(data).digest() + data)
        with pytest.raises(DataError, match="was not written by pre-training; delete its object 'checkpoint'"):
            load(store, OLD)
