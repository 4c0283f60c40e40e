"""`make model`: a finished run's model becomes the one that ships, unless it was fitted on real people."""

from __future__ import annotations

import runpy
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tiny_run import ROOT

from comface.artifacts.manifest import Artifact, Draft, open_artifact
from comface.errors import ConfigurationError
from comface.models.registry import Registry
from comface.models.shipped import PIN, shipped_model
from comface.store import FileStore

ship = runpy.run_path(str(ROOT / ".ci" / "ship_model.py"))["ship"]
NOW = datetime(2026, 11, 28, tzinfo=UTC)


def registered(run: Path, **changed: object) -> Artifact:
    """The shipped model in the store of a run, with other values in every task of heads.json."""
    store, shipped = FileStore(run / "store"), shipped_model()
    draft = Draft(store, "model", {"of": run.name}, {}, {"test": 1})
    tasks = {task: {**entry, **changed} for task, entry in shipped.read_json("heads.json").items()}
    for name in shipped.manifest.objects:
        if name == "heads.json":
            draft.write_json(name, tasks)
        else:
            draft.write(name, shipped.read(name))
    model = draft.publish({**shipped.facts, "tasks": tasks})
    Registry(store, "comface").register(model, NOW)
    return model


def test_the_model_of_a_run_replaces_the_shipped_one_and_its_pin(tmp_path: Path) -> None:
    source, folder = tmp_path / "shipped.py", tmp_path / "shipped"
    source.write_text(f'NAME = "shipped"\nPIN = "{PIN}"\n')
    model = registered(tmp_path / "run", why_mode="no other mode was evaluated")
    (folder / "model" / "old").mkdir(parents=True)
    ship(tmp_path / "run", folder, source)
    pin = f"{model.address}#sha256={model.sha256}"
    assert source.read_text() == f'NAME = "shipped"\nPIN = "{pin}"\n'
    copied = open_artifact(f"{folder.as_uri()}/{pin}", "model")
    for name in copied.manifest.objects:
        copied.check(name)
    assert [path.name for path in (folder / "model").iterdir()] == [model.address.partition("/")[2]]


def test_a_model_of_real_people_does_not_ship(tmp_path: Path) -> None:
    registered(tmp_path / "run", rehearsal=False)
    with pytest.raises(ConfigurationError, match=r"comface@v1 was fitted on real data \(age, "):
        ship(tmp_path / "run", tmp_path / "shipped", tmp_path / "shipped.py")
    assert not (tmp_path / "shipped").exists()
