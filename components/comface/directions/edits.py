"""Edits: a direction, the latent space that it is added in, and whether it is added before or after truncation.

In: a direction's file and its use (published.Entry, or a user's settings). Out: edited latents for the generator,
w_edit = w + alpha n (section 3.1) for every alpha of a track. Conventions of published tools:

| tool | space | truncate |
|---|---|---|
| InterFaceGAN `-s Z` | Z, on z of length sqrt(D) | before |
| InterFaceGAN `-s W` | W | before: on StyleGAN the first 8 rows move by psi alpha, the others by alpha |
| InterFaceGAN `-s WP`, StyleGAN3-editing | W, every row | after |
| Pinnimty's facial weight | W+, rows 0 to 7 | after |

In Z and W, InterFaceGAN sets the signed distance to the boundary; here alpha is relative to the identity, as in the
paper.

Legend: N identities, A alphas, L rows of W+, K 1 or L, D latent width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from comface.directions.published import Entry, attribute_name
from comface.errors import ConfigurationError, DataError
from comface.files.arrays import read_numbers
from comface.generators import FaceGenerator, draw, edit

if TYPE_CHECKING:
    import torch

Space = Literal["Z", "W", "W+"]
Truncate = Literal["before", "after"]


@dataclass(frozen=True)
class Edit:
    direction_KD: torch.Tensor
    """The direction; rows that are not edited are zero."""
    space: Space = "W"
    truncate: Truncate = "after"


def swept(
    generator: FaceGenerator, seeds: Sequence[int], change: Edit, alphas: Sequence[float], psi: float
) -> torch.Tensor:
    """The truncated latents of each seed for every alpha: (N,A,D), or (N,A,L,D) if rows differ."""
    if change.space == "Z":
        z_NAD = edit(_z(generator, seeds), change.direction_KD, alphas)
        moved: torch.Tensor = _mapped(generator, z_NAD.flatten(0, 1)).unflatten(0, z_NAD.shape[:2])
    elif change.truncate == "after":
        return edit(draw(generator, seeds, psi), change.direction_KD, alphas)
    else:
        moved = edit(generator.latents(seeds), change.direction_KD, alphas)
    truncate = getattr(generator, "truncate", None)
    if truncate is not None:
        moved = truncate(moved.flatten(0, 1), psi).unflatten(0, moved.shape[:2])
    return moved


def make_edit(
    generator: FaceGenerator,
    direction_KD: torch.Tensor,
    what: str,
    space: Space | None = None,
    layers: Sequence[int] | None = None,
    truncate: Truncate | None = None,
) -> Edit:
    """An edit of `generator`. `space` None: W for (1,D), W+ for (L,D); W with `layers` means W+. `truncate` None:
    before in Z, else after. `what`: the direction's name in messages.

    Raises ConfigurationError for incompatible settings, DataError for a direction of the wrong shape."""
    rows = getattr(generator, "layers", None)
    space = space or ("W+" if rows is not None and len(direction_KD) > 1 else "W")
    if layers is not None and space == "W":
        space = "W+"
    if space == "W+" and rows is None:
        raise ConfigurationError(f"The generator '{generator.name}' has no layers to choose from; use space W.")
    if space == "Z" and truncate == "after":
        raise ConfigurationError("An edit in Z always comes before truncation, which acts on w; leave 'after' out.")
    if space == "Z" and layers is not None:
        raise ConfigurationError("An edit in Z has no layers to choose from (only w has); leave the layers out.")
    check_direction(direction_KD, generator, what, space)
    if space == "W+":
        direction_KD = _in_layers(generator, direction_KD, layers)
    return Edit(direction_KD, space, truncate or ("before" if space == "Z" else "after"))


def check_psi(psi: float) -> None:
    """Raises ConfigurationError for a truncation outside (0, 1]."""
    if not 0 < psi <= 1:
        raise ConfigurationError(
            f"The truncation psi = {psi} is not in (0, 1]; use 1 for no truncation, or the usual 0.7."
        )


def pose(
    generator: FaceGenerator, pseudo_aligned: bool, transform: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> None:
    """Set the rotation and shift of StyleGAN3's images. Raises ConfigurationError for any other generator."""
    place = getattr(generator, "pose", None)
    if place is None:
        raise ConfigurationError(
            f"Only StyleGAN3 supports pseudo-alignment and an input transform, not '{generator.name}'; leave them out."
        )
    place(pseudo_aligned, transform)


