"""Attributes as directions over traits (latents.py): which traits, and in which proportion, an attribute moves.

Out: DIRECTIONS, attribute -> {trait: weight}; latents.direction makes a unit vector of each. They are those that the
profiles, rehearsals and tests sweep. Lesser weights are what goes along with an attribute in people; they also keep a
change visible on the side where the thing itself is gone. Traits that no attribute moves (hair, glasses, hats …)
still differ between people.
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
