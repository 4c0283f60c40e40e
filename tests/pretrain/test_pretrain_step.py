"""Pretrain as a whole, on tiny shards: same bits whatever happens on the way, and every variant of table 7 runs."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import safetensors.numpy
import torch
from event_files import read_curves
from tiny_generator import ATTRIBUTES, load_tiny
from torch import nn

from comface.artifacts.made import read_made
from comface.artifacts.manifest import Artifact, open_artifact
from comface.errors import ConfigurationError, DataError
from comface.networks import Backbone
from comface.networks.backbones import NarrowResNet, build_backbone
from comface.plan.configuration import resolve
from comface.pretrain import checkpoint, replay
from comface.pretrain.config import Augmentation, PretrainConfig
from comface.pretrain.data import first_identities, held_out_pairs, training_pairs
from comface.pretrain.draft import ALWAYS_ADDRESSED, draft_backbone
from comface.pretrain.gauges import Gauges
from comface.pretrain.network import build_network
from comface.pretrain.nonfinite import first_nonfinite
from comface.pretrain.optimiser import build_optimizer, learning_rate
from comface.pretrain.position import Position
from comface.pretrain.processes import Processes
from comface.pretrain.saving import Checkpoints
from comface.pretrain.step import pretrain
from comface.pretrain.step_losses import Reading
from comface.shard.config import ShardConfig
from comface.shard.step import shard
from comface.store import FileStore
from comface.synthesize.step import synthesize
from comface.tracks.config import Share, SynthesizeConfig
from comface.tracks.shard_reader import ShardReader

OVERRIDES = (
    "pretrain.image_size_px=32", "pretrain.pairs_per_step=8", "pretrain.steps_per_epoch=30", "pretrain.epochs=2",
    "pretrain.curriculum_ends=[1,2]", "pretrain.projection_width=16", "pretrain.checkpoint_every_s=600",
    "pretrain.processes=1",
)  # fmt: skip
LONG_S = 180
ALONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Tracks of 20 identities, 32 px, 5 alphas."""
    store = FileStore(tmp_path_factory.mktemp("shards") / "store")
    share = Share(generator="procedural", identities=20, attributes=ATTRIBUTES)
    config = SynthesizeConfig(
        composition=(share,), alpha_step=2.5, image_size_px=32, parts=1, screen_faces=False
    )  # fmt: skip
    return shard(store, ShardConfig(), [synthesize(store, config, 0, load=load_tiny)])


def config_of(*overrides: str) -> PretrainConfig:
    return resolve("laptop", [*OVERRIDES, *overrides]).pretrain


def train(folder: Path, shards: Artifact, *overrides: str) -> Artifact:
    return pretrain(FileStore(folder / "store"), config_of(*overrides), shards, folder / "cache")


def weights(backbone: Artifact) -> bytes:
    return backbone.read("model.safetensors")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, shards: Artifact) -> Artifact:
    return train(tmp_path_factory.mktemp("undisturbed"), shards)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(
    tmp_path: Path, shards: Artifact, undisturbed: Artifact
) -> None:
    again = train(tmp_path, shards)
    assert again.sha256 == undisturbed.sha256
    assert weights(again) == weights(undisturbed)
    assert weights(train(tmp_path, shards, "pretrain.seed=1")) != weights(undisturbed)


def test_the_artifact_holds_backbone_head_and_curve_and_no_checkpoint(undisturbed: Artifact) -> None:
    tensors = safetensors.numpy.load(weights(undisturbed))
    assert {name.partition(".")[0] for name in tensors} == {"backbone", "head"}
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())
    curve = undisturbed.read_json("curve.json")
    assert [(record["epoch"], record["s"]) for record in curve] == [(1, 10.0), (2, 5.0)]
    assert undisturbed.read("curve.png").startswith(b"\x89PNG")
    assert not any(key.startswith("checkpoint") for key in undisturbed.store.keys(""))
    assert (undisturbed.facts["steps"], undisturbed.facts["pairs"]) == (60, 480)


