"""Detect the face in a photo and align it to the project's framing. All face detection uses this module.

In: RGB uint8 images (H,W,3) of any framing, read by photos.py. Out: five points (two corners per eye, base of the nose)
and aligned faces (S,S,3), framed as in framing.py.

Detector: dlib's frontal HOG (Boost licence); points: dlib's five-point model (CC0). Both process each image separately,
so results do not depend on the batch.

Legend: H, W image height and width, S aligned side, P points; coordinates (x, y) in pixels; (0, 0) is the centre of the
top left pixel.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from comface.errors import ConfigurationError, DataError
from comface.faces.framing import EYE_DISTANCE_PX, EYES_MIDPOINT_PX, FRAME_PX, resized
from comface.weights.fetched import LANDMARKS, model_digest, model_path

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]

THRESHOLD = -0.5
"""Minimum confidence of a single face. Generated faces of 64 px need this value: 91 % are found, but 70 % with 0."""
SURE = 0.0
"""If a face has at least this confidence, faces below it count as false positives."""
MIN_SIDE_PX = 128
"""The detector finds faces of at least 80 px; images with a shorter side are enlarged to this side."""
FIRST_SIDE_PX, LAST_SIDE_PX = 640, 2000
"""Longest side of a photo in the first search, and maximum side in a second search after no face was found."""
MIN_EYES_APART_PX = 10.0
"""Minimum eye distance; smaller faces have too little detail after alignment."""
STRETCH_LIMIT, STRETCH_TILES = 8.0, 4
"""CLAHE parameters. They recover the face in a photo at 5 % of its light (noise of 1 in 255); percentile stretching and
gamma correction fail there if the background is bright."""
LIFT = 0.3
"""Gamma exponent that lightens dark skin on any background. Of 100 missed faces in the darkest tenth of the generated
faces, it recovers 34 (31 in the right place) with THRESHOLD; STRETCH_LIMIT recovers 15."""
SURE_AGAIN = -0.25
"""Minimum confidence in a contrast-enhanced image, in which noise is amplified, too."""
DARK = 40.0
"""A photo whose mean level (0 to 255) is below this counts as dark."""
FAINT, FAINT_SIDE_PX, FAINT_SHARE = -0.9, 360, 0.3
"""Minimum confidence of a faint face, longest side of the photo in which it is searched, and the share of it that must
be inside the photo."""
CLEARER = 0.5
"""A face that the edge cuts is more certain than what was found beside it by this."""
DOMINANT = 2.0
"""A face with at least this many times the area of the next one is the subject; the others are ignored."""
_of_thread = threading.local()


def finder_files() -> dict[str, str]:
    """Name and sha256 of the weight file for face detection; empty if it is not fetched."""
    try:
        return {LANDMARKS: model_digest(LANDMARKS)[1]}
    except ConfigurationError:
        return {}


class NoUsableFace(DataError):
    """An image without a usable face. `reason`: a short category for counting."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True)
class Face:
    """A detected face: dlib's five points, its box (left, top, right, bottom) and the detector's confidence."""

    points_52: Points
    box: tuple[float, float, float, float]
    confidence: float

    @property
    def area(self) -> float:
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


def find_face(image_HW3: Pixels, what: str = "the photo", faint: bool = False) -> Face:
    """The face in an image. `what`: the image's name in messages; `faint`: if there is none, `faint_face`. Raises
    NoUsableFace (a DataError) if there is no face, if there are several of similar size, or if it is too small."""
    _check_image(image_HW3)
    found = sorted(faces_in(image_HW3), key=lambda face: face.area, reverse=True)
    if faint and len(found) < 2 and (hardly := _fainter(image_HW3, found)):
        found = [hardly]
    if not found:
        raise NoUsableFace(
            "no face",
            f"No face was found in {what}; use a photo that shows the face from the front, upright and well lit.",
        )
    if len(found) > 1 and found[0].area < DOMINANT * found[1].area:
        raise NoUsableFace(
            "several faces", f"There are {len(found)} faces in {what}; crop it to the face of the subject."
        )
    left_2, right_2 = eye_centres(found[0].points_52)
    apart = float(np.linalg.norm(right_2 - left_2))
    if apart < MIN_EYES_APART_PX:
        raise NoUsableFace(
            "face too small",
            f"The face in {what} is too small (the eyes are {apart:.0f} px apart, but at least "
            f"{MIN_EYES_APART_PX:.0f} px are needed); use a larger photo.",
        )
    return found[0]


def faces_in(image_HW3: Pixels, again_from: float = SURE_AGAIN) -> list[Face]:
    """All accepted faces: those with confidence SURE, or else the one with the highest confidence. The image is
    searched at a moderate size, then at twice that size. If no face is found, or if the photo is dark (its landmarks
    are then inaccurate), the search is repeated with enhanced contrast (CLAHE) and with lightened shadows; the result
    with the highest confidence is returned. `again_from`: minimum confidence in the repeated searches."""
    found = _faces(image_HW3)
    if found and image_HW3.mean() >= DARK:
        return found
    looks = [found]
    for changed_HW3 in (_stretched(image_HW3), _lifted(image_HW3)):
        looks.append([face for face in _faces(changed_HW3) if face.confidence >= again_from])
    return max(looks, key=lambda faces: max((face.confidence for face in faces), default=-np.inf))


