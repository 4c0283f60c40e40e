"""`comface render` and `comface directions fit|score|list`: what a generator makes, and along what it is edited."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from comface.errors import ConfigurationError
from comface.runtime.progress import say

GENERATORS = ("procedural", "dcgan", "stylegan", "stylegan2", "stylegan3")


def add_commands(commands: Any) -> None:
    _add_render(commands)
    group = commands.add_parser(
        "directions", help="attribute directions: fit, score, list", description="The InterFaceGAN procedure."
    )
    verbs = group.add_subparsers(metavar="VERB", required=True)
    _add_fit(verbs)
    _add_score(verbs)
    parser = _verb(verbs, "list", "the directions in use")
    parser.add_argument(
        "--weights",
        metavar="URI",
        help="say which files this location lacks: s3://bucket/prefix, file:///…, or a folder",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(action=list_)


def _add_render(commands: Any) -> None:
    parser = commands.add_parser(
        "render",
        help="show what a generator makes: a contact sheet (.png) or raw output (.npy)",
        description="Render faces of a generator, edited along a direction: w + alpha n.",
        epilog="example: comface render --generator dcgan --seeds 0-7 --attribute smile --alphas=-5,0,5 --output a.png",
    )
    parser.add_argument("--generator", required=True, choices=GENERATORS, metavar="NAME", help=", ".join(GENERATORS))
    parser.add_argument("--weights", type=Path, metavar="FILE", help="weight file (the embedded generators need none)")
    parser.add_argument("--seeds", metavar="0-7", help="seeds of identities, e.g. 0-7,12")
    parser.add_argument("--latents", type=Path, metavar="W.npy", help="latents (N,D) or W+ (N,L,D), taken as they are")
    parser.add_argument("--direction", type=Path, metavar="N.npy", help="a direction (1,D), or W+ (L,D)")
    parser.add_argument(
        "--attribute", metavar="NAME", help="a direction by its name (of a StyleGAN: its file lies beside the weights)"
    )
    parser.add_argument(
        "--space", choices=("Z", "W", "W+"), help="the latents that are edited (default: the catalogue's; W for (1,D))"
    )
    parser.add_argument("--layers", metavar="0-7", help="rows of W+ that are edited (default: the catalogue's; all)")
    parser.add_argument(
        "--truncate",
        choices=("before", "after"),
        help="edit before or after truncation (default: the catalogue's; after)",
    )
    parser.add_argument("--alphas", metavar="-5,0,5", help="strengths of the edit (write --alphas=-5,0,5)")
    parser.add_argument("--psi", type=float, default=0.7, help="truncation of the StyleGANs (default 0.7)")
    _add_pose(parser)
    parser.add_argument(
        "--transform", metavar="DEG,X,Y", help="StyleGAN3: turn and shift the picture, e.g. 15,0.1,-0.2"
    )
    parser.add_argument(
        "--size", type=int, dest="size_px", metavar="PX", help="side length (default: the generator's own)"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help=".png or .npy")
    parser.set_defaults(action=render)


def _add_fit(verbs: Any) -> None:
    parser = _verb(verbs, "fit", "fit a direction (1,D), unit norm, from scored latents, and print its accuracies")
    parser.add_argument("--latents", required=True, type=Path, metavar="W.npy", help="latents (N,D)")
    parser.add_argument(
        "--scores", required=True, type=Path, metavar="S.npy", help="one score each (N,); NaN = not scored"
    )
    parser.add_argument("--fraction", type=float, default=0.02, help="share taken from each end (default 0.02)")
    parser.add_argument(
        "--condition", action="append", default=[], type=Path, metavar="N.npy", help="keep this unchanged"
    )
    parser.add_argument("--softness", type=float, default=1.0, metavar="C", help="the SVM's C (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="splits both ends into training and test (default 0)")
    parser.add_argument("--output", required=True, type=Path, metavar="N.npy", help="where the direction goes")
    parser.set_defaults(action=fit)


def _add_score(verbs: Any) -> None:
    parser = _verb(verbs, "score", "sample latents, render, score: what `fit` reads")
    parser.add_argument("--generator", required=True, choices=GENERATORS, metavar="NAME", help=", ".join(GENERATORS))
    parser.add_argument("--weights", type=Path, metavar="FILE", help="weight file (the embedded generators need none)")
    parser.add_argument(
        "--attribute", required=True, metavar="NAME", help="what the scores are of, e.g. smile, age, male"
    )
    parser.add_argument(
        "--scorer",
        default="",
        metavar="SCORER",
        help="a published scorer's name, a function of images as module:function, or a CSV file with the columns seed "
        "and score (default: the published scorer called as the attribute)",
    )
    parser.add_argument("--samples", type=int, default=20_000, metavar="N", help="how many (default: 20000)")
    parser.add_argument("--seed", type=int, default=0, help="draws the samples (default 0)")
    parser.add_argument("--psi", type=float, default=0.7, help="truncation of the StyleGANs (default 0.7)")
    _add_pose(parser)
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="folder of latents.npy and scores.npy; goes on there"
    )
    parser.set_defaults(action=score)


def _add_pose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pseudo-align",
        action="store_true",
        help="StyleGAN3: w does not turn or shift the picture (unaligned weights)",
    )


def _verb(verbs: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    return parser


def render(arguments: argparse.Namespace) -> None:
    from comface.tracks.render import parse_alphas, parse_seeds, parse_transform, render

    output = render(
        arguments.generator,
        arguments.output,
        weights=arguments.weights,
        seeds=parse_seeds(arguments.seeds) if arguments.seeds is not None else None,
        latents=arguments.latents,
        direction=arguments.direction,
        attribute=arguments.attribute,
        alphas=parse_alphas(arguments.alphas) if arguments.alphas is not None else None,
        psi=arguments.psi,
        size_px=arguments.size_px,
        space=arguments.space,
        layers=parse_seeds(arguments.layers) if arguments.layers is not None else None,
        truncate=arguments.truncate,
        pseudo_aligned=arguments.pseudo_align,
        transform=parse_transform(arguments.transform) if arguments.transform is not None else (0.0, 0.0, 0.0),
    )
    print(output)


def fit(arguments: argparse.Namespace) -> None:
    from comface.directions.interfacegan import fit_files

    result = fit_files(
        arguments.latents,
        arguments.scores,
        arguments.fraction,
        arguments.condition,
        arguments.output,
        arguments.softness,
        arguments.seed,
    )
    print(json.dumps(result, indent=1))


def score(arguments: argparse.Namespace) -> None:
    from comface.artifacts.manifest import file_sha256
    from comface.directions.edits import check_psi, pose
    from comface.directions.interfacegan import SAMPLE
    from comface.directions.samples import Sampling, score_samples, score_table
    from comface.files import check_file, check_output, check_output_folder
    from comface.files.arrays import MOST_BYTES
    from comface.generators import load_generator

    if arguments.samples < 10:
        raise ConfigurationError(f"--samples {arguments.samples} is too few to fit anything; 20000 is usual.")
    check_psi(arguments.psi)
    table = Path(arguments.scorer) if arguments.scorer.endswith(".csv") else None
    inputs = [path for path in (arguments.weights, table) if path is not None]
    for path in inputs:
        check_file(path, MOST_BYTES, "The file", ConfigurationError)
    check_output_folder(arguments.output)
    for name in ("latents.npy", "scores.npy", SAMPLE):
        check_output(arguments.output / name, inputs)
    generator = load_generator(arguments.generator, arguments.weights)
    if arguments.pseudo_align:
        pose(generator, True)
    sha256 = file_sha256(arguments.weights) if arguments.weights else ""
    if table is not None:
        score_table(generator, arguments.attribute, table, arguments.output, arguments.psi, sha256)
    else:
        sampling = Sampling(arguments.samples, arguments.seed, arguments.psi, arguments.scorer, sha256)
        score_samples(generator, arguments.attribute, arguments.output, sampling)
    print(arguments.output)


def list_(arguments: argparse.Namespace) -> None:
    from comface.errors import ComfaceError
    from comface.generators import load_generator
    from comface.tracks.listing import listed, listing_text

    rows: dict[str, Any] = {}
    for name in ("dcgan", "procedural"):
        try:
            rows[name] = list(load_generator(name).attributes())
        except ComfaceError as error:
            say(f"{name}: {error}")
    published = listed(arguments.weights)
    if arguments.json:
        print(json.dumps({**rows, "published": published}))
        return
    print("\n".join([*(f"{name}: {', '.join(a)}" for name, a in rows.items()), *listing_text(published)]))
