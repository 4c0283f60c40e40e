"""Attribute directions by the InterFaceGAN procedure (Shen et al., CVPR 2020), the source of the paper's n_m.

In: latents and one score each. Out: a direction n (1,D) of unit norm, for w + alpha n (section 3.1). Latents are sorted
by score; the top and bottom fraction are the two classes. A linear SVM is trained on 70 % of each class; its normal is
n. Its accuracy is measured on the other 30 %. Conditions are attributes that n must not change: n is made orthogonal to
them.

Legend: N samples, D latent width, K conditions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.artifacts.manifest import file_sha256
from comface.errors import ConfigurationError, DataError
from comface.files import check_output, read_facts, write_file
from comface.files.arrays import read_numbers
from comface.weights.fetched import provenance_path

Floats = NDArray[np.floating]

TRAIN_SHARE = 0.7
LARGEST = 1e9
"""Limit of latents and scores: no generator has larger latents, and their squares would overflow."""
SAMPLE = "sample.json"
"""The file with the provenance of scored latents: the generator, its weights, the scorer."""


@dataclass(frozen=True)
class Fit:
    """A fitted direction and its accuracies. Except for the last one, they are those of the SVM, before conditions are
    projected out."""

    direction_1D: NDArray[np.float32]
    held_out_accuracy: float
    """On the 30 % of both ends that were not used for training."""
    train_accuracy: float
    rest_accuracy: float
    """On the samples between the ends, split at the middle of the score's range; NaN without such samples."""
    projected_accuracy: float
    """Held-out accuracy of n with the conditions projected out; threshold: midway between the training means."""
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
    """Fit a direction to latents (N,D) and scores (N,). `fraction`: share of the scored samples at each end (above 1:
    their number), at most half. `softness`: the SVM's C. Samples with a NaN score were not scored and are left out.
    Raises ConfigurationError for the settings, DataError for the latents and scores."""
    from comface.directions.svm import separate

    if not (softness > 0 and math.isfinite(softness)) or not 0 <= seed < 2**32:
        raise ConfigurationError(
            f"The softness {softness} or the seed {seed} is not valid; use a softness (C) above 0 and a seed from 0 to "
            "2^32 - 1."
        )
    latents_ND, scores_N = _checked(latents_ND, scores_N)
    chosen = _ends(len(scores_N), fraction)
    order_N = _ordered(scores_N, chosen)
    cut = int(chosen * train_share)
    train_N, held_N = _split(order_N, chosen, cut, seed)
    positive, held_positive = np.repeat([1, 0], cut), np.repeat([1, 0], chosen - cut)
    svm = separate(latents_ND[train_N], positive, softness)
    rest_N = order_N[chosen : len(order_N) - chosen]
    middle = (scores_N.max() + scores_N.min()) / 2
    direction_1D = project(svm[0], conditions)
    along_N = latents_ND @ direction_1D[0]
    threshold = (along_N[train_N[:cut]].mean() + along_N[train_N[cut:]].mean()) / 2
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
    latents: Path,
    scores: Path,
    fraction: float,
    conditions: Sequence[Path],
    output: Path,
    softness: float = 1.0,
    seed: int = 0,
) -> dict[str, float | int | None]:
    """`fit` on .npy files: write the direction to `output` and its provenance to NAME.npy.json; return accuracies and
    counts (None: no samples)."""
    if output.suffix != ".npy":
        raise ConfigurationError(f"The output '{output}' does not end in .npy; rename it.")
    for written in (output, provenance_path(output)):
        check_output(written, [latents, latents.parent / SAMPLE, scores, *conditions])
    given = [read_numbers(path, "condition") for path in conditions]
    sample = sample_facts(latents)
    _check_conditions(conditions, str(sample.get("generator") or ""))
    latents_ND = read_numbers(latents, "latents", finite=False)
    fitted = fit(latents_ND, read_numbers(scores, "scores", finite=False), fraction, given, softness, seed)
    figures = {name: value for name, value in vars(fitted).items() if name != "direction_1D"}
    figures = {name: None if math.isnan(value) else value for name, value in figures.items()}
    save_array(output, fitted.direction_1D)
    recipe = {"fraction": fraction, "softness": softness, "seed": seed}
    origin = {name: sample.get(name, "") for name in ("generator", "weights_sha256", "attribute", "scorer")}
    facts = {
        "file": output.name,
        "sha256": file_sha256(output),
        **origin,
        **recipe,
        "conditions": [{"file": path.name, "sha256": file_sha256(path)} for path in conditions],
        **figures,
    }
    text = json.dumps(facts, indent=1, sort_keys=True) + "\n"
    write_file(provenance_path(output), text.encode())
    return figures


def _check_conditions(conditions: Sequence[Path], generator: str) -> None:
    """Raises ConfigurationError for a condition of another generator or latent space than the latents."""
    from comface.directions.published import check_published_name, named_space

    for path in conditions:
        if generator:  # its latents are in W (samples.py)
            check_published_name(path.name, generator)
            if named_space(path.name) == "Z":
                raise ConfigurationError(
                    f"The condition '{path.name}' is a direction of Z by its name, but the latents are of W; give the "
                    "direction of W (InterFaceGAN's name: …_w_boundary.npy)."
                )
        check_fitted_for(path.name, fitted_for(path), generator or fitted_for(path))


