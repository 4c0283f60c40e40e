"""Fit the network that sees which parts of a face are covered (components/comface/faces/visible.py).

Renders faces with the generator `dcgan`, varies them along its directions, keeps those that the detector is sure of,
and covers a part of 60 % of them with drawn boxes, ellipses, masks, glasses, half planes, hands and blobs, filled with
colours, textures or the face's own skin. No photo of a person takes part. On the faces that are held back it prints the
area under the ROC curve per part (covered by more than half or not).

    python benchmarks/visible.py --output components/comface/faces/visible.safetensors

Legend: N faces, S side length, R regions, D features; u is the distance between the eyes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import nn

from comface.faces import detection
from comface.faces.framing import EYE_DISTANCE_PX, EYES_MIDPOINT_PX, FACE_SHARE, view_of
from comface.faces.visible import FRAME_PX, MIRRORED, PARTS, VIEW_PX, described
from comface.generators.registry import load_generator

DRAW_PX = 96
SURE = 0.3
GLASSES = 3
KINDS = (0, 1, 2, GLASSES, GLASSES, 4, 5)
"""Shapes other than hands. Dark glasses are the hardest: eyes are dark, too."""
VARIED = ("smile", "age", "glasses", "male", "surprise", "fringe")
ELLIPSES = (((-0.5, 0), (0.32, 0.2)), ((0.5, 0), (0.32, 0.2)), ((0, 0.6), (0.25, 0.3)), ((0, 1.08), (0.5, 0.25)))
"""Centre and half axes of each part in u, from the midpoint of the eyes, in the order of PARTS."""
Image = NDArray[np.float32]
Rng = np.random.Generator


def rendered(count: int, rng: Rng) -> NDArray[np.uint8]:
    generator, kept = load_generator("dcgan"), []
    for first in range(100_000, 100_000 + count, 100):
        w = generator.latents(range(first, first + 100))
        for name in VARIED:
            alpha = torch.from_numpy(rng.normal(0, 1.2, (100, *(1,) * (w.ndim - 1))).astype(np.float32))
            w = w + alpha * generator.direction(name)
        with torch.inference_mode():
            x_NHWC = (generator.render(w).permute(0, 2, 3, 1) + 1) * 127.5
        for image in x_NHWC.clamp(0, 255).byte().numpy():
            found = detection.faces_in(image)
            if len(found) == 1 and found[0].confidence > SURE:
                kept.append(detection.align(image, found[0].points_52, FRAME_PX))
    return np.stack(kept)


def texture(rng: Rng) -> Image:
    """A plain colour, noise of some scale, or noise with stripes."""
    colour, kind = rng.integers(0, 256, 3).astype(np.float32), rng.integers(0, 5)
    if kind == 0:
        return np.broadcast_to(colour, (DRAW_PX, DRAW_PX, 3))
    side = max(2, DRAW_PX // 2 ** rng.integers(0, 5))
    noise = cv2.resize(rng.normal(0, 1, (side, side, 3)).astype(np.float32), (DRAW_PX, DRAW_PX))
    if rng.random() < 0.6:
        noise = np.repeat(noise[..., :1], 3, axis=2)
    filled = colour + rng.uniform(5, 70) * noise
    if kind >= 3:
        y, x = np.mgrid[0:DRAW_PX, 0:DRAW_PX]
        angle, frequency = rng.uniform(0, np.pi), rng.uniform(0.05, 0.8)
        wave = np.sin(frequency * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform(0, 6))
        filled = filled + rng.uniform(5, 50) * wave[..., None]
    return filled.astype(np.float32)


def skin(face: Image, rng: Rng) -> Image:
    """The colour of the cheeks and the nose, brighter or darker, with a gradient."""
    low, high = int(0.55 * DRAW_PX), int(0.72 * DRAW_PX)
    colour = face[low:high, int(0.36 * DRAW_PX) : int(0.64 * DRAW_PX)].mean((0, 1))
    colour = colour * rng.uniform(0.65, 1.25) + rng.normal(0, 8, 3)
    y, x = np.mgrid[0:DRAW_PX, 0:DRAW_PX] / DRAW_PX - 0.5
    angle = rng.uniform(0, 2 * np.pi)
    slope = rng.uniform(-0.5, 0.5) * (x * np.cos(angle) + y * np.sin(angle))
    return (colour * (1 + slope[..., None])).astype(np.float32)


def hand(u: float, rng: Rng, centre: NDArray[np.float64]) -> tuple[Image, Image]:
    """A hand's shape, and the shade of its fingers."""
    shape, shade = np.zeros((DRAW_PX, DRAW_PX), np.float32), np.ones((DRAW_PX, DRAW_PX), np.float32)
    angle, size, fingers = rng.uniform(0, 2 * np.pi), rng.uniform(0.6, 1.5) * u, int(rng.integers(2, 6))
    along = np.array([np.cos(angle), np.sin(angle)])
    across, width = np.array([-along[1], along[0]]), size * rng.uniform(0.16, 0.26)
    for i in range(fingers):
        start = centre + across * (i - (fingers - 1) / 2) * width * rng.uniform(1.0, 1.35)
        end = start + along * size * rng.uniform(0.8, 1.4)
        finger = np.zeros_like(shape)
        cv2.line(finger, _point(start), _point(end), 1, max(2, int(width)))
        soft = cv2.GaussianBlur(finger, (0, 0), max(0.6, width * 0.22))
        shade = np.where(finger > 0, 0.55 + 0.5 * soft, shade)
        shape = np.maximum(shape, finger)
    if rng.random() < 0.7:
        palm = _point(centre - along * size * 0.3)
        axes = (size * 1.3, fingers * width * 1.3)
        cv2.ellipse(shape, (palm, axes, float(np.degrees(angle))), 1, -1)
    return shape, shade


