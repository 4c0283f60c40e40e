"""The generators, by name: what comes with the set-up, and what a user brings the weights and directions of.

A further generator is a file in `entries/` with a `Generator`, and a line here; compositions, checks, screening,
tracks, report and card read it from then on. Reading an entry imports no tensors; only `load` does. People can name one
of their own by `module:function`, which takes a weight file (or None) and a device, and gives a FaceGenerator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

from pydantic import AfterValidator

from comface.config.entries import Entries, findable
from comface.config.outside import Outside
from comface.errors import ConfigurationError

if TYPE_CHECKING:
    from comface.generators import FaceGenerator

PHOTOGRAPHS = (
    "Which skin tones, ages and head coverings occur follows the photographs that this generator was trained on."
)
OWN = "This generator is the user's own; its makers know what it was trained on."
OFFERED = ("name", "latent_width", "image_size_px", "latents", "render", "attributes", "direction")
"""What FaceGenerator asks for."""


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
    """Comes with the set-up, and is not one of the paper's."""
    brought: bool = False
    """A user brings its weights and its directions, under the names of directions/catalogue.json."""
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
    decided_by: Callable[[], Mapping[str, Any]] = dict
    """What stands in an address for a generator from outside, besides its weights and directions."""


GENERATORS: Entries[Generator] = Entries(
    "generator",
    {
        "procedural": "comface.generators.entries.procedural:GENERATOR",
        "dcgan": "comface.generators.entries.dcgan:GENERATOR",
        **{
            name: f"comface.generators.entries.stylegans:{name.upper()}"
            for name in ("stylegan", "stylegan2", "stylegan3")
        },
    },
)


def generator(name: str) -> Generator:
    """Raises ConfigurationError, with the choices, for a name that means no generator."""
    if ":" not in name:
        return GENERATORS[name]
    own = Outside("generator", name)

    def load(weights: Path | None, device: str) -> FaceGenerator:
        made = own.call(weights, device)
        lacking = [word for word in OFFERED if not hasattr(made, word)]
        if lacking:
            raise ConfigurationError(
                f"{own} gives {type(made).__name__}, which lacks {', '.join(lacking)}; return a "
                "comface.generators.FaceGenerator."
            )
        return cast("FaceGenerator", made)

    return Generator(name, load, decided_by=own.decided_by, limits=OWN)


def embedded() -> list[str]:
    return [name for name, entry in GENERATORS.all().items() if entry.embedded]


def brought() -> list[str]:
    """Generators whose weights and directions a user brings."""
    return [name for name, entry in GENERATORS.all().items() if entry.brought]


def _brought(name: str) -> str:
    if name not in (others := brought()):
        raise ValueError(f"'{name[:80]}' has no directions of a user; choose from {', '.join(others)}")
    return name


GeneratorName = Annotated[str, findable(generator), GENERATORS]
BroughtName = Annotated[str, AfterValidator(_brought)]
