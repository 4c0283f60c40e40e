"""`comface compare` and `comface features`: what a model says of photos."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from comface.commands.configured import add_configuration, configuration
from comface.commands.registry import REFERENCE
from comface.errors import ConfigurationError
from comface.files import check_output, write_file


def add_commands(commands: Any) -> None:
    text = "the estimated change between two photos of one person, for every task the model knows"
    parser = commands.add_parser("compare", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("before", type=Path, metavar="BEFORE", help="photo of the person")
    parser.add_argument("after", type=Path, metavar="AFTER", help="later photo of the same person")
    parser.add_argument("--model", metavar="REF", help=REFERENCE)
    parser.add_argument(
        "--json",
        action="store_true",
        help="print JSON: model; per task change, unit, interval, coverage, rehearsal, verdict, reasons",
    )
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="draw both faces and the changes")
    add_configuration(parser)
    parser.set_defaults(action=compare)

    text = "a backbone's features (N,D) of images, taken as they are (no face is looked for)"
    parser = commands.add_parser("features", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument("--method", required=True, metavar="M", help="e.g. imagenet, scratch, pixels, comface")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="weight file; its layout is recognised from its content"
    )
    parser.add_argument("--backbone", metavar="REF", help=f"backbone or model, for the method comface: {REFERENCE}")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="files of images")
    parser.add_argument("--output", required=True, type=Path, metavar="OUT.npy", help="where the features go")
    add_configuration(parser)
    parser.set_defaults(action=features)


def compare(arguments: argparse.Namespace) -> None:
    from comface.models import compare as comparing
    from comface.models.picture import picture
    from comface.models.registry import resolve_model
    from comface.store import open_store

    if arguments.picture is not None:
        check_output(arguments.picture, (arguments.before, arguments.after), "--picture")
        if arguments.picture.suffix.lower() != ".png":
            raise ConfigurationError(f"--picture '{arguments.picture}' does not end in .png; rename it.")
    reference, model = resolve_model(open_store(configuration(arguments).store), arguments.model)
    comparison = comparing.compare(arguments.before, arguments.after, model, reference)
    if arguments.picture is not None:
        write_file(arguments.picture, picture(comparison), private=True)
    if not arguments.json:
        print(comparing.table(comparison))
        return
    print(json.dumps(comparison.record(), allow_nan=False))
    for note in comparing.notes(comparison) if comparison.caveats.reasons else ():
        print(note, file=sys.stderr)


def features(arguments: argparse.Namespace) -> None:
    import numpy as np

    from comface.artifacts.arrays import array_bytes
    from comface.faces.photos import read_photo
    from comface.methods import METHODS, WITH_WEIGHTS, load_method
    from comface.methods.encoder import Sources, encode
    from comface.models.registry import resolve_backbone, resolve_model
    from comface.store import open_store

    if arguments.method in METHODS:
        if arguments.weights is not None and arguments.method not in WITH_WEIGHTS:
            raise ConfigurationError(f"The method '{arguments.method}' takes no --weights; leave it out.")
        if arguments.backbone is not None and arguments.method != "comface":
            raise ConfigurationError(f"The method '{arguments.method}' takes no --backbone; leave it out.")
    if arguments.output.suffix != ".npy":
        raise ConfigurationError(f"The output '{arguments.output}' does not end in .npy; rename it.")
    check_output(arguments.output, [*arguments.images, *([arguments.weights] if arguments.weights else [])])
    config, backbone = configuration(arguments), None
    if arguments.method == "comface":
        store = open_store(config.store)
        backbone = resolve_backbone(store, arguments.backbone or resolve_model(store, None)[0])
    sources = Sources.of(backbone, arguments.weights, config.transfer)
    encoder = load_method(arguments.method, sources)
    rows = [encode(encoder, read_photo(path)[None]) for path in arguments.images]
    write_file(arguments.output, array_bytes(np.concatenate(rows)), private=True)
