"""Photos before and after a smile of generated people who took part in nothing: no training, no fit, no calibration.

In: a seed. Out: pairs of photos, each with its true changes (those of the scorers, as in the scored cohort). An edit
reaches only as far as the face stays nearer to its own unedited face than to any of a gallery.

Legend: S side length.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from comface.datasets.config import RehearseConfig
from comface.datasets.rehearsal.cohort import Likeness, Person, clean_scores, people, photograph
from comface.faces.detection import faces_in
from comface.faces.scorers import score
from comface.generators import to_uint8
from comface.generators.registry import load_generator
from comface.methods.gallery import embedder
from comface.seeds import derive_seed, numpy_rng

REACHES = (0.8, 1.2, 1.6, 2.0)
"""Alphas of the smile that are tried, from -alpha to +alpha; the smallest that gives a smile is used."""
SERIOUS, SMILING = -2.0, 2.0
"""Scores of the two photos: log-odds of 'happy' of at most the one and at least the other. Nor may 'surprise' be
likelier than not in either, which is a mouth wide open."""
MOST_CHANGE = 8.0
"""Largest true change of the smile: larger ones hardly occur in the scored cohort, on which intervals are calibrated.
"""
MOST_AGING = 10.0
"""Largest true change of the apparent age, in apparent years: the direction of the smile can age a face, and photos of
one day show one age."""
GALLERY = 40
CAMERA = 0.4
"""How much the two photos differ besides the smile, as a share of the scored cohort: two photos of one day."""
CONFIDENCE, LIGHT = 1.0, 90.0
"""Least confidence of the detector in the unedited face, and its least mean lightness in grey levels: turned, blurred
and dark faces show little."""


@dataclass(frozen=True)
class HeldOut:
    before_SS3: NDArray[np.uint8]
    after_SS3: NDArray[np.uint8]
    truth: Mapping[str, float]
    """Label of the scored cohort → true change."""


def held_out_pairs(seed: int) -> Iterator[HeldOut]:
    """Pairs of ever other people. Their seeds differ from those of every data set, of pre-training and directions."""
    generator, size_px = load_generator("dcgan"), RehearseConfig().image_size_px
    own = derive_seed(seed, "held-out")
    candidates = people(generator, own)
    crowd = list(itertools.islice(candidates, GALLERY))
    likeness, smile_1D = Likeness(embedder("imagenet")[0], crowd), generator.direction("smile")
    for person in filter(plain, itertools.chain(crowd, candidates)):
        for reach in REACHES:
            w_2D = torch.cat([person.w_1D - reach * smile_1D, person.w_1D + reach * smile_1D])
            faces_2SS3 = to_uint8(generator.render(w_2D))
            if not likeness.kept(person, faces_2SS3).all():
                break  # farther edits keep less
            if not smiles(faces_2SS3):
                continue
            truth = {label: float(scores[1] - scores[0]) for label, scores in clean_scores(faces_2SS3).items()}
            if truth["smile"] <= MOST_CHANGE and abs(truth["apparent-age"]) <= MOST_AGING:
                rng = numpy_rng(own, "camera", person.number)
                before_SS3, after_SS3 = (photograph(face, rng, size_px, CAMERA) for face in faces_2SS3)
                yield HeldOut(before_SS3, after_SS3, truth)
                break


def plain(person: Person) -> bool:
    """Whether the unedited face is easy to see."""
    return faces_in(person.face_HW3)[0].confidence >= CONFIDENCE and person.face_HW3.mean() >= LIGHT


def smiles(faces_2SS3: NDArray[np.uint8]) -> bool:
    """Whether the first face is serious and the second one smiles; false where a scorer finds no face."""
    scores = score(faces_2SS3, ["smile", "surprise"])
    before, after = scores["smile"]
    return bool(before <= SERIOUS and after >= SMILING and (scores["surprise"] < 0).all())
