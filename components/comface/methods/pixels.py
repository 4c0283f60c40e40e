"""The method 'pixels': the face at 12 x 12 pixels. It is the baseline without learned features."""

from __future__ import annotations

from comface.faces.preprocessing import Preprocessing
from comface.methods.encoder import Encoder, Sources
from comface.methods.method import Method

SIDE_PX = 12


def _load(sources: Sources) -> Encoder:
    from torch import nn

    shown = Preprocessing(view_share=sources.view_share, size_px=SIDE_PX, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Encoder(3 * SIDE_PX**2, shown, nn.Flatten())


METHOD = Method(
    "pixels",
    "Pixels 12×12",
    _load,
    lambda sources: {"view_share": sources.view_share},
    trainable=False,
)
