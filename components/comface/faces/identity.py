"""Whether two photos show one person: the distance of two faces from a face-recognition network.

In: photos (H,W,3) and the face detected in each. Out: the Euclidean distance of dlib's 128-d descriptors. The network
is published (CC0; Davis E. King, dlib_face_recognition_resnet_model_v1) and fetched by hash; its author treats
distances up to 0.6 as one person (accuracy 99.4 % on Labeled Faces in the Wild). It runs in torch
(networks/dlib_file.py), which gives dlib's numbers (within 3e-7) in an eighth of the time. If it is not fetched,
callers skip the check and say so.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from comface.faces.detection import Face, Pixels, eye_centres
from comface.faces.framing import resized
from comface.weights.fetched import FACE_RECOGNITION, available, model_path

if TYPE_CHECKING:
    from comface.networks.dlib_resnet import DlibResNet

THRESHOLD = 0.50
"""Of held-back people it accepts 0.1 to 6 % of the pairs of two people, but 70 % of two Japanese women in like photos,
and refuses 1.2 to 3.5 % of the good pairs of one person (docs/trust.md)."""
CHIP_PX, PADDING = 150, 0.25
"""Size in pixels and padding of the face chips on which the network was trained."""
EYES_APART_PX = 60.0
"""Faces with a smaller eye distance are enlarged to this before cropping, because dlib's landmarks are whole pixels."""


def at_hand() -> bool:
    return FACE_RECOGNITION in available()


def descriptor(image_HW3: Pixels, face: Face) -> NDArray[np.float64]:
    """dlib's descriptor (128,) of one face."""
    import dlib
    import torch

    from comface.networks.dlib_file import MEAN

    left_2, right_2 = eye_centres(face.points_52)
    scale = max(1.0, EYES_APART_PX / float(np.linalg.norm(right_2 - left_2)))
    if scale > 1.0:
        height, width = image_HW3.shape[:2]
        image_HW3 = resized(image_HW3, round(width * scale), round(height * scale))
    points = [dlib.point(*(round(value) for value in (point_2 + 0.5) * scale - 0.5)) for point_2 in face.points_52]
    box = dlib.rectangle(*(round(value * scale) for value in face.box))
    shape = dlib.full_object_detection(box, points)
    chip_HW3 = dlib.get_face_chip(np.ascontiguousarray(image_HW3), shape, size=CHIP_PX, padding=PADDING)
    x_HW3 = (np.asarray(chip_HW3, np.float32) - np.array(MEAN, np.float32)) / 256
    with torch.inference_mode():
        h_1D = _network()(torch.from_numpy(x_HW3).permute(2, 0, 1)[None])
    return np.asarray(h_1D[0].numpy(), np.float64)


@functools.cache
def _network() -> DlibResNet:
    from comface.networks.dlib_file import read_network

    return read_network(model_path(FACE_RECOGNITION))
