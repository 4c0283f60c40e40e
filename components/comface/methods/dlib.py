"""The method 'dlib': face recognition by dlib's published network (CC0; Davis E. King), 128 values per face.

In: dlib_face_recognition_resnet_model_v1.dat, from a package that `comface fetch` downloads. Out: an Encoder. The
network is rebuilt in torch, so it runs in batches and can be fine-tuned; its descriptors equal dlib's.

dlib cuts a chip of 150 px by five landmarks. An aligned face of this project has its eyes at fixed places, from which
the same square follows (CHIP). It ends 6 % of the frame below the frame, where the frame is mirrored, as alignment does
at the edge of a photo. An image that is taken as it is counts as a chip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from comface.errors import DataError
from comface.faces.framing import EYE_DISTANCE_PX, EYES_MIDPOINT_PX, FRAME_PX
from comface.faces.preprocessing import Crop, Preprocessing
from comface.files import read_bounded
from comface.methods.encoder import Encoder, Sources, load_whole
from comface.methods.method import Method
from comface.weights.dlib_files import DlibLayer, read_dlib
from comface.weights.fetched import FACE_RECOGNITION
from comface.weights.pickle_machine import Refused

if TYPE_CHECKING:
    from comface.networks.dlib_resnet import DlibResNet

SIDE_PX = 150
MEAN = (122.782, 117.001, 104.298)
"""dlib's mean colours; its input is (x - mean) / 256."""
EYES_X, EYES_Y = ((0.120575 + 0.334085) / 2, (0.859567 + 0.646060) / 2), 0.221314
"""Eye centres in dlib's mean face, in its sides."""
PADDING = 0.25
"""Margin of a chip on each side of the mean face, in sides of the mean face."""
MOST_BYTES = 2**27


def chip() -> tuple[float, float, float]:
    """The chip in an aligned face: left, top and side as shares of the frame."""
    left_x, right_x, y = ((value + PADDING) / (1 + 2 * PADDING) for value in (*EYES_X, EYES_Y))
    side = EYE_DISTANCE_PX / FRAME_PX / (right_x - left_x)
    middle_x, middle_y = (value / FRAME_PX for value in EYES_MIDPOINT_PX)
    return middle_x - side * (left_x + right_x) / 2, middle_y - side * y, side


def _load(sources: Sources) -> Encoder:
    import torch

    from comface.networks.dlib_resnet import WIDTH, DlibResNet

    path, network = METHOD.weights(sources), DlibResNet()
    state = {name: torch.from_numpy(array) for name, array in _tensors(path, network)}
    load_whole(network, state, f"'{path.name}'")
    red, green, blue = (value / 255 for value in MEAN)
    shown = Preprocessing(square=chip(), size_px=SIDE_PX, mean=(red, green, blue), std=(256 / 255,) * 3)
    return Encoder(WIDTH, shown, network, crop=Crop(SIDE_PX, SIDE_PX))


def _tensors(path: Path, network: DlibResNet) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """The tensors of the network by name. Each affine layer (scale and shift per channel) is multiplied into the
    convolution before it. Raises DataError if the file is damaged or contains another network."""
    try:
        layers = read_dlib(read_bounded(path, MOST_BYTES, "The weight file"))
    except Refused as refused:
        raise DataError(f"The weight file '{path}' was refused: {refused}; get the published file again.") from None
    if not _fits(layers, network):
        raise DataError(
            f"The weight file '{path}' contains another network than dlib's face recognition network v1; give "
            f"{FACE_RECOGNITION}."
        )
    convolutions = iter(network.convolutions())
    for layer, next_layer in zip(layers, [*layers[1:], layers[-1]], strict=True):
        if layer.kind == "con":
            name, convolution = next(convolutions)
            weight, bias = np.split(layer.params, [convolution.weight.numel()])
            scale, shift = np.split(next_layer.params, 2)
            yield f"{name}.weight", weight.reshape(convolution.weight.shape) * scale[:, None, None, None]
            yield f"{name}.bias", bias * scale + shift
    yield "fc.weight", np.ascontiguousarray(layers[-1].params.reshape(network.fc.weight.T.shape).T)


def _fits(layers: Sequence[DlibLayer], network: DlibResNet) -> bool:
    """Whether the file has the layers of the network, of the same sizes."""
    from comface.networks.dlib_resnet import BLOCKS

    kinds = ["input_rgb_image_sized", "con", "affine", "relu", "max_pool"]
    for _, halves in BLOCKS:
        pool = ["avg_pool"] if halves else []
        kinds += ["con", "affine", "relu", "con", "affine", *pool, "add_prev", "relu"]
    if [layer.kind for layer in layers] != [*kinds, "avg_pool", "fc"]:
        return False
    inputs, fc = layers[0], layers[-1]
    if not np.allclose(inputs.settings, (*MEAN, SIDE_PX, SIDE_PX)) or fc.params.size != network.fc.weight.numel():
        return False
    pairs = [(layer, layers[i + 1]) for i, layer in enumerate(layers) if layer.kind == "con"]
    for (con, affine), (_, wanted) in zip(pairs, network.convolutions(), strict=True):
        filters = wanted.out_channels
        settings = (filters, *wanted.kernel_size, *wanted.stride, *wanted.padding)
        if con.settings != settings or con.params.size != wanted.weight.numel() + filters:
            return False
        if affine.params.size != 2 * filters:
            return False
    return True


METHOD = Method("dlib", "dlib (face recognition)", _load, fetched=FACE_RECOGNITION)
