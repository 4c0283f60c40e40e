"""The scored cohort: photos of generated people with labels from published scorers, in the layout `pairs`.

    photos/SUBJECT/NN.jpg
    labels.csv             subject,file,smile,apparent-age

Each subject is an identity of the generator `dcgan` that pre-training does not use. For each photo, the latent is
edited along several directions at once, as far as the identity is kept; then crop, rotation, side light, colour cast,
gamma, blur and noise are applied. The labels are the scores of the render before these effects (mean of the image and
its mirror image), never alpha: `smile` in nats (log-odds of 'happy'), `apparent-age` in years.

Legend: N photos, D latent width, H = W side length.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from comface.datasets.config import RehearseConfig
from comface.errors import DataError
from comface.faces.detection import faces_in
from comface.faces.scorers import score
from comface.generators import FaceGenerator, to_uint8
from comface.generators.registry import load_generator
from comface.methods.gallery import Embed, embedder, gallery_of, own_nearest, unit
from comface.runtime.progress import shown
from comface.seeds import derive_seed, numpy_rng

LABELS = {"smile": "smile", "apparent-age": "age"}
"""Column of labels.csv → scorer."""
EDITS = {"smile": 2.6, "age": 2.0, "surprise": 1.2, "glasses": 0.4, "fringe": 0.5, "yaw": 1.5, "roll": 1.2}
"""Direction → largest absolute alpha. Smile, age and surprise move the labels; the others vary the picture. Larger
alphas of the others, and the direction `male`, change hats, hair and beards, so that photos of one person look like
several people (docs/rehearsal.md)."""
RANDOM_CHANGE = 0.06
"""Standard deviation per latent coordinate of a random change in addition to the edits."""
GALLERY = 100
"""Number of people in the gallery. A photo that is nearer to another person of the gallery than to its own is not
used."""
GENTLER = 0.8
"""If a photo cannot be used, its edits are drawn again and multiplied by this factor, once per attempt."""
ATTEMPTS = 12
SUBJECT_CONFIDENCE = 0.5
"""Minimum detector confidence of an unedited face. Faces below it are turned or blurred and are lost under edits and
poor light."""
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Person:
    """An identity of the generator: its latent (1,D), its number among the candidates, its unedited face (H,W,3)."""

    w_1D: torch.Tensor
    number: int
    face_HW3: NDArray[np.uint8]


def write_cohort(folder: Path, config: RehearseConfig) -> None:
    """Write config.cohort_subjects x config.cohort_photos photos and their labels. labels.csv is written last."""
    generator = load_generator("dcgan")
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["subject", "file", *LABELS])
    candidates = people(generator, config.seed)
    crowd = list(itertools.islice(candidates, GALLERY))
    likeness = Likeness(embedder("imagenet")[0], crowd)
    subjects = itertools.islice(itertools.chain(crowd, candidates), config.cohort_subjects)
    for index, person in enumerate(shown(subjects, "writing photos", config.cohort_subjects, "subject")):
        subject = f"S{index + 1:03d}"
        faces, labels = _photos(generator, person, config, likeness)
        (folder / "photos" / subject).mkdir(parents=True, exist_ok=True)
        for number, face_HW3 in enumerate(faces):
            rng = numpy_rng(config.seed, "cohort-camera", person.number, number)
            name = f"photos/{subject}/{number + 1:02d}.jpg"
            _write_jpeg(folder / name, photograph(face_HW3, rng, config.image_size_px))
            rows.writerow([subject, name, *(f"{labels[column][number]:.4f}" for column in LABELS)])
    (folder / "labels.csv").write_text(table.getvalue())


def people(generator: FaceGenerator, seed: int) -> Iterator[Person]:
    """Yield identities whose unedited face is detected with SUBJECT_CONFIDENCE. Their seeds differ from those of
    pre-training and of the directions. Raises DataError if 1,000 consecutive renders have no such face."""
    since = 0
    for number in itertools.count():
        w_1D = generator.latents([derive_seed(seed, "cohort", number)])
        face_HW3 = to_uint8(generator.render(w_1D))[0]
        found = faces_in(face_HW3)
        if found and found[0].confidence >= SUBJECT_CONFIDENCE:
            since = number
            yield Person(w_1D, number, face_HW3)
        if number - since > 1000:
            raise DataError(
                "No face was found in 1,000 renders of 'dcgan'; its weights are damaged: run `comface fetch`."
            )


class Likeness:
    """Checks whether an edited face keeps its identity, with the method of screening."""

    def __init__(self, embed: Embed, crowd: Sequence[Person]) -> None:
        self.embed = embed
        self._own: tuple[int, NDArray[np.float64]] | None = None
        self.gallery = gallery_of(
            [str(person.number) for person in crowd], embed(np.stack([p.face_HW3 for p in crowd]))
        )

    def kept(self, person: Person, images_NHW3: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return (N,) whether the own unedited face is nearer than that of every other person."""
        if self._own is None or self._own[0] != person.number:
            self._own = person.number, self.embed(person.face_HW3[None])[0]
        feature_ND, mean_D = self.embed(images_NHW3), self.gallery.mean_D
        own_N = 1 - unit(feature_ND - mean_D) @ unit((self._own[1] - mean_D)[None])[0]
        others = [i for i, name in enumerate(self.gallery.names) if name != str(person.number)]
        others_NG = self.gallery.distances(feature_ND)[:, others]
        nearest_N: NDArray[np.bool_] = own_nearest(own_N, others_NG, len(others)) == 1
        return nearest_N


def clean_scores(images_NHW3: NDArray[np.uint8]) -> dict[str, NDArray[np.float64]]:
    """Compute the labels of renders: the mean score of the image and its mirror image; NaN if either has no face."""
    names = list(LABELS.values())
    straight, mirrored = (score(images, names) for images in (images_NHW3, images_NHW3[:, :, ::-1]))
    return {column: (straight[name] + mirrored[name]) / 2 for column, name in LABELS.items()}


