"""The container images of the components. Their names contain "python", because KFP's local runner requires it.

A component names its image by version, as `make images` tags it. If `make images` pushed the images, the pipeline is
compiled with `locked` references (by digest): KFP caches a step by this string, so a moved tag would reuse results of
older code.
"""

from __future__ import annotations

import re
from pathlib import Path

from comface import __version__
from comface.config.names import quoted
from comface.errors import ConfigurationError

IMAGE = f"comface-python:{__version__}"
"""For steps without tensors: small, without torch."""
GPU_IMAGE = f"comface-gpu-python:{__version__}"
"""For all other steps, on GPUs or CPUs."""
LOCKED = re.compile(r"(?P<name>[\w-]+) (?P<reference>\S+@sha256:[0-9a-f]{64})")


def locked(image: str, lock: Path, registry: str = "") -> str:
    """The reference by digest for `image` in the file `lock` (lines of `name reference@sha256:…`). With a `registry`
    (host/path), or without that file: `image` by its version. Raises ConfigurationError if the file gives no digest."""
    if registry or not lock.is_file():
        return in_registry(image, registry)
    name = image.partition(":")[0]
    lines = [line for line in lock.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    references = {match["name"]: match["reference"] for match in map(LOCKED.fullmatch, lines) if match}
    if name not in references or len(references) < len(lines):
        raise ConfigurationError(
            f"The file {lock} does not name '{name}' by its digest; write it again with `make images`, or delete it."
        )
    return references[name]


def in_registry(image: str, registry: str) -> str:
    """`image` below `registry` (host/path), unless it names a registry itself. Raises ConfigurationError for a registry
    that is not one."""
    if not registry or "/" in image:
        return image
    if not re.fullmatch(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)*", registry):
        raise ConfigurationError(
            f"The registry {quoted(registry)} is not host/path in lower case, e.g. registry.example.com/comface; "
            "correct it."
        )
    return f"{registry}/{image}"