def _fainter(image_HW3: Pixels, found: list[Face]) -> Face | None:
    """A faint face that is more certain than the one that was found, if need be with enhanced contrast: of 34 covered
    or turned faces that were missed without it, 16 are found (docs/trust.md)."""
    least = found[0].confidence if found else -np.inf
    if least >= SURE:
        return None
    hardly = faint_face(image_HW3) or faint_face(_stretched(image_HW3))
    return hardly if hardly and hardly.confidence > least + CLEARER else None


def faint_face(image_HW3: Pixels) -> Face | None:
    """A face that the photo's edge cuts, or that is hardly recognisable (confidence from FAINT). It cannot be used, but
    the reason can be said. The photo is mirrored at its edges, so that half a face becomes a whole one."""
    height, width = image_HW3.shape[:2]
    scale = FAINT_SIDE_PX / max(height, width)
    small_HW3 = resized(image_HW3, max(2, round(width * scale)), max(2, round(height * scale)))
    height, width = small_HW3.shape[:2]
    margin = min(height, width) // 2
    wide_HW3 = cv2.copyMakeBorder(small_HW3, *(margin,) * 4, cv2.BORDER_REFLECT_101)
    found = []
    for face in _search(np.asarray(wide_HW3, np.uint8), 1.0, FAINT):
        left, top, right, bottom = (value - margin for value in face.box)
        seen = max(0.0, min(right, width) - max(left, 0)) * max(0.0, min(bottom, height) - max(top, 0))
        if seen >= FAINT_SHARE * face.area:
            points_52 = (face.points_52 - margin + 0.5) / scale - 0.5
            x0, y0, x1, y1 = ((value + 0.5) / scale - 0.5 for value in (left, top, right, bottom))
            found.append(Face(points_52, (x0, y0, x1, y1), face.confidence))
    return max(found, key=lambda face: face.confidence, default=None)


def _faces(image_HW3: Pixels) -> list[Face]:
    height, width = image_HW3.shape[:2]
    short, long = min(height, width), max(height, width)
    first = max(MIN_SIDE_PX / short, 1.0) * min(FIRST_SIDE_PX / long, 1.0) if short < long * 8 else 0.0
    for scale in (first, 2 * first):
        if not scale or (scale > first and scale * long > LAST_SIDE_PX):
            break
        found = _search(image_HW3, scale)
        sure = [face for face in found if face.confidence >= SURE]
        if found:
            return sure or [max(found, key=lambda face: face.confidence)]
    return []


def _stretched(image_HW3: Pixels) -> Pixels:
    """The image after CLAHE on its lightness. Used for detection only: networks receive the original lightness."""
    lab_HW3 = cv2.cvtColor(image_HW3, cv2.COLOR_RGB2LAB)
    lab_HW3[..., 0] = cv2.createCLAHE(STRETCH_LIMIT, (STRETCH_TILES, STRETCH_TILES)).apply(lab_HW3[..., 0])
    return cv2.cvtColor(lab_HW3, cv2.COLOR_LAB2RGB)  # type: ignore[return-value]


def _lifted(image_HW3: Pixels) -> Pixels:
    """The image with lightened dark tones (gamma LIFT). Used for detection only."""
    table = (255 * (np.arange(256) / 255) ** LIFT).round().astype(np.uint8)
    return table[image_HW3]


def eye_centres(points_P2: Points) -> Points:
    """Centres of the eyes (2,2), the left one in the image first; each is the midpoint of its two corners.

    Points: 2 = the centres; 4 = the corners, left to right; 5 = dlib's five; 68 or 66 = the iBUG order. Raises
    DataError for any other number and for coincident or non-finite eyes."""
    points_P2 = np.asarray(points_P2, dtype=np.float64)
    corners = {2: ((0, 0), (1, 1)), 4: ((0, 1), (2, 3)), 5: ((0, 1), (2, 3)), 66: ((36, 39), (42, 45))}
    corners[68] = corners[66]
    if points_P2.ndim != 2 or points_P2.shape[1] != 2 or len(points_P2) not in corners:
        raise DataError(
            f"Landmarks of shape {points_P2.shape} do not fit; give 2 eye centres, 4 eye corners, 5 or 68 points."
        )
    centres_22 = np.stack([points_P2[list(pair)].mean(axis=0) for pair in corners[len(points_P2)]])
    if not np.isfinite(centres_22).all() or np.linalg.norm(centres_22[1] - centres_22[0]) < 1e-3:
        raise DataError("The landmarks of a face have both eyes at one point; correct the data set's landmark file.")
    return centres_22[np.argsort(centres_22[:, 0], kind="stable")]


