"""The share of generated faces in which a face is found, by the lightness of the skin."""

from __future__ import annotations

import numpy as np
import pytest

from comface.faces.lightness import added, counted, skin_lightness, tenths


def test_lightness_is_that_of_the_skin_and_runs_from_black_to_white() -> None:
    picture = np.full((64, 64, 3), 255, np.uint8)
    picture[28:50, 18:46] = (90, 60, 45)  # a dark face before a white wall
    assert skin_lightness(picture) == pytest.approx(28.5, abs=1.5)
    assert skin_lightness(np.zeros((32, 32, 3), np.uint8)) == 0
    assert skin_lightness(np.full((256, 256, 3), 255, np.uint8)) == pytest.approx(100)


def test_shares_of_the_tenths_are_those_of_sorted_faces() -> None:
    rng = np.random.default_rng(0)
    lightness = rng.uniform(10, 90, 5000).round(1)
    found = rng.random(5000) < 0.5 + lightness / 200
    got = tenths(counted(zip(lightness.tolist(), found.tolist(), strict=True)))
    order = np.argsort(lightness)
    assert got.faces == 5000
    assert got.found == pytest.approx(found.mean())
    assert got.darkest == pytest.approx(found[order[:500]].mean(), abs=0.02)
    assert got.lightest == pytest.approx(found[order[-500:]].mean(), abs=0.02)


def test_counts_of_parts_add_up() -> None:
    looked_at = [(float(i % 100), i % 3 == 0) for i in range(900)]
    parts = [
        {"dcgan": counted(looked_at[:400])},
        {"dcgan": counted(looked_at[400:]), "stylegan": counted([(5.0, True)])},
    ]
    total = added(parts)
    assert total["dcgan"] == counted(looked_at)
    assert sum(total["stylegan"]["found"]) == 1


def test_a_sentence_does_not_judge_by_few_faces() -> None:
    few = tenths(counted([(50.0, True)] * 30)).sentence()
    assert few == "a face is found in 100% of 30 generated faces (too few to compare dark and light faces)"
    many = tenths(counted([(20.0, i % 2 == 0) for i in range(300)] + [(80.0, True)] * 300)).sentence()
    assert many == "a face is found in 75% of 600 generated faces: 50% of the darkest tenth, 100% of the lightest"
