"""The generators, by name: what comes with the set-up, and what a user brings the weights and directions of.

A further generator is a file in `entries/` with a `GENERATOR`, and a line here; compositions, checks, screening,
tracks, report and card read it from then on. Reading an entry imports no tensors; only `load` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from comface.config.entries import Entries

if TYPE_CHECKING:
    from comface.generators import FaceGenerator

PHOTOGRAPHS = (
    "Which skin tones, ages and head coverings occur follows the photographs that this generator was trained on."
)


def none() -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Generator:
    """All that anyone asks about a generator."""

    name: str
    load: Callable[[Path | None, str], FaceGenerator]
    """From a weight file, on a device. Raises ConfigurationError without weights that it needs, DataError for a file
    that it refuses."""
    revision: int = 1
    """Raised when it makes other images of the same seeds, weights and directions: all that it rendered is then
    rendered again."""
    embedded: bool = False
    """Comes with the set-up, and is not one of the paper's; otherwise a user brings its weights and directions."""
    fetched: str = ""
    """Weight file that `comface fetch` gets."""
    attributes: Callable[[], tuple[str, ...]] = none
    """Names of the directions that come with it, known without loading it."""
    drawn: bool = False
    """It knows what it draws (`truth`), and figures made with it are rehearsals."""
    always_a_face: bool = False
    """No face is looked for in its images."""
    poses: bool = False
    """It can turn and shift its pictures (directions.edits.pose)."""
    limits: str = PHOTOGRAPHS
    """A sentence for the model card."""


GENERATORS: Entries[Generator] = Entries(
    "generator",
    {
        name: f"comface.generators.entries.{name}:GENERATOR"
        for name in ("procedural", "dcgan", "stylegan", "stylegan2", "stylegan3")
    },
)


def embedded() -> list[str]:
    return [name for name, entry in GENERATORS.all().items() if entry.embedded]


def brought() -> list[str]:
    """Generators whose weights and directions a user brings."""
    return [name for name, entry in GENERATORS.all().items() if not entry.embedded]


def _brought(name: str) -> str:
    if name not in (others := brought()):
        raise ValueError(f"'{name[:80]}' has no directions of a user; choose from {', '.join(others)}")
    return name


GeneratorName = Annotated[str, AfterValidator(GENERATORS.known), GENERATORS]
BroughtName = Annotated[str, AfterValidator(_brought)]
