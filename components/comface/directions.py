"""Attribute directions by the InterFaceGAN procedure (Shen et al., CVPR 2020), which the paper's n_m come from.

In: latents and one score each. Out: a direction n (1,D) of unit norm, for w + alpha n (section 3.1). Latents are
sorted by score; the top and bottom fraction are the two sides; 70 % of each side train a linear SVM, whose normal is
n, and 30 % tell how well it separates. Conditions are attributes to leave alone: n is made orthogonal to them.

Legend: N samples, D latent width, K conditions.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comface.errors import ConfigurationError, DataError
from comface.progress import track
from comface.seeds import derive_seed, numpy_rng

if TYPE_CHECKING:
    from comface.generators import FaceGenerator

Floats = NDArray[np.floating]

TRAIN_SHARE = 0.7
PART = 250
"""Samples scored between two writes: what an interruption can cost at most."""


@dataclass(frozen=True)
class Fit:
    """A fitted direction and how far to believe it. Accuracies are of the SVM, before conditions are projected out."""

    direction_1D: NDArray[np.float32]
    held_out_accuracy: float
    """On the 30 % of both ends that did not train it."""
    train_accuracy: float
    rest_accuracy: float
    """On the samples between the ends, cut at the middle of the score's range; NaN where there are none."""
    projected_accuracy: float
    """Held-out, of n itself with the conditions projected out, cut midway between the sides' training means."""
    samples: int
    chosen: int
    """Samples per end."""


def fit(
    latents_ND: Floats,
    scores_N: Floats,
    fraction: float = 0.02,
    conditions: Sequence[Floats] = (),
    softness: float = 1.0,
    seed: int = 0,
    train_share: float = TRAIN_SHARE,
) -> Fit:
    """Fit a direction. `fraction`: share of the scored samples at each end (above 1: their number), at most half.
    `softness`: the SVM's C. NaN scores are samples that were not scored; they are left out."""
    from sklearn.svm import SVC

    latents_ND, scores_N = _checked(latents_ND, scores_N)
    chosen = _ends(len(scores_N), fraction)
    order_N = np.argsort(-scores_N, kind="stable")
    if scores_N[order_N[chosen - 1]] <= scores_N[order_N[-chosen]]:
        raise DataError(
            "The scores of both ends are equal, so there is no direction in them; score with another scorer."
        )
    rng = numpy_rng(seed, "directions")
    top_N, bottom_N = rng.permutation(order_N[:chosen]), rng.permutation(order_N[-chosen:])
    cut = int(chosen * train_share)
    train_N = np.concatenate([top_N[:cut], bottom_N[:cut]])
    held_N = np.concatenate([top_N[cut:], bottom_N[cut:]])
    positive = np.repeat([1, 0], cut)
    held_positive = np.repeat([1, 0], chosen - cut)
    svm = SVC(kernel="linear", C=softness).fit(latents_ND[train_N], positive)
    rest_N = order_N[chosen : len(order_N) - chosen]
    middle = (scores_N.max() + scores_N.min()) / 2
    direction_1D = project(svm.coef_.reshape(1, -1), conditions)
    along_N = latents_ND @ direction_1D[0]
    threshold = (along_N[top_N[:cut]].mean() + along_N[bottom_N[:cut]].mean()) / 2
    return Fit(
        direction_1D=direction_1D.astype(np.float32),
        held_out_accuracy=_agreement(svm, latents_ND[held_N], held_positive),
        train_accuracy=_agreement(svm, latents_ND[train_N], positive),
        rest_accuracy=_agreement(svm, latents_ND[rest_N], scores_N[rest_N] > middle),
        projected_accuracy=float(np.mean((along_N[held_N] > threshold) == held_positive)) if len(held_N) else math.nan,
        samples=len(scores_N),
        chosen=chosen,
    )


def fit_files(
    latents: Path, scores: Path, fraction: float, conditions: Sequence[Path], output: Path
) -> dict[str, float | int | None]:
    """`fit` on .npy files: writes the direction to `output` and returns accuracies and counts (null: no samples)."""
    if output.suffix != ".npy":
        raise ConfigurationError(f"The output '{output}' does not end in .npy; rename it.")
    fitted = fit(_load(latents), _load(scores), fraction, [_load(path) for path in conditions])
    output.parent.mkdir(parents=True, exist_ok=True)
    _save(output, fitted.direction_1D)
    figures = {name: value for name, value in vars(fitted).items() if name != "direction_1D"}
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def project(direction_1D: Floats, conditions: Sequence[Floats] = ()) -> NDArray[np.float64]:
    """n' = n - x^T C with (C C^T) x = C n^T, of unit norm: n without its part along any of the K conditions (1,D).

    Raises DataError when the shapes differ, or nothing is left."""
    n_1D = _unit(direction_1D, "The direction")
    if not conditions:
        return n_1D
    c_KD = np.concatenate([_unit(c, f"Condition {i}") for i, c in enumerate(conditions, 1)])
    if c_KD.shape[1] != n_1D.shape[1]:
        raise DataError(
            f"A condition has {c_KD.shape[1]} numbers and the direction {n_1D.shape[1]}; both must be of one generator."
        )
    x_K = np.linalg.lstsq(c_KD @ c_KD.T, c_KD @ n_1D[0], rcond=1e-10)[0]  # conditions may repeat one another
    left_1D = n_1D - x_K @ c_KD
    if np.linalg.norm(left_1D) < 1e-6:
        raise DataError("Nothing is left of the direction without its conditions; leave one of them out.")
    return _unit(left_1D, "The direction")


