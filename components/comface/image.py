"""The container images that the components run in. Their names hold "python", as KFP's local runner wants it.

In: docker/images.lock where this is a checkout in which `make images` pushed them: one `name reference@sha256:…` a
line. Out: those references, for the pipeline that is compiled from here (KFP caches a step by this string, so a tag
that moves would bring back results of older code). Without a lock, names and version, as `make images` tags them.
"""

from __future__ import annotations

import re
from pathlib import Path

from comface import __version__
from comface.errors import ConfigurationError

LOCK = Path(__file__).parents[2] / "docker" / "images.lock"
LOCKED = re.compile(r"(?P<name>[\w-]+) (?P<reference>\S+@sha256:[0-9a-f]{64})")


def image(name: str, lock: Path = LOCK) -> str:
    """The reference of an image. Raises ConfigurationError for a lock that does not name it by digest."""
    if not lock.is_file():
        return f"{name}:{__version__}"
    lines = [line for line in lock.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    locked = {match["name"]: match["reference"] for match in map(LOCKED.fullmatch, lines) if match}
    if name not in locked or len(locked) < len(lines):
        raise ConfigurationError(
            f"The file {lock} does not name '{name}' by its digest; write it anew with `make images`, or delete it."
        )
    return locked[name]


IMAGE = image("comface-python")
"""For steps that read no tensors: small, without torch."""
GPU_IMAGE = image("comface-gpu-python")
"""For all others, on GPUs or CPUs."""
