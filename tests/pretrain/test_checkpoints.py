"""Checkpoints: written while training goes on, numbered, verified; which are kept, and which one is used."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from comface.errors import ConfigurationError, DataError, TryAgain
from comface.plan.configuration import resolve
from comface.pretrain import checkpoint
from comface.pretrain.gauges import Gauges
from comface.pretrain.network import build_network
from comface.pretrain.optimiser import build_optimizer
from comface.pretrain.position import Position, Sums
from comface.pretrain.processes import Processes
from comface.pretrain.saving import Checkpoints, best_of
from comface.store import FileStore, Store

ALONE = Processes(0, 1, torch.device("cpu"))
CONFIG = resolve(
    "laptop",
    ["pretrain.checkpoint_every_s=0.01", "pretrain.epochs=9", "pretrain.curriculum_ends=[9]", "pretrain.processes=1"],
)
STEPS = 10


class Gated(FileStore):
    """A store that answers a write only when it may."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.begun, self.may = threading.Event(), threading.Event()
        self.fails: Exception | None = None

    def write(self, key: str, data: Any) -> None:
        self.begun.set()
        assert self.may.wait(30)
        if self.fails:
            raise self.fails
        super().write(key, data)


def checkpoints_at(store: Store) -> Checkpoints:
    network = build_network(CONFIG.pretrain, 10.0)
    optimizer = build_optimizer(network, CONFIG.pretrain)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return Checkpoints(store, CONFIG.pretrain, network, optimizer, ALONE, Gauges(CONFIG.pretrain, ALONE))


def position(epoch: int, step: int, *correlations: float | None) -> Position:
    curve = [
        {"epoch": number, "validation": {"corr": corr, "loss_inter": 1.0}}
        for number, corr in enumerate(correlations, start=1)
    ]
    return Position(STEPS, epoch, step, Sums(step, 1.0, 1.0), curve)


def test_training_goes_on_while_a_checkpoint_is_written_and_does_not_change_it(tmp_path: Path) -> None:
    store = Gated(tmp_path)
    checkpoints = checkpoints_at(store)
    before = {name: tensor.clone() for name, tensor in checkpoints.network.state_dict().items()}
    checkpoints.save(position(1, 4))
    assert store.begun.wait(30), "save has returned, and the store has not answered"
    with torch.no_grad():
        for parameter in checkpoints.network.parameters():
            parameter.add_(1)
    checkpoints._tried_s -= 1
    assert not checkpoints.due, "one is in flight"
    store.may.set()
    checkpoints.flush()
    assert checkpoints.due
    (key,) = checkpoint.checkpoints_in(store)
    assert key == "checkpoints/000000000004"
    found = checkpoint.load(store, key)["network"]
    assert all(torch.equal(found[name], tensor) for name, tensor in before.items())


def test_a_second_save_waits_for_the_first_and_the_same_position_is_written_once(tmp_path: Path) -> None:
    store = Gated(tmp_path)
    checkpoints = checkpoints_at(store)
    checkpoints.save(position(1, 4))
    threading.Timer(0.2, store.may.set).start()
    checkpoints.save(position(1, 5))
    checkpoints.flush()
    assert len(checkpoint.checkpoints_in(store)) == 2
    store.begun.clear()
    checkpoints.save(position(1, 5))
    checkpoints.flush()
    assert not store.begun.is_set()


def test_an_unavailable_store_costs_a_checkpoint_and_another_error_ends_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Gated(tmp_path)
    store.may.set()
    checkpoints = checkpoints_at(store)
    store.fails = TryAgain("The store is full; free some space.")
    checkpoints.save(position(1, 4))
    checkpoints.flush()
    assert not checkpoints.is_saved
    assert "The checkpoint was not saved, and the training continues without it: The store is full" in caplog.text
    store.fails = ConfigurationError("The key was refused; correct it.")
    checkpoints.save(position(1, 4))
    with pytest.raises(ConfigurationError, match="The key was refused"):
        checkpoints.flush()


def test_the_newest_and_the_best_are_kept_and_all_are_deleted_at_the_end(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    checkpoints = checkpoints_at(store)
    store.write(checkpoint.OLD, b"of version 1")
    kept = []
    for at in (
        position(2, 0, 0.1), position(3, 0, 0.1, 0.7), position(3, 4, 0.1, 0.7), position(4, 0, 0.1, 0.7, 0.3),
        position(5, 0, 0.1, 0.7, 0.3, 0.8), position(5, 6, 0.1, 0.7, 0.3, 0.8),
        position(6, 0, 0.1, 0.7, 0.3, 0.8, float("nan")),
    ):  # fmt: skip
        checkpoints.save(at)
        checkpoints.flush()
        kept.append([checkpoint.steps_of(key) for key in checkpoint.checkpoints_in(store)])
    assert kept == [[10, 0], [20, 10], [24, 20], [30, 24, 20], [40, 30], [46, 40], [50, 46, 40]]
    assert best_of(position(3, 0, None, None)) == "checkpoints/000000000010"
    checkpoint.delete(store)
    assert list(store.keys()) == []


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_checkpoint_is_replaced_by_the_one_before(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = FileStore(tmp_path)
    checkpoints = checkpoints_at(store)
    for at in (position(1, 4), position(1, 7)):
        checkpoints.save(at)
        checkpoints.flush()
    older, newer = map(checkpoint.key_of, (4, 7))
    data = bytearray(store.read(newer))
    data[len(data) // 2] ^= 1
    store.write(newer, {"flipped": bytes(data), "cut": bytes(data[: len(data) // 2]), "empty": b""}[damage])
    with caplog.at_level(logging.INFO):
        at = checkpoints_at(store).resume(STEPS)
    assert (at.epoch, at.step) == (1, 4)
    assert "The checkpoint 'checkpoints/000000000007' in file://" in caplog.text
    assert "is damaged; using the one before" in caplog.text
    assert checkpoint.checkpoints_in(store) == [older]
    store.write(older, b"")
    with pytest.raises(DataError, match=r"The checkpoint in .* is damaged; delete its folder 'checkpoints'") as error:
        checkpoints_at(store).resume(STEPS)
    assert error.value.exit_code == 65


def test_a_single_checkpoint_of_version_1_is_still_read(tmp_path: Path) -> None:
    store = FileStore(tmp_path)
    checkpoints = checkpoints_at(store)
    checkpoints.save(position(2, 3, 0.5))
    checkpoints.flush()
    store.write("checkpoint", store.read(checkpoint.key_of(13)))
    store.delete(checkpoint.key_of(13))
    resumed = checkpoints_at(store)
    at = resumed.resume(STEPS)
    assert (at.epoch, at.step, at.steps_done) == (2, 3, 13)
    for at in (position(2, 4, 0.5), position(2, 5, 0.5)):
        resumed.save(at)
        resumed.flush()
    assert checkpoint.checkpoints_in(store) == [checkpoint.key_of(15), checkpoint.key_of(14)]


def test_a_checkpoint_is_written_tensor_by_tensor(tmp_path: Path) -> None:
    class Counting(FileStore):
        def write(self, key: str, data: Any) -> None:
            sizes = []

            class File:
                def write(self, part: Any) -> int:
                    sizes.append(memoryview(part).nbytes)
                    return sizes[-1]

                def seek(self, place: int) -> None:
                    assert place == 0

            data(File())
            self.sizes = sizes

    store = Counting(tmp_path)
    checkpoint.save(store, checkpoint.key_of(1), {"network": {str(i): torch.ones(100_000) for i in range(20)}})
    assert max(store.sizes) == 400_000
    assert sum(store.sizes) > 8_000_000
