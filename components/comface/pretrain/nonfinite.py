"""A loss or gradient that is not finite ends a training. This module names the step and describes its batch.

Out: `nonfinite-EPOCH-STEP.json` beside the checkpoints: the step, its losses, and the track and the images of every
pair, all of them synthetic faces. `python -m comface.pretrain.replay URI` repeats the step from the last checkpoint.
"""

from __future__ import annotations

import json
import math
from typing import Any

from comface.artifacts.manifest import Artifact
from comface.errors import ComfaceError, DataError
from comface.pretrain.config import PretrainConfig
from comface.pretrain.data import PairImages
from comface.pretrain.optimiser import learning_rate
from comface.pretrain.position import Position
from comface.pretrain.step_losses import Reading
from comface.store import Store


def first_nonfinite(reading: Reading, at: Position) -> int | None:
    """The step of the epoch, counted from 0, whose loss was the first that is not finite, or whose gradient is not
    (only the last step's is known); None if all are finite. `at`: the position after these steps."""
    first = at.step - len(reading.inter_K)
    for step, losses in enumerate(zip(reading.inter_K, reading.intra_K, strict=True), first):
        if not math.isfinite(sum(losses)):
            return step
    return None if math.isfinite(reading.gradient_norm) else at.step - 1


def nonfinite_error(
    step: int, reading: Reading, at: Position, pairs: PairImages, config: PretrainConfig, store: Store, shards: Artifact
) -> DataError:
    """Save the batch of `step`, and return the error that names it. `store`: the location of the checkpoints. Every
    process saves the same bytes, because any of them may be the one whose error is shown."""
    index = step - (at.step - len(reading.inter_K))
    inter, intra = reading.inter_K[index], reading.intra_K[index]
    what = "The gradient" if math.isfinite(inter + intra) else "The loss"
    key = f"nonfinite-{at.epoch}-{step}.json"
    record = {
        "epoch": at.epoch,
        "step": step,
        "l_inter": str(inter),
        "l_intra": str(intra),
        "gradient_norm_at_the_reading": str(reading.gradient_norm),
        "learning_rate": learning_rate(config, Position(at.steps_per_epoch, at.epoch, step)),
        "faces": "synthetic",
        "pairs": described_pairs(pairs, at.epoch, step),
        "shards": shards.pinned,
        "pretrain": config.model_dump(mode="json"),
    }
    try:
        store.write(key, json.dumps(record, indent=1).encode())
        saved = f"the batch is described in {store.uri}/{key} (docs/watching.md says how to repeat the step)"
    except ComfaceError as error:
        saved = f"the description of the batch could not be saved: {str(error).rstrip('.')}"
    return DataError(
        f"{what} is not finite at epoch {at.epoch}, step {step} (L_inter {inter:.4g}, L_intra {intra:.4g}); lower "
        f"pretrain.learning_rate, or check the shards. The last checkpoint is kept, and {saved}."
    )


def described_pairs(pairs: PairImages, epoch: int, step: int) -> list[dict[str, Any]]:
    """Track, image numbers and alphas of every pair of the whole batch."""
    batch = pairs.sampler.batch(epoch, step, pairs.range_E[epoch - 1])
    alpha_A = pairs.sampler.alpha_A
    return [
        {
            "track": pairs.reader.tracks[int(track)].track.key,
            "x": int(x),
            "y": int(y),
            "alpha_x": float(alpha_A[x]),
            "alpha_y": float(alpha_A[y]),
        }
        for track, x, y in zip(batch.track_N, batch.x_N, batch.y_N, strict=True)
    ]
