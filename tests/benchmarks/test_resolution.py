"""The operations that a resolution schedule saves are those of the network, for each size of the schedule."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SOURCE = Path(__file__).parents[2] / "benchmarks" / "resolution.py"


@pytest.fixture(scope="module")
def resolution() -> ModuleType:
    spec = importlib.util.spec_from_file_location("resolution_benchmark", SOURCE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_view_of_half_the_size_costs_about_a_quarter_and_epochs_are_averaged(resolution: ModuleType) -> None:
    full, half = (resolution.forward_flop("resnet18", size_px) for size_px in (224, 112))
    assert half / full == pytest.approx(0.25, abs=0.03)
    _, _, plain, mixed = resolution.rows("resnet18", ["[]", "[[6, 112]]"], 1000)
    assert plain.startswith("| 1-12: 224 px |")
    assert mixed.startswith("| 1-6: 112 px, 7-12: 224 px |")
    assert f"| {(1 + half / full) / 2:.2f} |" in mixed


def test_the_papers_network_has_the_published_number_of_operations(resolution: ModuleType) -> None:
    assert resolution.forward_flop("resnet50", 224) / 2 == pytest.approx(4.1e9, rel=0.01)
