"""One training, whatever the number of processes and whatever interrupts it: the same pairs, views, gradients, bits."""

from __future__ import annotations

import os
import signal
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gloo import together
from tiny_generator import ATTRIBUTES, load_tiny
from torch import Tensor, nn

from comface.artifacts.manifest import Artifact
from comface.errors import Preempted, TryAgain
from comface.plan.configuration import resolve
from comface.pretrain import checkpoint
from comface.pretrain import step as pretrain_step
from comface.pretrain.batchnorm import over_all_processes
from comface.pretrain.checkpoint import checkpoints_in
from comface.pretrain.config import PretrainConfig
from comface.pretrain.data import training_pairs
from comface.pretrain.draft import draft_backbone
from comface.pretrain.draws import Draws, draw_views
from comface.pretrain.network import Outputs, build_network
from comface.pretrain.optimiser import build_optimizer
from comface.pretrain.pairs import PairSampler
from comface.pretrain.position import Position
from comface.pretrain.processes import Processes
from comface.pretrain.stop import StopRequests
from comface.pretrain.train_step import TrainStep
from comface.seeds import derive_seed
from comface.shard.config import ShardConfig
from comface.shard.step import shard
from comface.store import FileStore
from comface.synthesize.step import synthesize
from comface.tracks.config import Share, SynthesizeConfig

ALONE = Processes(0, 1, torch.device("cpu"))
PAIRS = 240
WORLD_SIZES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 16, 20, 24, 30, 40, 48)
OVERRIDES = (
    "pretrain.image_size_px=32", "pretrain.pairs_per_step=8", "pretrain.steps_per_epoch=15", "pretrain.epochs=2",
    "pretrain.curriculum_ends=[1,2]", "pretrain.projection_width=16", "pretrain.checkpoint_every_s=0.01",
    "pretrain.loader_workers=0", "pretrain.processes=1",
)  # fmt: skip
STEPS = 30


def config_of(*overrides: str) -> PretrainConfig:
    return resolve("laptop", [*OVERRIDES, *overrides]).pretrain


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    store = FileStore(tmp_path_factory.mktemp("shards") / "store")
    share = Share(generator="procedural", identities=20, attributes=ATTRIBUTES)
    config = SynthesizeConfig(composition=(share,), alpha_step=2.5, image_size_px=32, parts=1, screen_faces=False)
    return shard(store, ShardConfig(), [synthesize(store, config, 0, load=load_tiny)])


# Pairs and views


def sampler() -> PairSampler:
    """270 identities with 1 to 3 tracks of 11 images."""
    owners = np.repeat(np.arange(270), 1 + np.arange(270) % 3)
    return PairSampler(owners, list(np.linspace(-5, 5, 11)), PAIRS, seed=4)


def of_a_step(pairs: PairSampler, item: int, config: PretrainConfig, processes: int) -> np.ndarray:
    """Everything that decides step `item`: its pairs and their views, collected from `processes` processes that each
    compute only their share. One row per place in the batch."""
    epoch, step = divmod(item, pairs.full_epoch_steps)
    seed = derive_seed(config.seed, "views", epoch + 1, step)
    rows = np.full((PAIRS, 3 + draw_views(config.augmentation, Draws(torch.Generator(), 1))[:, 0].numel()), np.nan)
    for rank in range(processes):
        share = Processes(rank, processes, torch.device("cpu")).share
        own = range(PAIRS)[share]
        batch = pairs.batch(epoch + 1, step, 10.0 / (epoch + 1), slice(own.start, own.stop, own.step))
        views_VNC = draw_views(config.augmentation, Draws(torch.Generator().manual_seed(seed), PAIRS, share))
        rows[share, :3] = np.stack([batch.track_N, batch.x_N, batch.y_N], axis=1)
        rows[share, 3:] = views_VNC.transpose(0, 1).flatten(1).numpy()
    return rows


def test_any_number_of_processes_has_the_same_pairs_and_views_and_loses_and_doubles_none() -> None:
    config, pairs = config_of("pretrain.augmentation.side_light=0.5"), sampler()
    expected = of_a_step(pairs, pairs.full_epoch_steps + 3, config, 1)
    assert np.isfinite(expected).all()
    assert len(np.unique(expected, axis=0)) == PAIRS
    for processes in WORLD_SIZES:
        np.testing.assert_array_equal(of_a_step(pairs, pairs.full_epoch_steps + 3, config, processes), expected)


