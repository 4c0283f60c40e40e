"""Scored samples of a generator: the first half of the InterFaceGAN procedure; interfacegan.fit is the second.

In: a generator, and a scorer: a bundled one (faces/scorers.py), a user's function, or a table with a score per seed.
Out: latents.npy (N,D), scores.npy (N,) with NaN for unscored images, and sample.json with their provenance. Images are
truncated like those of the data set. The saved latents are those to which published directions were fitted: truncated w
for StyleGAN2 and StyleGAN3 (StyleGAN3-editing: ws[:, 0]), w for StyleGAN (InterFaceGAN), z for `dcgan`.

Legend: N samples, D latent width, H, W size of the images.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comface.directions.interfacegan import SAMPLE, save_array
from comface.errors import ComfaceError, ConfigurationError, DataError
from comface.files import write_file
from comface.files.arrays import read_numbers
from comface.files.tables import read_table
from comface.generators import FaceGenerator, copying, draw
from comface.runtime.progress import shown
from comface.seeds import derive_seed

if TYPE_CHECKING:
    import torch

Scorer = Callable[[NDArray[np.uint8]], Any]
"""RGB images (N,H,W,3) uint8 -> one number each, NaN for an image that cannot be scored."""
PSI = 0.7
PART = 250
"""Samples per part; an interruption loses at most one part."""
LARGEST_SIDE_PX = 256
"""Side of the scored images, as in StyleGAN3-editing; more pixels only cost time."""
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Sampling:
    """Settings of a sample: its size, seed, truncation, scorer and weights."""

    samples: int
    seed: int = 0
    psi: float = PSI
    scorer: str = ""
    """A bundled scorer or `module:function`; empty: the bundled scorer with the attribute's name."""
    weights_sha256: str = ""
    """sha256 of the generator's weight file; another file gives another sample."""


def score_samples(
    generator: FaceGenerator,
    attributes: str | Sequence[str],
    folder: Path,
    sampling: Sampling,
    part: int = PART,
) -> dict[str, Path]:
    """Sample latents, render and score them, as input of `fit`. An interrupted call resumes after its last part.

    Writes latents.npy and scores.npy into `folder` (scores-NAME.npy for several attributes) and returns their paths by
    name ('latents', then each attribute)."""
    names = [attributes] if isinstance(attributes, str) else list(attributes)
    if sampling.samples < 1:
        raise ConfigurationError(f"The number of samples is {sampling.samples}; use at least 1.")
    score = _scores_of(sampling.scorer, names)
    parts = folder / f"parts-{_work_digest(generator, names, sampling, part)}"
    starts = range(0, sampling.samples, part)
    missing = [start for start in starts if not (parts / f"{start:07d}.npy").is_file()]
    sampled = _sampled(generator, missing, sampling, part)
    for start, (latents_ND, images) in shown(
        zip(missing, sampled, strict=True), f"scoring {', '.join(names)}", total=len(missing), unit="batch"
    ):
        rows_ND = np.column_stack([latents_ND, score(images())]).astype(np.float32)
        save_array(parts / f"{start:07d}.npy", rows_ND)
    rows = np.concatenate([read_numbers(parts / f"{start:07d}.npy", "sample", finite=False) for start in starts])[
        : sampling.samples
    ]
    return _write(folder, generator, names, rows, vars(sampling) | {"scorer": sampling.scorer or ", ".join(names)})


def score_table(
    generator: FaceGenerator, attribute: str, table: Path, folder: Path, psi: float = PSI, weights_sha256: str = ""
) -> dict[str, Path]:
    """As score_samples, with scores from a CSV table with the columns `seed` and `score` (empty: not scored). The seeds
    are those of `comface render --seeds`, so the images can be scored with any program."""
    seeds, scores = zip(*_table_rows(table), strict=True)
    pieces = [
        _kept(generator, generator.latents(seeds[first : first + ROWS_AT_ONCE]), psi).cpu().numpy()
        for first in range(0, len(seeds), ROWS_AT_ONCE)
    ]
    rows = np.column_stack([np.concatenate(pieces), np.array(scores)]).astype(np.float32)
    facts = {"samples": len(seeds), "psi": psi, "scorer": table.name, "weights_sha256": weights_sha256}
    return _write(folder, generator, [attribute], rows, facts)