def score_samples(
    generator: FaceGenerator,
    attributes: str | Sequence[str],
    samples: int,
    folder: Path,
    seed: int = 0,
    part: int = PART,
) -> dict[str, Path]:
    """Sample latents, render and score them: what `fit` reads. Interrupted, it goes on where it was.

    Writes latents.npy (N,D) and scores.npy (N,) into `folder` (scores-NAME.npy for several attributes) and returns
    their paths by name ('latents', then each attribute)."""
    names = [attributes] if isinstance(attributes, str) else list(attributes)
    if samples < 1:
        raise ConfigurationError(f"{samples} samples were asked for; ask for at least one.")
    folder.mkdir(parents=True, exist_ok=True)
    parts = folder / f"parts-{_work_digest(generator.name, names, seed, part)}"
    parts.mkdir(exist_ok=True)
    starts = range(0, samples, part)
    missing = [start for start in starts if not (parts / f"{start:07d}.npy").is_file()]
    for start in track(missing, f"scoring {', '.join(names)}", unit=f"x{part} faces"):
        rows = _score_part(generator, names, range(start, start + part), seed)
        _save(parts / f"{start:07d}.npy", rows)
    rows = np.concatenate([np.load(parts / f"{start:07d}.npy") for start in starts])[:samples]
    width = rows.shape[1] - len(names)
    paths = {"latents": folder / "latents.npy"}
    _save(paths["latents"], rows[:, :width])
    for i, name in enumerate(names):
        paths[name] = folder / ("scores.npy" if len(names) == 1 else f"scores-{name}.npy")
        _save(paths[name], rows[:, width + i])
    return paths


def _score_part(generator: FaceGenerator, names: Sequence[str], indices: range, seed: int) -> NDArray[np.float32]:
    """Latents and scores side by side (n, D + scores)."""
    from comface.generators import to_uint8
    from comface.scorers import score

    w_ND = generator.latents([derive_seed(seed, "directions", i) for i in indices])
    images_NHW3 = to_uint8(generator.render(w_ND))
    scores = score(images_NHW3, names)
    columns = [scores[name][:, None] for name in names]
    return np.concatenate([w_ND.cpu().numpy(), *columns], axis=1).astype(np.float32)


def _checked(latents_ND: Floats, scores_N: Floats) -> tuple[Floats, Floats]:
    latents_ND, scores_N = np.asarray(latents_ND, np.float64), np.asarray(scores_N, np.float64)
    if scores_N.ndim == 2 and scores_N.shape[1] == 1:
        scores_N = scores_N[:, 0]
    if latents_ND.ndim != 2 or scores_N.shape != latents_ND.shape[:1]:
        raise DataError(
            f"Latents of shape {latents_ND.shape} and scores of shape {scores_N.shape} do not belong together; give "
            "latents (N, D) and one score each (N,)."
        )
    if not np.isfinite(latents_ND).all() or np.isinf(scores_N).any():
        raise DataError("The latents or scores hold infinite values (or latents NaN); sample and score them again.")
    scored_N = ~np.isnan(scores_N)
    return latents_ND[scored_N], scores_N[scored_N]


def _ends(samples: int, fraction: float) -> int:
    if not fraction > 0:
        raise ConfigurationError(f"The fraction {fraction} is not above 0; give the share of samples at each end.")
    chosen = min(int(samples * fraction) if fraction <= 1 else int(fraction), samples // 2)
    if chosen < 4:
        raise DataError(
            f"{samples} scored samples leave {chosen} at each end, too few to fit and test a direction; score more."
        )
    return chosen


def _agreement(svm: Any, latents_ND: Floats, positive_N: NDArray[Any]) -> float:
    if len(latents_ND) == 0:
        return math.nan
    return float((svm.predict(latents_ND) == positive_N).mean())


def _unit(direction_1D: Floats, what: str) -> NDArray[np.float64]:
    row_1D = np.asarray(direction_1D, dtype=np.float64).reshape(1, -1)
    norm = np.linalg.norm(row_1D)
    if not np.isfinite(norm) or norm == 0:
        raise DataError(f"{what} is zero or not finite; fit it again.")
    return row_1D / norm


def _load(path: Path) -> Floats:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ConfigurationError(f"There is no file '{path}'; give its path.") from None
    except (OSError, ValueError, EOFError):
        raise DataError(f"The file '{path}' cannot be read as .npy; write it with numpy.save.") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise DataError(f"The file '{path}' holds no numbers; write a float array with numpy.save.")
    return array


def _work_digest(*what: object) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:12]


def _save(path: Path, array: NDArray[np.floating]) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    with partial.open("wb") as file:
        np.save(file, np.ascontiguousarray(array))
    partial.rename(path)