def drawn(u: float, eyes: NDArray[np.float64], rng: Rng, kind: int) -> Image:
    """A shape other than a hand, 1 inside."""
    shape = np.zeros((DRAW_PX, DRAW_PX), np.float32)
    centre = eyes + np.array([rng.uniform(-1, 1), rng.uniform(-0.4, 1.6)]) * u
    size = (rng.uniform(0.5, 2.5) * u, rng.uniform(0.4, 2) * u)
    if kind == 0:
        box = cv2.boxPoints((_point(centre), size, rng.uniform(-30, 30)))
        cv2.fillPoly(shape, [box.astype(np.int32)], 1)
    elif kind == 1:
        cv2.ellipse(shape, (_point(centre), size, rng.uniform(0, 180)), 1, -1)
    elif kind == 2:  # a mask
        top, wide, low = rng.uniform(0.3, 0.9), rng.uniform(0.8, 1.25), rng.uniform(1.6, 2.2)
        side = [(wide, top + 0.05), (wide * 0.95, 1.2), (0.45, low)]
        points = [(0, top - rng.uniform(0, 0.25)), *side, *((-x, y) for x, y in reversed(side))]
        cv2.fillPoly(shape, [(eyes + np.array(points) * u).astype(np.int32)], 1)
    elif kind == GLASSES:
        axes, drop = (rng.uniform(0.6, 0.95) * u, rng.uniform(0.45, 0.75) * u), rng.uniform(-0.02, 0.1)
        for sign in (-1, 1):
            cv2.ellipse(shape, (_point(eyes + np.array([sign * 0.5, drop]) * u), axes, 0), 1, -1)
        bar = [_point(eyes + np.array([x, drop - rng.uniform(0, 0.15)]) * u) for x in (-1, 1)]
        cv2.line(shape, *bar, 1, max(1, int(rng.uniform(0.05, 0.15) * u)))
    elif kind == 4:  # everything on one side of a line
        y, x = np.mgrid[0:DRAW_PX, 0:DRAW_PX]
        angle = rng.uniform(0, 2 * np.pi)
        beyond = (x - eyes[0]) * np.cos(angle) + (y - eyes[1] - 0.5 * u) * np.sin(angle)
        shape = (beyond > rng.uniform(-0.2, 0.7) * u).astype(np.float32)
    else:
        noise = cv2.GaussianBlur(rng.normal(0, 1, shape.shape).astype(np.float32), (0, 0), 0.45 * u)
        shape = (noise > np.quantile(noise, rng.uniform(0.5, 0.85))).astype(np.float32)
    return shape


