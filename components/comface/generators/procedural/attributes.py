"""Attributes as directions over traits (latents.py): the traits that an attribute changes, with weights.

Out: DIRECTIONS, attribute -> {trait: weight}; latents.direction converts each to a unit vector. They are the attributes
that profiles, rehearsals and tests sweep. Smaller weights are traits that correlate with the attribute in people; they
also keep a change visible at the end of the range where the attribute itself is absent. Traits without an attribute
(hair, glasses, hats …) still differ between people.
"""

from __future__ import annotations

DIRECTIONS: dict[str, dict[str, float]] = {
    "age": {"age": 1.0, "gray": 0.15},
    "smile": {"smile": 1.0},
    "weight": {"weight": 1.0},
    # facial action units
    "au6": {"au6": 1.0},
    "au12": {"au12": 1.0},
    # under CelebA's names
    "Bags_Under_Eyes": {"bags": 1.0, "hood": 0.15},
    "Chubby": {"fat": 0.8, "weight": 0.45},
    "Double_Chin": {"chin_fold": 1.0, "fat": 0.3, "neck": 0.2},
    "Narrow_Eyes": {"eye_open": -1.0, "hood": 0.2},
}
