"""The container images of the components. Their names contain "python", because KFP's local runner requires it.

A component names its image by version, as `make images` tags it. If `make images` pushed the images, the pipeline is
compiled with `locked` references (by digest): KFP caches a step by this string, so a moved tag would reuse results of
older code.
"""

from __future__ import annotations

import re
from pathlib import Path

from comface import __version__
from comface.errors import ConfigurationError

IMAGE = f"comface-python:{__version__}"
"""For steps without tensors: small, without torch."""
GPU_IMAGE = f"comface-gpu-python:{__version__}"
"""For all other steps, on GPUs or CPUs."""
LOCKED = re.compile(r"(?P<name>[\w-]+) (?P<reference>\S+@sha256:[0-9a-f]{64})")


def locked(image: str, lock: Path) -> str:
    """The reference by digest for `image` in the file `lock` (lines of `name reference@sha256:…`); `image` itself if
    there is no such file. Raises ConfigurationError if the file does not give a digest for it."""
    if not lock.is_file():
        return image
    name = image.partition(":")[0]
    lines = [line for line in lock.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    references = {match["name"]: match["reference"] for match in map(LOCKED.fullmatch, lines) if match}
    if name not in references or len(references) < len(lines):
        raise ConfigurationError(
            f"The file {lock} does not name '{name}' by its digest; write it again with `make images`, or delete it."
        )
    return references[name]
