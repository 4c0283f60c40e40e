"""Makes the pictures of README and docs anew: python docs/images/make.py [NAME ...]

In: the embedded generators and the model that ships with the package, or the one of --model. Out: the files beside this
script, the same for the same code and model. screening.jpg is made by benchmarks/screening.py.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from comface import load_model
from comface.datasets.config import RehearseConfig
from comface.datasets.rehearsal.cohort import people, photograph, write_cohort
from comface.datasets.rehearsal.held_out import CAMERA, plain, smiles
from comface.faces.photos import read_photo
from comface.faces.sheet import Row, alpha_captions, contact_sheet, jpeg_bytes
from comface.generators import to_uint8
from comface.generators.registry import load_generator
from comface.models.time_line import time_line
from comface.models.time_line_picture import time_line_picture
from comface.run.first_comparison import first_comparison
from comface.seeds import numpy_rng

HERE = Path(__file__).parent
SEED, PEOPLE, CELL_PX = 12, 5, 96
ALPHAS = {"dcgan": (-4, -3, -2, -1, 0, 1, 2, 3), "procedural": (-5, -3, -1, 0, 1, 3, 5)}
"""Of dcgan, the range of alpha in which most attributes keep the identity (docs/screening.md)."""


def contact() -> bytes:
    """Identities of dcgan along the direction "smile"."""
    generator, alphas = load_generator("dcgan"), ALPHAS["dcgan"]
    shown = itertools.islice(filter(plain, people(generator, SEED)), PEOPLE)
    rows = [Row((), swept(generator, person.w_1D, "smile", alphas)) for person in shown]
    return jpeg_bytes(contact_sheet(rows, alpha_captions(alphas), cell_px=CELL_PX))


def attributes(name: str) -> bytes:
    """One identity of a generator per attribute."""
    generator, alphas = load_generator(name), ALPHAS[name]
    rows = []
    for number, attribute in enumerate(generator.attributes()):
        w_1D = generator.latents([SEED + number])
        if name == "dcgan":
            w_1D = next(itertools.islice(filter(plain, people(generator, SEED)), number, None)).w_1D
        rows.append(Row((attribute,), swept(generator, w_1D, attribute, alphas)))
    return jpeg_bytes(contact_sheet(rows, alpha_captions(alphas), cell_px=CELL_PX))


def swept(generator, w_1D: torch.Tensor, attribute: str, alphas) -> list:
    direction_1D = generator.direction(attribute)
    return list(to_uint8(generator.render(torch.cat([w_1D + alpha * direction_1D for alpha in alphas]), 128)))


def cohort() -> bytes:
    """Photos of the scored cohort, one subject a row."""
    with tempfile.TemporaryDirectory() as scratch:
        write_cohort(Path(scratch), RehearseConfig(cohort_subjects=PEOPLE, cohort_photos=8))
        subjects: dict[str, list] = {}
        for row in csv.DictReader(io.StringIO(Path(scratch, "labels.csv").read_text())):
            subjects.setdefault(row["subject"], []).append(read_photo(Path(scratch, row["file"])))
    rows = [Row((name,), photos) for name, photos in subjects.items()]
    return jpeg_bytes(contact_sheet(rows, [""] * 8, cell_px=CELL_PX))


def comparison(model) -> bytes:
    """The first comparison, as after a run."""
    with tempfile.TemporaryDirectory() as scratch:
        found = first_comparison(model.artifact, model.reference, Path(scratch), RehearseConfig().seed)
        return as_jpeg(found.picture.read_bytes())


def course(model) -> bytes:
    """A time line of a generated person who starts to smile and stops."""
    generator, rng = load_generator("dcgan"), numpy_rng(SEED, "time-line")
    alphas = (-1.6, -0.6, 0.4, 1.4, 1.6, -0.2)
    tried = (swept(generator, person.w_1D, "smile", alphas) for person in filter(plain, people(generator, SEED + 1)))
    faces = next(each for each in tried if smiles(np.stack([each[0], each[3]])))
    with tempfile.TemporaryDirectory() as scratch:
        paths = [Path(scratch, f"visit-{number}.png") for number in range(1, len(faces) + 1)]
        for path, face in zip(paths, faces, strict=True):
            Image.fromarray(photograph(face, rng, 160, CAMERA)).save(path)
        return as_jpeg(time_line_picture(time_line(model.estimator, paths, model.reference)))


def as_jpeg(png: bytes) -> bytes:
    """The same picture, a third of the size."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(buffer, "JPEG", quality=88, subsampling=0, optimize=True)
    return buffer.getvalue()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="shipped")
    parser.add_argument("names", nargs="*", metavar="NAME")
    chosen = parser.parse_args()
    made = {
        "contact-sheet.jpg": contact,
        "dcgan.jpg": lambda: attributes("dcgan"),
        "procedural.jpg": lambda: attributes("procedural"),
        "cohort.jpg": cohort,
        "comparison.jpg": lambda: comparison(load_model(chosen.model)),
        "time-line.jpg": lambda: course(load_model(chosen.model)),
    }
    for name in chosen.names or made:
        (HERE / name).write_bytes(made[name]())
        print(f"{name}: {(HERE / name).stat().st_size / 1000:.0f} kB")
