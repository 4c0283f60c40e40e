"""How an artifact was made: when, in how much time, on which machine, from which source code.

In: an artifact that is being published. Out: `made.json` beside its manifest, for the header of the report. It is no
part of the manifest, so that equal work has equal manifests; no step depends on it.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comface import __version__
from comface.artifacts.sealed import sealed, unsealed
from comface.errors import ComfaceError
from comface.store import Store

MADE = "made.json"
MADE_BYTES = 1 << 16
PACKAGES = ("torch", "numpy", "scikit-learn", "kfp")
PACKAGE = Path(__file__).parents[1]
IMAGE_REVISION = Path(sys.prefix, "share", "comface-revision")
"""The commit, as the container image records it; `-modified` follows if files were changed."""
UNKNOWN = "unknown"


class Source(BaseModel):
    """The source code that ran."""

    model_config = ConfigDict(frozen=True)
    commit: str = UNKNOWN
    modified: bool | None = None
    """Whether files differ from the commit; None: unknown."""


class Made(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")
    started: float = Field(description="seconds since 1970")
    seconds: float = Field(ge=0, description="of the attempt that published it")
    processes: int = Field(ge=1, description="processes that worked on it, one GPU each")
    gpu: str = Field(description="name of the GPU; empty: none was used")
    cpu: str
    cores: int
    system: str
    source: Source
    versions: dict[str, str]

    @property
    def gpu_hours(self) -> float:
        return self.seconds * self.processes / 3600 if self.gpu else 0.0


def made_since(started: float, processes: int = 1) -> Made:
    return Made(
        started=round(started, 3),
        seconds=round(max(0.0, time.time() - started), 3),
        processes=processes,
        gpu=_gpu(),
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        source=source(),
        versions=versions(),
    )


def write_made(store: Store, started: float, processes: int = 1) -> None:
    store.create(MADE, sealed(made_since(started, processes).model_dump()))


def read_made(store: Store) -> Made | None:
    """None for an artifact of an earlier version, or if the record is damaged: it is information for people only."""
    try:
        return Made.model_validate(unsealed(store.read(MADE, MADE_BYTES)))
    except (ComfaceError, OSError, ValueError, ValidationError):
        return None


@functools.cache
def versions() -> dict[str, str]:
    found = {"comface": __version__, "Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def source() -> Source:
    """The commit of the source code: of the checkout, the container image or the installed package."""
    try:
        commit, top = _git("rev-parse", "HEAD"), Path(_git("rev-parse", "--show-toplevel"))
        if PACKAGE.is_relative_to(top) and _git("ls-files", "--", str(PACKAGE / "__init__.py")):
            return Source(commit=commit, modified=bool(_git("status", "--porcelain", "--", str(PACKAGE))))
    except (OSError, subprocess.SubprocessError):
        pass
    return _recorded_source()


def _recorded_source() -> Source:
    try:
        commit = IMAGE_REVISION.read_text("utf-8").strip()
        known = commit.removesuffix("-modified")
        return Source(commit=known, modified=None if known == UNKNOWN else commit != known)
    except OSError:
        pass
    try:
        installed = json.loads(metadata.distribution("comface").read_text("direct_url.json") or "{}")
        return Source(commit=str(installed["vcs_info"]["commit_id"]), modified=False)
    except (metadata.PackageNotFoundError, KeyError, TypeError, ValueError):
        return Source()


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(PACKAGE), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def _gpu() -> str:
    torch = sys.modules.get("torch")  # a step that did not import torch used no GPU
    try:
        return str(torch.cuda.get_device_name()) if torch is not None and torch.cuda.is_available() else ""
    except (AttributeError, RuntimeError):
        return ""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
