"""`comface render` and `comface directions fit|score|list`: what a generator makes, and along what it is edited."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from comface.errors import ConfigurationError
from comface.progress import say

GENERATORS = ("procedural", "dcgan", "stylegan", "stylegan2", "stylegan3")


def add_commands(commands: Any) -> None:
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
    parser.add_argument("--layers", metavar="0-7", help="rows of W+ that are edited (default: all)")
    parser.add_argument("--attribute", metavar="NAME", help="a direction by its name")
    parser.add_argument("--alphas", metavar="-5,0,5", help="strengths of the edit (write --alphas=-5,0,5)")
    parser.add_argument("--psi", type=float, default=0.7, help="truncation of the StyleGANs (default 0.7)")
    parser.add_argument(
        "--size", type=int, dest="size_px", metavar="PX", help="side length (default: the generator's own)"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help=".png or .npy")
    parser.set_defaults(action=render)

    group = commands.add_parser(
        "directions", help="attribute directions: fit, score, list", description="The InterFaceGAN procedure."
    )
    verbs = group.add_subparsers(metavar="VERB", required=True)
    parser = _verb(verbs, "fit", "fit a direction (1,D), unit norm, from scored latents, and print its accuracies")
    parser.add_argument("--latents", required=True, type=Path, metavar="W.npy", help="latents (N,D)")
    parser.add_argument(
        "--scores", required=True, type=Path, metavar="S.npy", help="one score each (N,); NaN = not scored"
    )
    parser.add_argument("--fraction", type=float, default=0.02, help="share taken from each end (default 0.02)")
    parser.add_argument(
        "--condition", action="append", default=[], type=Path, metavar="N.npy", help="keep this unchanged"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="N.npy", help="where the direction goes")
    parser.set_defaults(action=fit)
    parser = _verb(verbs, "score", "sample latents, render, score: what `fit` reads")
    parser.add_argument("--generator", required=True, choices=GENERATORS, metavar="NAME", help=", ".join(GENERATORS))
    parser.add_argument("--attribute", required=True, metavar="NAME", help="a published scorer, e.g. smile, age, male")
    parser.add_argument("--samples", type=int, default=20_000, metavar="N", help="how many (default: 20000)")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="folder of latents.npy and scores.npy; goes on there"
    )
    parser.set_defaults(action=score)
    parser = _verb(verbs, "list", "the directions in use")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(action=list_)


def _verb(verbs: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    return parser


def render(arguments: argparse.Namespace) -> None:
    from comface.render import parse_alphas, parse_seeds, render

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
        layers=parse_seeds(arguments.layers) if arguments.layers is not None else None,
    )
    print(output)


def fit(arguments: argparse.Namespace) -> None:
    from comface.directions import fit_files

    result = fit_files(arguments.latents, arguments.scores, arguments.fraction, arguments.condition, arguments.output)
    print(json.dumps(result, indent=1))


def score(arguments: argparse.Namespace) -> None:
    from comface.directions import score_samples
    from comface.generators import load_generator

    if arguments.samples < 10:
        raise ConfigurationError(f"--samples {arguments.samples} is too few to fit anything; 20000 is usual.")
    score_samples(load_generator(arguments.generator), arguments.attribute, arguments.samples, arguments.output)
    print(arguments.output)


def list_(arguments: argparse.Namespace) -> None:
    from comface.errors import ComfaceError
    from comface.generators import load_generator

    rows: dict[str, list[str]] = {}
    for name in ("dcgan", "procedural"):
        try:
            rows[name] = list(load_generator(name).attributes())
        except ComfaceError as error:
            say(f"{name}: {error}")
    print(json.dumps(rows) if arguments.json else "\n".join(f"{name}: {', '.join(a)}" for name, a in rows.items()))
