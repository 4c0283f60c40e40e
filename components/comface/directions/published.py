"""The catalogue of published directions and weight files: the file of each attribute's direction, and its use.

In: directions/catalogue.json, and changes from a configuration. Out: an Entry per generator and attribute. The
catalogue covers the paper's 43 attributes (section 4.1); a user's file ATTRIBUTE.npy adds any other.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from comface.config.section import Section
from comface.directions.config import DirectionUse
from comface.errors import ConfigurationError

_PICTURES = (
    "celebahq|celeba|ffhq|metfaces|anime|danbooru|afhq|afhqv2|afhqcat|afhqdog|afhqwild|cat|dog|horse|car|church|bedroom|"
    "livingroom|kitchen|diningroom|restaurant|conferenceroom|bridge|tower|lsun"
)
_BOUNDARY = re.compile(
    rf"(pggan|progan|biggan|stylegan[23]?)[_-]({_PICTURES})[_-][\w-]+?([_-]w)?[_-]boundary"
    r"(?:[ _-]*(?:copy|kopie|copie|\(?\d+\)?))*\.npy",
    re.IGNORECASE,
)
"""InterFaceGAN's file names, GAN_DATASET_ATTRIBUTE[_c_CONDITION][_w]_boundary.npy, also with the suffix of a repeated
download. Without `_w` the direction is in Z."""
FACES = "ffhq"
"""The default training data of the StyleGANs, unless the name of the weights says otherwise."""


class Entry(Section):
    """One direction: its source and use."""

    generator: str
    attribute: str
    file: str
    """Its published name, or ATTRIBUTE.npy."""
    space: Literal["Z", "W", "W+"] | None = None
    """None: W for (1,D), W+ for (L,D)."""
    layers: tuple[int, int] | None = None
    """First and last row of W+ that is edited."""
    unit_norm: bool = False
    truncate: Literal["before", "after"] | None = None
    """None: before in Z, else after."""
    condition: tuple[str, ...] = ()
    alpha: str = "coefficient of the vector as it is in the file"
    source: str = "your own"
    licence: str = "your own"


def attribute_name(text: str) -> str:
    """The normalized attribute name: 'Wearing_Hat' becomes 'wearing-hat'."""
    return text.lower().replace("_", "-")


@functools.cache
def catalogue() -> Mapping[str, Mapping[str, Entry]]:
    """generator -> attribute -> Entry, in the order of the file."""
    found: dict[str, dict[str, Entry]] = {}
    for group in _content()["sets"]:
        shared = {name: value for name, value in group.items() if name != "files"}
        for attribute, file in group["files"].items():
            entry = Entry.model_validate({**shared, "attribute": attribute, "file": file})
            found.setdefault(entry.generator, {})[attribute] = entry
    return found


def entry_for(generator: str, attribute: str, use: DirectionUse | None = None) -> Entry:
    """The catalogue's entry, or one for a user's file ATTRIBUTE.npy, with the changes of `use`."""
    name = attribute_name(attribute)
    known = catalogue().get(generator, {}).get(name)
    entry = known or Entry(generator=generator, attribute=name, file=f"{name}.npy")
    changes = use.model_dump(exclude_none=True) if use is not None else {}
    if "file" in changes:
        check_published_name(changes["file"], generator)
        if "space" not in changes and (space := named_space(changes["file"])) is not None:
            changes["space"] = space
    if changes.get("space") == "Z":
        changes.setdefault("truncate", None)
    return Entry.model_validate({**entry.model_dump(), **changes})


def weight_files(generator: str) -> tuple[str, ...]:
    """Names of weight files, in search order: that of `comface convert`, then the published ones."""
    return (f"{generator}.safetensors", *_content()["weights"][generator]["files"])


def weights_origin(generator: str) -> Mapping[str, str]:
    """`source` and `licence` of the published weights."""
    weights = _content()["weights"][generator]
    return {"source": weights["source"], "licence": weights["licence"]}


def named_space(file: str) -> Literal["Z", "W"] | None:
    """The latent space of a published direction, from its file name; None for any other name."""
    match = _BOUNDARY.fullmatch(file.rpartition("/")[2])
    return None if match is None else "W" if match[3] else "Z"


def check_published_name(file: str, generator: str, weights: str = "") -> None:
    """Raises ConfigurationError if the file name is that of a direction published for another generator, or for one
    with other training data (`weights`: the name of the weight file, which may name the training data)."""
    owners = [name for name, entries in catalogue().items() for entry in entries.values() if entry.file == file]
    if owners and generator not in owners:
        raise ConfigurationError(
            f"The file '{file}' is a direction of '{owners[0]}', not of '{generator}'; use it with '{owners[0]}'."
        )
    if (match := _BOUNDARY.fullmatch(file.rpartition("/")[2])) is None:
        return
    gan, pictures = match[1].lower(), match[2].lower()
    own = "celebahq" if "celebahq" in weights.lower().replace("-", "") else FACES
    if gan != generator:
        raise ConfigurationError(
            f"The direction '{file}' belongs to {gan} {pictures}, not to '{generator}'; give one fitted for it."
        )
    if pictures != own:
        raise ConfigurationError(
            f"The direction '{file}' belongs to {gan} {pictures}, but these weights are of {own}; give one of {own}."
        )


@functools.cache
def _content() -> Any:
    resource = importlib.resources.files("comface") / "directions" / "catalogue.json"
    return json.loads(resource.read_text("utf-8"))