def published_edit(
    generator: FaceGenerator,
    entry: Entry,
    path: Path,
    others: Mapping[str, Path],
    layers: Sequence[int] | None = None,
) -> Edit:
    """The edit that `entry` describes, with the direction in `path`. `layers` replace those of the entry; `others`: the
    files of its conditions by attribute."""
    import torch

    what = f"direction '{entry.attribute}' of '{generator.name}' ({entry.file})"
    array = read_direction(path, what)
    if len(array) != 1 and (entry.condition or entry.unit_norm):
        raise DataError(f"The {what} has {len(array)} rows, so it cannot be scaled to norm 1; set unit_norm: false.")
    if entry.condition:
        from comface.directions.interfacegan import project

        array = project(array, [read_direction(others[attribute_name(c)], f"condition '{c}'") for c in entry.condition])
    elif entry.unit_norm:
        array = array / np.linalg.norm(array)
    if layers is None and entry.layers is not None:
        layers = range(entry.layers[0], entry.layers[1] + 1)
    direction_KD = torch.from_numpy(array.astype(np.float32))
    return make_edit(generator, direction_KD, what, entry.space, layers, entry.truncate)


def read_direction(path: Path, what: str = "direction") -> np.ndarray:
    """The direction in the file `path`, unchanged: (1,D) or (L,D), float64. Raises DataError if it is zero, not finite
    or of another shape."""
    array = read_numbers(path, what).astype(np.float64)
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or not array.any():
        raise DataError(f"The {what} '{path}' is zero or of shape {array.shape}, not (1, D) or (L, D); fit it again.")
    return array


def check_direction(direction_KD: torch.Tensor, generator: FaceGenerator, what: str, space: Space) -> None:
    """Raises DataError if the direction cannot be added to the generator's latents."""
    import torch

    rows, width = getattr(generator, "layers", None), generator.latent_width
    width = getattr(generator, "z_width", width) if space == "Z" else width
    fits = [(1, width), (rows, width)] if space == "W+" else [(1, width)]
    if tuple(direction_KD.shape) not in fits:
        wanted = " or ".join(f"({count}, {width})" for count, _ in fits)
        raise DataError(
            f"The {what} has shape {tuple(direction_KD.shape)}, but '{generator.name}' needs {wanted} in {space}; "
            "give one that was fitted for it."
        )
    if not bool(torch.isfinite(direction_KD).all()) or not bool((direction_KD != 0).any()):
        raise DataError(f"The {what} is zero or not finite; fit it again.")


def _in_layers(generator: FaceGenerator, direction_KD: torch.Tensor, layers: Sequence[int] | None) -> torch.Tensor:
    """(L,D) with zeros in the rows that are not edited; unchanged if all rows are edited."""
    if layers is None:
        return direction_KD
    rows: int = generator.layers  # type: ignore[attr-defined]
    if not len(layers) or min(layers) < 0 or max(layers) >= rows:
        raise ConfigurationError(f"The layers are not among 0 to {rows - 1} of '{generator.name}'; choose from these.")
    chosen = sorted(set(layers))
    chosen_LD = direction_KD.new_zeros(rows, direction_KD.shape[1])
    chosen_LD[chosen] = direction_KD.expand(rows, -1)[chosen]
    return chosen_LD


def _z(generator: FaceGenerator, seeds: Sequence[int]) -> torch.Tensor:
    """z (N,D); for a generator without a mapping network, z = w."""
    z = getattr(generator, "z", None)
    return generator.latents(seeds) if z is None else z(seeds)


def _mapped(generator: FaceGenerator, z_ND: torch.Tensor) -> torch.Tensor:
    mapped = getattr(generator, "mapped", None)
    return z_ND if mapped is None else mapped(z_ND)
