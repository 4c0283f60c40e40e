"""What a worker process does: load the model, look at photos, compare them.

In: jobs from the server process (workers.py). Out: plain values. A worker cannot write files: the kernel refuses it
(RLIMIT_FSIZE), so no photo can reach the disk from here, by whichever library.

Legend: S side length of an aligned face, H, W sides of a photo.
"""

from __future__ import annotations

import base64
import io
import os
import resource
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from comface.errors import ComfaceError
from comface.serve.limits import Refusal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from comface.models.photo import Prepared

SPARE_BYTES = 3 << 30
"""Address space that a job may use beyond what the loaded model uses."""
WARM_PX = 64
SHOWN_PX = 320
"""Side length in pixels of the aligned face on the page."""


@dataclass(frozen=True)
class Recipe:
    """How a worker loads the model: the same version whenever it is started. `reference`: what answers call it."""

    uri: str
    reference: str
    threads: int
    pixels: int


@dataclass(frozen=True)
class Look:
    """One photo, as the comparison needs it. `pictures`: the aligned face and its saliency map as data URLs, if asked
    for."""

    photo: Prepared
    pictures: dict[str, str] | None


def work(connection: Connection, recipe: Recipe) -> None:
    """Answer jobs until the server process closes the connection or ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a terminal sends them to all processes
        signal.signal(number, signal.SIG_IGN)
    engine: list[Engine] = []

    def loaded() -> dict[str, Any]:
        engine.append(Engine(recipe))
        return engine[0].facts()

    try:
        connection.send(_answer(loaded))
        while engine:
            name, arguments = connection.recv()
            connection.send(_answer(getattr(engine[0], name), *arguments))
    except (EOFError, OSError):
        os._exit(0)  # without the exit handlers of libraries


def _answer(function: Callable[..., Any], *arguments: Any) -> tuple[str, Any]:
    """What `Worker.ask` reads. An unexpected error is answered too; its text may quote the photo, so it stays here."""
    try:
        return "result", function(*arguments)
    except Refusal as refusal:
        return "refusal", (refusal.status, refusal.reason, refusal.sentence)
    except ComfaceError as error:
        return "error", (error.exit_code, str(error), str(getattr(error, "reason", "")))
    except MemoryError:
        return "refusal", (413, "too_much_memory", "A photo needs too much memory to be read; save it smaller.")
    except Exception as error:
        sentence = f"This is a defect of comface: {type(error).__name__} in a worker; please report it."
        return "error", (ComfaceError.exit_code, sentence, "")


class Engine:
    def __init__(self, recipe: Recipe) -> None:
        import cv2
        import torch

        from comface.artifacts.manifest import open_artifact
        from comface.models.estimator import load_estimator

        torch.set_num_threads(recipe.threads)
        cv2.setNumThreads(recipe.threads)  # else one per core of the node, in each worker
        self.recipe, self.artifact = recipe, open_artifact(recipe.uri, "model")
        self.estimator = load_estimator(self.artifact)
        self._warm_up()
        _confine()

    def facts(self) -> dict[str, Any]:
        """What GET /v1/model answers."""
        from comface.models.format import read_card

        tasks = {name: task.model_dump(mode="json") for name, task in self.estimator.record.items()}
        return {
            "reference": self.recipe.reference,
            "sha256": self.artifact.sha256,
            "rehearsal": any(task["rehearsal"] for task in tasks.values()),
            "tasks": tasks,
            "card": read_card(self.artifact),
            "inputs": {name: each.sha256 for name, each in self.artifact.manifest.inputs.items()},
        }

    def look(self, data: bytes, role: str, pictures: bool) -> Look:
        """Read a photo, find its face, measure it, compute its features."""
        from comface.faces.photos import TooManyPixels, is_picture, pixels_of
        from comface.models.photo import prepared

        if not is_picture(data[:16]):
            sentence = f"Photo {role} is not an image that can be read; send JPEG, PNG, WEBP, HEIC, AVIF or TIFF."
            raise Refusal(415, "not_an_image", sentence)
        limit = f"{self.recipe.pixels / 1e6:.0f} megapixels"
        too_large = Refusal(413, "too_many_pixels", f"Photo {role} has more than {limit}, the limit; save it smaller.")
        try:
            if pixels_of(bytes(data), f"Photo {role}") > self.recipe.pixels:
                raise too_large
        except TooManyPixels:
            raise too_large from None
        photo = prepared(self.estimator, bytes(data), role)
        shown = self._pictures(photo) if pictures else None
        return Look(replace(photo, image_HW3=photo.image_HW3[:1, :1].copy()), shown)  # its pixels are not needed again

    def compare(self, looks: Sequence[Look], everything: bool) -> dict[str, Any]:
        """The changes from the first photo to the last; with more than two photos also the time line, as
        models/time_line.py has it, with numbers in place of paths."""
        photos = [look.photo for look in looks]
        found = self._compared(photos[0], photos[-1], everything)
        if len(photos) > 2:
            found["time_line"] = [
                {"photo": number, "from_first": self._step(photos[0], photo, everything),
                 "from_previous": self._step(photos[number - 2], photo, everything)}
                for number, photo in enumerate(photos[1:], start=2)
            ]  # fmt: skip
        if all(look.pictures for look in looks):
            found["photos"] = [look.pictures for look in looks]
        return found

    def _compared(self, before: Prepared, after: Prepared, everything: bool) -> dict[str, Any]:
        from comface.models.compare import compared

        return compared(self.estimator, before, after, self.recipe.reference, everything).to_dict()

    def _step(self, before: Prepared, after: Prepared, everything: bool) -> dict[str, Any]:
        return {key: value for key, value in self._compared(before, after, everything).items() if key != "model"}

    def _pictures(self, photo: Prepared) -> dict[str, str]:
        from PIL import Image

        from comface.faces.detection import align
        from comface.methods.saliency import saliency_of_face

        sides = (self.estimator.preprocessing.aligned_px, SHOWN_PX)
        aligned_SS3, shown_SS3 = (align(photo.image_HW3, photo.face.points_52, side) for side in sides)
        encoder = next(iter(self.estimator.encoders.values()))
        map_SS = saliency_of_face(encoder, aligned_SS3, self.recipe.reference).on_image(SHOWN_PX, SHOWN_PX)
        return {
            "face": _data_url(Image.fromarray(shown_SS3), "JPEG"),
            "saliency": _data_url(_overlay(shown_SS3, map_SS), "PNG"),
        }

    def _warm_up(self) -> None:
        """Load what is loaded at first use: the face detector, the recognition network, the kernels of torch."""
        import numpy as np

        from comface.faces import detection, identity

        noise_HW3 = np.random.default_rng(0).integers(0, 256, (WARM_PX, WARM_PX, 3), dtype=np.uint8)
        detection.faces_in(noise_HW3)
        side = self.estimator.preprocessing.aligned_px
        self.estimator.features(np.resize(noise_HW3, (side, side, 3)))
        if identity.at_hand():
            points = np.array([[50.0, 24], [40, 24], [14, 24], [24, 24], [32, 44]])
            identity.descriptor(noise_HW3, detection.Face(points, (8, 8, 56, 56), 1.0))


def _confine() -> None:
    """From now on this process can write no file, and uses at most SPARE_BYTES more address space."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with open("/proc/self/statm", "rb") as file:
        used_bytes = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used_bytes + SPARE_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would contain photos


def _overlay(face_SS3: NDArray[np.uint8], map_SS: NDArray[np.floating[Any]]) -> Any:
    """The grey face under the map, as methods/saliency_picture.py draws it (the serving image has no matplotlib)."""
    import cv2
    import numpy as np
    from PIL import Image

    from comface.methods.saliency import COLOURS, opacity

    levels_SS = (255 * np.nan_to_num(map_SS)).round().astype(np.uint8)
    colours_SS3 = cv2.applyColorMap(levels_SS, getattr(cv2, f"COLORMAP_{COLOURS.upper()}"))[..., ::-1]
    grey_SS = face_SS3.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    share_SS1 = opacity(map_SS)[..., None]
    mixed_SS3 = share_SS1 * colours_SS3 + (1 - share_SS1) * grey_SS[..., None]
    return Image.fromarray(mixed_SS3.clip(0, 255).astype(np.uint8))


def _data_url(image: Any, kind: str) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