def test_training_learns(undisturbed: Artifact) -> None:
    first, last = undisturbed.read_json("curve.json")
    assert last["loss_inter"] < first["loss_inter"]
    assert last["validation"]["top1"] > 0.5


def test_held_out_losses_are_of_the_range_of_the_epoch_and_the_correlation_of_the_whole_range(
    tmp_path: Path, shards: Artifact, undisturbed: Artifact
) -> None:
    config = config_of()
    ranges = training_pairs(shards, config, tmp_path, Processes(0, 1, torch.device("cpu"))).range_E
    held_out = held_out_pairs(shards, config, tmp_path, ranges)
    distances = {
        s: max(float((b.alpha_y_N - b.alpha_x_N).abs().max()) for b in map(held_out.__getitem__, held_out.within(s)))
        for s in (10.0, 5.0)
    }
    assert distances[5.0] <= 5.0 < distances[10.0] <= 10.0
    first, last = undisturbed.read_json("curve.json")
    assert first["held_out"] == {name: first["validation"][name] for name in ("loss_inter", "loss_intra", "corr")}
    assert last["held_out"]["loss_intra"] < last["validation"]["loss_intra"]


def test_a_second_call_finds_the_work_done(shards: Artifact, undisturbed: Artifact) -> None:
    root = FileStore(undisturbed.store.root.parents[1])
    before = {key: root.path(key).stat().st_mtime_ns for key in sorted(root.keys())}
    assert pretrain(root, config_of(), shards, Path("nowhere")).sha256 == undisturbed.sha256
    assert {key: root.path(key).stat().st_mtime_ns for key in sorted(root.keys())} == before


def test_losses_and_weights_do_not_depend_on_when_the_losses_are_read(
    tmp_path: Path, shards: Artifact, undisturbed: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comface.pretrain.step.READ_EVERY", 7)
    assert train(tmp_path, shards).sha256 == undisturbed.sha256, "the curve too is the same"


def test_where_it_trains_is_no_part_of_the_address(tmp_path: Path, shards: Artifact, undisturbed: Artifact) -> None:
    root = FileStore(undisturbed.store.root.parents[1])
    elsewhere = config_of("pretrain.gpus_per_node=1", "pretrain.checkpoint_every_s=1", "pretrain.job.cpus=3")
    assert pretrain(root, elsewhere, shards, tmp_path).uri == undisturbed.uri


def test_the_number_of_processes_is_part_of_the_address_where_batchnorm_depends_on_it(shards: Artifact) -> None:
    def addresses(backbone: str, batchnorm: str = "local") -> set[str]:
        sizes = [("nodes", 1), ("nodes", 2), ("gpus_per_node", 4)]
        own = (f"pretrain.backbone={backbone}", f"pretrain.batchnorm={batchnorm}")
        configs = [config_of(*own, f"pretrain.{name}={size}") for name, size in sizes]
        return {draft_backbone(FileStore(Path("/nowhere")), config, shards).uri for config in configs}

    for backbone in get_args(Backbone):
        network = build_backbone(backbone)[0]
        normalizes = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())
        assert len(addresses(backbone)) == (3 if normalizes else 1), backbone
        assert len(addresses(backbone, "global")) == 1, backbone
        assert len(addresses(backbone) | addresses(backbone, "global")) == (4 if normalizes else 1), backbone


def test_parts_of_a_share_count_as_processes_in_the_address(shards: Artifact) -> None:
    def address(*overrides: str) -> str:
        fields = config_of(*(f"pretrain.{override}" for override in overrides))
        return draft_backbone(FileStore(Path("/nowhere")), fields, shards, {}).uri

    assert address("accumulate=4") == address("gpus_per_node=4") == address("gpus_per_node=2", "accumulate=2")
    assert address("accumulate=4") != address("accumulate=2")
    assert address("accumulate=4", "backbone=vit_b_16") == address("backbone=vit_b_16")


