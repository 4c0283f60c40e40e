"""Implements `comface render`: renders latents edited along a direction, as a contact sheet or as raw output.

In: a generator's name, seeds or a file of latents, an attribute or a file with a direction, alphas. Out: a contact
sheet (.png; rows: latents, columns: alphas) or the raw network output (.npy, float32 NCHW in [-1, 1]; all alphas of
each latent in turn). The output file is written atomically.

Legend: N latents, L layers of W+, D latent width, A alphas, H = W side length.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from comface.directions.config import DirectionUse
from comface.directions.edits import (
    Edit,
    Space,
    Truncate,
    check_psi,
    make_edit,
    pose,
    published_edit,
    read_direction,
    swept,
)
from comface.directions.interfacegan import check_fitted_for, fitted_for
from comface.directions.published import check_published_name, entry_for, named_space
from comface.errors import ConfigurationError, DataError
from comface.faces.sheet import Row, alpha_captions, contact_sheet, gallery, png_bytes
from comface.files import check_output, read_facts, write_file
from comface.files.arrays import read_numbers
from comface.generators import FaceGenerator, edit, to_uint8
from comface.generators.registry import brought, load_generator
from comface.runtime.progress import shown
from comface.store import FileStore
from comface.tracks.supplies import find_file
from comface.weights.fetched import provenance_path

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    import torch

DEFAULT_ALPHAS = (-5.0, 0.0, 5.0)
MOST_SEEDS = 100_000
LARGEST_LATENT = 1e6
MOST_ROWS_ON_SHEET = 200
"""Maximum number of rows of a sheet; image viewers cannot open larger ones."""
AT_ONCE_PX = 2**24
"""Maximum number of pixels rendered at once; limits memory."""


@dataclass(frozen=True)
class Wanted:
    """The arguments of `render`."""

    generator: str
    output: Path
    weights: Path | None = None
    seeds: Sequence[int] | None = None
    latents: Path | None = None
    """Latents (.npy) instead of seeds; truncation is not applied."""
    direction: Path | None = None
    """Direction (.npy), (1,D) or W+ (L,D)."""
    attribute: str | None = None
    """Name of a direction instead of a file. For a StyleGAN, the catalogue names its file, which is beside
    `weights`."""
    alphas: Sequence[float] | None = None
    psi: float = 0.7
    size_px: int | None = None
    device: str = "cpu"
    space: Space | None = None
    layers: Sequence[int] | None = None
    truncate: Truncate | None = None
    pseudo_aligned: bool = False
    transform: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """StyleGAN3: rotation in degrees, translation x, y."""


def render(wanted: Wanted, load: Callable[[str, Path | None, str], FaceGenerator] = load_generator) -> Path:
    """Write the output and return its path. Raises ConfigurationError or DataError for invalid arguments before
    anything is rendered."""
    _check(wanted)
    direction, output = wanted.direction, wanted.output
    steps = _steps(wanted.alphas, direction is not None or wanted.attribute is not None)
    faces = load(wanted.generator, wanted.weights, wanted.device)
    if wanted.pseudo_aligned or any(wanted.transform):
        pose(faces, wanted.pseudo_aligned, wanted.transform)
    edited, captions = _rows(wanted, faces, _change(wanted, faces), steps)
    if output.suffix == ".png" and len(captions) > MOST_ROWS_ON_SHEET:
        raise ConfigurationError(
            f"A sheet of {len(captions)} rows is too long; give at most {MOST_ROWS_ON_SHEET} latents, or write .npy."
        )
    what = wanted.attribute or (direction.stem if direction else "")
    pieces = _rendered(faces, edited, len(captions), len(steps), wanted.size_px)
    _write(output, pieces, captions, steps, f"{wanted.generator}: {what}" if what else wanted.generator)
    return output


def _rows(
    wanted: Wanted, faces: FaceGenerator, change: Edit, steps: Sequence[float]
) -> tuple[Callable[[slice], torch.Tensor], list[str]]:
    """Return a function that gives the edited latents (n,A,…) of a slice of rows, and the captions of all rows."""
    if wanted.latents is None:
        seeds = wanted.seeds or ()
        return lambda some: swept(faces, seeds[some], change, steps, wanted.psi), [f"seed {seed}" for seed in seeds]
    if change.space == "Z" or wanted.truncate is not None:
        raise ConfigurationError(
            "Latents are in W and are not truncated, so the space Z and truncation cannot be used; give seeds instead."
        )
    w = _read_latents(wanted.latents, faces)
    return lambda some: edit(w[some], change.direction_KD, steps), [f"latent {i}" for i in range(len(w))]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parse '0-7,9' to (0, …, 7, 9). Raises ConfigurationError for invalid text and for more than MOST_SEEDS seeds."""
    seeds: list[int] = []
    for piece in text.split(","):
        first, dash, last = piece.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or len(first) > 18 or len(last) > 18:
            raise ConfigurationError(f"The seeds '{text}' do not have the form 0-7,9 (at '{piece}'); correct them.")
        start, stop = int(first), int(last) if dash else int(first)
        if stop < start:
            raise ConfigurationError(f"The range of seeds '{piece}' is reversed; write {stop}-{start}.")
        if stop - start + len(seeds) >= MOST_SEEDS:
            raise ConfigurationError(f"The seeds '{text}' are more than {MOST_SEEDS:,}; give fewer seeds.")
        seeds.extend(range(start, stop + 1))
    return tuple(seeds)


