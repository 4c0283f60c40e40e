"""Retraining with new patient data: what is unchanged is reused, and the champion is what a person made it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_run import comface, run_arguments

pytestmark = pytest.mark.system
ALWAYS_PASSES = ("register.margin=2",)
MUST_REACH_MORE = ("register.margin=0", "register.thresholds=[{task: age, min_corr: 1.0}]")


def addresses(store: Path) -> dict[str, int]:
    """Every published artifact, and when it was published."""
    return {
        path.parent.relative_to(store).as_posix(): path.stat().st_mtime_ns for path in store.glob("*/*/manifest.json")
    }


def models(store: Path) -> list[dict[str, object]]:
    done = comface("models", "list", "--json", "--store", store.as_uri())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run(folder: Path, data: Path, *overrides: str) -> int:
    arguments = run_arguments(folder, f"data.fgnet.uri={data.as_uri()}", *overrides)
    return comface(*arguments, timeout_s=900).returncode


def test_new_photos_change_what_depends_on_them_alone_and_never_the_champion(tmp_path: Path) -> None:
    """A data set of one's own: the rehearsal one, with the photos of one person arriving later."""
    later, data, store = tmp_path / "later", tmp_path / "fgnet", tmp_path / "run" / "store"
    sizes = ("--set", "rehearse.fgnet_subjects=6", "--set", "rehearse.fgnet_images=4")
    done = comface("rehearse", "fgnet", "--output", later, *sizes, timeout_s=900)
    assert done.returncode == 0, done.stderr
    last = max(path.name[:3] for path in later.rglob("*.[jJ][pP][gG]"))
    shutil.copytree(later, data, ignore=lambda _, found: [name for name in found if name[:3] == last])

    assert run(tmp_path / "run", data) == 0
    first = addresses(store)
    done = comface("models", "promote", "comface@v1", "--store", store.as_uri())
    assert done.returncode == 0, done.stderr

    shutil.copytree(later, data, dirs_exist_ok=True)
    assert run(tmp_path / "run", data, *ALWAYS_PASSES) == 0
    second = addresses(store)
    kept = {address for address in first if second[address] == first[address]}
    assert kept == set(first), "nothing that was published is published again"
    kinds = {address.partition("/")[0] for address in set(second) - set(first)}
    assert kinds == {"faces", "features", "protocol", "transfer", "evaluation", "decision", "model"}
    assert [(m["reference"], m["champion"]) for m in models(store)] == [("comface@v1", True), ("comface@v2", False)]

    assert run(tmp_path / "run", data, *MUST_REACH_MORE) == 66
    third = addresses(store)
    new = {address.partition("/")[0] for address in set(third) - set(second)}
    assert new == {"evaluation", "decision"}, "the report shows the command of the run"
    assert [(m["reference"], m["champion"]) for m in models(store)] == [("comface@v1", True), ("comface@v2", False)]