def test_a_field_that_was_added_later_is_in_the_address_only_if_it_is_set(shards: Artifact) -> None:
    def made_from(*overrides: str) -> dict[str, Any]:
        return draft_backbone(FileStore(Path("/nowhere")), config_of(*overrides), shards, {}).config

    at_defaults = made_from()
    fields = {*PretrainConfig.model_fields, *Augmentation.model_fields}
    assert fields >= ALWAYS_ADDRESSED
    assert at_defaults.keys() | at_defaults["augmentation"].keys() == ALWAYS_ADDRESSED | {"batchnorm_over_processes"}
    assert made_from("pretrain.identities=9") == at_defaults | {"identities": 9}


def test_a_batch_that_does_not_divide_is_refused_before_anything_starts(tmp_path: Path, shards: Artifact) -> None:
    with pytest.raises(ConfigurationError) as error:
        train(tmp_path, shards, "pretrain.pairs_per_step=1000", "pretrain.nodes=4", "pretrain.gpus_per_node=8")
    assert str(error.value) == ("pretrain.pairs_per_step: 1,000 pairs do not divide by 32 processes; use 992 or 1,024.")
    assert not (tmp_path / "store").exists()


# Interruptions: real processes, real signals


def start(folder: Path, shards: Artifact) -> subprocess.Popen[str]:
    overrides = (*OVERRIDES, "pretrain.checkpoint_every_s=0.05")
    sets = [word for override in overrides for word in ("--set", override)]
    command = [sys.executable, "-m", "comface", "pretrain", shards.uri, "--store", (folder / "store").as_uri(), *sets]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_checkpoint(folder: Path, child: subprocess.Popen[str]) -> Path:
    until = time.monotonic() + LONG_S
    while time.monotonic() < until:
        found = list(folder.glob("store/backbone/*/checkpoints/0*"))
        if found:
            return found[0]
        if child.poll() is not None:
            break
        time.sleep(0.005)
    child.kill()
    pytest.fail(f"no checkpoint was written: {child.communicate()[1]}")


def test_a_training_that_was_killed_goes_on_and_ends_with_the_same_bits(
    tmp_path: Path, shards: Artifact, undisturbed: Artifact, capfd: pytest.CaptureFixture[str]
) -> None:
    child = start(tmp_path, shards)
    saved = wait_for_checkpoint(tmp_path, child)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert not (saved.parents[1] / "manifest.json").exists(), "it was killed in the middle"
    capfd.readouterr()
    resumed = train(tmp_path, shards)
    assert "Resuming pre-training at epoch" in capfd.readouterr().err
    assert weights(resumed) == weights(undisturbed)
    assert resumed.sha256 == undisturbed.sha256, "the curve too is the same"
    assert_one_line(tmp_path, undisturbed)


def curves_in(store: Path) -> dict[str, list[tuple[int, float]]]:
    (folder,) = (store / "curves").iterdir()
    return read_curves(folder)


def assert_one_line(folder: Path, undisturbed: Artifact) -> None:
    """The event files of both trainings have the same losses, held-out figures and settings at the same steps."""
    found, expected = curves_in(folder / "store"), curves_in(undisturbed.store.root.parents[1])
    assert [step for step, _ in expected["loss/intra"]] == [10, 20, 30, 40, 50, 60]
    assert [step for step, _ in expected["held_out/correlation_within_S"]] == [30, 60]
    assert [value for _, value in expected["training/change_range"]] == [10, 10, 10, 5, 5, 5]
    assert {name: line for name, line in found.items() if not name.startswith("speed")} == {
        name: line for name, line in expected.items() if not name.startswith("speed")
    }
    assert len(found["speed/pairs_per_s"]) == 6


