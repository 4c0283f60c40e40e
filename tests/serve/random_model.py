"""Models of random weights in the package's format, and a pair of photos: for tests and measurements of the service."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np

PHOTO = Path(__file__).parents[1] / "data" / "astronaut.jpg"
RANDOM = {"narrow-random": ("narrow", 48, 128), "resnet18": ("resnet18", 224, 224), "resnet50": ("resnet50", 224, 224)}
"""Name → backbone, input size in pixels, size of the aligned face."""
CARD = "# Model card: random\n\nRandom weights, for measurements. Its estimates mean nothing.\n"


def write_random_model(folder: Path, name: str) -> str:
    """Publish a `model` artifact with random weights in a new store; returns its URI."""
    import safetensors.numpy
    import safetensors.torch
    import torch

    from comface.artifacts.manifest import Draft
    from comface.faces.framing import FRAMING
    from comface.faces.preprocessing import TO_UNIT_RANGE
    from comface.networks.backbones import build_backbone
    from comface.store import FileStore

    backbone, size_px, aligned_px = RANDOM[name]
    torch.manual_seed(0)
    network, width = build_backbone(backbone, size_px)
    rng = np.random.default_rng(0)
    draft = Draft(FileStore(folder), "model", {"random": name}, {}, {})
    state = {f"backbone.{key}": value.contiguous() for key, value in network.state_dict().items()}
    draft.write("model.safetensors", safetensors.torch.save(state))
    tasks = {}
    for task, unit in (("smile", "smile score (logit)"), ("edema-a", "kg"), ("age", "years")):
        head = {
            "mean": np.zeros(width, np.float32), "scale": np.ones(width, np.float32),
            "weight": rng.normal(size=width, scale=0.1).astype(np.float32), "bias": np.zeros(1, np.float32),
            "antisymmetric": np.zeros(1, np.uint8),
        }  # fmt: skip
        draft.write(f"heads/{task}.safetensors", safetensors.numpy.save(head))
        tasks[task] = {
            "unit": unit, "dataset": "none", "rehearsal": True, "corr": 0.5, "mae": 1.0, "subjects": 40, "pairs": 400,
            "coverage": 0.9, "interval": {"constant": 0.05 if task == "smile" else 2.0},
        }  # fmt: skip
    draft.write_json("heads.json", tasks)
    draft.write_json(
        "preprocessing.json",
        {"size_px": size_px, "view_share": 0.75, "square": None, "channels": "RGB", "mean": list(TO_UNIT_RANGE),
         "std": list(TO_UNIT_RANGE), "framing": FRAMING, "aligned_px": aligned_px, "mirrored": True},
    )  # fmt: skip
    draft.write_json("config.json", {"pretrain": {"backbone": backbone}, "register": {}})
    draft.write("card.md", CARD.encode())
    return draft.publish({"name": name, "tasks": tasks, "metrics": []}).uri


@functools.cache
def two_photos() -> tuple[bytes, bytes]:
    """Two photos of one person: the astronaut, and the same darker, smaller and turned by three degrees."""
    from PIL import Image, ImageEnhance

    after = Image.open(PHOTO).convert("RGB").rotate(3, Image.Resampling.BICUBIC).resize((180, 180))
    buffer = io.BytesIO()
    ImageEnhance.Brightness(after).enhance(0.85).save(buffer, "JPEG", quality=90)
    return PHOTO.read_bytes(), buffer.getvalue()
