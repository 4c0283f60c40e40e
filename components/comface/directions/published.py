"""The catalogue of published directions and weight files: which file an attribute's direction is, and how it is used.

In: directions/catalogue.json, and what a configuration changes of it. Out: an Entry per generator and
attribute. It covers the paper's 43 attributes (section 4.1); a file ATTRIBUTE.npy of one's own adds any other.
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
"""InterFaceGAN's names, GAN_DATASET_ATTRIBUTE[_c_CONDITION][_w]_boundary.npy, also of a second download; without `_w`
the direction is of Z."""
FACES = "ffhq"
"""What the StyleGANs that are used here were trained on, where the weights' name does not say another."""


class Entry(Section):
    """One direction: where it is from and how it is used."""

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
    """Our spelling: 'Wearing_Hat' and 'wearing-hat' are one attribute."""
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
    """The catalogue's entry, or one for a file of one's own, with what `use` changes."""
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
    """Names of the weight files that are looked for: what `comface convert` makes, then the published ones."""
    return (f"{generator}.safetensors", *_content()["weights"][generator]["files"])


def weights_origin(generator: str) -> Mapping[str, str]:
    """`source` and `licence` of the published weights."""
    weights = _content()["weights"][generator]
    return {"source": weights["source"], "licence": weights["licence"]}


def named_space(file: str) -> Literal["Z", "W"] | None:
    """The latents that a published direction is of, as its name says; None where the name says nothing."""
    match = _BOUNDARY.fullmatch(file.rpartition("/")[2])
    return None if match is None else "W" if match[3] else "Z"


def check_published_name(file: str, generator: str, weights: str = "") -> None:
    """Raises ConfigurationError when the name is that of a direction published for another generator, or for one that
    was trained on other pictures (`weights`: the name of the weight file, which may say on which)."""
    owners = [name for name, entries in catalogue().items() for entry in entries.values() if entry.file == file]
    if owners and generator not in owners:
        raise ConfigurationError(
            f"The file '{file}' is a direction of '{owners[0]}', not of '{generator}'; name the generator it is for."
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
            f"The direction '{file}' belongs to {gan} {pictures}, and these weights are of {own}; give one of {own}."
        )


@functools.cache
def _content() -> Any:
    resource = importlib.resources.files("comface") / "directions" / "catalogue.json"
    return json.loads(resource.read_text("utf-8"))