def test_a_training_that_is_asked_to_stop_saves_and_goes_on_with_the_same_bits(
    tmp_path: Path, shards: Artifact, undisturbed: Artifact
) -> None:
    child = start(tmp_path, shards)
    wait_for_checkpoint(tmp_path, child)
    child.send_signal(signal.SIGTERM)
    _, told = child.communicate(timeout=LONG_S)
    assert child.returncode == 143, told
    last = told.strip().splitlines()[-1]
    assert " ERROR pretrain: Pre-training was asked to stop at epoch " in last
    assert last.endswith(".")
    assert train(tmp_path, shards).sha256 == undisturbed.sha256
    ours, theirs = (curves_in(folder) for folder in (tmp_path / "store", undisturbed.store.root.parents[1]))
    steps = [step for step, _ in ours["training/change_range"]]
    assert steps == sorted(set(steps) | {10, 20, 30, 40, 50, 60}), "and perhaps the step at which it was stopped"
    assert ours["held_out/correlation_within_S"] == theirs["held_out/correlation_within_S"]


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "of another training": lambda state: state.update(training="0" * 20),
    "without a network": lambda state: state.pop("network"),
    "with another network": lambda state: state["network"].popitem(),
    "without an optimiser": lambda state: state.update(optimizer={}),
    "before the first epoch": lambda state: state.update(epoch=0, curve=[]),
    "after the last epoch": lambda state: state.update(epoch=99),
    "before the first step": lambda state: state.update(step=-3),
    "after the last step": lambda state: state.update(step=31, sums={"steps": 31, "inter": 1.0, "intra": 1.0}),
    "at a word": lambda state: state.update(epoch="1"),
    "with other sums": lambda state: state.update(sums={"mean": 1.0}),
    "with sums that are no numbers": lambda state: state["sums"].update(inter=float("nan")),
    "without a curve": lambda state: state.update(curve=None),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_a_whole_checkpoint_that_does_not_fit_is_refused(tmp_path: Path, shards: Artifact, edit) -> None:
    """Of version 1, which wrote one object."""
    store = FileStore(tmp_path / "store")
    draft = draft_backbone(store, config_of(), shards)
    config = config_of()
    network = build_network(config, 10.0)
    gauges = Gauges(config, ALONE)
    begun = Checkpoints(draft.store, config, network, build_optimizer(network, config), ALONE, gauges)
    begun.save(Position(30))
    begun.flush()
    state = {**checkpoint.load(draft.store, "checkpoint"), "training": draft.uri.rpartition("/")[2]}
    edit(state)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    draft.store.write("checkpoint", hashlib.sha256(data).digest() + data)
    with pytest.raises(DataError, match=r"does not belong to this training; delete its object 'checkpoint' to start"):
        train(tmp_path, shards)


def test_shards_with_fewer_identities_than_a_batch_has_pairs_are_refused(tmp_path: Path, shards: Artifact) -> None:
    with pytest.raises(ConfigurationError, match="A batch of 64 pairs needs as many identities"):
        train(tmp_path, shards, "pretrain.pairs_per_step=64")


