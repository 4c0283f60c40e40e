"""Known damage to a photo of a face: boxes, glasses, masks, hands and textures over a part; crops; darkness; blur; the
head turned by a model of its shape.

In: a photo (H,W,3) and where its face is. Out: the damaged photo.

Legend: H, W sides of a photo; places in a face are in distances between the eyes from their midpoint, y to the chin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from comface.faces.detection import Face, eye_centres

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """Where the face is in a photo."""

    middle_2: NDArray[np.float64]
    across_2: NDArray[np.float64]
    down_2: NDArray[np.float64]

    @classmethod
    def of(cls, face: Face) -> Frame:
        left_2, right_2 = eye_centres(face.points_52)
        across_2 = right_2 - left_2
        return cls((left_2 + right_2) / 2, across_2, np.array([-across_2[1], across_2[0]]))

    @property
    def unit(self) -> float:
        return float(np.linalg.norm(self.across_2))

    def at(self, x: float, y: float) -> tuple[int, int]:
        found = self.middle_2 + x * self.across_2 + y * self.down_2
        return int(found[0]), int(found[1])


Damage = Callable[[Pixels, Frame], Pixels]


def painted(image_HW3: Pixels, shape_HW: NDArray[np.float32], colour: NDArray[np.float64]) -> Pixels:
    soft_HW1 = cv2.GaussianBlur(shape_HW, (0, 0), 0.8)[..., None]
    return np.clip(image_HW3 * (1 - soft_HW1) + colour * soft_HW1, 0, 255).astype(np.uint8)


def area(image_HW3: Pixels, frame: Frame, points: Iterable[tuple[float, float]]) -> NDArray[np.float32]:
    shape_HW = np.zeros(image_HW3.shape[:2], np.float32)
    cv2.fillPoly(shape_HW, [np.array([frame.at(*point) for point in points], np.int32)], 1)
    return shape_HW


def box(x0: float, y0: float, x1: float, y1: float, colour: tuple[int, int, int] | None) -> Damage:
    """A box of one colour; None: of random colours."""

    def damage(image_HW3: Pixels, frame: Frame) -> Pixels:
        fill = np.array(colour or (0, 0, 0), np.float64)
        if colour is None:
            cells = [max(2, int(side / (0.12 * frame.unit))) for side in image_HW3.shape[1::-1]]
            noise = np.random.default_rng(0).uniform(0, 255, (cells[1], cells[0], 3)).astype(np.float32)
            fill = cv2.resize(noise, image_HW3.shape[1::-1]).astype(np.float64)
        return painted(image_HW3, area(image_HW3, frame, [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]), fill)

    return damage


def mask(colour: tuple[int, int, int]) -> Damage:
    points = [(-0.95, 0.5), (0, 0.35), (0.95, 0.5), (0.85, 1.3), (0.35, 1.85), (-0.35, 1.85), (-0.85, 1.3)]
    return lambda image_HW3, frame: painted(image_HW3, area(image_HW3, frame, points), np.array(colour, np.float64))


def glasses(image_HW3: Pixels, frame: Frame) -> Pixels:
    shape_HW = np.zeros(image_HW3.shape[:2], np.float32)
    for x in (-0.5, 0.5):
        cv2.ellipse(shape_HW, (frame.at(x, 0.06), (0.8 * frame.unit, 0.6 * frame.unit), 0), 1, -1)
    return painted(image_HW3, shape_HW, np.array([18.0, 18, 22]))


def hand(x: float, y: float, degrees: float, fingers: int, size: float) -> Damage:
    """A hand in the colour of the cheek, its fingers at (x, y) pointing in a direction."""
    along = np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])
    across = np.array([-along[1], along[0]])

    def damage(image_HW3: Pixels, frame: Frame) -> Pixels:
        (cx, cy), reach = frame.at(0.55, 0.55), int(0.15 * frame.unit) + 1
        cheek = image_HW3[max(0, cy - reach) : cy + reach, max(0, cx - reach) : cx + reach]
        colour, size_2 = cheek.reshape(-1, 3).mean(0), image_HW3.shape[:2]
        palm_HW, start = np.zeros(size_2, np.float32), np.array([x, y])
        axes = (1.1 * size * frame.unit, 0.3 * fingers * size * frame.unit)
        cv2.ellipse(palm_HW, (frame.at(*(start - 0.45 * size * along)), axes, degrees), 1, -1)
        image_HW3 = painted(image_HW3, palm_HW, colour * 0.95)
        for i in range(fingers):
            beside = across * (i - (fingers - 1) / 2) * 0.28 * size
            ends = [frame.at(*(start + beside + along * far * size)) for far in (-0.2, 0.8)]
            finger_HW = np.zeros(size_2, np.float32)
            cv2.line(finger_HW, *ends, 1, max(2, int(0.25 * size * frame.unit)))
            round_HW1 = cv2.GaussianBlur(finger_HW, (0, 0), 0.07 * frame.unit)[..., None]
            image_HW3 = painted(image_HW3, finger_HW, colour * (0.55 + 0.5 * round_HW1))
        return image_HW3

    return damage


def cut(side: str, at: float) -> Damage:
    """Only one side of a line is left."""

    def damage(image_HW3: Pixels, frame: Frame) -> Pixels:
        x, y = (max(1, value) for value in frame.at(*((at, 0) if side in ("left", "right") else (0, at))))
        kept = {"left": image_HW3[:, x:], "right": image_HW3[:, :x], "top": image_HW3[y:], "bottom": image_HW3[:y]}
        return kept[side]

    return damage


def darkened(share: float, noise: float) -> Damage:
    def damage(image_HW3: Pixels, frame: Frame) -> Pixels:
        noise_HW3 = np.random.default_rng(0).normal(0, noise, image_HW3.shape)
        return np.clip(image_HW3 * share + noise_HW3, 0, 255).astype(np.uint8)

    return damage


def blurred(sigma: float) -> Damage:
    return lambda image_HW3, frame: cv2.GaussianBlur(image_HW3, (0, 0), sigma * frame.unit)  # type: ignore[return-value]


def shaken(length: float, degrees: float) -> Damage:
    def damage(image_HW3: Pixels, frame: Frame) -> Pixels:
        side = max(3, int(length * frame.unit) | 1)
        kernel, middle = np.zeros((side, side), np.float32), side // 2
        turn = np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))]) * middle
        ends = [tuple(int(value) for value in np.rint(middle + sign * turn)) for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1, 1)
        return cv2.filter2D(image_HW3, -1, kernel / kernel.sum())  # type: ignore[return-value]

    return damage


def turned(degrees: float) -> Damage:
    """The head turned to the side: its depth is an ellipsoid with a nose."""
    side, turn = 241, np.deg2rad(degrees)
    x_S, y_S = np.linspace(-2.2, 2.2, side), np.linspace(-2, 2.6, side)
    x_SS, y_SS = np.meshgrid(x_S, y_S)
    depth_SS = 1.35 * np.sqrt(np.clip(1 - (x_SS / 1.35) ** 2 - ((y_SS - 0.35) / 1.9) ** 2, 0, 1)) - 1.2
    depth_SS = np.maximum(depth_SS + 0.38 * np.exp(-((x_SS / 0.22) ** 2 + ((y_SS - 0.62) / 0.3) ** 2)), -1.2)
    moved_SS = np.maximum.accumulate(x_SS * np.cos(turn) + depth_SS * np.sin(turn), axis=1)
    source_SS = np.stack([np.interp(x_S, row_S + np.arange(side) * 1e-6, x_S) for row_S in moved_SS])

    def damage(image_HW3: Pixels, frame: Frame) -> Pixels:
        height, width = image_HW3.shape[:2]
        y_HW, x_HW = np.mgrid[0:height, 0:width].astype(np.float32)
        away_HW2 = np.stack([x_HW, y_HW], -1) - frame.middle_2
        u_HW = away_HW2 @ frame.across_2 / frame.unit**2
        v_HW = away_HW2 @ frame.down_2 / frame.unit**2
        at = [((u_HW + 2.2) / 4.4 * (side - 1)), ((v_HW + 2) / 4.6 * (side - 1))]
        x, y = (each.astype(np.float32) for each in at)
        from_HW = cv2.remap(source_SS.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        from_HW = np.where(np.abs(u_HW) < 2.2, from_HW, u_HW)
        place_HW2 = frame.middle_2 + from_HW[..., None] * frame.across_2 + v_HW[..., None] * frame.down_2
        x, y = (place_HW2[..., i].astype(np.float32) for i in (0, 1))
        return cv2.remap(image_HW3, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)  # type: ignore[return-value]

    return damage


DAMAGES: dict[str, dict[str, Damage]] = {
    "occluded": {
        "box over the eyes": box(-1, -0.35, 1, 0.35, (0, 0, 0)),
        "box over the mouth": box(-0.75, 0.72, 0.75, 1.5, (120, 120, 120)),
        "box over one eye": box(0.1, -0.4, 1, 0.4, (230, 230, 230)),
        "left half": box(-1.4, -1.2, 0, 2, (40, 60, 90)),
        "right half": box(0, -1.2, 1.4, 2, (200, 200, 190)),
        "texture over the mouth": box(-0.9, 0.6, 0.9, 1.9, None),
        "blue mask": mask((150, 190, 215)),
        "black mask": mask((25, 25, 28)),
        "dark glasses": glasses,
        "hand over the mouth": hand(0.45, 1.1, 180, 4, 1.1),
        "hand over one half": hand(0.55, 0.9, -96, 4, 1.3),
        "hand over the face": hand(0, 0.75, -90, 5, 1.5),
    },
    "turned": {"30° to the left": turned(-30), "40° to the right": turned(40)},
    "cropped": {
        "left half": cut("left", 0),
        "right half": cut("right", 0),
        "left quarter cut": cut("left", -0.45),
        "below the nose cut": cut("bottom", 0.95),
        "above the eyes cut": cut("top", -0.1),
    },
    "dark": {"5 % of the light": darkened(0.05, 1), "10 % of the light": darkened(0.1, 2), "20 %": darkened(0.2, 3)},
    "blurred": {"σ 0.06": blurred(0.06), "σ 0.1": blurred(0.1), "σ 0.15": blurred(0.15), "shaken 0.4": shaken(0.4, 30)},
    "overexposed": {"2 times the light": darkened(2.0, 0)},
}
