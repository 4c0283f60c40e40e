"""`comface models export`: a model as one file of ONNX or torch.export, for programs without this package.

In: a model; two batches of aligned faces. Out: a file that maps `before` and `after`, uint8 RGB faces (P,S,S,3) framed
as faces/framing.py says with S = `aligned_px`, to `changes`, float32 (P,T), one column per task. It holds the whole
estimator (models/estimator.py): the view, its size and colours, the networks, the heads, the mean with the reversed
pair and with the mirror images. Finding and aligning the face, the checks of a pair and the intervals are not part of
it. Before a file is written, it is run on random faces and compared with the estimator.

Legend: P pairs, S = H = W side length, D feature width, T tasks.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from comface.errors import DataError
from comface.faces.framing import square_of, view_of
from comface.faces.preprocessing import Preprocessing
from comface.models.estimator import Estimator
from comface.models.model import Model
from comface.networks.head import Head

INPUTS, OUTPUT = ("before", "after"), "changes"
TOLERANCE = 1e-4
"""Largest difference from the estimator, relative to the largest change or to 1."""
TRIED_PAIRS = 8


class View(nn.Module):
    """Preprocessing as a part of the network: uint8 faces (N,S,S,3) -> float32 (N,3,H,W)."""

    rows_H: Tensor
    columns_W: Tensor
    resizing_HS: Tensor
    mean_C11: Tensor
    std_C11: Tensor

    def __init__(self, how: Preprocessing, aligned_px: int) -> None:
        super().__init__()
        grid_1SS2: Any = np.stack(np.meshgrid(*2 * [np.arange(aligned_px)], indexing="ij"), axis=-1)[None]
        seen_HW2 = (view_of(grid_1SS2, how.view_share) if how.square is None else square_of(grid_1SS2, how.square))[0]
        self.colours, self.side_px, self.size_px = how.channels, len(seen_HW2), how.size_px
        values = {"rows_H": seen_HW2[:, 0, 0], "columns_W": seen_HW2[0, :, 1],
                  "resizing_HS": _resizing(self.side_px, how.size_px),
                  "mean_C11": np.array(how.mean, np.float32)[:, None, None],
                  "std_C11": np.array(how.std, np.float32)[:, None, None]}  # fmt: skip
        for name, value in values.items():
            self.register_buffer(name, torch.from_numpy(value.copy()))

    def forward(self, faces_NSSC: Tensor) -> Tensor:
        x_NCHW = faces_NSSC[:, self.rows_H][:, :, self.columns_W].permute(0, 3, 1, 2).float()
        x_NCHW = x_NCHW if self.colours == "RGB" else x_NCHW.flip(1)
        if self.side_px != self.size_px:  # OpenCV's result has whole numbers; it rounds a half up if the side is halved
            x_NCHW = self.resizing_HS @ x_NCHW @ self.resizing_HS.T
            halved = self.side_px == 2 * self.size_px
            x_NCHW = ((x_NCHW + 0.5).floor() if halved else x_NCHW.round()).clamp(0, 255)
        return (x_NCHW / 255 - self.mean_C11) / self.std_C11


def _resizing(before_px: int, after_px: int) -> NDArray[np.float32]:
    """The matrix (H,S) that resizes a column of pixels as framing.resized does."""
    import cv2

    how = cv2.INTER_AREA if after_px < before_px else cv2.INTER_CUBIC
    matrix_HS = cv2.resize(np.eye(before_px, dtype=np.float32), (before_px, after_px), interpolation=how)
    if how == cv2.INTER_CUBIC:
        matrix_HS = np.round(matrix_HS * 2048) / 2048  # OpenCV's weights have 11 bits
    return np.asarray(matrix_HS, np.float32)


class Changes(nn.Module):
    """The whole estimator. (P,S,S,3) uint8, (P,S,S,3) uint8 -> (P,T)."""

    def __init__(self, estimator: Estimator) -> None:
        super().__init__()
        self.mirrored = estimator.preprocessing.mirrored
        self.names = list(estimator.encoders)
        self.views = nn.ModuleList(
            View(encoder.preprocessing, estimator.preprocessing.aligned_px) for encoder in estimator.encoders.values()
        )
        self.networks = nn.ModuleList(encoder.network.eval() for encoder in estimator.encoders.values())
        self.heads = nn.ModuleList(_Head(head) for head in estimator.heads.values())
        self.encoder_of = [self.names.index(estimator.encoder_of[task]) for task in estimator.heads]

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        sides = (before, after, before.flip(2), after.flip(2)) if self.mirrored else (before, after)
        faces = torch.stack(sides).flatten(0, 1)
        features = [
            network(view(faces)).unflatten(0, (len(sides) // 2, 2, -1))
            for view, network in zip(self.views, self.networks, strict=True)
        ]
        changes = [head(features[number]) for head, number in zip(self.heads, self.encoder_of, strict=True)]
        return torch.stack(changes, dim=1).float()


class _Head(nn.Module):
    """networks/head.py, symmetrical, in float64 as there: (V,2,P,D) -> (P,), the mean over V views."""

    weight_D: Tensor

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.register_buffer("weight_D", torch.from_numpy(head.weight_D / head.scale_D))

    def forward(self, h_V2PD: Tensor) -> Tensor:
        """(d(x,y) - d(y,x)) / 2 = w (ReLU(z) - ReLU(-z)) / 2 = w z / 2 with z = h_y - h_x: the means of the features
        and the bias cancel, for an antisymmetric head too."""
        change_VP: Tensor = (h_V2PD[:, 1].double() - h_V2PD[:, 0].double()) @ self.weight_D / 2
        return change_VP.mean(dim=0)


def exported(model: Model, kind: str) -> bytes:
    """The file. `kind`: onnx, or torch (torch.export). Raises DataError if its changes differ from the estimator's by
    more than TOLERANCE."""
    network, S = Changes(model.estimator).eval(), model.estimator.preprocessing.aligned_px
    examples = tuple(torch.zeros(2, S, S, 3, dtype=torch.uint8) for _ in INPUTS)
    pairs = torch.export.Dim("pairs", min=1)
    shapes = {name: {0: pairs} for name in INPUTS}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.export.export(network, examples, dynamic_shapes=shapes)
        data = _onnx(program, model) if kind == "onnx" else _torch(program, model)
    _check(model.estimator, data, kind)
    return data


def described(model: Model) -> dict[str, str]:
    """What the file says of itself, as text: the model, its inputs, and each column of `changes`."""
    estimator = model.estimator
    columns = [
        {"task": task, "unit": record.unit, "rehearsal": record.rehearsal}
        for task, record in ((task, estimator.record[task]) for task in estimator.heads)
    ]
    px = estimator.preprocessing.aligned_px
    return {
        "comface_model": f"{model.reference}, sha256 of its manifest {model.artifact.sha256}",
        "inputs": f"before, after: uint8 RGB faces (P,{px},{px},3), aligned as comface/faces/framing.py",
        "changes": json.dumps(columns, ensure_ascii=False),
        "card": model.card,
    }


def _onnx(program: torch.export.ExportedProgram, model: Model) -> bytes:
    import onnx

    made = torch.onnx.export(program, (), input_names=INPUTS, output_names=[OUTPUT], dynamo=True, verbose=False)
    assert made is not None  # it is only without dynamo
    proto = made.model_proto
    onnx.helper.set_model_props(proto, described(model))
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


def _torch(program: torch.export.ExportedProgram, model: Model) -> bytes:
    file = io.BytesIO()
    torch.export.save(program, file, extra_files=described(model))
    return file.getvalue()


def run_exported(data: bytes, kind: str, before_PSS3: NDArray[np.uint8], after_PSS3: NDArray[np.uint8]) -> Any:
    """The changes (P,T) by an exported file, with onnxruntime or torch alone."""
    if kind == "torch":
        program = torch.export.load(io.BytesIO(data)).module()
        return program(torch.from_numpy(before_PSS3), torch.from_numpy(after_PSS3)).detach().numpy()
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run([OUTPUT], dict(zip(INPUTS, (before_PSS3, after_PSS3), strict=True)))[0]


def _check(estimator: Estimator, data: bytes, kind: str) -> None:
    if kind == "onnx" and find_spec("onnxruntime") is None:
        return
    before_PSS3, after_PSS3 = np.random.default_rng(0).integers(
        0, 256, (2, TRIED_PAIRS, *2 * [estimator.preprocessing.aligned_px], 3), np.uint8
    )
    wanted_PT = np.array(
        [list(estimator.changes(*pair).values()) for pair in zip(before_PSS3, after_PSS3, strict=True)]
    )
    apart = np.abs(run_exported(data, kind, before_PSS3, after_PSS3) - wanted_PT).max() / max(
        1, np.abs(wanted_PT).max()
    )
    if not apart <= TOLERANCE:
        raise DataError(
            f"The {kind} file of the model at {estimator.uri} estimates other changes than the model (relative "
            f"difference {apart:.1e}, at most {TOLERANCE:.0e}), so it was not written; report it."
        )
