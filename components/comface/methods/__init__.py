"""The methods that are compared (section 4.3). Each encodes aligned faces as features with its own preprocessing.

In: uint8 RGB faces (N,S,S,3). Out: features (N,D). registry.py lists the methods; method.py defines the fields of an
entry. All methods use the same framing of faces.

Legend: N images, S = H = W side length, D feature width.
"""

from __future__ import annotations

from comface.methods.encoder import Encoder, Sources
from comface.methods.registry import METHODS, challenger, in_order, method

__all__ = ["METHODS", "REVISION", "Encoder", "Sources", "challenger", "in_order", "load_method", "method"]

REVISION = 2
"""Raise it when a change here or in networks/ makes a method give other features for the same faces and weights."""


def load_method(name: str, sources: Sources) -> Encoder:
    """Load the method `name` in evaluation mode. Raises ConfigurationError if it does not exist or a requirement is
    missing, DataError if its weights are invalid."""
    encoder = method(name).load(sources)
    encoder.network.eval()
    return encoder