def sample_facts(latents: Path) -> dict[str, Any]:
    """The provenance that `directions score` wrote for its latents (sample.json); empty if it is absent."""
    return read_facts(latents.parent / SAMPLE)


def fitted_for(path: Path) -> str:
    """The generator in the provenance of a direction (`directions fit` writes it); "" if there is none or it describes
    another file."""
    facts = read_facts(provenance_path(path))
    return str(facts.get("generator", "")) if facts and facts.get("sha256") == file_sha256(path) else ""


def check_fitted_for(name: str, owner: str, generator: str) -> None:
    """Raises DataError if the direction `name` was fitted for a generator other than `generator`."""
    if owner not in ("", generator):
        raise DataError(f"The direction '{name}' was fitted for '{owner}', not for '{generator}'; fit one for it.")


def project(direction_1D: Floats, conditions: Sequence[Floats] = ()) -> NDArray[np.float64]:
    """n' = n - x^T C with (C C^T) x = C n^T, of unit norm: n without its components along the K conditions (1,D).

    Raises DataError if the shapes differ or n' is zero."""
    n_1D = _unit(direction_1D, "The direction")
    if not conditions:
        return n_1D
    c_KD = np.concatenate([_unit(c, f"Condition {i}") for i, c in enumerate(conditions, 1)])
    if c_KD.shape[1] != n_1D.shape[1]:
        raise DataError(
            f"A condition has {c_KD.shape[1]} numbers, but the direction has {n_1D.shape[1]}; give conditions of the "
            "same generator."
        )
    x_K = np.linalg.lstsq(c_KD @ c_KD.T, c_KD @ n_1D[0], rcond=1e-10)[0]  # conditions may be linearly dependent
    left_1D = n_1D - x_K @ c_KD
    if np.linalg.norm(left_1D) < 1e-6:
        raise DataError("The direction is a combination of its conditions; leave one of them out.")
    return _unit(left_1D, "The direction")


def _checked(latents_ND: Floats, scores_N: Floats) -> tuple[Floats, Floats]:
    latents_ND, scores_N = np.asarray(latents_ND, np.float64), np.asarray(scores_N, np.float64)
    if scores_N.ndim == 2 and scores_N.shape[1] == 1:
        scores_N = scores_N[:, 0]
    if latents_ND.ndim != 2 or scores_N.shape != latents_ND.shape[:1]:
        raise DataError(
            f"Latents of shape {latents_ND.shape} and scores of shape {scores_N.shape} do not match; give latents "
            "(N, D) and one score each (N,)."
        )
    if not np.isfinite(latents_ND).all() or np.isinf(scores_N).any():
        raise DataError("The latents or scores contain infinity (or latents NaN); sample and score them again.")
    scored_N = ~np.isnan(scores_N)
    if max(np.abs(latents_ND).max(initial=0), np.abs(scores_N[scored_N]).max(initial=0)) > LARGEST:
        raise DataError(f"The latents or scores contain values beyond {LARGEST:,.0f}; sample and score them again.")
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


def _ordered(scores_N: Floats, chosen: int) -> NDArray[np.int64]:
    """Indices of the samples by score, highest first. Raises DataError if the scores of both ends are equal."""
    order_N = np.argsort(-scores_N, kind="stable")
    if scores_N[order_N[chosen - 1]] <= scores_N[order_N[-chosen]]:
        raise DataError("The scores of both ends are equal, so no direction can be fitted; use another scorer.")
    return order_N


def _split(order_N: NDArray[np.int64], chosen: int, cut: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(training samples: `cut` from each end; held-out samples: the rest of both ends)."""
    rng = np.random.RandomState(seed)  # gives the split of the published code after np.random.seed(seed)
    top_N, bottom_N = order_N[:chosen][rng.permutation(chosen)], order_N[-chosen:][rng.permutation(chosen)]
    return np.concatenate([top_N[:cut], bottom_N[:cut]]), np.concatenate([top_N[cut:], bottom_N[cut:]])


def _agreement(svm: tuple[Floats, float], latents_ND: Floats, positive_N: NDArray[Any]) -> float:
    if len(latents_ND) == 0:
        return math.nan
    normal_1D, bias = svm
    return float(((latents_ND @ normal_1D[0] + bias > 0) == positive_N).mean())


def _unit(direction_1D: Floats, what: str) -> NDArray[np.float64]:
    row_1D = np.asarray(direction_1D, dtype=np.float64).reshape(1, -1)
    norm = np.linalg.norm(row_1D)
    if not np.isfinite(norm) or norm == 0:
        raise DataError(f"{what} is zero or not finite; fit it again.")
    return row_1D / norm


def save_array(path: Path, array: NDArray[np.floating]) -> None:
    """Write an array as .npy, atomically."""
    write_file(path, lambda file: np.save(file, np.ascontiguousarray(array)))
