"""Reads a network that dlib serialised (dlib/dnn/core.h and layers.h), without dlib.

In: the bytes of a file such as dlib_face_recognition_resnet_model_v1.dat. Out: its layers from input to output, each
with its settings and its tensors. dlib nests the layers: all version numbers come first, from the outermost (the loss)
to the innermost, then the layers from the input on.

Integers have one byte with their length (and a sign bit), then their bytes, lowest first. Strings have their length as
an integer. Fractions are two integers: mantissa and exponent of two. Tensors are four sizes and float32 values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from comface.weights.pickle_machine import Refused

LAYER, FIRST_LAYER = 2, 3
"""Versions of a layer and of the innermost layer; those of tags and skips are 1 and have no content."""
MOST_LAYERS, LONGEST_NAME = 2_000, 64


@dataclass(frozen=True)
class DlibLayer:
    kind: str
    """con, affine, relu, max_pool, avg_pool, add_prev or fc; the input is the layer `input_rgb_image_sized`."""
    settings: tuple[float, ...] = ()
    """con: filters, rows, columns, stride_y, stride_x, padding_y, padding_x; pools: the same without filters; fc:
    outputs, inputs; input: the mean of red, green and blue, then rows and columns."""
    params: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    """All numbers of the layer in one vector."""


class _Stream:
    def __init__(self, content: bytes) -> None:
        self.view, self.position = memoryview(content), 0

    def take(self, count: int) -> memoryview:
        end = self.position + count
        if count < 0 or end > len(self.view):
            raise Refused("it is truncated")
        taken, self.position = self.view[self.position : end], end
        return taken

    def integer(self) -> int:
        mark = self.take(1)[0]
        if mark & 0x70 or not 1 <= mark & 0x0F <= 8:
            raise Refused("a number in it is malformed")
        value = int.from_bytes(self.take(mark & 0x0F), "little")
        return -value if mark & 0x80 else value

    def integers(self, count: int) -> tuple[int, ...]:
        return tuple(self.integer() for _ in range(count))

    def fraction(self) -> float:
        mantissa, exponent = self.integers(2)
        if not -2_000 < exponent < 1_000:
            raise Refused("a number in it is not finite")
        return math.ldexp(mantissa, exponent)

    def fractions(self, count: int) -> tuple[float, ...]:
        return tuple(self.fraction() for _ in range(count))

    def flags(self, count: int) -> None:
        if any(byte not in b"01" for byte in self.take(count)):
            raise Refused("a flag in it is malformed")

    def name(self, size: int) -> str:
        if not 0 < size <= LONGEST_NAME:
            raise Refused("it is not a network of dlib")
        return bytes(self.take(size)).decode("ascii", "replace")

    def sizes(self, version: int) -> tuple[int, ...]:
        """Four sizes: of a tensor (version 2), or of a view into another (version 1)."""
        if self.integer() != version:
            raise Refused("a tensor in it is malformed")
        return self.integers(4)

    def tensor(self) -> NDArray[np.float32]:
        sizes = self.sizes(2)
        if min(sizes) < 0:
            raise Refused("a tensor in it is malformed")
        values = np.frombuffer(self.take(4 * math.prod(sizes)), "<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise Refused("a tensor in it contains NaN or infinity")
        return values


def read_dlib(content: bytes) -> list[DlibLayer]:
    """The layers, the input first. Raises Refused if the file is damaged or contains a layer that is not known here."""
    stream = _Stream(content)
    if stream.integer() != 1 or stream.name(stream.integer()) != "loss_metric_2":
        raise Refused("it is not a face recognition network of dlib (loss_metric_2)")
    stream.fractions(2)  # margin and threshold of the loss
    versions = []
    while (number := stream.integer()) <= FIRST_LAYER:
        versions.append(number)
        if len(versions) > MOST_LAYERS:
            raise Refused("it is not a network of dlib")
    if stream.name(number) != "input_rgb_image_sized" or versions[-1:] != [FIRST_LAYER]:
        raise Refused("it is not a network of dlib for images of one size")
    layers = [DlibLayer("input_rgb_image_sized", (*stream.fractions(3), *stream.integers(2)))]
    for place in range(1 + versions.count(LAYER)):
        layers.append(_layer(stream))
        stream.flags(3)
        for _ in range(3):  # gradients and cached outputs, which dlib clears before it saves
            stream.tensor()
        if place == 0:
            stream.integer()
    if stream.position != len(content):
        raise Refused("it has more bytes than its layers")
    return layers


def _layer(stream: _Stream) -> DlibLayer:
    kind = stream.name(stream.integer())
    if kind not in _READERS:
        raise Refused(f"it contains the unknown layer {kind!a}")
    return _READERS[kind](stream)


def _convolution(stream: _Stream) -> DlibLayer:
    params, settings = stream.tensor(), stream.integers(7)
    _views(stream)
    return DlibLayer("con", settings, params)


def _affine(stream: _Stream) -> DlibLayer:
    params = stream.tensor()
    stream.sizes(1)
    stream.sizes(1)
    stream.integer()  # per channel or per value; the number of values shows it
    return DlibLayer("affine", (), params)


def _fully_connected(stream: _Stream) -> DlibLayer:
    settings, params = stream.integers(2), stream.tensor()
    _views(stream, mode=True)
    return DlibLayer("fc", settings, params)


def _views(stream: _Stream, mode: bool = False) -> None:
    """Skip the positions of weights and biases, and the factors of learning rates."""
    stream.sizes(1)
    stream.sizes(1)
    if mode:
        stream.integer()
    stream.fractions(4)


_READERS: Mapping[str, Callable[[_Stream], DlibLayer]] = {
    "con_4": _convolution,
    "affine_": _affine,
    "fc_2": _fully_connected,
    "max_pool_2": lambda stream: DlibLayer("max_pool", stream.integers(6)),
    "avg_pool_2": lambda stream: DlibLayer("avg_pool", stream.integers(6)),
    "relu_": lambda _: DlibLayer("relu"),
    "add_prev_": lambda _: DlibLayer("add_prev"),
}
