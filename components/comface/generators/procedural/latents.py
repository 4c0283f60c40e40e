"""z -> w -> face: the latent space, its named directions, and the physical quantities of a latent.

In: z_ND or w_ND, standard normal, D = 512. Out: FaceParameters, directions (1,D), truth {name: (N,)}.
w is z after sign flips and a Walsh-Hadamard transform. The transform is orthonormal and uses only additions, so it has
the same bits in every batch. After the inverse, the first coordinates are the named traits below. A direction is the
transform of a unit vector over traits: w + alpha n (section 3.1) changes those traits and no others. Traits of the
scene (pose, light, background, camera) are in no direction, so they are constant along a track.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from comface.generators.procedural.attributes import DIRECTIONS
from comface.generators.procedural.parameters import FaceParameters, average_faces
from comface.generators.procedural.physiology import aged, ramp, weighing
from comface.seeds import numpy_rng

WIDTH = 512

PERSON = (
    "skull", "face", "jaw", "square", "forehead", "cheekbone", "fat", "neck", "ear", "eye_gap", "eye_size", "eye_open",
    "eye_tilt", "eye_depth", "iris", "iris_blue", "hood", "bags", "brow_height", "brow_thick", "brow_arch", "brow_tilt",
    "nose", "nose_width", "nose_bridge", "nose_point", "mouth", "mouth_height", "upper_lip", "lower_lip", "melanin",
    "undertone", "blush", "pale", "freckles", "shine", "lip_red", "phase_a", "phase_b", "hair_dark", "hair_red", "gray",
    "graying", "hair_length", "volume", "fringe", "wave", "receding", "bald", "parting", "sideburns", "stubble",
    "moustache", "goatee", "beard", "chin_fold", "male", "age", "weight",
)  # fmt: skip
STATE = ("smile", "au6", "au12", "open", "brows", "gaze_x", "gaze_y", "blur")
WORN = (
    "glasses", "hat", "hat_hue", "earrings", "necklace", "necktie", "cloth_hue", "cloth_light", "lipstick", "makeup",
)  # fmt: skip
SCENE = (
    "yaw", "pitch", "roll", "zoom", "shift_x", "shift_y", "light_x", "light_y", "key", "ambient", "warmth", "exposure",
    "wall_hue", "wall_saturation", "wall_light", "wall_slope", "wall_pattern", "wall_phase",
)  # fmt: skip
TRAITS = PERSON + STATE + WORN + SCENE


@lru_cache(maxsize=1)
def _signs() -> tuple[float, ...]:
    return tuple(float(s) for s in numpy_rng(0, "procedural", "signs").choice([-1.0, 1.0], WIDTH))


def hadamard(x_ND: Tensor) -> Tensor:
    """The orthonormal Walsh-Hadamard transform of every row; it is its own inverse."""
    n, width = x_ND.shape
    block = 1
    while block < width:
        pairs = x_ND.reshape(n, width // (2 * block), 2, block)
        x_ND = torch.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], 2).reshape(n, width)
        block *= 2
    return x_ND * (1 / math.sqrt(width))


def mapping(z_ND: Tensor) -> Tensor:
    return hadamard(z_ND * torch.tensor(_signs(), dtype=z_ND.dtype, device=z_ND.device))


def inverse_mapping(w_ND: Tensor) -> Tensor:
    return hadamard(w_ND) * torch.tensor(_signs(), dtype=w_ND.dtype, device=w_ND.device)


def direction(attribute: str) -> Tensor:
    """n (1,D), unit norm."""
    z = torch.zeros(1, WIDTH, dtype=torch.float64)
    for trait, weight in DIRECTIONS[attribute].items():
        z[0, TRAITS.index(trait)] = weight
    return mapping(z / z.norm()).float()


def traits(w_ND: Tensor) -> dict[str, Tensor]:
    z = inverse_mapping(w_ND.double())
    return {name: z[:, i] for i, name in enumerate(TRAITS)}


def soft(x: Tensor, reach: float = 3.0) -> Tensor:
    """A monotone function, close to x near 0 and within ±reach, so that large edits still give faces."""
    return reach * torch.tanh(x / reach)


def worn(x: Tensor, start: float = 1.0) -> Tensor:
    """Share (0..1) of a property that most faces lack: it grows smoothly from `start` - 0.6 to `start` + 4.4."""
    return ramp(x, start - 0.6, start + 4.4)


def truth(w_ND: Tensor) -> dict[str, Tensor]:
    """Physical quantities of each latent, (N,); each is monotone along its direction."""
    t = traits(w_ND)
    smile_12 = 0.95 * t["smile"] + 0.75 * t["au12"]
    smile_6 = 0.7 * t["smile"] + 0.9 * t["au6"]
    quantities = {
        "weight_kg": 68.0 * torch.exp(0.135 * soft(t["weight"], 7.0) + 0.08 * torch.tanh(t["male"])),
        "age_years": 4.0 + 80.0 * torch.sigmoid(0.52 * t["age"] - 0.62),
        "au6": 5 * torch.sigmoid(0.9 * smile_6 - 1.9),
        "au12": 5 * torch.sigmoid(0.9 * smile_12 - 1.5),
        "smile": smile_12,
        "male": t["male"],
        "graying_years": 56.0 + 6.0 * soft(t["graying"], 2.0),
    }
    return {name: value.to(w_ND.dtype) for name, value in quantities.items()}


def decode(w_ND: Tensor, **known_N: Tensor) -> FaceParameters:
    """The parameters of each latent. `known_N` overrides quantities of `truth`."""
    # float64, so that a person's parameters do not depend on the batch
    w_ND = w_ND.double()
    t, known = traits(w_ND), truth(w_ND) | {name: value.double() for name, value in known_N.items()}
    faces = average_faces(w_ND.shape[0], w_ND.device).map(lambda x: x.double())
    for part in (_head, _features, _expression, _skin, _hair, _worn, _scene):
        faces = part(faces, t)
    faces = replace(faces, au6=known["au6"], au12=known["au12"], au15=3.2 * torch.sigmoid(-1.1 * known["smile"] - 1.7))
    faces = aged(faces, known["age_years"], known["graying_years"])
    return weighing(faces, known["weight_kg"]).map(lambda x: x.float())


Traits = dict[str, Tensor]


def _head(f: FaceParameters, t: Traits) -> FaceParameters:
    male = torch.tanh(t["male"] / 1.5)
    return replace(
        f,
        skull_cm=f.skull_cm + 0.3 * soft(t["skull"]) + 0.08 * male,
        face_cm=f.face_cm + 0.42 * soft(t["face"], 4.0) + 0.14 * male,
        jaw=f.jaw + 0.65 * soft(t["jaw"], 4.5) + 0.35 * male,
        square=0.7 * soft(t["square"], 4.5) + 0.5 * male,
        forehead_cm=f.forehead_cm + 0.28 * soft(t["forehead"]),
        cheekbone=0.65 * soft(t["cheekbone"], 5.0) - 0.15 * male,
        fat=0.28 * soft(t["fat"], 6.0),
        double_chin=worn(t["chin_fold"], 1.2),
        neck_cm=f.neck_cm + 0.25 * soft(t["neck"]) + 0.4 * male,
        ear=f.ear + 0.1 * soft(t["ear"]),
    )


def _features(f: FaceParameters, t: Traits) -> FaceParameters:
    male = torch.tanh(t["male"] / 1.5)
    pressed = 0.12 * soft((-t["open"]).clamp(min=0), 6.0)
    return replace(
        f,
        eye_gap_cm=f.eye_gap_cm + 0.07 * soft(t["eye_gap"]),
        eye_half_cm=f.eye_half_cm * torch.exp(0.085 * soft(t["eye_size"])) * (1 - 0.03 * male),
        eye_open=f.eye_open
        * torch.exp(0.06 * soft(t["eye_size"]) + 0.19 * soft(t["eye_open"], 4.5))
        * (1 - 0.06 * male),
        eye_tilt=f.eye_tilt + 0.07 * soft(t["eye_tilt"]),
        eye_depth=0.35 * soft(t["eye_depth"]) + 0.25 * male,
        iris_cm=f.iris_cm + 0.025 * soft(t["iris"]),
        iris_blue=torch.sigmoid(1.6 * t["iris_blue"] - 1.4 - 1.6 * t["melanin"]),
        hood=0.45 * ramp(t["hood"], 0.2, 5.0),
        bags=0.02 + 1.4 * ramp(t["bags"], -2.5, 5.5),
        brow_cm=f.brow_cm + 0.24 * soft(t["brow_height"]) - 0.15 * male,
        brow_thick_cm=f.brow_thick_cm * torch.exp(0.27 * soft(t["brow_thick"], 4.5) + 0.14 * male),
        brow_arch=f.brow_arch + 0.26 * soft(t["brow_arch"], 4.5) - 0.1 * male,
        brow_tilt=0.035 * soft(t["brow_tilt"]),
        brow_dark=(f.brow_dark + 0.04 * soft(t["brow_thick"], 4.5)).clamp(0.3, 1.0),
        nose_cm=f.nose_cm + 0.3 * soft(t["nose"], 4.0) + 0.08 * male,
        nose_half_cm=f.nose_half_cm * torch.exp(0.12 * soft(t["nose_width"], 4.5)) + 0.06 * male,
        nose_bridge=f.nose_bridge + 0.18 * soft(t["nose_bridge"], 4.0),
        nose_point=0.5 * soft(t["nose_point"], 4.0),
        mouth_half_cm=f.mouth_half_cm + 0.2 * soft(t["mouth"]) + 0.05 * male,
        mouth_cm=f.mouth_cm + 0.12 * soft(t["mouth_height"]) + 0.2 * soft(t["nose"], 4.0).clamp(min=0) * 0.3,
        upper_lip_cm=f.upper_lip_cm * torch.exp(0.27 * soft(t["upper_lip"], 4.5) - 0.12 * male - pressed),
        lower_lip_cm=f.lower_lip_cm * torch.exp(0.23 * soft(t["lower_lip"], 4.5) - 0.1 * male - pressed),
    )


def _expression(f: FaceParameters, t: Traits) -> FaceParameters:
    return replace(
        f,
        au1=5 * ramp(t["brows"], 0.3, 5.0),
        au4=4 * ramp(-t["brows"], 0.6, 5.0),
        au25=4.5 * ramp(t["open"], -0.8, 3.0),
        au26=4.2 * ramp(t["open"], 0.6, 6.0),
        gaze_x=0.35 * soft(t["gaze_x"], 2.5),
        gaze_y=0.25 * soft(t["gaze_y"], 2.5),
        blur=_focus(t["blur"]),
    )


def _focus(x: Tensor) -> Tensor:
    """The blur of an image: sharpened below 0, nearly none up to one standard deviation above 0."""
    s = torch.tanh(x / 3.2)
    return torch.where(s > 0, s * s, 0.8 * s)


def _skin(f: FaceParameters, t: Traits) -> FaceParameters:
    male = torch.tanh(t["male"] / 1.5)
    return replace(
        f,
        melanin=torch.sigmoid(1.15 * t["melanin"] - 0.75),
        undertone=0.6 * soft(t["undertone"], 2.0),
        blush=1.5 * ramp(t["blush"], -1.8, 6.0),
        pale=torch.tanh(t["pale"] / 3.5) * 0.95,
        freckles=ramp(t["freckles"], 0.8, 3.5) * torch.sigmoid(-1.5 * t["melanin"] + 0.5),
        shine=0.3 + 0.2 * soft(t["shine"], 2.0),
        lip_red=torch.sigmoid(0.6 * t["lip_red"] - 0.2 - 0.3 * male),
        lipstick=worn(t["lipstick"] - 0.9 * male, 0.2),
        makeup=worn(t["makeup"] - 1.1 * male, 0.3),
        phase_a=soft(t["phase_a"], 2.5),
        phase_b=soft(t["phase_b"], 2.5),
    )


def _hair(f: FaceParameters, t: Traits) -> FaceParameters:
    male = torch.tanh(t["male"] / 1.5)
    grows = 1.2 * (male - 0.6)
    return replace(
        f,
        hair_dark=torch.sigmoid(0.75 * t["hair_dark"] + 0.75 + 0.55 * t["melanin"]),
        hair_red=ramp(t["hair_red"], -1.5, 5.5) - 0.1,
        gray=torch.sigmoid(1.3 * t["gray"] - 4.2),
        hair_cm=2.5 + 3.0 * soft(t["hair_length"]) - 4.5 * male,
        volume_cm=(0.85 + 0.27 * soft(t["volume"]) - 0.15 * male).clamp(min=0.15),
        fringe=ramp(t["fringe"] - 0.35 * male, -1.2, 4.5),
        wave=torch.sigmoid(0.75 * t["wave"] - 0.3),
        receding=1.3 * ramp(t["receding"] + 0.5 * male, -1.2, 5.0),
        bald=ramp(t["bald"] + 0.7 * male, 1.2, 5.4),
        parting=0.6 * soft(t["parting"], 2.5),
        sideburns=1.15 * ramp(t["sideburns"] + 0.7 * male, -0.3, 4.8),
        stubble=ramp(t["stubble"] + grows, -0.9, 4.5),
        moustache=ramp(t["moustache"] + grows, 0.7, 4.0),
        goatee=ramp(t["goatee"] + grows, 0.7, 4.0),
        beard=ramp(t["beard"] + grows, 0.8, 4.0),
    )


def _worn(f: FaceParameters, t: Traits) -> FaceParameters:
    male = torch.tanh(t["male"] / 1.5)
    return replace(
        f,
        glasses=worn(t["glasses"]),
        hat=worn(t["hat"], 1.3),
        hat_hue=0.35 * t["hat_hue"],
        earrings=worn(t["earrings"] - 0.6 * male),
        necklace=worn(t["necklace"] - 0.5 * male),
        necktie=worn(t["necktie"] + 0.4 * male, 1.2),
        cloth_hue=0.4 * t["cloth_hue"],
        cloth_light=torch.sigmoid(0.8 * t["cloth_light"] - 0.5),
    )


def _scene(f: FaceParameters, t: Traits) -> FaceParameters:
    return replace(
        f,
        yaw_deg=9.0 * soft(t["yaw"], 2.2),
        pitch_deg=4.5 * soft(t["pitch"], 2.0),
        roll_deg=2.0 * soft(t["roll"], 2.0),
        zoom=torch.exp(0.022 * soft(t["zoom"], 2.0)),
        shift_x_cm=0.18 * soft(t["shift_x"], 2.0),
        shift_y_cm=0.18 * soft(t["shift_y"], 2.0),
        light_x=0.5 * soft(t["light_x"], 2.0),
        light_y=0.42 + 0.25 * soft(t["light_y"], 2.0),
        key=0.85 * torch.exp(0.16 * soft(t["key"], 2.0)),
        ambient=0.4 * torch.exp(0.2 * soft(t["ambient"], 2.0)),
        warmth=0.35 * soft(t["warmth"], 2.0),
        exposure=torch.exp(0.16 * soft(t["exposure"], 2.0)),
        wall_hue=0.5 * t["wall_hue"],
        wall_saturation=0.55 * torch.sigmoid(t["wall_saturation"] - 0.9),
        wall_light=0.12 + 0.83 * torch.sigmoid(1.1 * t["wall_light"]),
        wall_slope=0.5 * soft(t["wall_slope"], 2.0),
        wall_pattern=0.9 * torch.sigmoid(t["wall_pattern"] - 0.6),
        wall_phase=1.6 * t["wall_phase"],
    )
