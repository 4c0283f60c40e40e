"""A rehearsal face and where a method looks in it: two small objects of an artifact `features`, for the report.

    example.png     the face
    saliency.json   method, map (h,w), box (methods/saliency.py)

Only rehearsal data sets have an example: the report must not show a person.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from comface.artifacts.manifest import Artifact
from comface.errors import ConfigurationError
from comface.methods.encoder import Encoder
from comface.methods.saliency import Pixels, Saliency, saliency_of_face

FACE, MAP = "example.png", "saliency.json"


@dataclass(frozen=True)
class Example:
    method: str
    face_SS3: Pixels
    saliency: Saliency


def example_row(photos: Sequence[Mapping[str, Any]]) -> int:
    """The row of the face with the largest labels (the strongest expression); the first of several."""
    return int(np.argmax([sum(filter(np.isfinite, photo["labels"].values())) for photo in photos]))


def example_files(encoder: Encoder, face_SS3: Pixels, method: str) -> dict[str, bytes]:
    """The two objects; none if the method has no feature map."""
    try:
        found = saliency_of_face(encoder, face_SS3, method)
    except ConfigurationError:
        return {}
    png = io.BytesIO()
    Image.fromarray(face_SS3).save(png, "PNG")
    values = [[float(f"{value:.6g}") for value in row] for row in found.map_hw.tolist()]
    record = {"method": method, "map": values, "box": list(found.box)}
    return {FACE: png.getvalue(), MAP: json.dumps(record, allow_nan=False).encode()}


def read_example(features: Artifact, title: str) -> Example | None:
    """The example of an artifact `features`; None if it has none. `title`: the method's name in the picture."""
    if MAP not in features.manifest.objects:
        return None
    record = features.read_json(MAP)
    face_SS3 = np.asarray(Image.open(io.BytesIO(features.read(FACE))).convert("RGB"))
    map_hw = np.array(record["map"], np.float32)
    return Example(record["method"], face_SS3, Saliency(title, map_hw, tuple(record["box"])))