def own_scorer(text: str) -> Scorer:
    """The scorer `module:function`, also from a module in the working directory.

    Raises ConfigurationError if it cannot be imported. The scorer raises DataError if the function does not return one
    number per image."""
    module_name, _, function_name = text.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"The scorer '{text}' cannot be imported ({error}); give module:function.") from None
    if not callable(function):
        raise ConfigurationError(f"The scorer '{text}' is not a function; name a function of images (N,H,W,3).")

    def scorer(images_NHW3: NDArray[np.uint8]) -> NDArray[np.float64]:
        try:
            scores_N = np.asarray(function(images_NHW3), dtype=np.float64)
        except ComfaceError:
            raise
        except Exception as error:
            raise DataError(
                f"The scorer '{text}' failed ({type(error).__name__}: {error}); correct its code."
            ) from error
        if scores_N.shape != images_NHW3.shape[:1] or np.isinf(scores_N).any():
            raise DataError(
                f"The scorer '{text}' returned shape {scores_N.shape} or infinity for {len(images_NHW3)} images; "
                "return one finite number (or NaN) for each."
            )
        return scores_N

    return scorer


def _scores_of(scorer: str, names: Sequence[str]) -> Scorer:
    """Images -> columns (N,S), one per name."""
    if ":" in scorer:
        return own_scorer(scorer)
    from comface.faces.scorers import check_names, score

    wanted = [scorer] if scorer else list(names)
    check_names(wanted)

    def bundled(images_NHW3: NDArray[np.uint8]) -> NDArray[np.float64]:
        scores = score(images_NHW3, wanted)
        return np.stack([scores[name] for name in wanted], 1)

    return bundled


Sample = tuple[NDArray[np.float32], Callable[[], NDArray[np.uint8]]]
"""The latents of a part, and a function that waits for its images."""


def _sampled(generator: FaceGenerator, starts: Iterable[int], sampling: Sampling, part: int) -> Iterator[Sample]:
    """The parts in turn. A GPU renders the next part while one is scored."""
    size_px = LARGEST_SIDE_PX if generator.image_size_px > LARGEST_SIDE_PX else None
    waiting: deque[Sample] = deque()
    for start in starts:
        seeds = [derive_seed(sampling.seed, "directions", i) for i in range(start, start + part)]
        latents_ND = _kept(generator, generator.latents(seeds), sampling.psi).cpu().numpy()
        waiting.append((latents_ND, copying(generator.render(draw(generator, seeds, sampling.psi), size_px))))
        if len(waiting) > 1:
            yield waiting.popleft()
    yield from waiting


def _kept(generator: FaceGenerator, w_ND: torch.Tensor, psi: float) -> torch.Tensor:
    truncate = getattr(generator, "truncate", None)
    truncated = w_ND if truncate is None else truncate(w_ND, psi)
    return truncated if truncated.ndim == 2 else w_ND


def _write(
    folder: Path, generator: FaceGenerator, names: Sequence[str], rows: NDArray[Any], facts: dict[str, Any]
) -> dict[str, Path]:
    width = rows.shape[1] - len(names)
    paths = {"latents": folder / "latents.npy"}
    save_array(paths["latents"], rows[:, :width])
    for i, name in enumerate(names):
        paths[name] = folder / ("scores.npy" if len(names) == 1 else f"scores-{name}.npy")
        save_array(paths[name], rows[:, width + i])
    scored = {name: int(np.isfinite(rows[:, width + i]).sum()) for i, name in enumerate(names)}
    told = {"generator": generator.name, "attribute": ", ".join(names), "scored": scored, **facts}
    write_file(folder / SAMPLE, (json.dumps(told, indent=1, sort_keys=True) + "\n").encode())
    return paths


def _table_rows(path: Path) -> Iterator[tuple[int, float]]:
    table, lines = read_table(path, "The table", ("seed", "score"), ConfigurationError), dict[int, int]()
    for row, seed, score in zip(table.rows, table.numbers("seed"), table.numbers("score"), strict=True):
        if seed is None or not 0 <= seed <= 2**53 or seed != int(seed):
            raise DataError(f"Line {row.line} of '{path}' has no valid seed; write a whole number of at least 0.")
        if (line := lines.setdefault(int(seed), row.line)) != row.line:
            raise DataError(f"Line {row.line} of '{path}' scores the seed of line {line} again; delete one.")
        yield int(seed), np.nan if score is None else score


def _work_digest(generator: FaceGenerator, names: Sequence[str], sampling: Sampling, part: int) -> str:
    posed = bool(getattr(generator, "pseudo_aligned", False))
    made_from = [generator.name, names, vars(sampling) | {"samples": 0}, part, posed]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:12]
