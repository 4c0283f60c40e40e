"""Event files: TensorBoard's format, no step twice whatever happens, and a store that fails delays nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from event_files import events, read_curves

from comface.errors import TryAgain
from comface.pretrain import curves
from comface.pretrain.config import PretrainConfig
from comface.pretrain.curves import Curves, curves_name
from comface.store import FileStore


def test_a_file_is_what_tensorboard_reads(tmp_path: Path) -> None:
    curve = Curves(FileStore(tmp_path))
    curve.begin(0, '{"epochs": 2}')
    curve.add(10, {"loss/inter": 2.5, "loss/intra": None, "learning_rate": 4e-4})
    curve.close()
    (path,) = tmp_path.iterdir()
    assert path.name == "events.out.tfevents.0000000000.comface"
    first, text, numbers = events(path)
    assert first.file_version == "brain.Event:2"
    assert text.summary.value[0].metadata.plugin_data.plugin_name == "text"
    assert b'"epochs": 2' in text.summary.value[0].tensor.string_val[0]
    assert abs(numbers.wall_time - time.time()) < 60
    assert read_curves(tmp_path) == {"loss/inter": [(10, 2.5)], "learning_rate": [(10, 0.0004)]}


def test_a_training_that_resumes_from_a_checkpoint_doubles_and_loses_no_step(tmp_path: Path) -> None:
    killed = Curves(FileStore(tmp_path))
    killed.begin(0)
    for step in range(10, 80, 10):
        killed.add(step, {"loss": step})
        if step in (20, 50):
            killed.cut(step)
    killed.close()  # it wrote 60 and 70 after its last checkpoint
    resumed = Curves(FileStore(tmp_path))
    resumed.begin(50)
    for step in (60, 70, 80):
        resumed.add(step, {"loss": -step})
    resumed.close()
    assert read_curves(tmp_path)["loss"] == [*((s, s) for s in range(10, 51, 10)), (60, -60), (70, -70), (80, -80)]
    earlier = Curves(FileStore(tmp_path))  # the last checkpoint was damaged; the one before is used
    earlier.begin(20)
    earlier.close()
    assert [step for step, _ in read_curves(tmp_path)["loss"]] == [10, 20]


def test_the_current_file_appears_while_the_training_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "EVERY_S", 0.0)
    curve = Curves(FileStore(tmp_path))
    curve.begin(0)
    for step in (1, 2):
        curve.add(step, {"loss": 1.0})
        until = time.monotonic() + 5
        while curve._files and time.monotonic() < until:
            time.sleep(0.01)
        assert [s for s, _ in read_curves(tmp_path)["loss"]] == [*range(1, step + 1)]


class Down(FileStore):
    """A store that does not answer for a while, then refuses."""

    down = True

    def write(self, key: str, data: bytes) -> None:
        if self.down:
            time.sleep(0.2)
            raise TryAgain("The store does not answer.")
        super().write(key, data)


def test_a_store_that_does_not_answer_delays_no_step_and_gets_everything_later(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    store = Down(tmp_path)
    curve = Curves(store)
    curve.begin(0)
    started = time.monotonic()
    for step in range(1, 9):
        curve.add(step, {"loss": step})
        curve.cut(step)
    assert time.monotonic() - started < 0.2
    curve.close()
    assert len([r for r in caplog.records if "training continues" in r.getMessage()]) == 1
    store.down = False
    curve.close()
    assert read_curves(tmp_path)["loss"] == [(step, step) for step in range(1, 9)]


def test_other_processes_write_nothing() -> None:
    curve = Curves(None)
    curve.begin(0, "{}")
    curve.add(1, {"loss": 1.0})
    curve.cut(1)
    curve.close()


def test_the_name_of_a_run_tells_trainings_apart() -> None:
    assert curves_name(PretrainConfig(seed=2), "0f3a") == "resnet50-both-seed2-0f3a"


def test_a_training_that_fails_before_it_continues_changes_no_curve(tmp_path: Path) -> None:
    before = Curves(FileStore(tmp_path))
    before.begin(0)
    before.add(1, {"loss": 1.0})
    before.close()
    Curves(FileStore(tmp_path)).close()  # for example its checkpoint cannot be read
    assert read_curves(tmp_path)["loss"] == [(1, 1)]