def parse_alphas(text: str) -> tuple[float, ...]:
    """Parse '-5,0,5' to (-5.0, 0.0, 5.0). Raises ConfigurationError for invalid text."""
    try:
        alphas = tuple(float(piece) for piece in text.split(","))
    except ValueError:
        raise ConfigurationError(
            f"The alphas '{text}' are not numbers separated by commas; write for example -5,0,5."
        ) from None
    if not all(np.isfinite(alphas)):
        raise ConfigurationError(f"The alphas '{text}' are not all finite; correct them.")
    return alphas


def parse_transform(text: str) -> tuple[float, float, float]:
    """Parse '15,0.1,-0.2' to (15.0, 0.1, -0.2): degrees, x, y. Raises ConfigurationError for invalid text."""
    try:
        rotate_deg, x, y = (float(piece) for piece in text.split(","))
    except ValueError:
        rotate_deg = x = y = float("nan")
    if not np.isfinite([rotate_deg, x, y]).all():
        raise ConfigurationError(
            f"The transform '{text}' is not three numbers (degrees, x, y); write for example 15,0.1,-0.2."
        )
    return rotate_deg, x, y


def weights_name(weights: Path | None) -> str:
    """Return the name of a weight file and, if it was converted, the name of its source."""
    if weights is None:
        return ""
    source = read_facts(provenance_path(weights)).get("source", "")
    return f"{weights.name} {source}"


def _check(wanted: Wanted) -> None:
    output, size_px = wanted.output, wanted.size_px
    if output.suffix not in (".png", ".npy"):
        raise ConfigurationError(f"The output '{output}' must end in .png (sheet) or .npy (raw); rename it.")
    check_output(output, [path for path in (wanted.weights, wanted.latents, wanted.direction) if path is not None])
    check_psi(wanted.psi)
    if size_px is not None and not 16 <= size_px <= 4096:
        raise ConfigurationError(f"The side length {size_px} px is not in the range 16 to 4096; choose another.")
    if (wanted.seeds is None) == (wanted.latents is None):
        raise ConfigurationError("Rendering needs either seeds or latents; give exactly one of them.")
    if wanted.direction is not None and wanted.attribute is not None:
        raise ConfigurationError("Both a direction and an attribute are given; give only one of them.")


def _steps(alphas: Sequence[float] | None, edited: bool) -> tuple[float, ...]:
    if not edited:
        if alphas is not None and tuple(alphas) != (0,):
            raise ConfigurationError("Alphas are given, but no direction or attribute; add one of them.")
        return (0.0,)
    steps = DEFAULT_ALPHAS if alphas is None else tuple(float(alpha) for alpha in alphas)
    if not steps or not all(np.isfinite(steps)):
        raise ConfigurationError("The alphas are empty or not finite; give numbers, as in -5,0,5.")
    return steps


def _change(wanted: Wanted, faces: FaceGenerator) -> Edit:
    """Return the requested edit; a zero direction if there is none."""
    import torch

    attribute = wanted.attribute
    if wanted.direction is not None:
        return _edit_of_file(wanted, faces, wanted.direction)
    if attribute is None:
        return Edit(torch.zeros(1, faces.latent_width))
    if wanted.weights is not None and faces.name in brought():
        return _edit_of_catalogue(wanted, faces, attribute, FileStore(wanted.weights.parent))
    if attribute not in faces.attributes():
        raise ConfigurationError(
            f"The generator '{faces.name}' has no direction '{attribute}'; "
            f"it has {', '.join(faces.attributes()) or 'none'}."
        )
    direction_KD, what = faces.direction(attribute), f"direction '{attribute}'"
    return make_edit(faces, direction_KD, what, wanted.space, wanted.layers, wanted.truncate)


