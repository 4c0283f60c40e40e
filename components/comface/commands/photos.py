"""`comface compare` and `comface features`: apply a model to photos."""

from __future__ import annotations

import json
from pathlib import Path

from comface.commands.encoders import BACKBONE, load_encoder
from comface.commands.options import AS_JSON, METHOD, METHOD_HELP, REFERENCE, configured, output_option
from comface.commands.surface import PATH, argument, command, flag, option
from comface.errors import ConfigurationError
from comface.files import check_output, write_file
from comface.plan.chosen import Chosen
from comface.runtime.extras import check_extras
from comface.runtime.output import say


@command(example="comface compare before.jpg after.jpg --picture change.png")
@argument("before", "BEFORE", "photo of the person", PATH)
@argument("after", "AFTER", "later photo of the same person", PATH)
@option("--model", "REF", REFERENCE)
@AS_JSON
@flag("--all everything", "every task, also those that estimate the same quantity")
@option("--picture", "FILE.png", "draw both faces and the changes", PATH)
@configured()
def compare(
    before: Path, after: Path, model: str | None, as_json: bool, everything: bool, picture: Path | None, chosen: Chosen
) -> None:
    """Estimate the change between two photos of one person, for every quantity the model knows.

    --json prints the model and, for each quantity: change, unit, interval, coverage, rehearsal, verdict, reasons.
    """
    from comface.models import compare as comparing
    from comface.models.picture import picture as drawn
    from comface.models.registry import resolve_model
    from comface.store import open_store

    if picture is not None:
        check_extras("comface compare --picture", "train")
        check_output(picture, (before, after), "--picture")
        if picture.suffix.lower() != ".png":
            raise ConfigurationError(f"--picture '{picture}' does not end in .png; rename it.")
    reference, artifact = resolve_model(open_store(chosen.configuration().store), model)
    comparison = comparing.compare(before, after, artifact, reference, everything)
    if picture is not None:
        write_file(picture, drawn(comparison), private=True)
    if not as_json:
        print(comparing.table(comparison))
        return
    print(json.dumps(comparison.to_dict(), allow_nan=False))
    for note in comparing.notes(comparison) if comparison.caveats.reasons else ():
        say(note)


@command(example="comface features --method imagenet a.jpg b.jpg --output features.npy")
@option("--method", None, METHOD_HELP, METHOD, required=True)
@option("--weights", "FILE", "weight file; its type is detected from its content", PATH)
@BACKBONE
@argument("images", "IMAGE...", "image files", PATH, nargs=-1, required=True)
@output_option("OUT.npy", "where to write the features")
@configured()
def features(
    method: str, weights: Path | None, backbone: str | None, images: tuple[Path, ...], output: Path, chosen: Chosen
) -> None:
    """Compute features (N,D) of images, without face detection.

    Each method applies its own preprocessing.
    """
    from comface.artifacts.arrays import array_bytes
    from comface.faces.photos import read_photo
    from comface.methods.encoder import encode_images

    if output.suffix != ".npy":
        raise ConfigurationError(f"The output '{output}' does not end in .npy; rename it.")
    check_output(output, [*images, *([weights] if weights else [])])
    encoder = load_encoder(method, weights, backbone, chosen.configuration())
    features_ND = encode_images(encoder, (read_photo(path, opaque=True) for path in images))
    write_file(output, array_bytes(features_ND), private=True)