def photograph(
    face_HW3: NDArray[np.uint8], rng: np.random.Generator, size_px: int, strength: float = 1.0
) -> NDArray[np.uint8]:
    """Convert a render to a casual photo (S,S,3) with random crop, rotation, light, colour, sharpness and noise, whose
    ranges `strength` multiplies."""
    side = face_HW3.shape[0]
    scale = size_px / side * rng.uniform(1 - 0.16 * strength, 1.0)
    turn = rng.uniform(-9, 9) * strength
    matrix_23 = cv2.getRotationMatrix2D((side / 2 - 0.5, side / 2 - 0.5), turn, scale)
    matrix_23[:, 2] += size_px / 2 - side / 2 + rng.uniform(-0.06, 0.06, 2) * strength * size_px
    photo = _lit(_framed((face_HW3.astype(np.float32) / 255) ** 2.2, matrix_23, size_px), rng, strength)
    encoded = photo.clip(0, 1) ** (np.exp(rng.uniform(-0.25, 0.25) * strength) / 2.2)
    gray = encoded @ np.array([0.299, 0.587, 0.114], np.float32)
    saturation = rng.uniform(1 - 0.25 * strength, 1 + 0.15 * strength)
    encoded = gray[..., None] + (encoded - gray[..., None]) * saturation
    encoded = cv2.GaussianBlur(encoded.astype(np.float32), (0, 0), rng.uniform(0.3, 0.3 + 0.9 * strength))
    noisy: NDArray[np.float64] = encoded * 255 + rng.normal(0, rng.uniform(0.5, 0.5 + 3.5 * strength), encoded.shape)
    return noisy.round().clip(0, 255).astype(np.uint8)


def _framed(linear_HW3: NDArray[Any], matrix_23: NDArray[Any], size_px: int) -> NDArray[Any]:
    """Warp the picture. Beyond its edge it is continued with a blur, like a background that is out of focus."""
    size = (size_px, size_px)
    warped = cv2.warpAffine(linear_HW3, matrix_23, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    warped = warped.clip(0, 1)
    inside = cv2.warpAffine(np.ones(linear_HW3.shape[:2], np.float32), matrix_23, size)
    soft = cv2.GaussianBlur(cv2.erode(inside, np.ones((3, 3), np.uint8)), (0, 0), size_px / 80)[..., None]
    return warped * soft + cv2.GaussianBlur(warped, (0, 0), size_px / 16) * (1 - soft)


def _lit(linear_HW3: NDArray[Any], rng: np.random.Generator, strength: float) -> NDArray[np.float32]:
    """Add light from one side, up to 1 stop from the centre to the edge, and a colour cast."""
    size = linear_HW3.shape[0]
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    turn = rng.uniform(0, 2 * np.pi)
    stops = (rng.uniform(0, 1.0) * (np.cos(turn) * x + np.sin(turn) * y) + rng.uniform(-0.4, 0.4)) * strength
    cast_3 = np.exp(rng.normal(0, 0.06, 3) * strength)
    lit_HW3: NDArray[np.float32] = (linear_HW3 * np.exp2(stops)[..., None] * cast_3).astype(np.float32)
    return lit_HW3


def _photos(
    generator: FaceGenerator, person: Person, config: RehearseConfig, likeness: Likeness
) -> tuple[NDArray[np.uint8], Mapping[str, NDArray[np.float64]]]:
    """Return the renders (N,H,W,3) of a subject's photos and their labels. In each render a face is detected and the
    identity is kept. Raises DataError if this fails after ATTEMPTS attempts."""
    count = config.cohort_photos
    directions_ED = torch.cat([generator.direction(name) for name in EDITS]).cpu().numpy()
    faces: list[NDArray[np.uint8]] = [np.zeros(0, np.uint8)] * count
    labels = {column: np.full(count, np.nan) for column in LABELS}
    missing = list(range(count))
    for attempt in range(ATTEMPTS):
        changes_ND = np.stack(
            [_change(numpy_rng(config.seed, "cohort-edit", person.number, n, attempt), directions_ED) for n in missing]
        )
        w_ND = person.w_1D + torch.from_numpy(changes_ND * GENTLER**attempt).to(person.w_1D)
        images_NHW3 = to_uint8(generator.render(w_ND))
        (kept_K,) = np.nonzero(likeness.kept(person, images_NHW3))
        scores = clean_scores(images_NHW3[kept_K])  # what shows another person is not scored
        for at, row in enumerate(kept_K):
            for column in LABELS:
                labels[column][missing[row]] = scores[column][at]
            faces[missing[row]] = images_NHW3[row]
        missing = [number for number in missing if not all(np.isfinite(labels[column][number]) for column in LABELS)]
        if not missing:
            return np.stack(faces), labels
    raise DataError(
        f"Edits of identity {person.number} of the scored cohort do not keep its face; choose another rehearse.seed."
    )


def _change(rng: np.random.Generator, directions_ED: NDArray[np.float32]) -> NDArray[np.float64]:
    """What sets one photo's latent apart from its subject's (D,): mixed edits, and a random part."""
    largest_E = np.array(list(EDITS.values()))
    random_D = rng.standard_normal(directions_ED.shape[1]) * RANDOM_CHANGE
    return rng.uniform(-largest_E, largest_E) @ directions_ED + random_D


def _write_jpeg(path: Path, photo_HW3: NDArray[np.uint8]) -> None:
    import simplejpeg

    partial = path.with_suffix(".part")
    partial.write_bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(photo_HW3), JPEG_QUALITY, colorsubsampling="444"))
    partial.rename(path)
