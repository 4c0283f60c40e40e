"""Planted leaks: a photo of one person under the name of another one is found, however it was altered. No clean data
set is refused."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from comface.datasets.config import RehearseConfig
from comface.datasets.leaks import print_of, same_pictures, shared_pictures

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "leaks.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("leaks_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def photos(benchmark):
    """Photos of 8 patients, in which one weighing's two frames are alike."""
    return list(
        benchmark.rehearsed("edema-a", RehearseConfig(edema_a_patients=8, edema_sessions=2, image_size_px=112, seed=5))
    )


@pytest.fixture(scope="module")
def planted(benchmark, photos):
    return benchmark.Planted(photos, 102, np.random.default_rng(5))


def test_at_least_99_of_100_planted_leaks_are_found(planted):
    assert planted.found(planted.refused_with_leaks()).mean() >= 0.99


def test_no_clean_data_set_is_refused(planted):
    assert planted.refused() == 0


def test_a_photo_of_another_data_set_is_found_whatever_the_names(benchmark, photos):
    prints = np.stack([print_of(image) for _, image in photos])
    leak = print_of(benchmark.altered(photos[9][1], "all of these", np.random.default_rng(6)))
    first, others = prints[:12], np.stack([*prints[12:], leak])
    assert shared_pictures(first[:6], others) == []
    assert shared_pictures(first, others) == [(9, len(others) - 1)]
    assert shared_pictures(others, first) == [(len(others) - 1, 9)]


def test_two_people_in_front_of_one_wall_are_not_one_picture(photos):
    """The faces differ, the rest of the pictures is equal."""
    people = dict(photos)
    wall = next(iter(people.values()))
    height, width = wall.shape[:2]
    mask = cv2.ellipse(
        np.zeros((height, width)), (width // 2, height // 2), (width // 4, height // 3), 0, 0, 360, 1, -1
    )
    share = cv2.GaussianBlur(mask, (0, 0), 4)[..., None]
    mixed = [(image * share + wall * (1 - share)).astype(np.uint8) for image in people.values()]
    assert same_pictures(np.stack([print_of(image) for image in mixed]), list(people)) == []


@pytest.mark.system
@pytest.mark.parametrize(("name", "least"), [("fgnet", 0.99), ("edema-a", 0.99), ("cohort", 0.99), ("disfa", 0.99)])
def test_at_least_99_percent_of_1000_planted_leaks_are_found(benchmark, name, least):
    """Consecutive frames of a video are of one person, and are not refused."""
    read = list(benchmark.rehearsed(name, RehearseConfig(seed=11, disfa_frames=40)))
    planted = benchmark.Planted(read, 1000, np.random.default_rng(11))
    assert planted.refused() == 0
    assert planted.found(planted.refused_with_leaks()).mean() >= least
