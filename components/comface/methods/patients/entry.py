"""The names `patient-specific:N-day`: the method fine-tuned on N days (0 to 3) of every test patient (table 5)."""

from __future__ import annotations

import dataclasses
import re

from comface.config.names import quoted
from comface.errors import ConfigurationError
from comface.methods import imagenet
from comface.methods.encoder import Encoder, Sources
from comface.methods.method import Method

FORM = "patient-specific:N-day"
NAMES = tuple(f"patient-specific:{days}-day" for days in range(4))


def method(reference: str) -> Method:
    """Return the entry of a name. It has the weight files of the method `imagenet`, from which its first stage
    starts."""
    match = re.fullmatch(r"patient-specific:([0-3])-day", reference)
    if match is None:
        raise ConfigurationError(f"The method {quoted(reference)} does not exist; choose from {', '.join(NAMES)}.")
    days = int(match[1])
    title = f"Patient-specific ({days}-day)"
    return dataclasses.replace(
        imagenet.METHOD, name=reference, title=title, load=_no_encoder, patient_days=days, limits=""
    )


def _no_encoder(_: Sources) -> Encoder:
    raise ConfigurationError(
        "The patient-specific method has another network for every patient, so it has no features or saliency of one "
        "photo; evaluate it with `comface transfer` on the task edema-a-patients."
    )