def cover(face: Image, rng: Rng) -> tuple[Image, Image]:
    u = EYE_DISTANCE_PX / FRAME_PX * DRAW_PX
    eyes = np.array(EYES_MIDPOINT_PX) / FRAME_PX * DRAW_PX
    if rng.random() < 1 / 3:
        shape, shade = hand(u, rng, eyes + np.array([rng.uniform(-1.2, 1.2), rng.uniform(-0.2, 2)]) * u)
        fill = (skin(face, rng) if rng.random() < 0.85 else texture(rng)) * shade[..., None]
    else:
        kind = int(rng.choice(KINDS))
        shape, fill = drawn(u, eyes, rng, kind), skin(face, rng) if rng.random() < 0.35 else texture(rng)
        if kind == GLASSES and rng.random() < 0.85:
            brighter = np.linspace(0, rng.uniform(0, 60), DRAW_PX)[:, None, None]
            fill = (rng.integers(0, 70, 3) + brighter).astype(np.float32)
    soft = cv2.GaussianBlur(shape, (0, 0), rng.uniform(0.4, 1.2))[..., None]
    return face * (1 - soft) + fill * soft, shape


def photographed(face: Image, shape: Image, rng: Rng) -> tuple[NDArray[np.uint8], Image]:
    """Errors of the landmarks, light, noise and blur."""
    half = DRAW_PX / 2
    turn = cv2.getRotationMatrix2D((half, half), rng.normal(0, 5), np.exp(rng.normal(0, 0.07)))
    turn[:, 2] += rng.normal(0, 0.03 * DRAW_PX, 2)
    moved = [
        cv2.resize(
            cv2.warpAffine(each, turn, (DRAW_PX, DRAW_PX), borderMode=cv2.BORDER_REFLECT_101),
            (FRAME_PX, FRAME_PX),
            interpolation=cv2.INTER_AREA,
        )
        for each in (face, shape)
    ]
    face = np.clip(moved[0], 0, 255)
    if rng.random() < 0.3:
        face = np.repeat(face.mean(2, keepdims=True), 3, 2) if rng.random() < 0.5 else face * rng.uniform(0.7, 1.3, 3)
    face = 255 * np.clip(face / 255, 0, 1) ** np.exp(rng.normal(0, 0.35)) * rng.uniform(0.6, 1.15) + rng.normal(0, 12)
    if rng.random() < 0.4:
        face = face + rng.normal(0, rng.uniform(0, 6), face.shape)
    if rng.random() < 0.2:
        face = cv2.GaussianBlur(face, (0, 0), rng.uniform(0.3, 0.9))
    return np.clip(face, 0, 255).astype(np.uint8), moved[1]


def sample(faces_NSS3: NDArray[np.uint8], rng: Rng) -> tuple[NDArray[np.uint8], Image]:
    face = faces_NSS3[rng.integers(len(faces_NSS3))]
    face = cv2.resize(face[:, :: rng.choice((-1, 1))], (DRAW_PX, DRAW_PX), interpolation=cv2.INTER_CUBIC)
    face = face.astype(np.float32)
    if rng.random() < 0.5:  # photos are sharper than the generator
        face = face + rng.uniform(0.3, 1.5) * (face - cv2.GaussianBlur(face, (0, 0), 1.2))
    if rng.random() < 0.4:  # light from one side
        y, x = np.mgrid[0:DRAW_PX, 0:DRAW_PX] - DRAW_PX / 2
        angle = rng.uniform(0, 2 * np.pi)
        away = (x * np.cos(angle) + y * np.sin(angle) + rng.uniform(-15, 15)) / rng.uniform(2, 25)
        face = face * (1 - rng.uniform(0.1, 0.7) / (1 + np.exp(-away[..., None]))).astype(np.float32)
    shape = np.zeros((DRAW_PX, DRAW_PX), np.float32)
    if rng.random() < 0.6:
        face, shape = cover(face, rng)
    return photographed(face, shape, rng)


