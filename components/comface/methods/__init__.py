"""The methods that are compared (section 4.3): each turns aligned faces into features with its own preprocessing.

In: uint8 RGB faces (N,S,S,3). Out: features (N,D). registry.py lists them, method.py says what an entry holds. The
framing of faces is the same for all.

Legend: N images, S = H = W side length, D feature width.
"""

from __future__ import annotations

from comface.methods.encoder import Encoder, Sources
from comface.methods.registry import METHODS, challenger, in_order, method

__all__ = ["METHODS", "REVISION", "Encoder", "Sources", "challenger", "in_order", "load_method", "method"]

REVISION = 1
"""Raised when a method gives other features of the same faces and weights, by this package or by networks/."""


def load_method(name: str, sources: Sources) -> Encoder:
    """The method called `name`, in evaluation mode. Raises ConfigurationError for one that does not exist or that lacks
    something, DataError for weights that it cannot use."""
    encoder = method(name).load(sources)
    encoder.network.eval()
    return encoder
