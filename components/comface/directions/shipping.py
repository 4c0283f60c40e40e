"""Fit the directions that are part of a generator from one scored sample, and measure their effect.

In: latents and scores (samples.score_samples). Out: catalogue.json with the direction, scorer, conditions and
accuracies of each attribute, and a sweep over alpha on new identities; the figures on stdout, with a comparison to the
directions in the package. Run as

    python -m comface.directions.shipping --generator dcgan --samples 20000 --output DIR

Legend: N identities, A alphas, D latent width.
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comface.directions.interfacegan import Fit, fit, project
from comface.directions.samples import Sampling, score_samples
from comface.faces.scorers import SCORERS, score
from comface.files import check_output, write_file
from comface.files.arrays import read_numbers
from comface.generators import FaceGenerator, edit, to_uint8
from comface.generators.registry import load_generator
from comface.runtime.logs import configure
from comface.runtime.progress import shown
from comface.seeds import derive_seed

FRACTION = 0.3
"""Share of the samples at each end. InterFaceGAN's 2 % are unstable here: directions from two halves of the sample have
a cosine of 0.37 (age) to 0.70 (smile); with 30 % it is at least 0.9."""
SOFTNESS = 1e-3
SWEEP = (-5.0, -3.0, -1.0, 1.0, 3.0, 5.0)
SWEEP_IDENTITIES = 60


@dataclass(frozen=True)
class Recipe:
    """How a direction is fitted: its scorer, and the attributes that it must not change (conditions)."""

    scorer: str
    without: tuple[str, ...] = ()


RECIPES: Mapping[str, Recipe] = {
    "smile": Recipe("smile", ("lightness",)),
    "surprise": Recipe("surprise", ("lightness",)),
    "age": Recipe("age", ("lightness", "smile", "fringe", "yaw")),
    "male": Recipe("male", ("lightness",)),
    "glasses": Recipe("glasses", ("lightness",)),
    "fringe": Recipe("fringe", ("lightness",)),
    "mouth-open": Recipe("mouth-open", ("lightness",)),
    "yaw": Recipe("yaw"),
    "roll": Recipe("roll"),
}
"""Without conditions, surprise and glasses darken the image and mouth-open brightens it, so a network could learn the
lightness instead of the change. Age also changes smile, hair and yaw."""


def raw_direction(latents_ND: NDArray[Any], scores_N: NDArray[Any]) -> NDArray[np.float32]:
    """The direction (1,D) from all chosen samples, without conditions.

    It does not use the published split, which shuffles ranks: a score that changes in its last digit would move other
    samples between training and test, and thus change the direction."""
    return fit(latents_ND, scores_N, FRACTION, softness=SOFTNESS, train_share=1.0).direction_1D


def fit_all(latents_ND: NDArray[Any], scores: Mapping[str, NDArray[Any]], seed: int = 0) -> dict[str, Fit]:
    """A fit per recipe; its conditions are the raw directions of the attributes in `without`. Directions come from all
    chosen samples, accuracies from the published split, which `seed` shuffles."""
    names = {recipe.scorer for recipe in RECIPES.values()} | {n for r in RECIPES.values() for n in r.without}
    raw = {name: raw_direction(latents_ND, scores[name]) for name in shown(sorted(names), "fitting", unit="direction")}
    fits = {}
    for name, recipe in shown(list(RECIPES.items()), "testing", unit="direction"):
        conditions = [raw[other] for other in recipe.without]
        split = fit(latents_ND, scores[recipe.scorer], FRACTION, conditions, SOFTNESS, seed)
        fits[name] = replace(split, direction_1D=project(raw[recipe.scorer], conditions).astype(np.float32))
    return fits


def stability(latents_ND: NDArray[Any], scores_N: NDArray[Any]) -> float:
    """Cosine between the directions from two halves of the sample: whether the sample is large enough."""
    half = len(latents_ND) // 2
    first, second = (
        raw_direction(latents_ND[part], scores_N[part])[0] for part in (slice(None, half), slice(half, None))
    )
    return float(first @ second)


def sweep_figures(generator: FaceGenerator, direction_1D: NDArray[Any], scorer: str, seed: int) -> dict[str, Any]:
    """Over alphas from -5 to 5: how monotonically the attribute's score grows (mean Spearman correlation per identity),
    and the share of images in which a face is found."""
    import torch
    from scipy.stats import spearmanr

    w_ND = generator.latents([derive_seed(seed, "directions-sweep", i) for i in range(SWEEP_IDENTITIES)])
    edited_NAD = edit(w_ND, torch.from_numpy(np.asarray(direction_1D, np.float32)), SWEEP)
    images = to_uint8(generator.render(edited_NAD.flatten(0, 1)))
    scores_NA = score(images, [scorer])[scorer].reshape(SWEEP_IDENTITIES, len(SWEEP))
    rows = [row for row in scores_NA if np.isfinite(row).sum() >= 4]
    steady = [spearmanr(np.array(SWEEP)[np.isfinite(row)], row[np.isfinite(row)]).statistic for row in rows]
    return {
        "alphas": list(SWEEP),
        "monotone": round(float(np.mean(steady)), 3),
        "face_found": [round(float(share), 2) for share in np.isfinite(scores_NA).mean(axis=0)],
        "mean_score": [round(float(mean), 3) for mean in np.nanmean(scores_NA, axis=0)],
    }


def make_catalogue(generator: FaceGenerator, samples: int, folder: Path, seed: int, command: str) -> dict[str, Any]:
    """Sample, score, fit and measure; the sample is saved in `folder`, so that an interrupted call resumes."""
    paths = score_samples(generator, list(SCORERS), folder, Sampling(samples, seed))
    latents_ND = read_numbers(paths["latents"], "latents")
    scores = {name: read_numbers(paths[name], "scores", finite=False) for name in SCORERS}
    fits = fit_all(latents_ND, scores, seed)
    entries = {}
    for name, fitted in shown(list(fits.items()), "measuring", unit="direction"):
        recipe = RECIPES[name]
        entries[name] = {
            "scorer": recipe.scorer,
            "without": list(recipe.without),
            "held_out_accuracy": round(fitted.projected_accuracy, 4),
            "svm_accuracy": round(fitted.held_out_accuracy, 4),
            "scored": fitted.samples,
            "chosen_per_end": fitted.chosen,
            "stability": round(stability(latents_ND, scores[recipe.scorer]), 3),
            "sweep": sweep_figures(generator, fitted.direction_1D, recipe.scorer, seed),
            "norm": 1.0,
            "direction": [round(float(value), 7) for value in fitted.direction_1D[0]],
        }
    return {
        "generator": generator.name,
        "command": command,
        "samples": samples,
        "seed": seed,
        "fraction": FRACTION,
        "softness": SOFTNESS,
        "directions": entries,
    }


def figures(catalogue: Mapping[str, Any], shipped: Mapping[str, Any]) -> str:
    """A line per direction: its accuracy on held-out samples (also that of the SVM before projection), the monotonicity
    of the score along it, and its cosine with the direction in the catalogue `shipped` (– if that has none)."""
    lines = [f"{'direction':<12}{'accuracy':>9}{'SVM':>7}{'monotone':>10}{'cosine with the shipped one':>29}"]
    for name, entry in catalogue["directions"].items():
        other = shipped.get("directions", {}).get(name)
        cosine = f"{np.dot(entry['direction'], other['direction']):.4f}" if other else "–"
        accuracies = f"{entry['held_out_accuracy']:>9.3f}{entry['svm_accuracy']:>7.3f}"
        lines.append(f"{name:<12}{accuracies}{entry['sweep']['monotone']:>10.2f}{cosine:>29}")
    return "\n".join(lines)


def shipped_folder(generator: str) -> Path:
    """The folder of a generator's catalogue in the package."""
    return Path(str(importlib.resources.files("comface"))) / "generators" / "directions" / generator


def main(arguments: Sequence[str] | None = None) -> None:
    configure()
    parser = argparse.ArgumentParser(prog="python -m comface.directions.shipping", description=__doc__.splitlines()[0])
    parser.add_argument("--generator", default="dcgan")
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="folder for the scored sample and catalogue.json")
    given = parser.parse_args(arguments)
    options = f"--generator {given.generator} --samples {given.samples} --seed {given.seed}"
    command = f"python -m comface.directions.shipping {options}"
    check_output(given.output / "catalogue.json", [])
    catalogue = make_catalogue(load_generator(given.generator), given.samples, given.output, given.seed, command)
    write_file(given.output / "catalogue.json", (json.dumps(catalogue, indent=1) + "\n").encode())
    path = shipped_folder(given.generator) / "catalogue.json"
    print(figures(catalogue, json.loads(path.read_text("utf-8")) if path.is_file() else {}))


if __name__ == "__main__":
    main()
