"""What `comface render` does: show, or hand out raw, what a generator makes of latents edited along a direction.

In: a generator's name, seeds or a file of latents, an attribute or a file with a direction, alphas. Out: a contact
sheet (.png; rows: latents, columns: alphas) or the raw network output (.npy, float32 NCHW in [-1, 1]; for every latent,
every alpha). Nothing is left half-written.

Legend: N latents, L layers of W+, D latent width, A alphas, H = W side length.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from comface import progress
from comface.errors import ConfigurationError, DataError, TryAgain
from comface.generators import FaceGenerator, draw, edit, load_generator
from comface.sheet import Row, alpha_captions, contact_sheet, gallery, png_bytes

if TYPE_CHECKING:
    import torch

DEFAULT_ALPHAS = (-5.0, 0.0, 5.0)
MOST_SEEDS = 100_000
MOST_ROWS_ON_SHEET = 200
"""More would make a picture that no viewer opens."""
AT_ONCE_PX = 2**24
"""Rendered together, in pixels: bounds memory."""


def render(
    generator: str,
    output: Path,
    *,
    weights: Path | None = None,
    seeds: Sequence[int] | None = None,
    latents: Path | None = None,
    direction: Path | None = None,
    attribute: str | None = None,
    alphas: Sequence[float] | None = None,
    psi: float = 0.7,
    size_px: int | None = None,
    device: str = "cpu",
    layers: Sequence[int] | None = None,
    load: Callable[[str, Path | None, str], FaceGenerator] = load_generator,
) -> Path:
    """Writes `output` and returns it. Exactly one of `seeds` and `latents` (.npy, taken as they are: no truncation);
    at most one of `direction` (.npy, (1,D) or W+ (L,D)) and `attribute`; without either, alpha is 0 alone. `layers`:
    the rows of W+ that are edited; all where it is None.

    Raises ConfigurationError or DataError before anything is rendered or written."""
    if output.suffix not in (".png", ".npy"):
        raise ConfigurationError(f"The output '{output}' ends in neither .png (sheet) nor .npy (raw); rename it.")
    if not 0 < psi <= 1:
        raise ConfigurationError(f"The truncation psi = {psi} is not in (0, 1]; 1 is none, 0.7 is usual.")
    if (seeds is None) == (latents is None):
        raise ConfigurationError("Rendering needs either seeds or latents; give exactly one of the two.")
    if direction is not None and attribute is not None:
        raise ConfigurationError("Both a direction and an attribute are given; give one of the two.")
    if size_px is not None and not 16 <= size_px <= 4096:
        raise ConfigurationError(f"A side of {size_px} px is not within 16 to 4096; choose another.")
    steps = _steps(alphas, direction is not None or attribute is not None)
    faces = load(generator, weights, device)
    direction_KD = _in_layers(faces, _direction(faces, direction, attribute), layers)
    if latents is not None:
        w = _read_latents(latents, faces)
        captions = [f"latent {i}" for i in range(len(w))]
    else:
        assert seeds is not None
        w = draw(faces, seeds, psi)
        captions = [f"seed {seed}" for seed in seeds]
    if output.suffix == ".png" and len(w) > MOST_ROWS_ON_SHEET:
        raise ConfigurationError(
            f"A sheet of {len(w)} rows is too long to look at; ask for {MOST_ROWS_ON_SHEET} or fewer, or for .npy."
        )
    pieces = _rendered(faces, w, direction_KD, steps, size_px)
    if output.suffix == ".npy":
        publish(output, lambda partial: _write_raw(partial, pieces, len(w) * len(steps)))
    else:
        what = attribute or (direction.stem if direction else "")
        title = f"{generator}: {what}" + ("; columns: alpha" if len(steps) > 1 else f"; alpha {steps[0]:g}")
        data = _sheet(pieces, captions, steps, title if what else generator)
        publish(output, lambda partial: partial.write_bytes(data))
    return output


def parse_seeds(text: str) -> tuple[int, ...]:
    """'0-7,9' -> (0, …, 7, 9). Raises ConfigurationError for anything else, and for more than MOST_SEEDS."""
    seeds: list[int] = []
    for piece in text.split(","):
        first, dash, last = piece.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or len(first) > 18 or len(last) > 18:
            raise ConfigurationError(f"The seeds '{text}' are not of the form 0-7,9 (at '{piece}'); mend them.")
        start, stop = int(first), int(last) if dash else int(first)
        if stop < start:
            raise ConfigurationError(f"The seeds '{piece}' run backwards; write {stop}-{start}.")
        if stop - start + len(seeds) >= MOST_SEEDS:
            raise ConfigurationError(f"The seeds '{text}' are more than {MOST_SEEDS:,}; ask for fewer at a time.")
        seeds.extend(range(start, stop + 1))
    return tuple(seeds)


def parse_alphas(text: str) -> tuple[float, ...]:
    """'-5,0,5' -> (-5.0, 0.0, 5.0). Raises ConfigurationError for anything else."""
    try:
        alphas = tuple(float(piece) for piece in text.split(","))
    except ValueError:
        raise ConfigurationError(f"The alphas '{text}' are not numbers with commas between, as in -5,0,5.") from None
    if not all(np.isfinite(alphas)):
        raise ConfigurationError(f"The alphas '{text}' are not all finite; mend them.")
    return alphas


def publish(output: Path, fill: Callable[[Path], object]) -> None:
    """`fill` writes a temporary file beside `output`, which takes its place when it is whole."""
    partial = output.with_name(f".writing-{uuid.uuid4().hex}{output.suffix}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        fill(partial)
        os.replace(partial, output)
    except PermissionError:
        raise ConfigurationError(
            f"{output.parent} does not allow '{output.name}' to be written; choose another."
        ) from None
    except OSError as error:
        raise TryAgain(f"'{output}' could not be written ({error.strerror}); make room, then run again.") from None
    finally:
        partial.unlink(missing_ok=True)


def _steps(alphas: Sequence[float] | None, edited: bool) -> tuple[float, ...]:
    if not edited:
        if alphas is not None and tuple(alphas) != (0,):
            raise ConfigurationError("Alphas are given, but neither direction nor attribute to go along; add one.")
        return (0.0,)
    steps = DEFAULT_ALPHAS if alphas is None else tuple(float(alpha) for alpha in alphas)
    if not steps or not all(np.isfinite(steps)):
        raise ConfigurationError("The alphas are empty or not finite; give numbers, as in -5,0,5.")
    return steps


def _direction(faces: FaceGenerator, path: Path | None, attribute: str | None) -> torch.Tensor:
    """n (1,D), or (L,D) where the file has layers; zeros where none is asked for."""
    import torch

    if path is not None:
        array = _read_npy(path, "direction")
        array = array[None] if array.ndim == 1 else array
        count = getattr(faces, "layers", None)
        if array.shape not in ((1, faces.latent_width), (count, faces.latent_width)):
            wanted = f"(1, {faces.latent_width})" + (f" or ({count}, {faces.latent_width})" if count else "")
            raise DataError(
                f"The direction '{path}' has shape {array.shape}, but '{faces.name}' takes {wanted}; "
                "give one that was fitted for it."
            )
        return torch.from_numpy(array)
    if attribute is None:
        return torch.zeros(1, faces.latent_width)
    if attribute not in faces.attributes():
        raise ConfigurationError(
            f"The generator '{faces.name}' has no direction '{attribute}'; "
            f"it has {', '.join(faces.attributes()) or 'none'}."
        )
    return faces.direction(attribute)


def _in_layers(faces: FaceGenerator, direction_KD: torch.Tensor, layers: Sequence[int] | None) -> torch.Tensor:
    """(L,D) with zeros in the rows that are not edited; as it is where every row is."""
    import torch

    if layers is None:
        return direction_KD
    count = getattr(faces, "layers", None)
    if count is None:
        raise ConfigurationError(f"The generator '{faces.name}' has no layers to choose from; leave --layers out.")
    if not layers or max(layers) >= count:
        raise ConfigurationError(f"The layers asked for are not within 0 to {count - 1}, those of '{faces.name}'.")
    chosen_LD = torch.zeros(count, faces.latent_width)
    rows = sorted(set(layers))
    chosen_LD[rows] = direction_KD.cpu().expand(count, -1)[rows]
    return chosen_LD


def _read_latents(path: Path, faces: FaceGenerator) -> torch.Tensor:
    """w (N,D), or W+ (N,L,D) where the generator has that many layers."""
    import torch

    array = _read_npy(path, "latents")
    layers = getattr(faces, "layers", None)
    fits = array.ndim == 2 or (array.ndim == 3 and layers is not None and array.shape[1] == layers)
    if not fits or array.shape[-1] != faces.latent_width or not len(array):
        wanted = f"(N, {faces.latent_width})" + (f" or (N, {layers}, {faces.latent_width})" if layers else "")
        raise DataError(f"The latents '{path}' have shape {array.shape}, but '{faces.name}' takes {wanted}.")
    return torch.from_numpy(array)


def _read_npy(path: Path, what: str) -> np.ndarray:
    """float32, finite. Nothing pickled is ever loaded."""
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ConfigurationError(f"There is no file '{path}' with the {what}; give its path.") from None
    except (OSError, ValueError, EOFError):
        raise DataError(f"The {what} '{path}' cannot be read as .npy; write it with numpy.save.") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise DataError(f"The {what} '{path}' is not one array of numbers; write it with numpy.save.")
    array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise DataError(f"The {what} '{path}' holds values that are not finite; make it again.")
    return array


def _rendered(
    faces: FaceGenerator, w: torch.Tensor, direction_KD: torch.Tensor, steps: Sequence[float], size_px: int | None
) -> Iterator[np.ndarray]:
    """Images (n,3,H,W) float32, a few at a time: for every latent, every alpha."""
    at_once = max(1, AT_ONCE_PX // (size_px or faces.image_size_px) ** 2 // len(steps))
    for first in progress.track(range(0, len(w), at_once), "render", unit="batch"):
        edited = edit(w[first : first + at_once], direction_KD, steps)
        images_NCHW = faces.render(edited.flatten(0, 1), size_px)
        yield images_NCHW.float().cpu().numpy()


def _write_raw(partial: Path, pieces: Iterator[np.ndarray], count: int) -> None:
    """Piece by piece into the file, so that memory holds one piece."""
    raw: np.memmap | None = None
    done = 0
    for piece_NCHW in pieces:
        if raw is None:
            raw = np.lib.format.open_memmap(partial, "w+", np.float32, (count, *piece_NCHW.shape[1:]))
        raw[done : done + len(piece_NCHW)] = piece_NCHW
        done += len(piece_NCHW)
    if raw is not None:
        raw.flush()


def _sheet(pieces: Iterator[np.ndarray], captions: Sequence[str], steps: Sequence[float], title: str) -> bytes:
    images: list[np.ndarray] = []
    for piece_NCHW in pieces:
        grey_NHWC = ((piece_NCHW + 1) * 127.5).round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
        images.extend(np.ascontiguousarray(image) for image in grey_NHWC)
    if len(steps) == 1:
        return png_bytes(gallery(images, captions, title))
    rows = [Row((caption,), images[i * len(steps) : (i + 1) * len(steps)]) for i, caption in enumerate(captions)]
    return png_bytes(contact_sheet(rows, alpha_captions(steps), title))
