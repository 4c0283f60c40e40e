"""Repeats the step of a training whose loss or gradient was not finite: `python -m comface.pretrain.replay URI`.

In: the URI of `nonfinite-EPOCH-STEP.json`. It needs the shards, and the last checkpoint of the training if there is
one. Out: the losses, the gradient norm and the pixels of each step from the checkpoint to that step, and the first
layer with an output that is not finite. `--images FOLDER` writes the JPEGs of the batch. Nothing in the store changes,
except that damaged checkpoints are deleted.

One process computes the whole batch, without a CUDA graph. If the training had several processes and BatchNorm over
each one's share, the numbers differ.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from comface.artifacts.manifest import open_artifact
from comface.config.names import place_uri
from comface.errors import ComfaceError, DataError
from comface.pretrain.config import PretrainConfig
from comface.pretrain.data import Batch, PairImages, training_pairs
from comface.pretrain.gauges import Gauges
from comface.pretrain.network import build_network
from comface.pretrain.objective import exact_float32
from comface.pretrain.optimiser import build_optimizer
from comface.pretrain.position import Position
from comface.pretrain.processes import Processes
from comface.pretrain.saving import Checkpoints
from comface.pretrain.train_step import TrainStep
from comface.runtime.folders import cache_folder
from comface.store import open_store


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m comface.pretrain.replay", description=__doc__)
    parser.add_argument("record", help="URI or path of nonfinite-EPOCH-STEP.json")
    parser.add_argument("--images", type=Path, help="folder for the images of the batch")
    given = parser.parse_args(arguments)
    try:
        replay(given.record, given.images)
    except ComfaceError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def replay(record_uri: str, images: Path | None) -> None:
    """Raises the errors of the store, of the shards and of the checkpoint."""
    folder, _, key = place_uri(record_uri).rpartition("/")
    store = open_store(folder)
    try:
        record = json.loads(store.read(key))
        config = PretrainConfig.model_validate(record["pretrain"] | {"decode": "cpu", "cuda_graph": False})
        end = (int(record["epoch"]), int(record["step"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"'{record_uri}' was not written by pre-training ({type(error).__name__}); name a file "
            "nonfinite-EPOCH-STEP.json."
        ) from None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    processes = Processes(0, 1, device)
    pairs = training_pairs(open_artifact(record["shards"], "shards"), config, cache_folder(), processes)
    if images is not None:
        _write_images(pairs, *end, images)
    network = build_network(config, pairs.sampler.s_max)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(network, config)
    at = Checkpoints(store, config, network, optimizer, processes, Gauges(config, processes)).resume(
        pairs.steps_per_epoch
    )
    train_step = TrainStep(network, optimizer, config, processes)
    while (at.epoch, at.step) <= end:
        if at.step == at.steps_per_epoch:  # also if the checkpoint was saved during a validation
            at.end_epoch()
        batch = pairs[at.steps_done]
        network.train()
        with exact_float32(), _watched(network) if (at.epoch, at.step) == end else contextlib.nullcontext():
            train_step(batch, at)
        print(_line(train_step, batch, at))
        at.step += 1


def _line(train_step: TrainStep, batch: Batch, at: Position) -> str:
    reading = train_step.read()
    pixels = torch.stack([batch.x_NHWC, batch.y_NHWC]).float()
    flat = int((pixels.flatten(2).std(dim=2) < 1).sum())
    return (
        f"epoch {at.epoch}, step {at.step}: L_inter {reading.inter_K[0]:.6g}, L_intra {reading.intra_K[0]:.6g}, "
        f"gradient norm {reading.gradient_norm:.6g}; pixels {pixels.mean():.1f} on average, {flat} images of one colour"
    )


@contextmanager
def _watched(network: nn.Module) -> Iterator[None]:
    """Print the first layer whose output is not finite."""
    found: list[str] = []

    def look(name: str) -> object:
        def after(_: nn.Module, __: object, output: object) -> None:
            outputs = output if isinstance(output, tuple) else (output,)
            if not found and any(isinstance(t, Tensor) and not bool(t.isfinite().all()) for t in outputs):
                found.append(name)
                print(f"The output of the layer '{name}' is not finite.")

        return after

    hooks = [
        module.register_forward_hook(look(name))
        for name, module in network.named_modules()
        if not list(module.children())
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    if not found:
        print("The outputs of all layers are finite.")


def _write_images(pairs: PairImages, epoch: int, step: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    batch = pairs.sampler.batch(epoch, step, pairs.range_E[epoch - 1])
    for track, *alphas in zip(batch.track_N, batch.x_N, batch.y_N, strict=True):
        key = pairs.reader.tracks[int(track)].track.key
        for role, alpha in zip("xy", alphas, strict=True):
            name = f"{key}-{role}-{int(alpha):03d}.jpg".replace("/", "_")
            (folder / name).write_bytes(pairs.reader.jpeg(int(track), int(alpha)))
    print(f"{2 * len(batch.track_N)} images are in {folder}.")


if __name__ == "__main__":
    sys.exit(main())