def test_a_training_that_resumes_after_any_of_500_steps_has_the_same_pairs_and_views() -> None:
    """On another number of processes every 50th time; each time everything is built anew, as in a new process."""
    config, pairs = config_of(), sampler()
    steps = pairs.full_epoch_steps
    whole = [of_a_step(pairs, item, config, 1) for item in range(2 * steps)]
    for number, offset in enumerate(np.random.default_rng(0).integers(0, 2 * steps, 500)):
        at = Position(steps, 1 + offset // steps, offset % steps)
        processes = 1 if number % 50 else WORLD_SIZES[number // 50]
        np.testing.assert_array_equal(of_a_step(sampler(), at.steps_done, config, processes), whole[offset])


# Gradients


class Plain(nn.Module):
    """A network of ComFace's shape without BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.projection, self.head = nn.Linear(3 * 8 * 8, 6), nn.Linear(6, 4), nn.Linear(6, 1)

    def forward(self, views: Tensor) -> Outputs:
        h1, h2, hy = self.backbone(nn.functional.adaptive_avg_pool2d(views, 8).flatten(1)).chunk(3)
        return Outputs(self.projection(torch.cat([h1, h2])), self.head(torch.relu(hy - h1)).squeeze(1))


def first_step(shards: Artifact, plain: bool, folder: Path, processes: Processes) -> tuple[Tensor, Tensor]:
    """Losses (as they are recorded) and gradient of the first step of a training."""
    config = config_of("pretrain.pairs_per_step=16", "pretrain.batchnorm=global")
    network: Any = build_network(config, 10.0)
    if plain:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = Plain()
    over_all_processes(network, processes)
    step = TrainStep(network, build_optimizer(network, config), config, processes)
    step.network.train()
    step(training_pairs(shards, config, folder, processes)[0], Position(15))
    (inter,), (intra,), _ = step.read()
    return torch.tensor([inter, intra]), torch.cat([p.grad.flatten().double() for p in network.parameters()])


@pytest.mark.parametrize(("plain", "tolerance"), [(True, 1e-6), (False, 1e-5)], ids=["plain", "batchnorm"])
def test_losses_and_gradients_of_1_2_4_and_8_processes_are_equal(
    shards: Artifact, tmp_path: Path, plain: bool, tolerance: float
) -> None:
    work = partial(first_step, shards, plain, tmp_path)
    ((losses, gradient),) = together(1, work, tmp_path)
    for count in (2, 4, 8):
        for found_losses, found in together(count, work, tmp_path / str(count)):
            torch.testing.assert_close(found_losses, losses, rtol=tolerance, atol=0)
            assert (found - gradient).norm() <= tolerance * gradient.norm(), count


# Whole trainings


def train(shards: Artifact, folder: Path, *overrides: str) -> Artifact:
    return pretrain_step.pretrain(FileStore(folder / "store"), config_of(*overrides), shards, folder / "cache")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, shards: Artifact) -> Artifact:
    return train(shards, tmp_path_factory.mktemp("undisturbed"))


def killed_at(step: int, shards: Artifact, folder: Path) -> None:
    """Train in a process of its own, which SIGKILL ends at a step."""

    class Fatal(TrainStep):
        def __call__(self, batch: Any, at: Position) -> None:
            if at.steps_done == step:
                os.kill(os.getpid(), signal.SIGKILL)
            super().__call__(batch, at)

    def work() -> None:
        pretrain_step.TrainStep = Fatal  # type: ignore[misc]
        train(shards, folder)

    child = get_context("fork").Process(target=work)
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL


def test_a_training_that_is_killed_at_five_steps_ends_with_the_same_bits(
    shards: Artifact, tmp_path: Path, undisturbed: Artifact
) -> None:
    for step in (4, 11, 15, 22, 29):
        killed_at(step, shards, tmp_path)
    assert list(tmp_path.glob("store/backbone/*/checkpoints/*"))
    again = train(shards, tmp_path)
    assert again.read("model.safetensors") == undisturbed.read("model.safetensors")
    assert again.sha256 == undisturbed.sha256


@pytest.mark.system
@pytest.mark.parametrize("step", range(STEPS))
def test_a_training_that_is_killed_at_any_step_ends_with_the_same_bits(
    shards: Artifact, tmp_path: Path, undisturbed: Artifact, step: int
) -> None:
    killed_at(step, shards, tmp_path)
    assert train(shards, tmp_path).sha256 == undisturbed.sha256


class AskedAt(StopRequests):
    """Is asked to stop before item `number` of a training: a batch, or in between a batch of a validation."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left = number

    def next_of(self, feed: Any) -> Any:
        self.left -= 1
        self.requested = self.left < 0
        return super().next_of(feed)


def trained(
    shards: Artifact, folder: Path, overrides: tuple[str, ...], asked: tuple[int, int], processes: Processes
) -> tuple[str, dict[str, Tensor]]:
    """Train with several processes, of which rank `asked[0]` is asked to stop before item `asked[1]`. Returns what the
    training says at its end, and the weights."""
    config = config_of(*overrides)
    store = draft_backbone(FileStore(folder / "store"), config, shards, {"WORLD_SIZE": "1"}).store
    stop = AskedAt(asked[1]) if processes.rank == asked[0] else StopRequests()
    try:
        network, _ = pretrain_step.train(config, shards, store, folder / "cache", processes, stop)
    except Preempted as error:
        return str(error), {}
    return "", network.state_dict()


NOBODY = (-1, 0)
SHORT = ("pretrain.steps_per_epoch=5",)


def test_a_request_to_one_process_during_a_validation_stops_all_and_the_training_resumes_with_the_same_bits(
    shards: Artifact, tmp_path: Path
) -> None:
    (_, expected), _ = together(2, partial(trained, shards, tmp_path / "a", SHORT, NOBODY), tmp_path / "1")
    said = together(2, partial(trained, shards, tmp_path / "b", SHORT, (1, 6)), tmp_path / "2")
    assert [sentence for sentence, _ in said] == [
        "Pre-training was asked to stop at epoch 1, step 5; it is saved, run it again."
    ] * 2
    (_, found), _ = together(2, partial(trained, shards, tmp_path / "b", SHORT, NOBODY), tmp_path / "3")
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_all_processes_say_whether_the_first_one_could_save(
    shards: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchrun reports the message of the process that ends first."""

    def refused(*_: object) -> None:
        raise TryAgain("The store does not answer; run again.")

    monkeypatch.setattr(checkpoint, "save", refused)
    said = together(2, partial(trained, shards, tmp_path / "a", SHORT, (1, 3)), tmp_path / "1")
    assert [sentence for sentence, _ in said] == [
        "Pre-training was asked to stop at epoch 1, step 3; only its last checkpoint is saved, run it again."
    ] * 2


@pytest.mark.system
def test_a_training_resumes_with_another_number_of_processes_and_workers(shards: Artifact, tmp_path: Path) -> None:
    settings = (*SHORT, "pretrain.batchnorm=global", "pretrain.learning_rate=1e-4")
    parts, workers = tmp_path / "parts", "pretrain.loader_workers=2"
    ((_, expected),) = together(1, partial(trained, shards, tmp_path / "whole", settings, NOBODY), tmp_path)
    for count, asked in ((2, (1, 3)), (4, (2, 1))):
        for said, _ in together(count, partial(trained, shards, parts, settings, asked), tmp_path / str(count)):
            assert "it is saved" in said
    (folder,) = parts.glob("store/backbone/*")
    assert checkpoints_in(FileStore(folder))[0] == "checkpoints/000000000004"
    ((said, found),) = together(1, partial(trained, shards, parts, (*settings, workers), NOBODY), tmp_path)
    assert said == ""
    names = [name for name, tensor in expected.items() if tensor.is_floating_point() and "running" not in name]
    ours, theirs = (torch.cat([state[name].flatten() for name in names]) for state in (found, expected))
    assert (ours - theirs).norm() <= 1e-3 * theirs.norm()
