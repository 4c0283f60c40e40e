"""The registry of generators: embedded ones, and ones for which a user supplies weights and directions.

To add a generator, add a file with a `Generator` to `entries/` and a line here; compositions, checks, screening,
tracks, report and card read the registry. Importing an entry does not import torch; only `load` does. A user can also
name a generator by `module:function`: a function of a weight file (or None) and a device that returns a FaceGenerator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import AfterValidator

from comface.config.entries import Entries, findable
from comface.config.outside import Outside
from comface.errors import ConfigurationError

if TYPE_CHECKING:
    from comface.generators import FaceGenerator

PHOTOGRAPHS = "Its range of skin tones, ages and head coverings depends on the photographs that it was trained on."
OWN = "This generator was supplied by the user; ask its authors what it was trained on."
OFFERED = ("name", "latent_width", "image_size_px", "latents", "render", "attributes", "direction")
"""The attributes that FaceGenerator requires."""


Gpu = Literal["requested", "used", "never"]


def none() -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Generator:
    """The properties of a generator that other modules read."""

    name: str
    load: Callable[[Path | None, str], FaceGenerator]
    """Load the generator from a weight file on a device. Raises ConfigurationError if required weights are missing,
    DataError for a file that it refuses."""
    revision: int = 1
    """Raise this number when the images for the same seeds, weights and directions change; all its tracks are then
    rendered again."""
    embedded: bool = False
    """It is part of the set-up, and not one of the paper's."""
    brought: bool = False
    """A user supplies its weights and directions, with the file names of directions/catalogue.json."""
    fetched: str = ""
    """The weight file that `comface fetch` downloads."""
    attributes: Callable[[], tuple[str, ...]] = none
    """Names of the directions that are part of it, available without loading it."""
    drawn: bool = False
    """It renders faces from known parameters (`truth`); figures made with it are rehearsals."""
    always_a_face: bool = False
    """Every image has a face, so face detection is skipped."""
    poses: bool = False
    """It can rotate and shift its images (directions.edits.pose)."""
    gpu: Gpu = "requested"
    """Whether a pod that renders with it requests a GPU; "used": it takes one that is there, but requests none;
    "never": it is slower on a GPU."""
    images_s: tuple[float, float] | None = None
    """Lowest and highest images/s, for estimates: of one A100 if a pod requests a GPU, else of one thread."""
    images_s_px: int = 0
    """Side of the images of this rate, if fewer pixels are faster; 0: the side does not matter."""
    limits: str = PHOTOGRAPHS
    """A sentence for the model card."""
    decided_by: Callable[[], Mapping[str, Any]] = dict
    """The part of an artifact's address that identifies a generator from outside, besides weights and directions."""


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
    """The generator `name` or `module:function`. Raises ConfigurationError with the choices for an unknown name."""
    if ":" not in name:
        return GENERATORS[name]
    own = Outside("generator", name)

    def load(weights: Path | None, device: str) -> FaceGenerator:
        made = own.call(weights, device)
        lacking = [word for word in OFFERED if not hasattr(made, word)]
        if lacking:
            raise ConfigurationError(
                f"{own} returns {type(made).__name__}, which lacks {', '.join(lacking)}; return a "
                "comface.generators.FaceGenerator."
            )
        return cast("FaceGenerator", made)

    return Generator(name, load, decided_by=own.decided_by, limits=OWN)


def embedded() -> list[str]:
    return [name for name, entry in GENERATORS.all().items() if entry.embedded]


def brought() -> list[str]:
    """Generators whose weights and directions a user supplies."""
    return [name for name, entry in GENERATORS.all().items() if entry.brought]


def _brought(name: str) -> str:
    if name not in (others := brought()):
        raise ValueError(f"'{name[:80]}' does not take a user's directions; choose from {', '.join(others)}")
    return name


GeneratorName = Annotated[str, findable(generator), GENERATORS]
BroughtName = Annotated[str, AfterValidator(_brought)]


def requests_gpu(names: Iterable[str]) -> bool:
    """Whether a pod that renders with these generators requests a GPU."""
    return any(generator(name).gpu == "requested" for name in names)


def device_for(name: str) -> str:
    """ "cuda" if there is a GPU and the generator gains from it, else "cpu"."""
    import torch

    return "cuda" if generator(name).gpu != "never" and torch.cuda.is_available() else "cpu"


def load_generator(name: str, weights: Path | None = None, device: str = "cpu") -> FaceGenerator:
    """The generator `name`. Embedded generators need no `weights`; the StyleGANs read a converted file or any public
    container."""
    return generator(name).load(weights, device)
