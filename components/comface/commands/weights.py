"""`comface convert`: a public weight file becomes safetensors with provenance, once."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_commands(commands: Any) -> None:
    parser = commands.add_parser(
        "convert",
        help="turn a public StyleGAN weight file into safetensors with provenance",
        description="Read a StyleGAN weight file (.pkl, .pth, .pt, .safetensors) without running anything that it "
        "carries, and write safetensors with its provenance beside it (NAME.safetensors.json).",
        epilog="example: comface convert stylegan3-r-ffhq-1024x1024.pkl --output stylegan3-r.safetensors "
        "--licence 'Nvidia Source Code License, non-commercial'",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the weight file as it was published")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="OUT.safetensors", help="where to write the safetensors file"
    )
    parser.add_argument("--licence", metavar="TEXT", help="under which you may use the weights; kept with them")
    parser.set_defaults(action=convert)


def convert(arguments: argparse.Namespace) -> None:
    from comface.generators.conversion import convert

    facts = convert(arguments.file, arguments.output, arguments.licence)
    print(
        f"{arguments.output}: {facts['family']}, {facts['image_size_px']} px, {facts['parameters']:,} numbers, "
        f"licence {facts['licence']}"
    )
    for part in ("w_avg", "noise"):
        if part in facts["notes"]:
            print(f"{part}: {facts['notes'][part]['how']} (seed {facts['notes'][part]['seed']})")
