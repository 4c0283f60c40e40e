"""The methods 'module:function': a function `(Sources) -> Encoder` of a user's own module (config/outside.py)."""

from __future__ import annotations

import functools

from comface.config.outside import Outside
from comface.errors import ConfigurationError
from comface.methods.encoder import Encoder, Sources, tried
from comface.methods.method import Method


def method(reference: str) -> Method:
    own = Outside("method", reference)
    return Method(
        reference, reference, functools.partial(_load, own), lambda _: own.decided_by(), check=own.source
    )  # fmt: skip


def _load(own: Outside, sources: Sources) -> Encoder:
    encoder = own.call(sources)
    if not isinstance(encoder, Encoder):
        raise ConfigurationError(
            f"{own} gives {type(encoder).__name__}, not a comface.methods.encoder.Encoder; return one."
        )
    return tried(encoder, own.reference)