def _edit_of_file(wanted: Wanted, faces: FaceGenerator, path: Path) -> Edit:
    import torch

    space = wanted.space
    check_published_name(path.name, faces.name, weights_name(wanted.weights))
    if space is None and named_space(path.name) == "Z":
        space = "Z"
        logger.warning(f"'{path.name}' is a direction in Z by its name, so it is used in Z; use --space to change this")
    direction_KD = torch.from_numpy(read_direction(path).astype(np.float32))
    check_fitted_for(path.name, fitted_for(path), faces.name)
    return make_edit(faces, direction_KD, f"direction '{path}'", space, wanted.layers, wanted.truncate)


def _edit_of_catalogue(wanted: Wanted, faces: FaceGenerator, attribute: str, location: FileStore) -> Edit:
    """Return the edit of a catalogue entry. Its file is in `location`, beside the weights; it must not be the
    output."""
    entry = entry_for(faces.name, attribute, DirectionUse(space=wanted.space, truncate=wanted.truncate))
    key = find_file(location, location.keys(), entry.file, faces.name)
    if key is None:
        raise ConfigurationError(
            f"The direction '{attribute}' of '{faces.name}' ({entry.file}) is not in {location.root}, beside the "
            "weights; copy it there, or give a file with --direction."
        )
    check_output(wanted.output, [location.path(key)])
    return published_edit(faces, entry, location.path(key), {}, wanted.layers)


def _read_latents(path: Path, faces: FaceGenerator) -> torch.Tensor:
    """Read latents: w (N,D), or W+ (N,L,D) if the generator has L layers. Raises DataError for another shape."""
    import torch

    array = read_numbers(path, "latents").astype(np.float32)
    layers = getattr(faces, "layers", None)
    fits = array.ndim == 2 or (array.ndim == 3 and layers is not None and array.shape[1] == layers)
    if not fits or array.shape[-1] != faces.latent_width or not len(array):
        wanted = f"(N, {faces.latent_width})" + (f" or (N, {layers}, {faces.latent_width})" if layers else "")
        raise DataError(
            f"The latents '{path}' have shape {array.shape}, but '{faces.name}' needs {wanted}; correct the file."
        )
    return torch.from_numpy(array)


def _rendered(
    faces: FaceGenerator, edited: Callable[[slice], torch.Tensor], count: int, alphas: int, size_px: int | None
) -> Iterator[np.ndarray]:
    """Yield images (n,3,H,W) float32 in batches: all alphas of each latent in turn."""
    at_once = max(1, AT_ONCE_PX // (size_px or faces.image_size_px) ** 2 // alphas)
    for first in shown(range(0, count, at_once), "render", unit="batch"):
        w = edited(slice(first, first + at_once)).flatten(0, 1)
        if not bool((w.abs() <= LARGEST_LATENT).all()):
            raise DataError(
                f"Latents with values above {LARGEST_LATENT:,.0f} give no face; use smaller alphas or other latents."
            )
        images_NCHW = faces.render(w, size_px).float().cpu().numpy()
        if not np.isfinite(images_NCHW).all():
            raise DataError("The images of these latents are not finite; use smaller alphas or other latents.")
        yield images_NCHW


def _write(
    output: Path, pieces: Iterator[np.ndarray], captions: Sequence[str], steps: Sequence[float], title: str
) -> None:
    """Write the output. Only its owner can read it, because it shows faces."""
    if output.suffix == ".npy":
        write_file(output, lambda file: _write_raw(file, pieces, len(captions) * len(steps)), private=True)
        return
    if ":" in title:
        title += "; columns: alpha" if len(steps) > 1 else f"; alpha {steps[0]:g}"
    write_file(output, _sheet(pieces, captions, steps, title), private=True)


def _write_raw(file: BinaryIO, pieces: Iterator[np.ndarray], count: int) -> None:
    """Write one batch at a time, so that only one batch is in memory."""
    for number, piece_NCHW in enumerate(pieces):
        if number == 0:
            header = {"descr": "<f4", "fortran_order": False, "shape": (count, *piece_NCHW.shape[1:])}
            np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(piece_NCHW, "<f4").data)


def _sheet(pieces: Iterator[np.ndarray], captions: Sequence[str], steps: Sequence[float], title: str) -> bytes:
    import torch

    images: list[np.ndarray] = []
    for piece_NCHW in pieces:
        images.extend(to_uint8(torch.from_numpy(piece_NCHW)))
    if len(steps) == 1:
        return png_bytes(gallery(images, captions, title))
    rows = [Row((caption,), images[i * len(steps) : (i + 1) * len(steps)]) for i, caption in enumerate(captions)]
    return png_bytes(contact_sheet(rows, alpha_captions(steps), title))
