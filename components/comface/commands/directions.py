"""`comface render`, `directions fit|score|list` and `convert`: render faces, handle directions, and convert weights."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from comface.commands.options import AS_JSON, output_option
from comface.commands.surface import PATH, Group, Names, argument, command, flag, option
from comface.errors import ConfigurationError
from comface.runtime.output import say


def _generators() -> Iterable[str]:
    from comface.generators.registry import GENERATORS

    return GENERATORS


GENERATOR = option(
    "--generator",
    None,
    "name of the generator, or module:function",
    Names(_generators, closed=False),
    required=True,
)
WEIGHTS = option("--weights", "FILE", "weight file (the embedded generators need none)", PATH)
PSI = option("--psi", "PSI", "truncation of the StyleGANs", float, default=0.7)
PSEUDO_ALIGN = flag(
    "--pseudo-align", "StyleGAN3: w does not rotate or shift the image (for weights of unaligned faces)"
)
PARSED = {"seeds": "parse_seeds", "layers": "parse_seeds", "alphas": "parse_alphas", "transform": "parse_transform"}
"""Options of `render` that are lists of numbers → the function that parses them."""


@command(example="comface render --generator dcgan --seeds 0-7 --attribute smile --alphas=-5,0,5 --output a.png")
@GENERATOR
@WEIGHTS
@option("--seeds", "0-7", "seeds of identities, e.g. 0-7,12")
@option("--latents", "W.npy", "latents (N,D) or W+ (N,L,D), used without truncation", PATH)
@option("--direction", "N.npy", "a direction (1,D), or W+ (L,D)", PATH)
@option("--attribute", "NAME", "name of a direction (for a StyleGAN, its file must be beside the weights)")
@option(
    "--space",
    None,
    "latent space of the edit (default: from the catalogue; W for (1,D))",
    click.Choice(("Z", "W", "W+")),
)
@option("--layers", "0-7", "rows of W+ to edit (default: from the catalogue, else all)")
@option(
    "--truncate",
    None,
    "edit before or after truncation (default: from the catalogue, else after)",
    click.Choice(("before", "after")),
)
@option("--alphas", "-5,0,5", "alphas of the edit")
@PSI
@PSEUDO_ALIGN
@option("--transform", "DEG,X,Y", "StyleGAN3: rotate (degrees) and shift the image, e.g. 15,0.1,-0.2")
@option("--size size_px", "PX", "side length in pixels (default: native size of the generator)", int)
@output_option("FILE", "output file, .png or .npy")
def render(generator: str, output: Path, pseudo_align: bool, **options: Any) -> None:
    """Render faces: a contact sheet (.png) or the generator's raw output (.npy).

    Edits follow w + alpha n, with direction n. The raw output is float32, NCHW.
    """
    from comface.tracks import render as rendering

    for name, parser in PARSED.items():
        if options[name] is not None:
            options[name] = getattr(rendering, parser)(options[name])
    if options["transform"] is None:
        del options["transform"]
    print(rendering.render(rendering.Wanted(generator, output, pseudo_aligned=pseudo_align, **options)))


@click.group(cls=Group)
def directions() -> None:
    """Fit, score or list attribute directions.

    The procedure of InterFaceGAN: a linear SVM between the highest and the lowest scores.
    """


@directions.command(
    needs=["train"],
    example="comface directions fit --latents smile/latents.npy --scores smile/scores.npy --output smile.npy",
)
@option("--latents", "W.npy", "latents (N,D)", PATH, required=True)
@option("--scores", "S.npy", "scores (N,), one per latent; NaN = not scored", PATH, required=True)
@option("--fraction", None, "share of the samples taken from each end of the scores", float, default=0.02)
@option("--condition", "N.npy", "direction whose attribute must not change; may be repeated", PATH, multiple=True)
@option("--softness", "C", "parameter C of the SVM", float, default=1.0)
@option("--seed", None, "seed of the split into training and test", int, default=0)
@output_option("N.npy", "where to write the direction")
def fit(
    latents: Path, scores: Path, fraction: float, condition: tuple[Path, ...], softness: float, seed: int, output: Path
) -> None:
    """Fit a direction (1,D), unit norm, from scored latents, and print its accuracies."""
    from comface.directions.interfacegan import fit_files

    print(json.dumps(fit_files(latents, scores, fraction, list(condition), output, softness, seed), indent=1))


@directions.command(
    needs=["train"], example="comface directions score --generator dcgan --attribute smile --output smile"
)
@GENERATOR
@WEIGHTS
@option("--attribute", "NAME", "attribute that the scores measure, e.g. smile, age, male", required=True)
@option(
    "--scorer",
    "SCORER",
    "name of a published scorer, a function of images as module:function, or a CSV file with the columns seed and "
    "score (default: the published scorer with the attribute's name)",
    default="",
)
@option("--samples", "N", "number of samples", int, default=20_000)
@option("--seed", None, "seed of the samples", int, default=0)
@PSI
@PSEUDO_ALIGN
@output_option("DIR", "folder for latents.npy and scores.npy; an interrupted run in it is resumed")
def score(
    generator: str, weights: Path | None, attribute: str, scorer: str, pseudo_align: bool, output: Path, **drawn: Any
) -> None:
    """Sample latents, render and score them, as input for `fit`."""
    from comface.artifacts.manifest import file_sha256
    from comface.directions.edits import check_psi, pose
    from comface.directions.interfacegan import SAMPLE
    from comface.directions.samples import Sampling, score_samples, score_table
    from comface.files import check_file, check_output, check_output_folder
    from comface.files.arrays import MOST_BYTES
    from comface.generators.registry import device_for, load_generator

    if drawn["samples"] < 10:
        raise ConfigurationError(f"--samples {drawn['samples']} is too few to fit a direction; use for example 20000.")
    check_psi(drawn["psi"])
    table = Path(scorer) if scorer.endswith(".csv") else None
    inputs = [path for path in (weights, table) if path is not None]
    for path in inputs:
        check_file(path, MOST_BYTES, "The file", ConfigurationError)
    check_output_folder(output)
    for name in ("latents.npy", "scores.npy", SAMPLE):
        check_output(output / name, inputs)
    loaded = load_generator(generator, weights, device_for(generator))
    if pseudo_align:
        pose(loaded, True)
    sha256 = file_sha256(weights) if weights else ""
    if table is not None:
        score_table(loaded, attribute, table, output, drawn["psi"], sha256)
    else:
        sampling = Sampling(drawn["samples"], drawn["seed"], drawn["psi"], scorer, sha256)
        score_samples(loaded, attribute, output, sampling)
    print(output)


@directions.command("list", example="comface directions list --weights s3://comface/weights")
@option(
    "--weights",
    "URI",
    "also list the files that are missing in this location: s3://bucket/prefix, file:///… or a folder",
)
@AS_JSON
def list_(weights: str | None, as_json: bool) -> None:
    """List all directions of the generators."""
    from comface.errors import ComfaceError
    from comface.generators.registry import embedded, load_generator
    from comface.tracks.listing import listed, listing_text

    rows: dict[str, Any] = {}
    for name in sorted(embedded()):
        try:
            rows[name] = list(load_generator(name).attributes())
        except ComfaceError as error:
            say(f"{name}: {error}")
    published = listed(weights)
    if as_json:
        print(json.dumps({**rows, "published": published}))
        return
    print("\n".join([*(f"{name}: {', '.join(a)}" for name, a in rows.items()), *listing_text(published)]))


@command(
    name="convert",
    example="comface convert stylegan3-r-ffhq-1024x1024.pkl --output stylegan3-r.safetensors "
    "--licence 'Nvidia Source Code License, non-commercial'",
)
@argument("file", "FILE", "the published weight file", PATH)
@output_option("OUT.safetensors", "output file")
@option("--licence", "TEXT", "licence of the weights, recorded in the provenance")
def convert(file: Path, output: Path, licence: str | None) -> None:
    """Convert a published StyleGAN weight file to safetensors with provenance.

    Reads .pkl, .pth, .pt and .safetensors files without executing code in them, and writes the provenance beside the
    output (NAME.safetensors.json).
    """
    from comface.generators import conversion as converted

    facts = converted.convert(file, output, licence)
    print(
        f"{output}: {facts['family']}, {facts['image_size_px']} px, {facts['parameters']:,} parameters, "
        f"licence {facts['licence']}"
    )
    for part in ("w_avg", "noise"):
        if part in facts["notes"]:
            print(f"{part}: {facts['notes'][part]['how']} (seed {facts['notes'][part]['seed']})")