def align(image_HW3: Pixels, points_P2: Points, size_px: int) -> Pixels:
    """The face (S,S,3) in the project's framing, by a similarity transform that maps the eye centres.

    Pixels outside the photo mirror its edge. Downscaling averages over areas (no aliasing)."""
    _check_image(image_HW3)
    matrix_23 = alignment(points_P2, size_px)
    scale = float(np.hypot(matrix_23[0, 0], matrix_23[1, 0]))
    if scale < 1.0:
        image_HW3, matrix_23 = _shrunk(image_HW3, matrix_23, scale, size_px)
    return cv2.warpAffine(
        image_HW3,
        matrix_23,
        (size_px, size_px),
        flags=cv2.INTER_LINEAR if scale < 1.0 else cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )  # type: ignore[return-value]


def alignment(points_P2: Points, size_px: int) -> Points:
    """The (2,3) matrix from photo pixels to aligned pixels."""
    left_2, right_2 = eye_centres(points_P2)
    unit = size_px / FRAME_PX
    span = complex(*(right_2 - left_2))
    turn = EYE_DISTANCE_PX * unit / span  # rotation and scale as one complex number
    middle_2 = (left_2 + right_2) / 2
    target_2 = np.array(EYES_MIDPOINT_PX) * unit - 0.5
    rotation_22 = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.hstack([rotation_22, (target_2 - rotation_22 @ middle_2)[:, None]])


def _shrunk(image_HW3: Pixels, matrix_23: Points, scale: float, size_px: int) -> tuple[Pixels, Points]:
    """The part of the image in the aligned face, downscaled by area averaging, and the remaining transform (2,3)."""
    height, width = image_HW3.shape[:2]
    inverse_23 = cv2.invertAffineTransform(matrix_23)
    side = size_px - 1.0
    corners_42 = np.array([[0, 0], [side, 0], [0, side], [side, side]]) @ inverse_23[:, :2].T + inverse_23[:, 2]
    margin = 4 / scale
    x0, y0 = (max(0, int(low - margin)) for low in corners_42.min(axis=0))
    x1 = min(width, int(corners_42[:, 0].max() + margin) + 1)
    y1 = min(height, int(corners_42[:, 1].max() + margin) + 1)
    if x1 - x0 < 2 or y1 - y0 < 2:
        raise DataError("The landmarks of a face are outside its photo; correct the data set's landmark file.")
    new_w, new_h = max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale))
    part_HW3 = cv2.resize(image_HW3[y0:y1, x0:x1], (new_w, new_h), interpolation=cv2.INTER_AREA)
    ratio_2 = np.array([(x1 - x0) / new_w, (y1 - y0) / new_h])
    origin_2 = np.array([x0, y0]) + 0.5 * ratio_2 - 0.5  # photo coordinates of the shrunk image's first pixel centre
    left = matrix_23[:, :2] * ratio_2[None, :]
    return part_HW3, np.hstack([left, (matrix_23[:, :2] @ origin_2 + matrix_23[:, 2])[:, None]])  # type: ignore[return-value]


def _search(image_HW3: Pixels, scale: float, least: float = THRESHOLD) -> list[Face]:
    height, width = image_HW3.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size != (width, height):
        image_HW3 = resized(image_HW3, *size)
    image_HW3 = np.ascontiguousarray(image_HW3)
    detector, predictor = _models()
    boxes, confidences, _ = detector.run(image_HW3, 0, least)
    ratio_2 = np.array([width / size[0], height / size[1]])
    found = []
    for box, confidence in zip(boxes, confidences, strict=True):
        points_52 = np.array([(part.x, part.y) for part in predictor(image_HW3, box).parts()], dtype=np.float64)
        corners_22 = np.array([[box.left(), box.top()], [box.right(), box.bottom()]], dtype=np.float64)
        (x0, y0), (x1, y1) = ((corners_22 + 0.5) * ratio_2 - 0.5).tolist()
        found.append(Face((points_52 + 0.5) * ratio_2 - 0.5, (x0, y0, x1, y1), float(confidence)))
    return found


def _models() -> tuple[Any, Any]:
    """The detector and the landmark model of this thread. The detector keeps state while it searches."""
    if not hasattr(_of_thread, "models"):
        import dlib

        _of_thread.models = dlib.get_frontal_face_detector(), dlib.shape_predictor(str(model_path(LANDMARKS)))
    found: tuple[Any, Any] = _of_thread.models
    return found


def _check_image(image_HW3: Pixels) -> None:
    if image_HW3.ndim != 3 or image_HW3.shape[2] != 3 or image_HW3.dtype != np.uint8:
        raise DataError(
            f"An image of shape {image_HW3.shape} and type {image_HW3.dtype} does not fit; give RGB uint8 (H, W, 3)."
        )