def test_a_loss_that_is_no_longer_finite_names_its_batch_which_can_be_repeated(
    tmp_path: Path, shards: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ("pretrain.learning_rate=1e6", "pretrain.cosine=false", "pretrain.epochs=1")
    with pytest.raises(DataError, match="The loss is not finite at epoch 1, step") as error:
        train(tmp_path, shards, *overrides)
    (path,) = tmp_path.glob("store/backbone/*/nonfinite-1-*.json")
    assert path.as_uri() in str(error.value)
    record = json.loads(path.read_text())
    assert f"step {record['step']} (L_inter {record['l_inter'][:3]}" in str(error.value)
    sampler = training_pairs(shards, config_of(*overrides), tmp_path, ALONE).sampler
    batch = sampler.batch(1, record["step"], 10.0)
    assert [(pair["x"], pair["y"]) for pair in record["pairs"]] == list(zip(batch.x_N, batch.y_N, strict=True))
    assert replay.main([path.as_uri(), "--images", str(tmp_path / "images")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(list((tmp_path / "images").glob("*.jpg"))) == 16
    assert "is not finite." in said[-2], "the first layer that fails"
    losses = [line.partition("L_inter ")[2].partition(",")[0] for line in said if line.startswith("epoch 1, step")]
    assert len(losses) == record["step"] + 1, "from the first step on, because no checkpoint was saved"
    assert losses[-1] == "nan"
    assert "nan" not in losses[:-1]


def test_a_record_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nonfinite-1-2.json").write_text("{}")
    assert replay.main([str(tmp_path / "nonfinite-1-2.json")]) == 65
    assert "was not written by pre-training" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("inter", "intra", "norm", "step"),
    [([1, 2], [1, 2], 3.0, None), ([1, math.nan, math.nan], [1, 1, 1], math.nan, 8), ([1, 1], [1, 1], math.inf, 9)],
)
def test_the_first_step_that_is_not_finite_is_named(
    inter: list[float], intra: list[float], norm: float, step: int | None
) -> None:
    assert first_nonfinite(Reading(inter, intra, norm), Position(30, 1, 10)) == step


# The variants of table 7


SHORT = ("pretrain.epochs=1", "pretrain.steps_per_epoch=4")


@pytest.mark.parametrize("learning", ["inter", "intra"])
def test_one_loss_alone_trains_and_leaves_the_other_out(tmp_path: Path, shards: Artifact, learning: str) -> None:
    backbone = train(tmp_path, shards, *SHORT, f"pretrain.learning={learning}")
    (record,) = backbone.read_json("curve.json")
    used, unused = ("loss_inter", "loss_intra") if learning == "inter" else ("loss_intra", "loss_inter")
    assert record[used] > 0
    assert record[unused] is None
    assert (record["validation"]["corr"] is None) == (learning == "inter")


def test_a_signed_target_is_compared_with_the_signed_change(tmp_path: Path, shards: Artifact) -> None:
    both = {target: train(tmp_path, shards, *SHORT, f"pretrain.target={target}") for target in ("absolute", "signed")}
    assert weights(both["signed"]) != weights(both["absolute"])
    bias = {name: safetensors.numpy.load(weights(made))["head.linear.bias"][0] for name, made in both.items()}
    assert bias["signed"] == pytest.approx(0, abs=0.5), "the mean signed change is none"
    assert bias["absolute"] == pytest.approx(10 / 3, abs=0.5)


def test_without_the_curriculum_the_range_stays(tmp_path: Path, shards: Artifact) -> None:
    backbone = train(tmp_path, shards, "pretrain.curriculum=false", "pretrain.steps_per_epoch=2")
    assert [record["s"] for record in backbone.read_json("curve.json")] == [10.0, 10.0]


def test_early_epochs_can_have_smaller_views_in_training_and_validation(tmp_path: Path, shards: Artifact) -> None:
    seen: list[int] = []

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if isinstance(module, NarrowResNet):
            seen.append(inputs[0].shape[-1])

    sizes = ("pretrain.image_size_px=48", "pretrain.resolution=[[1, 32]]", "pretrain.steps_per_epoch=2")
    with nn.modules.module.register_module_forward_pre_hook(note):
        backbone = train(tmp_path, shards, *sizes)
    curve = backbone.read_json("curve.json")
    assert [record["size_px"] for record in curve] == [32, 48]
    change = seen.index(48)
    assert set(seen[:change]) == {32}
    assert set(seen[change:]) == {48}


def test_some_steps_can_be_profiled_without_another_result(
    tmp_path: Path, shards: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    steps = ("pretrain.epochs=1", "pretrain.steps_per_epoch=14")
    plain = train(tmp_path / "plain", shards, *steps)
    assert not list(tmp_path.glob("plain/store/curves/*/trace-*"))
    caplog.clear()
    profiled = train(tmp_path, shards, *steps, "pretrain.profile_steps=2")
    assert profiled.sha256 == plain.sha256
    (path,) = tmp_path.glob("store/curves/*/trace-*.json.gz")
    assert path.name == "trace-12.json.gz"
    assert path.parent.as_uri() in caplog.text
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    assert [event["name"] for event in events if event["name"].startswith("ProfilerStep")]
    assert "convolution" in path.with_name("trace-12.txt").read_text()


def test_the_learning_rate_warms_up_before_it_is_halved_or_decays() -> None:
    def rates(*overrides: str) -> list[float]:
        config = config_of("pretrain.epochs=4", "pretrain.curriculum_ends=[4]", "pretrain.learning_rate=1", *overrides)
        return [learning_rate(config, Position(10, epoch, step)) for epoch in (1, 2, 3, 4) for step in (0, 5)]

    halved = ("pretrain.cosine=false", "pretrain.halve_at_epoch=4")
    assert rates(*halved) == [1, 1, 1, 1, 1, 1, 0.5, 0.5]
    assert rates(*halved, "pretrain.warm_up=0.5") == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 0.5, 0.5], abs=1e-6)
    assert rates("pretrain.cosine=true") == rates("pretrain.cosine=true", "pretrain.warm_up=0.05")
    assert rates("pretrain.cosine=true", "pretrain.warm_up=0")[0] == 1


def test_the_heads_own_rate_is_for_l_alone_whatever_a_backbone_calls_its_layers() -> None:
    config = config_of("pretrain.head_rate_factor=10")
    network = build_network(config, 10.0)
    network.backbone = nn.ModuleDict({"head": nn.Linear(3, 2)})
    rest, head = build_optimizer(network, config).param_groups
    assert (rest["factor"], head["factor"]) == (1.0, 10.0)
    assert set(map(id, head["params"])) == set(map(id, network.head.parameters()))
    assert len(rest["params"]) + len(head["params"]) == len(list(network.parameters()))


# Several processes


def test_a_command_on_a_cpu_trains_one_network_with_two_processes(tmp_path: Path, shards: Artifact) -> None:
    overrides = (*OVERRIDES, "pretrain.steps_per_epoch=5", "pretrain.processes=2")
    sets = [word for override in overrides for word in ("--set", override)]
    command = [sys.executable, "-m", "comface", "pretrain", shards.uri, "--store", (tmp_path / "store").as_uri(), *sets]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    backbone = open_artifact(done.stdout.split()[-1], "backbone")
    assert len(backbone.read_json("curve.json")) == 2
    assert all(np.isfinite(t).all() for t in safetensors.numpy.load(weights(backbone)).values())
    made = read_made(backbone.store)
    assert made is not None
    assert made.processes == 2


# Scale (figure 3)


def test_a_smaller_scale_is_a_subset_that_mixes_all_generators_and_does_not_depend_on_order_or_seed() -> None:
    names = [f"{generator}-{number:04d}" for generator in ("dcgan", "procedural") for number in range(500)]
    found = [first_identities(names, count) for count in (64, 200, 1_000, 2_000)]
    assert [len(each) for each in found] == [64, 200, 1_000, 1_000]
    assert found[0] < found[1] < found[2] == found[3] == set(names)
    assert first_identities(reversed(names), 64) == found[0]
    assert 20 < sum(name.startswith("dcgan") for name in found[0]) < 44


def test_only_the_tracks_of_the_first_identities_are_read_and_the_number_is_part_of_the_address(
    shards: Artifact, tmp_path: Path
) -> None:
    few = config_of("pretrain.identities=9")
    pairs = training_pairs(shards, few, tmp_path / "cache", ALONE)
    everyone = ShardReader(shards, "train", tmp_path / "cache")
    people = {track.identity for track, _ in pairs.reader.tracks}
    assert people == first_identities((track.identity for track, _ in everyone.tracks), 9)
    for number, (track, _) in enumerate(pairs.reader.tracks):
        (same,) = [i for i, (other, _) in enumerate(everyone.tracks) if other.key == track.key]
        assert pairs.reader.jpeg(number, 2) == everyone.jpeg(same, 2)
    assert pairs[0].x_NHWC.shape[0] == 8
    store = FileStore(tmp_path / "store")
    addresses = {draft_backbone(store, config, shards, {}).uri for config in (few, config_of())}
    assert len(addresses) == 2
