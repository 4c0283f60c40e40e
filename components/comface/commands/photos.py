"""`comface compare` and `comface features`: apply a model to photos."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comface.commands.options import AS_JSON, BACKBONE, METHOD, METHOD_HELP, REFERENCE, configured, output_option
from comface.commands.surface import PATH, argument, command, flag, option, together
from comface.errors import ConfigurationError, DataError
from comface.files import check_output, check_output_folder, write_file
from comface.plan.chosen import Chosen
from comface.runtime.extras import check_extras
from comface.runtime.output import say
from comface.runtime.progress import counted

if TYPE_CHECKING:
    from comface.files.tables import Table
    from comface.models.compare import Comparison
    from comface.models.estimator import Estimator


@dataclass(frozen=True)
class Output:
    """How a comparison is given out."""

    as_json: bool
    everything: bool
    picture: Path | None
    pictures: Path | None
    saliency: bool
    output: Path | None

    def check(self, photos: Sequence[Path], table: Path | None) -> None:
        """Raises ConfigurationError for options that do not go together, or that cannot be written to."""
        if table is None and self.output is not None:
            raise ConfigurationError("--output is for the result of --table; omit it.")
        if table is not None and (photos or self.picture is not None):
            other = "photos" if photos else "--picture (--pictures DIR draws each pair)"
            raise ConfigurationError(f"--table names the photos, so it takes no {other}; omit one of them.")
        if self.saliency and self.picture is None and self.pictures is None:
            raise ConfigurationError("--saliency draws into a picture; add --picture FILE.png or --pictures DIR.")
        if self.picture is not None or self.pictures is not None:
            check_extras(f"comface compare {'--pictures' if self.picture is None else '--picture'}", "train")
        if self.picture is not None:
            check_output(self.picture, photos, "--picture")
            if self.picture.suffix.lower() != ".png":
                raise ConfigurationError(f"--picture '{self.picture}' does not end in .png; rename it.")
        if self.pictures is not None:
            check_output_folder(self.pictures, "--pictures")
            if any(photo.resolve().parent == self.pictures.resolve() for photo in photos):
                raise ConfigurationError(
                    f"--pictures '{self.pictures}' is the folder of the photos, which the pictures could overwrite; "
                    "give another folder."
                )
        if self.output is not None and table is not None:
            check_output(self.output, [table])
            if self.output.suffix.lower() != (suffix := ".json" if self.as_json else ".csv"):
                raise ConfigurationError(f"--output '{self.output}' does not end in {suffix}; rename it.")

    def draw(self, path: Path | None, comparison: Comparison, estimator: Estimator) -> None:
        """Write the picture of a pair to `path`, if there is one."""
        if path is not None:
            from comface.models.picture import looks, picture

            saliency = looks(comparison, estimator) if self.saliency else ()
            write_file(path, picture(comparison, saliency=saliency), private=True)

    def in_folder(self, name: str) -> Path | None:
        return None if self.pictures is None else self.pictures / name


@command(
    example="comface compare before.jpg after.jpg --picture change.png\n"
    "comface compare visits/ --picture course.png\n"
    "comface compare --table pairs.csv --output changes.csv"
)
@argument("photos", "BEFORE AFTER [MORE]...", "photos of one person in the order of time, or a folder", PATH, nargs=-1)
@option("--table", "PAIRS.csv", "compare the pairs in the columns before and after of a table", PATH)
@option("--model", "REF", REFERENCE)
@together(
    "output",
    Output,
    AS_JSON,
    flag("--all everything", "every task, also those that estimate the same quantity"),
    option("--picture", "FILE.png", "draw both faces and the changes; of more than two photos, the time line", PATH),
    option("--pictures", "DIR", "draw each pair of a table, or each photo of a time line against the first", PATH),
    flag("--saliency", "in the picture of a pair, show where the model looks"),
    option(
        "--output", "FILE", "write the result of --table to this .csv file, with --json .json (default: print it)", PATH
    ),
)
@configured()
def compare(photos: tuple[Path, ...], table: Path | None, model: str | None, output: Output, chosen: Chosen) -> int:
    """Estimate the change between photos of one person, for every quantity the model knows.

    Of more than two photos, each is compared with the first and with the one before. A folder stands for its photos in
    the order of their names. --table writes a CSV with one row per pair and quantity; a pair that cannot be compared is
    reported in its row, and the exit code is 65 (docs/registry.md).

    --json prints the model and, for each quantity: change, unit, interval, coverage, rehearsal, verdict, reasons.
    """
    from comface.models.estimator import load_estimator
    from comface.models.pair_table import MADE, read_pairs
    from comface.models.references import resolve_model
    from comface.models.time_line import photos_of
    from comface.store import open_store

    named = photos_of(photos)
    output.check(named, table)
    pairs = read_pairs(table, () if output.as_json else MADE) if table is not None else None
    if pairs is None and len(named) < 2:
        raise ConfigurationError(
            f"`comface compare` got {counted(len(named), 'photo')}; give two photos or more, a folder of them, or "
            "--table PAIRS.csv."
        )
    reference, artifact = resolve_model(open_store(chosen.reading().store), model)
    estimator = load_estimator(artifact)
    if table is not None and pairs is not None:
        return _table(estimator, pairs, table.parent, reference, output)
    if len(named) > 2:
        return _time_line(estimator, named, reference, output)
    return _pair(estimator, named[0], named[1], reference, output)


def _pair(estimator: Estimator, before: Path, after: Path, reference: str, output: Output) -> int:
    from comface.models import compare as comparing

    comparison = comparing.compare_with(estimator, before, after, reference, output.everything)
    for path in (output.picture, output.in_folder("photo-02.png")):
        output.draw(path, comparison, estimator)
    if not output.as_json:
        print(comparing.table(comparison))
        return 0
    print(json.dumps(comparison.to_dict(), allow_nan=False))
    for note in comparing.notes(comparison) if comparison.caveats.reasons else ():
        say(note)
    return 0


def _time_line(estimator: Estimator, photos: Sequence[Path], reference: str, output: Output) -> int:
    """The exit code is 65 if a photo was left out."""
    from comface.models import time_line as over_time

    line = over_time.time_line(estimator, photos, reference, output.everything)
    if output.picture is not None:
        from comface.models.time_line_picture import time_line_picture

        write_file(output.picture, time_line_picture(line), private=True)
    for step in line.steps:
        output.draw(output.in_folder(f"photo-{step.number:02}.png"), step.from_first, estimator)
    print(json.dumps(line.to_dict(), allow_nan=False) if output.as_json else over_time.table(line))
    return DataError.exit_code if line.left_out else 0


def _table(estimator: Estimator, pairs: Table, folder: Path, reference: str, output: Output) -> int:
    """The exit code is 65 if a pair could not be compared."""
    from comface.models import pair_table

    found = []
    for pair in pair_table.compare_pairs(estimator, pairs, folder, reference, output.everything):
        found.append(pair)
        if pair.comparison is not None:
            output.draw(output.in_folder(f"line-{pair.line:04}.png"), pair.comparison, estimator)
    if output.as_json:
        written = json.dumps({"model": reference, "pairs": [pair.record() for pair in found]}, allow_nan=False).encode()
    else:
        written = pair_table.csv_of(found, pairs.columns, reference)
    if output.output is not None:
        write_file(output.output, written, private=True)
    else:
        print(written.decode().rstrip("\n"))
    failed = [pair.line for pair in found if pair.comparison is None]
    if not failed:
        return 0
    say(
        f"{len(failed)} of {counted(len(found), 'pair')} could not be compared, the first in line {failed[0]}; the "
        "column `error` says why."
    )
    return DataError.exit_code


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
    from comface.python.functions import load_encoder

    if output.suffix != ".npy":
        raise ConfigurationError(f"The output '{output}' does not end in .npy; rename it.")
    check_output(output, [*images, *([weights] if weights else [])])
    encoder = load_encoder(method, weights, backbone, chosen.reading())
    features_ND = encode_images(encoder, (read_photo(path, opaque=True) for path in images))
    write_file(output, array_bytes(features_ND), private=True)
