"""dlib's published face recognition network, read from its file into torch.

In: dlib_face_recognition_resnet_model_v1.dat (CC0; Davis E. King). Out: a DlibResNet, whose descriptors equal dlib's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from comface.errors import DataError
from comface.files import read_bounded
from comface.networks.dlib_resnet import BLOCKS, DlibResNet
from comface.weights.dlib_files import DlibLayer, read_dlib
from comface.weights.fetched import FACE_RECOGNITION
from comface.weights.pickle_machine import Refused

SIDE_PX = 150
MEAN = (122.782, 117.001, 104.298)
"""dlib's mean colours; its input is (x - mean) / 256."""
MOST_BYTES = 2**27


def read_network(path: Path) -> DlibResNet:
    """Raises DataError if the file is damaged or contains another network."""
    network = DlibResNet()
    network.load_state_dict({name: torch.from_numpy(array) for name, array in _tensors(path, network)})
    return network.eval()


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
