"""`comface compare` and `comface features`: what a model says of photos."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from comface.commands.configured import add_configuration, configuration
from comface.errors import ConfigurationError


def add_commands(commands: Any) -> None:
    text = "the estimated change between two photos of one person, for every task the model knows"
    parser = commands.add_parser("compare", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("before", type=Path, metavar="BEFORE", help="photo of the person")
    parser.add_argument("after", type=Path, metavar="AFTER", help="later photo of the same person")
    parser.add_argument(
        "--model", metavar="REF", help="NAME, NAME@v3, NAME@champion or a URI (default: newest registered)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON: model, changes with unit and interval")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw both faces and the changes")
    add_configuration(parser)
    parser.set_defaults(action=compare)

    text = "a backbone's features (N,D) of images, taken as they are (no face is looked for)"
    parser = commands.add_parser("features", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("--method", required=True, metavar="M", help="e.g. imagenet, scratch, pixels, comface")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="weight file; its layout is recognised from its content"
    )
    parser.add_argument("--backbone", metavar="URI", help="backbone artifact, for the method comface")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="files of images")
    parser.add_argument("--output", required=True, type=Path, metavar="OUT.npy", help="where the features go")
    add_configuration(parser)
    parser.set_defaults(action=features)


def compare(arguments: argparse.Namespace) -> None:
    from comface.register import compare as comparing
    from comface.register.picture import picture
    from comface.register.registry import resolve_model
    from comface.render import publish
    from comface.store import open_store

    reference, model = resolve_model(open_store(configuration(arguments).store), arguments.model)
    comparison = comparing.compare(arguments.before, arguments.after, model, reference)
    if arguments.picture:
        publish(arguments.picture, lambda partial: partial.write_bytes(picture(comparison)))
    print(json.dumps(comparison.record()) if arguments.json else comparing.table(comparison))


def features(arguments: argparse.Namespace) -> None:
    import numpy as np

    from comface.faces import read_photo
    from comface.manifest import open_artifact
    from comface.render import publish
    from comface.transfer.methods import Sources, encode, load_method

    if arguments.output.suffix != ".npy":
        raise ConfigurationError(f"The output '{arguments.output}' does not end in .npy; rename it.")
    backbone = open_artifact(arguments.backbone, "backbone") if arguments.backbone else None
    sources = Sources.of(backbone, arguments.weights, configuration(arguments).transfer)
    encoder = load_method(arguments.method, sources)
    rows = [encode(encoder, read_photo(path)[None]) for path in arguments.images]
    publish(arguments.output, lambda partial: _save(partial, np.concatenate(rows)))


def _save(path: Path, array: Any) -> None:
    import numpy as np

    with path.open("wb") as file:
        np.save(file, array)
