"""The ablation script: what its rows mean, how its figures are put together, and a tiny run of it."""

import csv
import importlib.util
import statistics
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from comface.plan.configuration import resolve

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "ablation" / "run.py"


@pytest.fixture(scope="module")
def ablation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ablation_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_every_variant_sends_the_same_number_of_views_through_the_backbone(ablation: ModuleType) -> None:
    views = set()
    for name in ("inter", "intra", "absolute", "signed", "no-curriculum"):
        config = resolve("laptop", ablation.of_row(name, seed=3, steps=120)).pretrain
        views.add(config.steps_per_epoch * config.pairs_per_step * (3 if config.learning == "both" else 2))
        assert config.seed == 3
    assert views == {120 * resolve("laptop").pretrain.pairs_per_step * 3}


def test_the_rows_are_those_of_table_7(ablation: ModuleType) -> None:
    learned = {name: resolve("laptop", ablation.of_row(name, 0, 12)).pretrain for name in ablation.ROWS}
    rows = {name: (c.learning, c.target, c.curriculum) for name, c in learned.items() if ablation.ROWS[name].paper}
    assert rows == {
        "inter": ("inter", "absolute", True),
        "intra": ("intra", "absolute", True),
        "absolute": ("both", "absolute", True),
        "signed": ("both", "signed", True),
        "no-curriculum": ("both", "absolute", False),
    }


def test_the_row_that_learns_as_the_profile_is_found(ablation: ModuleType) -> None:
    assert ablation.row_of(resolve("laptop", [])) == "signed"
    assert ablation.row_of(resolve("paper", [])) == "absolute"
    assert ablation.row_of(resolve("laptop", ["pretrain.curriculum=false"])) is None


def test_a_cell_shows_mean_and_spread_over_seeds_and_the_paper_beside_it(ablation: ModuleType) -> None:
    ours, others = (0.9, 0.7, 0.8), (0.5, 0.6, 0.4)
    column = ("au12", "corr")
    figures = {(*column, "absolute", seed): value for seed, value in enumerate(ours)}
    figures |= {(*column, "intra", seed): value for seed, value in enumerate(others)}
    figures |= {(*column, "absolute", "paper"): 0.831, (*column, "intra", "paper"): 0.833}
    assert ablation.cell(figures, column, "intra", "") == "0.500 ± 0.100 [0.833]"
    paired = [a - b for a, b in zip(ours, others, strict=True)]
    expected = f"{statistics.mean(paired):+.3f} ± {statistics.stdev(paired):.3f} [-0.002]"
    assert ablation.cell(figures, column, "intra", "absolute") == expected


def test_a_seed_that_only_one_of_two_rows_has_makes_no_difference_of_them(ablation: ModuleType) -> None:
    column = ("edema-a", "acc")
    figures = {(*column, "absolute", 0): 0.9, (*column, "inter", 0): 0.8, (*column, "inter", 1): 0.1}
    assert ablation.cell(figures, column, "inter", "absolute") == "+10.0"


def test_a_tiny_run_fills_every_row_and_a_second_one_finds_it_all_done(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--quick", "--variants", "intra", "absolute", "pixels", "--seeds", "0", "1",
               "--results", str(tmp_path), "--set", "transfer.tasks=[edema-a]"]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    rows = list(csv.DictReader((tmp_path / "ablation.csv").open()))
    wanted = {(variant, seed) for variant in ("intra", "absolute", "pixels") for seed in ("0", "1")}
    assert {(row["variant"], row["seed"]) for row in rows} == wanted
    assert all(row["rehearsal"] == "True" for row in rows)
    assert "Edema-A*" in run.stdout
    assert "[88.6]" in run.stdout
    published = sorted(path.stat().st_mtime_ns for path in tmp_path.glob("store/*/*/manifest.json"))
    again = subprocess.run([*command, "--workers", "1"], capture_output=True, text=True, timeout=300, check=False)
    assert again.stdout == run.stdout
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.glob("store/*/*/manifest.json")) == published
