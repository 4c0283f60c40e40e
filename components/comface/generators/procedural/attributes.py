"""Attributes as directions over traits (latents.py): which traits, and in which proportion, an attribute moves.

Out: DIRECTIONS, attribute -> {trait: weight}; latents.direction makes a unit vector of each. The 40 names of CelebA,
age, smile and weight are the paper's 43. Lesser weights are what goes along with an attribute in people; they also
keep a change visible on the side where the thing itself is gone. Opposites (Young and age, beards and No_Beard,
Pale_Skin and Rosy_Cheeks) point against each other.
"""

from __future__ import annotations

DIRECTIONS: dict[str, dict[str, float]] = {
    "5_o_Clock_Shadow": {"stubble": 1.0, "sideburns": 0.2},
    "Arched_Eyebrows": {"brow_arch": 1.0, "brow_height": 0.25},
    "Attractive": {
        "eye_size": 0.5, "cheekbone": 0.4, "age": -0.35, "lower_lip": 0.3, "shine": -0.2, "bags": -0.4, "makeup": 0.3,
    },
    "Bags_Under_Eyes": {"bags": 1.0, "hood": 0.15},
    "Bald": {"bald": 1.0, "volume": -0.3, "receding": 0.2},
    "Bangs": {"fringe": 1.0, "volume": 0.25},
    "Big_Lips": {"upper_lip": 0.7, "lower_lip": 0.7},
    "Big_Nose": {"nose_width": 0.75, "nose": 0.5, "nose_bridge": 0.3},
    "Black_Hair": {"hair_dark": 1.0, "gray": -0.2},
    "Blond_Hair": {"hair_dark": -1.0, "gray": -0.2},
    "Blurry": {"blur": 1.0},
    "Brown_Hair": {"hair_red": 0.9, "hair_dark": -0.2, "gray": -0.5},
    "Bushy_Eyebrows": {"brow_thick": 1.0, "brow_height": -0.15},
    "Chubby": {"fat": 0.8, "weight": 0.45},
    "Double_Chin": {"chin_fold": 1.0, "fat": 0.3, "neck": 0.2},
    "Eyeglasses": {"glasses": 1.0, "eye_size": -0.25},
    "Goatee": {"goatee": 1.0, "lower_lip": -0.2},
    "Gray_Hair": {"gray": 1.0, "hair_dark": -0.1},
    "Heavy_Makeup": {"makeup": 0.9, "lipstick": 0.35, "blush": 0.2},
    "High_Cheekbones": {"cheekbone": 1.0, "au6": 0.15},
    "Male": {"male": 1.0, "stubble": 0.2},
    "Mouth_Slightly_Open": {"open": 1.0},
    "Mustache": {"moustache": 1.0, "upper_lip": -0.2},
    "Narrow_Eyes": {"eye_open": -1.0, "hood": 0.2},
    "No_Beard": {"beard": -0.6, "goatee": -0.45, "moustache": -0.45, "stubble": -0.45, "sideburns": -0.2},
    "Oval_Face": {"face": 0.6, "jaw": -0.55, "square": -0.55},
    "Pale_Skin": {"pale": 0.85, "melanin": -0.3, "blush": -0.45},
    "Pointy_Nose": {"nose_point": 0.8, "nose_width": -0.45, "nose_bridge": 0.3},
    "Receding_Hairline": {"receding": 1.0, "fringe": -0.25},
    "Rosy_Cheeks": {"blush": 0.95, "pale": -0.3},
    "Sideburns": {"sideburns": 1.0, "volume": 0.15},
    "Smiling": {"smile": 1.0, "open": 0.2, "brows": 0.1},
    "Straight_Hair": {"wave": -1.0, "hair_length": 0.2},
    "Wavy_Hair": {"wave": 1.0, "volume": 0.3},
    "Wearing_Earrings": {"earrings": 1.0, "hair_length": -0.12, "ear": 0.1},
    "Wearing_Hat": {"hat": 1.0, "fringe": -0.2, "volume": -0.15},
    "Wearing_Lipstick": {"lipstick": 1.0, "lip_red": 0.35},
    "Wearing_Necklace": {"necklace": 1.0, "neck": -0.25},
    "Wearing_Necktie": {"necktie": 1.0, "cloth_light": -0.3, "hair_length": -0.1, "neck": 0.2},
    "Young": {"age": -1.0, "gray": -0.15},
    "age": {"age": 1.0, "gray": 0.15},
    "smile": {"smile": 1.0},
    "weight": {"weight": 1.0},
    # two more than the paper's 43: the expression tasks' action units alone
    "au6": {"au6": 1.0},
    "au12": {"au12": 1.0},
}  # fmt: skip
