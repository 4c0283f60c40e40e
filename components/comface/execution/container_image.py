"""The container images that the components run in. Their names hold "python", as KFP's local runner wants it.

A component names its image by version, as `make images` tags it. Where `make images` pushed the images, the pipeline is
compiled with `locked` references instead: KFP caches a step by this string, so a tag that moves would bring back
results of older code.
"""

from __future__ import annotations

import re
from pathlib import Path

from comface import __version__
from comface.errors import ConfigurationError

IMAGE = f"comface-python:{__version__}"
"""For steps that read no tensors: small, without torch."""
GPU_IMAGE = f"comface-gpu-python:{__version__}"
"""For all others, on GPUs or CPUs."""
LOCKED = re.compile(r"(?P<name>[\w-]+) (?P<reference>\S+@sha256:[0-9a-f]{64})")


def locked(image: str, lock: Path) -> str:
    """The reference by digest that the file `lock` has for `image` (one `name reference@sha256:…` a line); `image`
    itself where there is no such file. Raises ConfigurationError for a lock that does not name it by digest."""
    if not lock.is_file():
        return image
    name = image.partition(":")[0]
    lines = [line for line in lock.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    references = {match["name"]: match["reference"] for match in map(LOCKED.fullmatch, lines) if match}
    if name not in references or len(references) < len(lines):
        raise ConfigurationError(
            f"The file {lock} does not name '{name}' by its digest; write it anew with `make images`, or delete it."
        )
    return references[name]
