"""The bill of materials that goes into every image, made here of this environment."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bill() -> dict[str, object]:
    done = subprocess.run([sys.executable, ROOT / "docker" / "sbom.py"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def test_it_is_cyclonedx_and_names_the_version_of_the_package(bill: dict[str, object]) -> None:
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["metadata"]["component"]["version"] == metadata.version("comface")  # type: ignore[index]


def test_each_installed_package_is_there_once_with_its_version(bill: dict[str, object]) -> None:
    components = bill["components"]
    urls = [component["purl"] for component in components if "purl" in component]  # type: ignore[attr-defined]
    assert urls == sorted(set(urls))
    for name in ("numpy", "kfp", "torch", "comface"):
        assert f"pkg:pypi/{name}@{metadata.version(name)}" in urls


def test_each_model_has_its_hash_and_its_licence(bill: dict[str, object]) -> None:
    models = [c for c in bill["components"] if c["type"] == "machine-learning-model"]  # type: ignore[attr-defined]
    if not models:
        pytest.skip("no model was fetched into this environment; `make setup` tries again")
    for model in models:
        assert re.fullmatch("[0-9a-f]{64}", model["hashes"][0]["content"])
        assert model["licenses"][0]["license"]["name"]