def examples(faces_NSS3: NDArray[np.uint8], count: int, rng: Rng) -> tuple[Image, Image]:
    """Features (2N,D) of N faces and their mirror images, and the covered share of every part (2N,R)."""
    eyes_x, eyes_y = VIEW_PX / 2, EYES_MIDPOINT_PX[1] - 14
    y, x = np.mgrid[0:VIEW_PX, 0:VIEW_PX] + 0.5
    x, y = (x - eyes_x) / EYE_DISTANCE_PX, (y - eyes_y) / EYE_DISTANCE_PX
    parts = [((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 <= 1 for (cx, cy), (a, b) in ELLIPSES]
    drawn_N = [sample(faces_NSS3, rng) for _ in range(count)]
    faces = view_of(np.stack([face for face, _ in drawn_N]), FACE_SHARE)
    shapes = view_of(np.stack([shape for _, shape in drawn_N]), FACE_SHARE)  # type: ignore[arg-type]
    share_NR = np.stack([shapes[:, part].mean(1) for part in parts], 1)
    faces = np.concatenate([faces, faces[:, :, ::-1]])
    h_ND = np.concatenate([described(faces[i : i + 500]) for i in range(0, len(faces), 500)])
    return h_ND, np.concatenate([share_NR, share_NR[:, MIRRORED]]).astype(np.float32)


def fitted(h_ND: Image, share_NR: Image, epochs: int) -> dict[str, Image]:
    mean_D, scale = h_ND.mean(0), np.float32(h_ND.std())
    x_ND, y_NR = torch.from_numpy((h_ND - mean_D) / scale), torch.from_numpy(share_NR)
    width, dropped = h_ND.shape[1], nn.Dropout(0.3)
    layers = [nn.Linear(width, 64), nn.Linear(64, 32), nn.Linear(32, len(PARTS))]
    network = nn.Sequential(layers[0], nn.ReLU(), dropped, layers[1], nn.ReLU(), layers[2])
    steps = epochs * len(x_ND) // 128
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, steps)
    for _ in range(steps):
        of = torch.randint(0, len(x_ND), (128,))
        seen = network(x_ND[of] + 0.15 * torch.randn(128, width))
        optimiser.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(seen, y_NR[of]).backward()
        optimiser.step()
        schedule.step()
    named = {"mean": mean_D, "scale": np.array([scale])}
    for number, layer in enumerate(layers, 1):
        named[f"weight{number}"] = layer.weight.detach().numpy().T
        named[f"bias{number}"] = layer.bias.detach().numpy()
    return named


def area(score_N: Image, true_N: NDArray[np.bool_]) -> float:
    """The area under the ROC curve."""
    rank_N = np.argsort(np.argsort(score_N)) + 1.0
    high, low = int(true_N.sum()), int((~true_N).sum())
    return float((rank_N[true_N].sum() - high * (high + 1) / 2) / (high * low))


def _point(at: NDArray[np.float64]) -> tuple[int, int]:
    return int(at[0]), int(at[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=12_000, help="rendered faces; about half of them are kept")
    parser.add_argument("--examples", type=int, default=16_000, help="each is mirrored, too")
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    faces_NSS3 = rendered(options.faces, rng)
    held = len(faces_NSS3) // 10
    h_ND, share_NR = examples(faces_NSS3[held:], options.examples, rng)
    test_ND, test_NR = examples(faces_NSS3[:held], options.examples // 10, rng)
    weights = fitted(h_ND, share_NR, options.epochs)
    save_file({name: np.ascontiguousarray(each, np.float16) for name, each in weights.items()}, options.output)
    h = (test_ND - weights["mean"]) / weights["scale"]
    h = np.maximum(h @ weights["weight1"] + weights["bias1"], 0)
    logit_NR = np.maximum(h @ weights["weight2"] + weights["bias2"], 0) @ weights["weight3"] + weights["bias3"]
    for r, part in enumerate(PARTS):
        print(f"{part}: area under the ROC curve {area(logit_NR[:, r], test_NR[:, r] > 0.5):.3f}")


if __name__ == "__main__":
    main()
