"""The benchmark of the StyleGANs: what it measures, and that a network that renders otherwise stops it."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "generators.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generators_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(SCRIPT.parent))  # official.py is beside it
    spec.loader.exec_module(module)
    return module


def test_without_a_checkout_it_says_that_ours_are_measured_alone(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark.side_by_side("stylegan", 8, [1], 1, [tmp_path])
    assert capsys.readouterr().out.startswith("| stylegan | 8 | exact | 1 | not given | ")


@pytest.mark.parametrize(("apart", "stops"), [(0.0, False), (1e-3, True)])
def test_images_that_differ_stop_it(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, apart: float, stops: bool
) -> None:
    mine = benchmark.ours("stylegan", benchmark.random_state("stylegan", 8))

    def theirs(w_NLD: torch.Tensor) -> torch.Tensor:
        images_NCHW = mine.render(w_NLD)
        return images_NCHW + apart * images_NCHW.abs().max()

    monkeypatch.setattr(benchmark, "official", lambda *_: {"exact": theirs})
    if stops:
        with pytest.raises(SystemExit, match=r"the images differ by 1\.0e-03"):
            benchmark.side_by_side("stylegan", 8, [1], 1, [])
    else:
        benchmark.side_by_side("stylegan", 8, [1], 1, [])


def test_the_path_of_the_data_set_is_the_step_itself(benchmark: ModuleType) -> None:
    rates = benchmark.path_rates("stylegan", 8, 3, 1)
    assert min(rates["synthesize"], rates["render"]) > 0


def test_the_projection_gives_hours_and_their_price(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """35.35 M images at 100 images/s are 98.2 hours."""
    monkeypatch.setattr(benchmark, "path_rates", lambda *_: {"render": 125.0, "synthesize": 100.0})
    benchmark.whole_path(1024, 101, 4, "cuda", 2.5)
    said = capsys.readouterr().out
    assert "stylegan3-r, fast: rendering alone 125.00, the step 100.00 (80%)" in said
    assert "(35.35 M images), exact: 98 GPU-hours, 245 at 2.5 per hour" in said
